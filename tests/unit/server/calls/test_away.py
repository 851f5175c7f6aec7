"""While the store is away: no call begins, running ones go on; what the node noticed is written when it is back."""

from collections.abc import AsyncIterator, Sequence

import pytest
from typing_extensions import override

from protocol.calls import CallId
from protocol.close_codes import CloseCode
from protocol.ids import MatchId, UserId
from server.adapters.memory.store import MemoryStore
from server.calls.rounds import STORE_BACK_S
from server.core.calls import CallChange, CallChanged, CallRow, CallRows, CallStale, CallView, OrphanedCalls
from server.ports import StoreUnavailable
from tests.support.callers import OFFER, M, accept, asked, in_a_call, of_type, rest, start, types
from tests.support.clock import FakeClock
from tests.support.switchboard import Switchboard, running


class AwayStore(MemoryStore):
    """Answers nothing about calls while it `is_away`; `loses` is how many changes it makes without saying so."""

    is_away = False
    loses = 0
    breaks = False

    def _answer(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away for the test")

    @override
    async def change_call(self, change: CallChange) -> CallChanged | CallStale:
        self._answer()
        changed = await super().change_call(change)
        if self.loses:
            self.loses -= 1
            raise StoreUnavailable("the answer was lost", maybe_stored=True)
        return changed

    @override
    async def call_view(
        self, *, call: CallId | None = None, match: MatchId | None = None, caller: UserId | None, since_us: int
    ) -> CallView:
        self._answer()
        if self.breaks:
            raise ZeroDivisionError("planted")
        return await super().call_view(call=call, match=match, caller=caller, since_us=since_us)

    @override
    async def live_calls(self, users: Sequence[UserId]) -> Sequence[tuple[CallRow, ...]]:
        self._answer()
        return await super().live_calls(users)

    @override
    async def claim_due_calls(self, claim_us: int, limit: int) -> CallRows:
        self._answer()
        return await super().claim_due_calls(claim_us, limit)

    @override
    async def orphaned_calls(self, node: str, silent_us: int, limit: int) -> OrphanedCalls:
        self._answer()
        return await super().orphaned_calls(node, silent_us, limit)


@pytest.fixture
def store() -> AwayStore:
    return AwayStore(FakeClock())


@pytest.fixture
async def board(store: AwayStore) -> AsyncIterator[Switchboard]:
    board = Switchboard(store=store)
    store._clock = board.clock
    async with running(board):
        await board.make(M, "alice", "bob")
        yield board


async def test_start_and_accept_are_unavailable(board: Switchboard, store: AwayStore) -> None:
    alice, bob = await board.enter("alice"), await board.enter("bob")
    seat = await start(alice)
    store.is_away = True
    for answer in (await start(bob), await accept(bob, seat["call"])):
        assert (answer["code"], answer["retry_after_ms"]) == ("unavailable", 1_000)
    store.is_away = False
    assert (await accept(bob, seat["call"]))["type"] == "ok"


async def test_a_running_call_goes_on(board: Switchboard, store: AwayStore) -> None:
    alice, bob, seat, answered = await in_a_call(board)
    store.is_away = True
    signal = {"type": "call.signal", "call": seat["call"], "to": answered["peer"], "n": 1, "description": OFFER}
    assert (await asked(alice, **signal))["type"] == "ok"
    mute = {"type": "call.media", "call": seat["call"], "audio": False, "video": True, "screen": False}
    assert (await asked(alice, **mute))["type"] == "ok"
    await board.advance(1)
    assert types(await rest(bob)) == ["call.signal", "call.media"]
    store.is_away = False
    await board.advance(1)
    row = (await store.call_view(call=CallId(str(seat["call"])), caller=None, since_us=0)).row
    assert row is not None
    assert b'"audio":false' in row.value


async def test_what_is_told_while_the_store_is_away_takes_bounded_room(board: Switchboard, store: AwayStore) -> None:
    """The last of each kind and seat is what counts; and it is written when the store is back."""
    alice, _, seat, _ = await in_a_call(board)
    store.is_away = True
    mute = {"type": "call.media", "call": seat["call"], "video": True, "screen": False}
    for number in range(20):
        await asked(alice, **mute, audio=number % 2 == 0)
        await board.advance(0.5)
    assert [len(soft) for soft in board.exchange._room._soft.values()] == [1]
    store.is_away = False
    await board.advance(1)
    assert board.exchange._room._soft == {}
    row = (await store.call_view(call=CallId(str(seat["call"])), caller=None, since_us=0)).row
    assert row is not None
    assert b'"audio":false' in row.value


async def test_a_lost_socket_is_written_when_the_store_is_back_before_any_time_out(
    board: Switchboard, store: AwayStore
) -> None:
    alice, bob, _, _ = await in_a_call(board)
    store.is_away = True
    alice.hang_up()
    await board.advance(60)
    assert await rest(bob) == []
    store.is_away = False
    await board.advance(0.5)
    assert types(await rest(bob)) == ["call.peer_state"]
    await board.advance(STORE_BACK_S)
    assert await rest(bob) == []
    await board.advance(30)
    assert [told["reason"] for told in of_type(await rest(bob), "call.ended")] == ["signaling_lost"]


async def test_a_change_whose_answer_was_lost_happens_once(board: Switchboard, store: AwayStore) -> None:
    alice, bob = await board.enter("alice"), await board.enter("bob")
    store.loses = 2
    seat = await start(alice)
    assert seat["type"] == "ok"
    assert types(await rest(bob)) == ["call.incoming"]
    assert (await accept(bob, seat["call"]))["type"] == "ok"


async def test_those_who_come_meanwhile_are_told_when_they_come_again(board: Switchboard, store: AwayStore) -> None:
    """Nobody is welcome without what they have to be told."""
    alice = await board.enter("alice")
    await start(alice)
    store.is_away = True
    bob = board.connect()
    (refused,) = await bob.ask(type="hello", id=1, token=board.token("bob"))
    assert (refused["code"], bob.line.closed) == (
        "unavailable",
        (CloseCode.UNAVAILABLE, "the store cannot answer"),
    )
    store.is_away = False
    assert types(await rest(await board.enter("bob"))) == ["call.incoming"]


async def test_a_fault_ends_one_event_and_no_other(board: Switchboard, store: AwayStore) -> None:
    alice, bob = await board.enter("alice"), await board.enter("bob")
    store.breaks = True
    assert (await start(alice))["code"] == "internal"
    store.breaks = False
    assert (await start(alice))["type"] == "ok"
    assert types(await rest(bob)) == ["call.incoming"]
