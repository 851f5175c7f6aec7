"""Calls to keep in stores, without the rules that would make them."""

from collections.abc import Sequence
from typing import Final

from msgspec import structs

from protocol.calls import CallId, CallOutcome
from protocol.ids import MatchId, Micros, UserId
from server.adapters.memory.store import MemoryStore
from server.adapters.postgres.store import PostgresStore
from server.adapters.sqlite.store import SqliteStore
from server.core.calls import CallChange, CallChanged, CallNote, CallStale
from server.ports import Calls
from tests.support.stores import ALICE, BOB, M, World

CALL: Final = CallId("call-1")


def record(world: World) -> Calls:
    """Return the store as a keeper of calls."""
    assert isinstance(world.store, MemoryStore | SqliteStore | PostgresStore)
    return world.store


def note(state: CallOutcome, call: CallId = CALL, caller: UserId = ALICE) -> CallNote:
    """Make what an entry says."""
    return CallNote(call, state, caller, "video", Micros(5), (ALICE, BOB))


def opened(
    world: World,
    call: str = CALL,
    match: str = M,
    *,
    users: Sequence[UserId] = (ALICE, BOB),
    seated: Sequence[UserId] = (ALICE,),
    deadline_s: float | None = None,
) -> CallChange:
    """Make the first change of a call that rings, started now by the first of its users."""
    now = world.clock.micros()
    return CallChange(
        change=f"opens {call}",
        call=CallId(call),
        match=MatchId(match),
        version=0,
        value=b'{"state":"ringing"}',
        caller=users[0],
        started_at=now,
        ended_at=None,
        deadline_at=None if deadline_s is None else Micros(now + round(deadline_s * 1_000_000)),
        users=tuple(users),
        seated=tuple(seated),
        nodes=("n1",) if seated else (),
        note=note(CallOutcome.RINGING, CallId(call), users[0]),
    )


def next_change(
    world: World,
    before: CallChange,
    state: CallOutcome | None = None,
    *,
    seated: Sequence[UserId] | None = None,
    ends: bool = False,
) -> CallChange:
    """Make the change that follows on `before`; with `ends` the last one."""
    return structs.replace(
        before,
        change=f"{before.change}, then {state}",
        version=before.version + 1,
        value=b'{"state":"%b"}' % str(state).encode(),
        ended_at=world.clock.micros() if ends else None,
        deadline_at=None,
        seated=() if ends else before.seated if seated is None else tuple(seated),
        nodes=() if ends else before.nodes,
        note=None if state is None else note(state, before.call, before.caller),
    )


def changed(answer: CallChanged | CallStale) -> CallChanged:
    """Expect success."""
    assert isinstance(answer, CallChanged)
    return answer
