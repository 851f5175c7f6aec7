"""What users decide about who sees them: answered when it holds, told to whom it concerns, on both of two nodes."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from typing_extensions import override

from protocol.from_server import Presence
from protocol.ids import SessionId, UserId
from server.adapters.memory.bus import MemoryBus
from server.adapters.memory.store import MemoryStore
from server.core.log import Refused
from server.core.people import Person
from server.ports import StoreUnavailable
from server.privacy import CHANGES
from tests.support.callers import of_type, start
from tests.support.clock import FakeClock
from tests.support.switchboard import Client, Json, Switchboard, running, two_running
from tests.unit.server.test_relay import Pair

M1 = "m1"
ALICE, BOB, CAROL = (UserId(name) for name in ("alice", "bob", "carol"))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two nodes; alice, bob and carol have a match."""
    async with two_running() as (here, there):
        await here.make(M1, ALICE, BOB, CAROL)
        yield Pair(here, there)


async def heard(pair: Pair, client: Client) -> list[Json]:
    await pair.here.advance(0.2)
    await pair.there.advance(0.2)
    await pair.settle()
    return client.line.heard()


async def change(client: Client, **request: object) -> Json:
    """Ask for something and return the answer."""
    (answer,) = (each for each in await client.ask(id="it", **request) if each.get("id") == "it")
    return answer


async def block(pair: Pair, client: Client, other: str, *, on: bool = True) -> None:
    answer = await change(client, type="block" if on else "unblock", user=other)
    assert answer == {"type": "ok", "id": "it"}
    await pair.settle()


async def test_the_own_other_devices_are_told_of_blocks_on_every_node(pair: Pair) -> None:
    """The blocked one is not; who comes later is told in the welcome."""
    phone, tablet = await pair.here.enter(ALICE), await pair.here.enter(ALICE)
    laptop, bob = await pair.there.enter(ALICE), await pair.there.enter(BOB)
    await block(pair, phone, BOB)
    told = [{"type": "blocked", "user": "bob", "on": True}]
    assert [await heard(pair, each) for each in (phone, tablet, laptop, bob)] == [[], told, told, []]
    assert (await pair.there.enter(ALICE)).welcome["blocked"] == ["bob"]
    assert (await pair.there.enter(BOB)).welcome["blocked"] == []
    await block(pair, laptop, BOB, on=False)
    assert await heard(pair, phone) == [{"type": "blocked", "user": "bob", "on": False}]
    assert (await pair.here.enter(ALICE)).welcome["blocked"] == []


async def test_what_cannot_be_changed_is_refused(pair: Pair) -> None:
    alice = await pair.here.enter(ALICE)
    assert (await change(alice, type="block", user=ALICE))["code"] == "bad_request"
    assert (await change(alice, type="match.set", match="none", private_read=True))["code"] == "not_member"
    answers = [await change(alice, type="block", user=BOB) for _ in range(CHANGES.limit)]
    assert [answer["type"] for answer in answers].count("ok") == CHANGES.limit - 1
    refused = answers[-1]
    assert refused["code"] == "rate_limited"
    assert (await change(alice, type="match.set", match=M1, private_read=True))["code"] == "rate_limited"


async def test_of_what_comes_in_one_go_the_last_holds(pair: Pair) -> None:
    alice, bob = await pair.here.enter(ALICE), await pair.there.enter(BOB)
    for number in range(9):
        alice.send(type="unblock" if number % 2 else "block", id=number, user=BOB)
    answers = await alice.listen()
    assert [(answer["type"], answer["id"]) for answer in answers] == [("ok", number) for number in range(9)]
    await pair.settle()
    for board, user, other in ((pair.here, ALICE, BOB), (pair.there, BOB, ALICE)):
        person = board.people.person(user)
        assert person is not None
        assert person.is_apart_from(other)
    del bob


async def test_a_store_that_does_not_answer_may_have_blocked_all_the_same(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then every node asks it what holds."""
    alice, bob = await pair.here.enter(ALICE), await pair.there.enter(BOB)
    real = pair.routes.set_block

    async def lost(user: UserId, other: UserId, *, is_on: bool) -> bool | Refused:
        await real(user, other, is_on=is_on)
        raise StoreUnavailable("cut", maybe_stored=True)

    monkeypatch.setattr(pair.routes, "set_block", lost)
    assert (await change(alice, type="block", user=BOB))["code"] == "unavailable"
    await pair.settle()
    person = pair.there.people.person(BOB)
    assert person == Person(blocked_by=frozenset({ALICE}))
    assert await heard(pair, bob) == []


# ---- at once


async def test_what_is_shown_of_each_other_ends(pair: Pair) -> None:
    """Writing, and watches in both directions, also of what waited to be told; unblocked they are seen again."""
    alice, bob = await pair.here.enter(ALICE), await pair.there.enter(BOB)
    await alice.ask(type="presence.watch", id=1, users=[BOB, CAROL])
    await bob.ask(type="presence.watch", id=1, users=[ALICE])
    await bob.ask(type="typing", id=2, match=M1, on=True)
    assert of_type(await heard(pair, alice), "typing")[0]["on"] is True
    carol = await pair.here.enter(CAROL)
    await heard(pair, alice)
    alice.send(type="block", id=4, user=BOB)
    seen = await heard(pair, alice)
    assert of_type(seen, "typing") == [{"type": "typing", "match": M1, "user": "bob", "on": False}]
    assert shown(seen) == [("bob", "unknown")]
    assert shown(await heard(pair, bob)) == [("alice", "unknown")]
    assert of_type(await heard(pair, carol), "typing") == []
    assert pair.here.watches.watched(alice.peer) == (CAROL,)
    assert pair.there.watches.watched(bob.peer) == ()
    alice.send(type="unblock", id=5, user=BOB)
    assert ("bob", "online") in shown(await heard(pair, alice))
    assert shown(await heard(pair, bob)) == [("alice", "online")]
    alice.hang_up()
    await pair.here.advance(3)
    assert shown(await heard(pair, bob)) == [("alice", "offline")]


async def test_a_watch_that_names_who_is_blocked_begins_with_the_end_of_the_block(pair: Pair) -> None:
    """…and another `presence.watch` ends that, too."""
    alice, bob = await pair.here.enter(ALICE), await pair.there.enter(BOB)
    await block(pair, alice, BOB)
    (answer,) = await bob.ask(type="presence.watch", id=1, users=[ALICE, CAROL])
    states = answer["presence"]
    assert isinstance(states, list)
    assert [state["user"] for state in states] == ["carol"]
    assert bob.peer.unseen == (ALICE,)
    await block(pair, alice, BOB, on=False)
    assert ("alice", "online") in shown(await heard(pair, bob))
    await block(pair, alice, BOB)
    await heard(pair, bob)
    await bob.ask(type="presence.watch", id=2, users=[])
    await block(pair, alice, BOB, on=False)
    assert shown(await heard(pair, bob)) == []


async def test_a_call_of_the_two_is_over_and_one_with_others_is_not(pair: Pair) -> None:
    await pair.here.make("two", ALICE, BOB)
    alice, bob = await pair.here.enter(ALICE), await pair.there.enter(BOB)
    await start(alice, "two")
    await heard(pair, bob)
    await block(pair, bob, ALICE)
    assert [each["reason"] for each in of_type(await heard(pair, alice), "call.ended")] == ["removed"]
    again = await start(alice, "two", "k2")
    assert again["code"] == "call_refused"
    assert (await start(alice, M1, "k3"))["ringing"] == ["carol"]


async def test_a_call_whose_caller_is_blocked_is_a_skip_and_not_offered(pair: Pair) -> None:
    alice, bob = await pair.here.enter(ALICE), await pair.there.enter(BOB)
    await block(pair, alice, BOB)
    await start(bob, M1, mode="prompt")
    assert [each["type"] for each in await heard(pair, alice)] == ["skip"]
    assert of_type((await pair.here.enter(ALICE)).unheard, "call.snapshot") == []
    assert of_type((await pair.here.enter(CAROL)).unheard, "call.snapshot") != []


# ---- reading in private


async def test_reading_in_private_is_told_to_the_own_devices_and_its_end_to_all_who_may_know(pair: Pair) -> None:
    alice, laptop = await pair.here.enter(ALICE), await pair.there.enter(ALICE)
    bob, carol = await pair.there.enter(BOB), await pair.here.enter(CAROL)
    await block(pair, carol, ALICE)
    await bob.ask(type="message.send", id=1, match=M1, client_id="c1", body={"text": "hi"})
    assert await change(alice, type="match.set", match=M1, private_read=True) == {"type": "ok", "id": "it"}
    await change(alice, type="receipt", match=M1, read=2)
    await heard(pair, carol)
    assert [each["type"] for each in await heard(pair, laptop)] == ["message", "match.settings", "receipt"]
    shown = of_type(await heard(pair, bob), "receipt")
    assert [(each["delivered"], each["read"]) for each in shown] == [(2, 1)]
    await change(alice, type="match.set", match=M1, private_read=False)
    assert await heard(pair, laptop) == [{"type": "match.settings", "match": M1, "private_read": False}]
    assert [(each["delivered"], each["read"]) for each in await heard(pair, bob)] == [(2, 2)]
    assert await heard(pair, carol) == []


# ---- when news may be missed


async def test_a_block_that_nobody_heard_of_holds_when_the_bus_is_back(pair: Pair) -> None:
    """Until then nothing is told of anybody; then who may be told is told what was withheld."""
    alice, carol = await pair.here.enter(ALICE), await pair.there.enter(CAROL)
    await alice.ask(type="presence.watch", id=1, users=[BOB, CAROL])
    await pair.here.settle()
    pair.here.relay.bus_is(alive=False)
    await pair.routes.set_block(BOB, ALICE, is_on=True)
    await pair.there.enter(BOB)
    carol.hang_up()
    await pair.here.advance(3)
    assert of_type(await heard(pair, alice), "presence") == []
    pair.here.relay.bus_is(alive=True)
    news = await heard(pair, alice)
    assert shown(news) == [("bob", "unknown"), ("carol", "offline")]
    assert pair.here.watches.watched(alice.peer) == (CAROL,)


async def test_what_is_read_again_takes_the_place_of_no_newer_news(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carol comes back between the read and its answer: she is told of as here, and of nothing older after that."""
    alice, carol = await pair.here.enter(ALICE), await pair.there.enter(CAROL)
    await alice.ask(type="presence.watch", id=1, users=[CAROL])
    pair.here.relay.bus_is(alive=False)
    carol.hang_up()
    await pair.here.advance(3)
    assert of_type(await heard(pair, alice), "presence") == []
    read = MemoryBus.watch

    async def overtaken(bus: MemoryBus, users: Sequence[UserId]) -> Sequence[Presence]:
        states = await read(bus, users)
        monkeypatch.undo()
        pair.there.bus.register(CAROL, SessionId("again"))
        await asyncio.sleep(0)
        return states

    monkeypatch.setattr(MemoryBus, "watch", overtaken)
    pair.here.relay.bus_is(alive=True)
    assert shown(await heard(pair, alice)) == [("carol", "online")]


async def test_while_others_are_not_heard_typing_asks_the_store_who_may_know(pair: Pair) -> None:
    alice, bob, carol = [await pair.here.enter(user) for user in (ALICE, BOB, CAROL)]
    pair.here.relay.bus_is(alive=False)
    await pair.routes.set_block(BOB, ALICE, is_on=True)
    await alice.ask(type="typing", id=1, match=M1, on=True)
    assert [len(of_type(await heard(pair, each), "typing")) for each in (bob, carol)] == [0, 1]


async def test_what_is_told_again_is_skipped_for_who_blocked_its_author(pair: Pair) -> None:
    """Of a commit whose node died: whoever takes it over reads who has blocked whom."""
    await pair.routes.set_block(ALICE, BOB, is_on=True)
    alice, carol = await pair.here.enter(ALICE), await pair.there.enter(CAROL)
    await pair.stored("b1", sender=BOB)
    await pair.stored("c1", sender=CAROL)
    pair.here.clock.advance(16)
    await pair.round(pair.here)
    assert await pair.hear(alice, carol) == [
        [("skip", 2), ("message", 3)],
        [("message", 2), ("message", 3)],
    ]


# ---- a match that somebody joins


class Unreadable(MemoryStore):
    """A store that does not know people for now."""

    is_away = False

    @override
    async def people(self, users: Sequence[UserId]) -> Sequence[Person]:
        if self.is_away:
            raise StoreUnavailable("gone")
        return await super().people(users)


async def cursors(board: Switchboard, client: Client, match: str) -> dict[object, object]:
    """Return how far the members are by the push that tells of a match."""
    await board.make(match, ALICE, BOB, CAROL)
    (made,) = of_type(await client.listen(), "match")
    members = made["members"]
    assert isinstance(members, list)
    return {member["user"]: member["read"] for member in members}


async def test_who_joins_sees_how_far_those_are_whom_no_block_stands_between() -> None:
    """Nobody, where it cannot be read who that is: the match is told all the same."""
    clock = FakeClock()
    store = Unreadable(clock)
    async with running(Switchboard(store=store, clock=clock)) as board:
        for match in ("m2", "m3"):
            await board.make(match, BOB, CAROL)
        alice = await board.enter(ALICE)
        await store.set_block(BOB, ALICE, is_on=True)
        assert await cursors(board, alice, "m2") == {"alice": 2, "bob": 0, "carol": 1}
        store.is_away = True
        assert await cursors(board, alice, "m3") == {"alice": 2, "bob": 0, "carol": 0}


def shown(heard: Sequence[Json]) -> list[tuple[object, object]]:
    """Return who was shown how, in order."""
    told = (change for push in of_type(heard, "presence") for change in changes(push))
    return [(change["user"], change["status"]) for change in told]


def changes(push: Json) -> list[Json]:
    found = push["changes"]
    assert isinstance(found, list)
    return found
