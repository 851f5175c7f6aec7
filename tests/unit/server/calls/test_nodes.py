"""Calls between two nodes on one bus and one store: what crosses, what is told again, and what was never heard."""

from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from msgspec import Raw

from protocol.calls import CallId
from protocol.ids import MatchId, UserId
from server.adapters.memory.store import MemoryStore
from server.core.calls import CallRow
from server.core.log import Refused
from server.core.notices import CallNews
from server.relay import UNROUTED_AFTER_S
from tests.support.callers import OFFER, M, accept, answer_to, asked, connected, items, of_type, rest, start, types
from tests.support.switchboard import Client, Json, Switchboard, running, two_running


class Pair:
    """Two nodes, and the store that they share."""

    def __init__(self, here: Switchboard, there: Switchboard) -> None:
        self.here, self.there = here, there

    async def settle(self) -> None:
        for _ in range(3):
            await self.here.settle()
            await self.there.settle()

    async def hear(self, client: Client) -> list[Json]:
        """Return what a client heard, wherever it came from."""
        await self.settle()
        return await rest(client)

    async def talk(self) -> tuple[Client, Client, Json, Json]:
        """Have alice here and bob there talk."""
        alice, bob = await self.here.enter("alice"), await self.there.enter("bob")
        first = await start(alice)
        await self.settle()
        second = await accept(bob, first["call"])
        await self.settle()
        await connected(alice, bob, first["call"], (first["peer"], second["peer"]))
        for client in (alice, bob):
            await self.hear(client)
        return alice, bob, first, second


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with two_running() as (here, there):
        await here.make(M, "alice", "bob")
        yield Pair(here, there)


async def test_signals_cross_to_one_connection(pair: Pair) -> None:
    tablet = await pair.there.enter("bob")
    alice, bob, first, second = await pair.talk()
    await pair.hear(tablet)
    signal = {"type": "call.signal", "call": first["call"], "to": second["peer"], "n": 1, "description": OFFER}
    assert (await asked(alice, **signal))["type"] == "ok"
    assert types(await pair.hear(bob)) == ["call.signal"]
    assert await pair.hear(tablet) == []


async def test_news_of_members_let_nobody_ring_on_another_node(pair: Pair) -> None:
    """All connections but the one that answered are told, on both nodes."""
    alice, phone = await pair.here.enter("alice"), await pair.there.enter("bob")
    near, far = await pair.here.enter("bob"), await pair.there.enter("bob")
    first = await start(alice)
    for device in (phone, near, far):
        assert types(await pair.hear(device)) == ["call.incoming"]
    await accept(phone, first["call"])
    for device in (near, far):
        assert types(await pair.hear(device)) == ["call.cancelled", "call.joined"]
    assert await pair.hear(phone) == []


async def test_what_is_not_known_is_read_and_strangers_stay_out(pair: Pair) -> None:
    """Also while the other nodes are not heard."""
    alice, bob, first, second = await pair.talk()
    pair.here.relay.bus_is(alive=False)
    await pair.hear(alice)
    signal = {"type": "call.signal", "call": first["call"], "to": second["peer"], "n": 1, "description": OFFER}
    assert (await asked(alice, **signal))["type"] == "ok"
    assert types(await pair.hear(bob)) == ["call.signal"]
    mallory = await pair.here.enter("mallory")
    assert (await asked(mallory, **signal))["code"] == "not_in_call"
    pair.here.relay.bus_is(alive=True)


async def test_seats_that_may_have_missed_news_are_told_how_it_is(pair: Pair) -> None:
    alice, bob, first, _ = await pair.talk()
    pair.here.relay.repair(pair.here.clock.now())
    await pair.here.relay.round(1)
    (snapshot,) = of_type(await pair.hear(alice), "call.snapshot")
    assert (snapshot["type"], snapshot["call"], snapshot["state"]) == ("call.snapshot", first["call"], "active")
    assert of_type(await pair.hear(bob), "call.snapshot") == []


async def test_who_comes_between_a_mute_and_its_writing_is_told_of_it(pair: Pair) -> None:
    """On the other node nobody knew of it when the seat was given; who was told already is not told again."""
    await pair.here.make("three", "alice", "bob", "carol")
    alice, bob, carol = await pair.here.enter("alice"), await pair.here.enter("bob"), await pair.there.enter("carol")
    first = await start(alice, "three")
    await accept(bob, first["call"])
    await pair.settle()
    for client in (alice, bob, carol):
        await rest(client)
    muted = {"audio": False, "video": True, "screen": False}
    assert (await asked(alice, type="call.media", call=first["call"], **muted))["type"] == "ok"
    assert [told["media"] for told in await pair.hear(bob)] == [muted]
    seat = await accept(carol, first["call"], "k3")
    assert [peer["media"] for peer in items(seat, "peers") if peer["user"] == "alice"] == [{**muted, "audio": True}]
    await pair.settle()
    await pair.here.advance(1)
    (told,) = of_type(await pair.hear(carol), "call.media")
    assert (told["peer"], told["media"]) == (first["peer"], muted)
    assert of_type(await pair.hear(bob), "call.media") == []


async def test_a_refusal_forgets_nothing_that_was_told(pair: Pair) -> None:
    """What waits to be written goes along with the next event; refused, it waits on."""
    alice, bob, first, second = await pair.talk()
    muted = {"audio": False, "video": True, "screen": False}
    assert (await asked(alice, type="call.media", call=first["call"], **muted))["type"] == "ok"
    other = await pair.here.enter("bob")
    assert (await accept(other, first["call"], "k3"))["code"] == "answered_elsewhere"
    await pair.here.advance(1)
    await pair.hear(bob)
    seat = await asked(bob, type="call.resume", call=first["call"], peer=second["peer"])
    assert [peer["media"] for peer in items(seat, "peers")] == [muted]


async def test_what_another_node_writes_hides_nothing_that_was_told_and_not_written(pair: Pair) -> None:
    """A microphone goes off, the other side's node writes the call without that, and it goes on again: all are told."""
    alice, bob, first, second = await pair.talk()
    media = {"type": "call.media", "call": first["call"], "video": True, "screen": False}
    assert (await asked(bob, **media, audio=False))["type"] == "ok"
    report = {"type": "call.state", "call": first["call"], "peer": second["peer"], "ice": "disconnected"}
    assert (await asked(alice, **report))["type"] == "ok"
    await pair.settle()
    assert (await asked(bob, **media, audio=True))["type"] == "ok"
    told = of_type(await pair.hear(alice), "call.media")
    assert [msgspec.convert(each["media"], Json)["audio"] for each in told] == [False, True]
    await pair.there.advance(1)
    seat = await asked(alice, type="call.resume", call=first["call"], peer=first["peer"])
    assert [msgspec.convert(peer["media"], Json)["audio"] for peer in items(seat, "peers")] == [True]


async def test_what_was_told_first_is_not_written_last(pair: Pair) -> None:
    """Of two refusals one after the other, with a mute before the first and its end between them."""
    alice, bob, first, second = await pair.talk()
    others = [await pair.here.enter("bob") for _ in range(2)]
    media = {"type": "call.media", "call": first["call"], "video": True, "screen": False}
    for other, audio in zip(others, (False, True), strict=True):
        alice.send(**media, audio=audio)
        other.send(type="call.accept", id="it", call=first["call"], client_id="k3", media="video")
    await pair.settle()
    for _ in range(2):
        await pair.here.advance(1)
    assert [of_type(await pair.hear(other), "error")[0]["code"] for other in others] == ["answered_elsewhere"] * 2
    await pair.hear(bob)
    seat = await asked(bob, type="call.resume", call=first["call"], peer=second["peer"])
    assert [peer["media"] for peer in items(seat, "peers")] == [{"audio": True, "video": True, "screen": False}]


async def test_a_call_that_could_not_be_shown_is_offered_when_it_may_be(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who came while other nodes were not heard is told of it when it is known whom a block parts them from: once."""
    await pair.here.make("three", "alice", "bob", "carol", "dave")
    alice, bob = await pair.here.enter("alice"), await pair.here.enter("bob")
    seat = await start(alice, "three", users=["bob"])
    await accept(bob, seat["call"])
    await pair.settle()
    await pair.here.make("two", "carol", "erin")
    await start(await pair.here.enter("erin"), "two")
    pair.here.people.hears_others(hears=False)
    await pair.here.store.set_block(UserId("dave"), UserId("bob"), is_on=True)
    carol, dave, gone = [await pair.here.enter(user) for user in ("carol", "dave", "carol")]
    assert [types(await pair.hear(each)) for each in (carol, dave)] == [["call.incoming"], []]
    gone.hang_up()
    pair.here.people.hears_others(hears=True)
    await pair.settle()
    with monkeypatch.context() as patch:
        patch.setattr(pair.here.reads, "_queue_max", 0)
        pair.here.router.settle(pair.here.clock.now())
    assert types(await pair.hear(carol)) == []
    for expected in (["call.snapshot"], []):
        pair.here.router.settle(pair.here.clock.now() + 1)
        assert [types(await pair.hear(each)) for each in (carol, dave)] == [expected, []]
        pair.here.people.forget()
        pair.here.clock.advance(1)


async def test_a_call_that_this_version_does_not_understand_keeps_nobody_out(
    pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer version wrote it, perhaps; who connects is welcome without being told of it."""

    async def newer(_: MemoryStore, users: Sequence[UserId]) -> Sequence[tuple[CallRow, ...]]:
        return [(CallRow(CallId("c"), MatchId(M), 9, b"{}"),)] * len(users)

    monkeypatch.setattr(MemoryStore, "live_calls", newer)
    bob = await pair.here.enter("bob")
    assert types(await pair.hear(bob)) == []
    assert "calls.row_not_understood" in caplog.text


async def test_what_a_dead_node_decided_is_told_by_another(pair: Pair) -> None:
    """Who talked on a third node learns that it is over, and who rang there rings no more."""
    alice, bob, first, _ = await pair.talk()
    ears, pair.there.bus._events = pair.there.bus._events, None  # it tells nobody any more
    await asked(bob, type="call.hangup", call=first["call"])
    assert await pair.hear(alice) == []
    pair.here.clock.advance(UNROUTED_AFTER_S + 1)
    await pair.here.relay.round(1)
    ended, *_ = of_type(await pair.hear(alice), "call.ended")
    assert (ended["reason"], ended["by"]) == ("hangup", "bob")
    assert (await asked(alice, type="call.hangup", call=first["call"]))["type"] == "ok"
    pair.here.exchange.measure(pair.here.telemetry)
    assert pair.here.telemetry.call_seats == 0
    pair.there.bus._events = ears


async def test_the_seats_of_a_dead_node_wait_and_go(pair: Pair) -> None:
    alice, _, _, _ = await pair.talk()
    for _ in range(3):
        await pair.here.advance(11)
    assert types(await pair.hear(alice)) == ["call.peer_state"]
    for _ in range(3):
        await pair.here.advance(11)
    assert [told["reason"] for told in of_type(await pair.hear(alice), "call.ended")] == ["signaling_lost"]


async def test_two_who_change_calls_in_opposite_directions_do_not_wait_for_each_other(pair: Pair) -> None:
    board = pair.here
    await board.make("one", "alice", "bob", "carol", "dave")
    await board.make("two", "alice", "bob", "carol", "dave")
    alice, bob, carol, dave = [await board.enter(user) for user in ("alice", "bob", "carol", "dave")]
    one, two = await start(alice, "one", "k1", mode="prompt"), await start(bob, "two", "k2", mode="prompt")
    for client, seat, key in ((carol, one, "k3"), (dave, two, "k4")):
        await asked(client, type="call.join", call=seat["call"], client_id=key, media="audio")
    await pair.settle()
    for client, seat in ((carol, two), (dave, one)):
        client.send(type="call.join", id="moves", call=seat["call"], client_id="k5", media="audio", replace=True)
    for client in (carol, dave):
        heard = client.unheard + await client.listen()
        # Each left a prompt with one other in it, which is over.
        assert answer_to(heard, "moves")["code"] == "call_over"


async def test_news_that_this_version_does_not_understand_are_left_alone(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.here.exchange.heard(CallNews(CallId("c"), MatchId(M), 1, Raw(b'{"state":7}')))
    assert "calls.news_not_understood" in caplog.text


async def test_a_call_of_two_ends_when_one_blocks_the_other(pair: Pair) -> None:
    alice, bob, _, _ = await pair.talk()
    pair.here.exchange.blocked(UserId("alice"), UserId("carol"))
    assert await pair.hear(bob) == []
    pair.here.exchange.blocked(UserId("alice"), UserId("bob"))
    for client in (alice, bob):
        assert [told["reason"] for told in of_type(await pair.hear(client), "call.ended")] == ["removed"]
    await pair.here.store.close()
    pair.here.exchange.blocked(UserId("alice"), UserId("bob"))
    await pair.settle()


async def test_the_app_ends_a_call_or_learns_why_not(pair: Pair) -> None:
    alice, bob, first, _ = await pair.talk()
    call = CallId(str(first["call"]))
    assert await pair.here.exchange.end(call) is None
    for client in (alice, bob):
        assert [told["reason"] for told in of_type(await pair.hear(client), "call.ended")] == ["removed"]
    assert await pair.here.exchange.end(call) is None
    await pair.here.store.close()
    assert isinstance(await pair.here.exchange.end(call), Refused)


async def test_an_embedded_server_that_starts_again_finds_the_seats_of_before() -> None:
    """They are lost at once, and their users take them again."""
    before = Switchboard(name="before")
    async with running(before):
        await before.make(M, "alice", "bob")
        alice, bob = await before.enter("alice"), await before.enter("bob")
        first = await start(alice)
        second = await accept(bob, first["call"])
        await connected(alice, bob, first["call"], (first["peer"], second["peer"]))
    again = Switchboard(store=before.store, clock=before.clock, name="again")
    async with running(again):
        await again.advance(1)
        alice, bob = await again.enter("alice"), await again.enter("bob")
        for client, seat in ((alice, first), (bob, second)):
            (snapshot,) = of_type(await rest(client), "call.snapshot")
            assert snapshot["state"] == "reconnecting"
            await asked(client, type="call.resume", call=seat["call"], peer=seat["peer"])
        await again.advance(60)
        assert of_type(await rest(alice), "call.ended") == []
        assert (await asked(bob, type="call.hangup", call=first["call"]))["type"] == "ok"
        assert [told["by"] for told in of_type(await rest(alice), "call.ended")] == ["bob"]
