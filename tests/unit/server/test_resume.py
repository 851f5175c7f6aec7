"""What a connection gets after its hello, in which order, and how much."""

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import pytest
from typing_extensions import override

from protocol.close_codes import CloseCode
from protocol.from_client import TypingKind
from protocol.from_server import SyncedMatch
from protocol.ids import MatchId, UserId
from protocol.limits import HELLO_CURSORS_MAX, RESUME_ENTRIES_MAX
from server.adapters.memory.store import MemoryStore
from server.core.log import Cursors, SyncResult
from server.people import People
from server.ports import StoreUnavailable
from tests.support.clock import FakeClock
from tests.support.stores import World
from tests.support.switchboard import BOUND_BYTES, Client, Json, Switchboard, running

ALICE, BOB = UserId("alice"), UserId("bob")


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    async with running(Switchboard()) as board:
        yield board


def world(board: Switchboard) -> World:
    return World(board.store, board.clock)


def hello(board: Switchboard, **cursors: tuple[int, int]) -> Client:
    """Say alice's hello with `cursors`; nothing is answered yet."""
    client = board.connect()
    client.send(type="hello", id=1, token=board.token("alice"), cursors=cursors)
    return client


def short(messages: Sequence[Json]) -> list[tuple[object, ...]]:
    """Type, match and place of all but receipts."""
    return [
        tuple(message[name] for name in ("type", "match", "seq") if name in message)
        for message in messages
        if message["type"] != "receipt"
    ]


def entries(match: str, *seqs: int) -> list[tuple[object, ...]]:
    return [("message", match, seq) for seq in seqs]


async def last_of(board: Switchboard, match: str) -> tuple[int, int]:
    state = await world(board).state(match)
    return state.last_seq, state.last_at


async def test_the_welcome_tells_the_newest_matches(board: Switchboard) -> None:
    """And what the node's clients must know; their members are known here from then on."""
    await world(board).make("alice", "bob", match="m1")
    board.clock.advance(1)
    await world(board).make("alice", "carol", match="m2")
    (welcome,) = await hello(board).listen()
    matches = welcome["matches"]
    assert isinstance(matches, list)
    assert [match["match"] for match in matches] == ["m2", "m1"]
    assert (welcome["store_epoch"], welcome["complete"]) == (board.store.epoch, True)
    assert isinstance(welcome["timers"], dict)
    assert isinstance(welcome["limits"], dict)
    assert board.hub.members(MatchId("m1")) == ("alice", "bob")


async def test_what_was_missed_follows_the_welcome_oldest_first(board: Switchboard) -> None:
    """Match by match, in the client's order; how far the members are, the welcome has told."""
    for match in ("m1", "m2"):
        await world(board).make("alice", "bob", match=match)
    m1, m2 = await last_of(board, "m1"), await last_of(board, "m2")
    await world(board).fill(3, match="m1")
    await world(board).fill(2, match="m2")
    heard = await hello(board, m2=m2, m1=m1).listen()
    assert short(heard) == [("welcome",), *entries("m2", 2, 3), *entries("m1", 2, 3, 4)]
    assert [message for message in heard if message["type"] == "receipt"] == []
    assert board.telemetry.resumes == 1


async def test_pushes_and_answers_during_the_resume_come_after_it(board: Switchboard) -> None:
    """Nothing comes before the welcome; what is only worth telling at the moment is not kept for later."""
    await board.make("m1", "alice", "bob")
    cursor = await last_of(board, "m1")
    await world(board).fill(2, match="m1")
    bob = await board.enter("bob")
    client = hello(board, m1=cursor)
    board.delivery.typing(BOB, MatchId("m1"), (ALICE, BOB), on=True, kind=TypingKind.TEXT)
    (live,) = await world(board).fill(1, sender="bob", match="m1")
    board.delivery.message_stored(live, bob.peer)
    client.send(type="ping", id="early")
    board.loop.pass_time(1)
    assert client.line.heard() == []
    heard = short(await client.listen())
    assert heard == [("welcome",), *entries("m1", 2, 3, 4), *entries("m1", 4), ("ok",)]


class WatchedStore(MemoryStore):
    """Notes what is asked to be synced; answers it otherwise when told so."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.asked: list[list[str]] = []
        self.reading: Callable[[], None] = lambda: None
        self.is_away = False
        self.is_empty_handed = False

    @override
    async def sync(self, user: UserId, cursors: Cursors, *, entries: int, budget_bytes: int) -> SyncResult:
        self.asked.append(list(cursors))
        self.reading()
        if self.is_away:
            raise StoreUnavailable("the disk is away", retry_after_ms=2_000)
        if self.is_empty_handed:
            return SyncResult({match: SyncedMatch((), complete=False) for match in cursors}, ())
        return await super().sync(user, cursors, entries=entries, budget_bytes=budget_bytes)


@pytest.fixture
async def store() -> WatchedStore:
    return WatchedStore(FakeClock())


@pytest.fixture
async def watched(store: WatchedStore) -> AsyncIterator[Switchboard]:
    """A node on the watched store, with a match."""
    async with running(Switchboard(store=store)) as board:
        board.clock.advance(1)
        await world(board).make("alice", "bob", match="m1")
        yield board


async def test_cursors_that_are_up_to_date_cost_no_read(watched: Switchboard, store: WatchedStore) -> None:
    """Most are; what else is told of those matches is in the welcome."""
    cursor = await last_of(watched, "m1")
    assert short(await hello(watched, m1=cursor).listen()) == [("welcome",)]
    assert store.asked == []
    assert short(await hello(watched, m1=(0, 0)).listen()) == [("welcome",), ("members", "m1", 1)]
    assert store.asked == [["m1"]]


async def test_cursors_are_read_a_hundred_at_a_time(watched: Switchboard, store: WatchedStore) -> None:
    """In the client's order; matches that the user never was in get nothing."""
    cursors = {f"x{number}": (1, 1) for number in range(HELLO_CURSORS_MAX - 1)}
    heard = await hello(watched, **cursors, m1=(0, 0)).listen()
    assert short(heard) == [("welcome",), ("members", "m1", 1)]
    assert [len(asked) for asked in store.asked] == [100] * 5
    assert [match for asked in store.asked for match in asked] == [*cursors, "m1"]


async def test_of_a_long_absence_so_many_entries_are_told_and_then_the_gap(board: Switchboard) -> None:
    """Another match is complete all the same."""
    for match in ("m1", "m2"):
        await world(board).make("alice", "bob", match=match)
    m1, m2 = await last_of(board, "m1"), await last_of(board, "m2")
    await world(board).fill(RESUME_ENTRIES_MAX + 1, match="m1")
    await world(board).fill(RESUME_ENTRIES_MAX, match="m2")
    heard = short(await hello(board, m1=m1, m2=m2).listen())
    last = RESUME_ENTRIES_MAX + 2
    assert heard == [("welcome",), *entries("m1", *range(2, last)), ("gap", "m1"), *entries("m2", *range(2, last))]
    assert board.telemetry.gaps == 1


async def test_large_entries_are_read_in_pages_and_none_is_missed(watched: Switchboard, store: WatchedStore) -> None:
    """A page goes on where the one before ended, until the match has had its share."""
    m1 = await last_of(watched, "m1")
    await world(watched).fill(RESUME_ENTRIES_MAX + 10, match="m1", text="x" * 4_000)
    heard = short(await hello(watched, m1=m1).listen())
    assert heard == [("welcome",), *entries("m1", *range(2, RESUME_ENTRIES_MAX + 2)), ("gap", "m1")]
    assert len(store.asked) > 2


async def test_pages_wait_for_the_reader(watched: Switchboard, store: WatchedStore) -> None:
    """What a slow one has not taken is not read for it, and it is not closed for the length of its absence."""
    m1 = await last_of(watched, "m1")
    await world(watched).fill(RESUME_ENTRIES_MAX, match="m1", text="x" * 8_000)
    client = hello(watched, m1=m1)
    heard: list[Json] = []
    for page in range(1, 8):
        client.line.stop_reading()
        heard += await client.listen()
        assert len(store.asked) == page
        client.line.read_on()
        watched.loop.tick()
    heard += await client.listen()
    assert client.line.closed is None
    assert short(heard) == [("welcome",), *entries("m1", *range(2, RESUME_ENTRIES_MAX + 2))]


async def test_a_cursor_of_another_log_is_reset(board: Switchboard) -> None:
    """Nothing of that match is told; the others go on."""
    for match in ("m1", "m2"):
        await world(board).make("alice", "bob", match=match)
    seq, at = await last_of(board, "m1")
    await world(board).fill(1, match="m1")
    heard = await hello(board, m1=(seq, at + 1), m2=(9, 9)).listen()
    assert short(heard) == [("welcome",), ("reset", "m1"), ("reset", "m2")]


async def test_a_match_that_was_left_ends_with_that(board: Switchboard) -> None:
    """After the last entry that the user may see; what came later is not told."""
    await world(board).make("alice", "bob", match="m1")
    cursor = await last_of(board, "m1")
    await world(board).fill(1, sender="bob", match="m1")
    await world(board).make("bob", "carol", match="m1")
    await world(board).fill(1, sender="bob", match="m1")
    heard = short(await hello(board, m1=cursor).listen())
    assert heard == [("welcome",), ("message", "m1", 2), ("members", "m1", 3), ("match.left", "m1")]


async def test_a_match_of_another_is_passed_over(board: Switchboard) -> None:
    await world(board).make("bob", "carol", match="m1")
    assert short(await hello(board, m1=(1, 1), never=(1, 1)).listen()) == [("welcome",)]


async def test_a_block_of_which_no_news_came_is_learnt_by_who_comes(board: Switchboard) -> None:
    """The store is right: the first connection is told of nobody any more, and the second is welcome."""
    await world(board).make("alice", "bob", match="m1")
    phone = await board.enter("alice")
    await phone.ask(type="presence.watch", id=1, users=["bob"])
    await board.store.set_block(BOB, ALICE, is_on=True)
    welcome, *_ = await hello(board).listen()
    assert welcome["type"] == "welcome"
    await board.advance(0.1)
    (news,) = await phone.listen()
    assert news["changes"] == [{"user": "bob", "status": "unknown", "v": 0}]


async def test_a_block_of_ones_own_is_news_though_the_other_blocks_already(board: Switchboard) -> None:
    """What a group shows hangs on who blocked whom, not only on that somebody did."""
    await world(board).make("alice", "bob", "carol", match="m1")
    await board.store.set_block(BOB, ALICE, is_on=True)
    await world(board).fill(1, match="m1", sender="bob")
    await board.enter("alice")
    await board.store.set_block(ALICE, BOB, is_on=True)
    welcome, *_ = await hello(board).listen()
    assert welcome["blocked"] == ["bob"]
    (match,) = msgspec.convert(welcome["matches"], list[Json])
    assert (match["unread"], msgspec.convert(match["last"], Json)["type"]) == (0, "skip")


async def test_a_store_that_goes_away_before_a_doubt_is_settled_ends_the_connection(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await board.enter("alice")
    await board.store.set_block(BOB, ALICE, is_on=True)

    async def away(_: People, users: Sequence[UserId]) -> None:
        raise StoreUnavailable(f"gone for {len(users)}")

    monkeypatch.setattr(People, "refresh", away)
    client = hello(board)
    (error,) = await client.listen()
    assert (error["type"], error["code"]) == ("error", "unavailable")
    assert client.line.closed == (CloseCode.UNAVAILABLE, "the store cannot answer")


# ---- what can go wrong


async def test_a_store_that_is_away_is_told_and_ends_the_connection(board: Switchboard) -> None:
    await board.store.close()
    client = hello(board)
    (answer,) = await client.listen()
    assert (answer["type"], answer["id"], answer["code"]) == ("error", 1, "unavailable")
    assert answer["retry_after_ms"] == 1_000
    assert client.line.closed == (CloseCode.UNAVAILABLE, "the store cannot answer")
    assert len(board.hub) == 0


async def test_who_is_not_welcomed_takes_nothing_over(board: Switchboard) -> None:
    """The old connection goes on."""
    old = await board.enter("alice")
    await board.store.close()
    client = board.connect()
    client.send(type="hello", id=1, token=board.token("alice"), session=old.peer.session)
    await client.listen()
    assert client.line.closed == (CloseCode.UNAVAILABLE, "the store cannot answer")
    assert old.line.closed is None
    assert len(board.hub) == 1


async def test_a_store_that_goes_away_during_the_resume_ends_the_connection(
    watched: Switchboard, store: WatchedStore
) -> None:
    """The client comes back with the same cursors, or better ones."""
    store.is_away = True
    client = hello(watched, m1=(0, 0))
    welcome, error = await client.listen()
    assert (welcome["type"], error["code"], error["retry_after_ms"]) == ("welcome", "unavailable", 2_000)
    assert client.line.closed == (CloseCode.UNAVAILABLE, "the store cannot answer")


async def test_a_store_that_gives_nothing_is_not_asked_for_ever(watched: Switchboard, store: WatchedStore) -> None:
    """The port rules it out; the client would see the gap and ask by itself."""
    store.is_empty_handed = True
    assert short(await hello(watched, m1=(0, 0)).listen()) == [("welcome",), ("gap", "m1")]
    assert len(store.asked) == 1


async def test_a_connection_that_is_lost_before_its_welcome_hears_nothing(
    watched: Switchboard, store: WatchedStore
) -> None:
    """And nothing more is read for it."""
    client = hello(watched, m1=(0, 0))
    client.hang_up()
    assert await client.listen() == []
    assert store.asked == []


async def test_a_connection_that_is_lost_between_two_pages_costs_no_further_read(
    watched: Switchboard, store: WatchedStore
) -> None:
    m1 = await last_of(watched, "m1")
    await world(watched).fill(RESUME_ENTRIES_MAX, match="m1", text="x" * 8_000)
    client = hello(watched, m1=m1)
    client.line.stop_reading()
    await client.listen()
    client.hang_up()
    client.line.read_on()
    await watched.settle()
    assert len(store.asked) == 1
    assert len(watched.hub) == 0


async def test_a_connection_that_is_lost_while_a_page_is_read_is_not_sent_it(
    watched: Switchboard, store: WatchedStore
) -> None:
    """What was read is dropped, with all that waited."""
    client = hello(watched, m1=(0, 0))
    store.reading = client.hang_up
    assert await client.listen() == []
    assert store.asked == [["m1"]]


async def test_a_reader_who_does_not_read_the_resume_is_closed_as_slow(board: Switchboard) -> None:
    """When more than the bound waits: the welcome, one page, and what is live."""
    await board.make("m1", "alice", "bob")
    cursor = await last_of(board, "m1")
    await world(board).fill(100, match="m1", text="x" * 4_000)
    client = hello(board, m1=cursor)
    client.line.stop_reading()
    await board.settle()
    for stored in await world(board).fill(300, sender="bob", match="m1", text="x" * 4_000):
        board.delivery.message_stored(stored)
    assert client.line.closed == (CloseCode.SLOW_READER, "slow reader: connect again and resume")


async def test_a_reader_who_is_behind_already_is_closed_at_the_welcome(
    watched: Switchboard, store: WatchedStore
) -> None:
    """Nothing is read for it then."""
    client = hello(watched, m1=(0, 0))
    client.line.stop_reading()
    client.line.write(b"x" * BOUND_BYTES)
    await watched.settle()
    assert client.line.closed == (CloseCode.SLOW_READER, "slow reader: connect again and resume")
    assert store.asked == []


async def test_a_welcome_of_large_messages_is_cut_and_the_rest_can_be_asked_for(board: Switchboard) -> None:
    """It would be too large for the outbox, at each attempt; what the cursors missed comes all the same."""
    for number in range(100):
        board.clock.advance(1)
        await world(board).make("alice", "bob", match=f"m{number:02}")
        await world(board).fill(1, match=f"m{number:02}", text="x" * 16_000)
    client = hello(board, m00=(0, 0))
    welcome, *missed = await client.listen()
    assert short(missed) == [("members", "m00", 1), ("message", "m00", 2)]
    found: list[str] = []
    page = welcome
    while True:
        matches = page["matches"]
        assert isinstance(matches, list)
        found += [match["match"] for match in matches]
        if page["complete"]:
            break
        (page,) = await client.ask(type="matches", id=2, before=matches[-1]["last_at"])
    assert found == [f"m{number:02}" for number in reversed(range(100))]
    assert client.line.closed is None
