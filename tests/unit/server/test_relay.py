"""Two nodes on one bus and one store: what crosses, what is told again, to whom, and what waits for the store."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Raw

from protocol.close_codes import CloseCode
from protocol.ids import ClientId, MatchId, Seq, UserId
from protocol.limits import PAGE_MAX
from server.core.log import Append, EntryPage, Refused
from server.core.notices import Kick, MembersNews, Notice
from server.core.routes import ROUTES_KEPT_S
from server.outbox import frame_text
from server.ports import StoreUnavailable
from server.relay import EXPIRE_EVERY, REASON, STAY_S, UNROUTED_AFTER_S, Relay, RelayParts
from tests.support.switchboard import Client, Json, Switchboard, two_running

M1 = "m1"
ALICE, BOB, CAROL, DAVE = (UserId(name) for name in ("alice", "bob", "carol", "dave"))


class Pair:
    """Two nodes, and the store that they share."""

    def __init__(self, here: Switchboard, there: Switchboard) -> None:
        assert here.routes is not None
        self.here, self.there, self.routes = here, there, here.routes

    async def settle(self) -> None:
        for _ in range(3):
            await self.here.settle()
            await self.there.settle()

    async def round(self, *boards: Switchboard, number: int = 1) -> None:
        for board in boards or (self.here, self.there):
            await board.relay.round(number)
            await self.settle()

    async def hear(self, *clients: Client) -> list[list[tuple[object, ...]]]:
        await self.settle()
        return [[short(message) for message in client.line.heard()] for client in clients]

    async def stored(self, *names: str, sender: str = ALICE, match: str = M1) -> None:
        """Commit messages as a node that tells nobody: it dies at once."""
        batch = [Append(MatchId(match), UserId(sender), ClientId(name), Raw(b'{"text":"x"}')) for name in names]
        await self.routes.append_routed(batch, "dead")

    def later(self) -> float:
        """Let time pass and return when it is."""
        self.here.clock.advance(1)
        return self.here.clock.now()

    async def members(self, *members: UserId) -> None:
        """Change members, likewise."""
        await self.routes.set_members_routed(MatchId(M1), members, "dead")


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with two_running() as (here, there):
        yield Pair(here, there)


async def nothing() -> None:
    """Have nothing to load."""


def short(message: Json) -> tuple[object, ...]:
    """Keep what tells one message from another."""
    changes = message.get("changes")
    if isinstance(changes, list):
        return ("presence", *((change["user"], change["status"]) for change in changes))
    return tuple(message[name] for name in ("type", "seq", "user", "on", "active", "name") if name in message)


# ---- over the bus


async def test_a_message_reaches_all_devices_on_all_nodes_but_the_sending_one(pair: Pair) -> None:
    await pair.here.make(M1, "alice", "bob")
    alice, laptop = await pair.here.enter("alice"), await pair.there.enter("alice")
    bob, dave = await pair.there.enter("bob"), await pair.there.enter("dave")
    await alice.ask(type="message.send", id=1, match=M1, client_id="c1", body={"text": "hi"})
    assert await pair.hear(alice, laptop, bob, dave) == [[], [("message", 2)], [("message", 2)], []]


async def test_a_commit_is_marked_once_its_frames_are_out(pair: Pair) -> None:
    await pair.here.make(M1, "alice", "bob")
    alice = await pair.here.enter("alice")
    await alice.ask(type="message.send", id=1, match=M1, client_id="c1", body={"text": "hi"})
    assert pair.routes.unrouted == [1, 2]
    await pair.round(pair.there)
    assert pair.routes.unrouted == [1, 2]
    await pair.round(pair.here)
    assert pair.routes.unrouted == []
    await pair.round(pair.here)


async def test_typing_and_receipts_cross(pair: Pair) -> None:
    await pair.here.make(M1, "alice", "bob")
    alice, bob = await pair.here.enter("alice"), await pair.there.enter("bob")
    await alice.ask(type="typing", match=M1, on=True)
    await pair.settle()
    await pair.there.advance(1)
    await alice.ask(type="message.send", id=1, match=M1, client_id="c1", body={"text": "hi"})
    assert await pair.hear(bob) == [[("typing", "alice", True), ("message", 2)]]
    await bob.ask(type="receipt", match=M1, read=2)
    await pair.here.advance(1)
    assert ("receipt", "bob") in (await pair.hear(alice))[0]


async def test_typing_that_still_waits_elsewhere_is_dropped_for_its_message(pair: Pair) -> None:
    """Of every kind; nothing else is."""
    await pair.here.make(M1, "alice", "bob", "carol")
    alice, bob, carol = await pair.here.enter("alice"), await pair.there.enter("bob"), await pair.here.enter("carol")
    for kind in ("text", "recording"):
        alice.send(type="typing", match=M1, on=True, kind=kind)
    carol.send(type="typing", match=M1, on=True)
    await pair.settle()
    await alice.ask(type="message.send", id=1, match=M1, client_id="c1", body={"text": "hi"})
    assert await pair.hear(bob) == [[("typing", "carol", True), ("message", 2)]]
    await alice.ask(type="typing", match=M1, on=False)
    await pair.there.advance(1)
    assert await pair.hear(bob) == [[]]


async def test_a_message_from_another_device_ends_what_this_node_told(pair: Pair) -> None:
    """It may be shown behind it on a third node: `off` follows; and what the user writes next is told at once."""
    await pair.here.make(M1, "alice", "bob")
    phone, laptop, bob = await pair.here.enter("alice"), await pair.there.enter("alice"), await pair.there.enter("bob")
    await phone.ask(type="typing", match=M1, on=True)
    await pair.there.advance(1)
    await laptop.ask(type="message.send", id=1, match=M1, client_id="c1", body={"text": "hi"})
    await pair.settle()
    await pair.there.advance(1)
    assert await pair.hear(bob) == [[("typing", "alice", True), ("message", 2), ("typing", "alice", False)]]
    assert await pair.hear(phone) == [[("message", 2)]]
    await phone.ask(type="typing", match=M1, on=True)
    await pair.settle()
    await pair.there.advance(1)
    assert await pair.hear(bob) == [[("typing", "alice", True)]]
    assert pair.there.delivery.event(ALICE, "coupon", {}) == 1
    await pair.settle()
    assert pair.here.typing.concerns((ALICE,))


async def test_who_is_removed_by_another_node_stops_writing(pair: Pair) -> None:
    await pair.here.make(M1, "alice", "bob", "carol")
    alice, bob = await pair.here.enter("alice"), await pair.there.enter("bob")
    await alice.ask(type="typing", match=M1, on=True)
    await pair.there.advance(1)
    await pair.hear(bob)
    await pair.there.make(M1, "bob", "carol")
    await pair.settle()
    await pair.there.advance(1)
    assert await pair.hear(bob) == [[("members", 2), ("typing", "alice", False)]]


async def test_events_of_the_app_cross(pair: Pair) -> None:
    bob = await pair.there.enter("bob")
    assert pair.here.delivery.event(BOB, "coupon", {"is": "new"}) == 0
    assert await pair.hear(bob) == [[("event", "coupon")]]


async def test_members_of_a_match_are_known_to_all_nodes_at_once(pair: Pair) -> None:
    await pair.here.make(M1, "alice", "bob")
    bob, carol = await pair.there.enter("bob"), await pair.there.enter("carol")
    assert pair.there.hub.members(MatchId(M1)) == (ALICE, BOB)
    await pair.here.make(M1, "alice", "carol")
    assert await pair.hear(bob, carol) == [[("members", 2), ("match.left",)], [("match",)]]
    (refused,) = await bob.ask(type="typing", id=1, match=M1, on=True)
    assert refused["code"] == "not_member"


async def test_partners_on_other_nodes_are_watched_until_they_are_none(pair: Pair) -> None:
    await pair.here.make(M1, "alice", "bob")
    alice = await pair.here.enter("alice")
    await alice.ask(type="presence.watch", id=1, users=["bob"])
    bob = await pair.there.enter("bob")
    await pair.here.advance(0.2)
    assert await pair.hear(alice) == [[("presence", ("bob", "online"))]]
    bob.hang_up()
    await pair.here.advance(1.9)
    assert await pair.hear(alice) == [[]]
    for _ in range(2):
        await pair.here.advance(0.2)
    assert await pair.hear(alice) == [[("presence", ("bob", "offline"))]]
    await pair.there.make(M1, "alice", "carol")
    await pair.hear(alice)
    assert pair.here.watches.watched(alice.peer) == ()


async def test_what_is_not_about_members_is_for_the_revoker() -> None:
    board, applied = Switchboard(), list[Notice]()
    changed: list[UserId] = []
    relay = Relay(
        RelayParts(
            bus=board.bus,
            hub=board.hub,
            people=board.people,
            delivery=board.delivery,
            calls=board.exchange,
            store=board.store,
            routes=None,
            node="here",
            apply=applied.append,
            load_revocations=nothing,
            members_changed=changed.extend,
            going_away=lambda _: None,
            now=board.clock.now,
            telemetry=board.telemetry,
        )
    )
    kick = Kick(ALICE, 4501, "over")
    relay.notice(kick)
    relay.notice(MembersNews(MatchId(M1), Seq(1), (ALICE,)))
    relay.notice(MembersNews(MatchId(M1), Seq(2), (ALICE,), left=(BOB,)))
    assert applied == [kick]
    assert changed == [BOB, ALICE]
    await relay.round(1)  # A store of its own: there is nothing to do.


async def test_clients_are_told_when_other_nodes_are_not_heard(pair: Pair) -> None:
    """Once, and of the end; those who come meanwhile hear it after their welcome. Members are not remembered."""
    await pair.here.make(M1, "alice", "bob")
    alice = await pair.here.enter("alice")
    for _ in range(2):
        pair.here.relay.bus_is(alive=False)
    bob = pair.here.connect()
    assert [short(each) for each in await bob.ask(type="hello", id=1, token=pair.here.token("bob"))] == [
        ("welcome", "bob"),
        ("degraded", True),
    ]
    assert pair.here.hub.members(MatchId(M1)) is None
    assert await alice.ask(type="typing", id=2, match=M1, on=True) != []
    assert pair.here.hub.members(MatchId(M1)) is None
    for _ in range(2):
        pair.here.relay.bus_is(alive=True)
    assert (await pair.hear(bob))[0][-1] == ("degraded", False)
    await pair.here.make("m2", "alice", "bob")
    assert pair.here.hub.members(MatchId("m2")) == (ALICE, BOB)


async def test_news_of_members_that_comes_late_is_no_news(pair: Pair) -> None:
    """As from a node that could not tell for a while, when another one has changed the match since."""
    await pair.here.make(M1, "alice", "bob")
    await pair.there.enter("bob")
    await pair.members(BOB, CAROL)
    late = MembersNews(MatchId(M1), Seq(2), (BOB, CAROL), (CAROL,), (ALICE,))
    await pair.there.make(M1, "alice", "bob", "dave")
    pair.there.relay.notice(late)
    assert pair.there.hub.members(MatchId(M1)) == (ALICE, BOB, DAVE)


async def test_the_store_learns_what_other_nodes_stored(pair: Pair) -> None:
    """So that a replica that is behind that answers nothing. What only lasts a moment tells nothing."""
    bob = await pair.there.enter("bob")
    pair.routes.seen.clear()
    await pair.here.make(M1, "alice", "bob")
    alice = await pair.here.enter("alice")
    await alice.ask(type="message.send", id=1, match=M1, client_id="c1", body={"text": "hi"})
    await alice.ask(type="typing", match=M1, on=True)
    pair.here.delivery.event(BOB, "coupon", {"is": "new"})
    await pair.hear(bob)
    assert pair.routes.seen == [(M1, 1, (ALICE, BOB)), (M1, 2, ())]
    pair.there.relay.deliver([BOB], frame_text(b"of a newer version"), None)
    assert len(pair.routes.seen) == 2


# ---- told again


async def test_a_repair_tells_here_what_was_committed_since(pair: Pair) -> None:
    """In the next round, from the log; nothing older, nobody else."""
    await pair.here.make(M1, "alice", "bob")
    bob, dave = await pair.there.enter("bob"), await pair.there.enter("dave")
    await pair.stored("old")
    since = pair.later()
    await pair.stored("a", "b")
    pair.there.relay.repair(since)
    assert await pair.hear(bob) == [[]]
    await pair.round(pair.there)
    assert await pair.hear(bob, dave) == [[("message", 3), ("message", 4)], []]
    await pair.round(pair.there)
    assert await pair.hear(bob) == [[]]
    assert pair.there.telemetry.repairs == 1


async def test_of_two_repairs_the_earlier_moment_counts(pair: Pair) -> None:
    await pair.here.make(M1, "alice", "bob")
    bob = await pair.there.enter("bob")
    since = pair.later()
    await pair.stored("a")
    for seconds in (2, 0, 3):
        pair.there.relay.repair(since + seconds)
    await pair.round(pair.there)
    assert await pair.hear(bob) == [[("message", 2)]]


async def test_a_repair_that_is_asked_for_during_one_is_done_too(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first one read may not have what the second one is for."""
    await pair.here.make(M1, "alice", "bob")
    bob = await pair.there.enter("bob")
    since = pair.later()
    history = pair.routes.history

    async def interrupted(match: MatchId, viewer: UserId | None, **page: Any) -> EntryPage | Refused:
        monkeypatch.undo()
        read = await history(match, viewer, **page)
        pair.there.relay.repair(pair.later())
        await pair.stored("b")
        return read

    monkeypatch.setattr(pair.routes, "history", interrupted)
    await pair.stored("a")
    pair.there.relay.repair(since)
    await pair.round(pair.there)
    assert await pair.hear(bob) == [[("message", 2)]]
    await pair.round(pair.there)
    assert await pair.hear(bob) == [[("message", 3)]]


async def test_a_repair_trusts_nothing_that_was_known_of_members(pair: Pair) -> None:
    """News of them may have been missed as well: who was removed neither types nor watches any more."""
    await pair.here.make(M1, "alice", "bob")
    bob = await pair.there.enter("bob")
    await bob.ask(type="presence.watch", id=1, users=["alice"])
    since = pair.later()
    await pair.members(ALICE, CAROL)
    assert pair.there.hub.members(MatchId(M1)) == (ALICE, BOB)
    pair.there.relay.repair(since)
    assert pair.there.hub.members(MatchId(M1)) is None
    await pair.round(pair.there)
    assert (await pair.hear(bob))[0] == [("members", 2), ("match.left",)]
    assert pair.there.watches.watched(bob.peer) == ()


async def test_a_repair_reads_what_was_revoked(pair: Pair) -> None:
    """And forgets what a replica was measured by: news of both may have been missed."""
    pair.routes.seen.clear()
    pair.there.relay.repair(pair.later())
    assert pair.routes.seen == [None]
    await pair.round(pair.there)
    assert pair.there.revocations_loaded == 1


async def test_who_may_have_missed_what_no_route_tells_any_more_is_sent_to_resume(pair: Pair) -> None:
    """Those who do not go are closed with a code that says so; who came meanwhile has resumed and stays."""
    await pair.here.make(M1, "alice", "bob")
    alice, bob = await pair.there.enter("alice"), await pair.there.enter("bob")
    pair.there.relay.repair(pair.later() - ROUTES_KEPT_S - 1)
    await pair.round(pair.there)
    assert [heard[0] for heard in await pair.hear(alice, bob)] == [("going_away",)] * 2
    alice.hang_up()
    again = await pair.there.enter("alice")
    await pair.round(pair.there)
    assert bob.line.closed is None
    pair.here.clock.advance(2 * STAY_S)
    for _ in range(2):
        await pair.round(pair.there)
    closed = [client.line.closed for client in (bob, again)]
    assert closed == [(CloseCode.GOING_AWAY, REASON), None]


async def test_each_entry_is_told_to_who_was_a_member_then(pair: Pair) -> None:
    """Who joined gets the match and what follows; who left gets what was before, the change, and that they left."""
    await pair.here.make(M1, "alice", "bob")
    alice, bob, carol, dave = [await pair.there.enter(name) for name in ("alice", "bob", "carol", "dave")]
    since = pair.later()
    await pair.stored("before")
    await pair.members(ALICE, CAROL)
    await pair.stored("between")
    await pair.members(CAROL, DAVE)
    await pair.stored("after", sender="carol")
    pair.there.relay.repair(since)
    await pair.round(pair.there)
    told = await pair.hear(alice, bob, carol, dave)
    left = [("match.left",)]
    assert told[0] == [("message", 2), ("members", 3), ("message", 4), ("members", 5), *left]
    assert told[1] == [("message", 2), ("members", 3), *left]
    assert told[2] == [("match",), ("members", 3), ("message", 4), ("members", 5), ("message", 6)]
    assert told[3] == [("match",), ("members", 5), ("message", 6)]


async def test_who_joined_and_is_gone_again_gets_no_match(pair: Pair) -> None:
    """There is none that they are in; what they may see is told."""
    await pair.here.make(M1, "alice", "bob")
    carol = await pair.there.enter("carol")
    since = pair.later()
    await pair.members(ALICE, BOB, CAROL)
    await pair.members(ALICE, BOB)
    pair.there.relay.repair(since)
    await pair.round(pair.there)
    assert await pair.hear(carol) == [[("members", 2), ("members", 3), ("match.left",)]]


async def test_of_more_than_a_page_is_told_that_there_is_a_gap(pair: Pair) -> None:
    """To the members, and to those whom the page shows to have left."""
    await pair.here.make(M1, "alice", "bob")
    alice, bob, carol = [await pair.there.enter(name) for name in ("alice", "bob", "carol")]
    since = pair.later()
    await pair.members(ALICE, CAROL)
    await pair.stored(*(f"c{number}" for number in range(PAGE_MAX)))
    pair.there.relay.repair(since)
    await pair.round(pair.there)
    # Two commits, and after the second one no more than a page came.
    told = await pair.hear(alice, bob, carol)
    assert [each[0] for each in told] == [("gap",)] * 3
    assert [len(each) for each in told] == [1 + PAGE_MAX, 1, 1 + PAGE_MAX]


async def test_a_match_that_is_not_there_any_more_is_passed_over(pair: Pair) -> None:
    """As after a restored backup."""
    await pair.stored("a", match="none")
    await pair.here.make(M1, "alice", "bob")
    bob = await pair.there.enter("bob")
    await pair.stored("b")
    pair.routes._matches.clear()
    pair.there.relay.repair(pair.here.clock.now() - 60)
    await pair.round(pair.there)
    assert await pair.hear(bob) == [[]]


# ---- rounds


async def test_what_nobody_routed_is_taken_over_and_told_everywhere(pair: Pair) -> None:
    """By one node, when it is old enough; then it counts as routed."""
    await pair.here.make(M1, "alice", "bob")
    alice, bob = await pair.here.enter("alice"), await pair.there.enter("bob")
    await pair.round()
    await pair.stored("a")
    await pair.round()
    assert await pair.hear(alice, bob) == [[], []]
    await pair.here.advance(UNROUTED_AFTER_S)
    await pair.round()
    assert await pair.hear(alice, bob) == [[("message", 2)]] * 2
    await pair.round()
    assert pair.routes.unrouted == []
    assert await pair.hear(alice, bob) == [[], []]


async def test_a_change_of_members_that_is_taken_over_is_known_to_all_nodes(pair: Pair) -> None:
    """Its own node died before it could tell."""
    await pair.here.make(M1, "alice", "bob")
    bobs = await pair.here.enter("bob"), await pair.there.enter("bob")
    await pair.round()
    await pair.members(ALICE, CAROL)
    await pair.here.advance(UNROUTED_AFTER_S)
    await pair.round(pair.here)
    for board, bob in zip((pair.here, pair.there), bobs, strict=True):
        assert board.hub.members(MatchId(M1)) == (ALICE, CAROL)
        assert await pair.hear(bob) == [[("members", 2), ("match.left",)]]


async def test_a_node_that_is_deaf_takes_nothing_over(pair: Pair) -> None:
    await pair.here.make(M1, "alice", "bob")
    await pair.stored("a")
    await pair.here.advance(UNROUTED_AFTER_S)
    pair.here.relay.bus_is(alive=False)
    await pair.round(pair.here)
    assert pair.routes._routes[2][0].node == "dead"
    pair.here.relay.bus_is(alive=True)
    await pair.round(pair.here)
    assert pair.routes._routes[2][0].node == "here"


async def test_while_the_store_is_away_everything_waits(pair: Pair) -> None:
    """What is to be marked, and what is to be told again."""
    await pair.here.make(M1, "alice", "bob")
    bob = await pair.here.enter("bob")
    await pair.stored("a")
    await pair.settle()
    pair.here.relay.repair(pair.here.clock.now() - 60)
    pair.routes.is_away = True
    with pytest.raises(StoreUnavailable):
        await pair.here.relay.round(1)
    pair.here.relay._routed.clear()
    with pytest.raises(StoreUnavailable):
        await pair.here.relay.round(1)
    pair.here.relay.routed((1,))
    with pytest.raises(StoreUnavailable):
        await pair.here.relay.round(1)
    pair.routes.is_away = False
    await pair.round(pair.here)
    assert pair.routes.unrouted == [2]
    assert ("message", 2) in (await pair.hear(bob))[0]


async def test_old_routes_are_forgotten_now_and_then(pair: Pair) -> None:
    for number in range(1, 2 * EXPIRE_EVERY + 1):
        await pair.here.relay.round(number)
    assert pair.routes.expired == 2


async def test_rounds_go_on_when_the_store_was_away(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.relay.ROUND_S", 0)
    pair.routes.is_away = True
    rounds = asyncio.create_task(pair.here.relay.run())
    for _ in range(10):
        await asyncio.sleep(0)
    pair.routes.is_away = False
    async with asyncio.timeout(20):
        while not pair.routes.expired:  # noqa: ASYNC110 - turns of the loop are what is waited for
            await asyncio.sleep(0)
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)
