"""Who is told of what, in which order."""

from collections.abc import AsyncIterator

import pytest
from msgspec import Raw

from protocol.from_client import TypingKind
from protocol.from_server import Presence, Status
from protocol.ids import ClientId, MatchId, Seq, UserId
from server.core.log import Append, Appended, Mark, Marked, MembersSet
from tests.support.switchboard import Client, Json, Switchboard, running

ALICE, BOB, CAROL, DAVE = (UserId(name) for name in ("alice", "bob", "carol", "dave"))
M1 = MatchId("m1")


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    async with running(Switchboard()) as board:
        yield board


async def post(board: Switchboard, client_id: str = "c1") -> Appended:
    (outcome,) = await board.store.append([Append(M1, ALICE, ClientId(client_id), Raw(b'{"text":"hi"}'))])
    assert isinstance(outcome, Appended)
    return outcome


async def change(board: Switchboard, *members: UserId) -> MembersSet:
    outcome = await board.store.set_members(M1, members)
    assert isinstance(outcome, MembersSet)
    return outcome


def short(message: Json) -> tuple[object, ...]:
    return tuple(message[name] for name in ("type", "seq", "user", "on") if name in message)


async def told(*clients: Client) -> list[list[tuple[object, ...]]]:
    return [[short(message) for message in await client.listen()] for client in clients]


async def test_a_message_is_told_to_every_device_of_every_member_but_the_sending_one(board: Switchboard) -> None:
    await board.make("m1", "alice", "bob")
    phone, laptop, bob, carol = [await board.enter(name) for name in ("alice", "alice", "bob", "carol")]
    board.delivery.message_stored(await post(board, "c1"), phone.peer)
    board.delivery.message_stored(await post(board, "c2"))
    assert await told(phone, laptop, bob, carol) == [
        [("message", 3)],
        [("message", 2), ("message", 3)],
        [("message", 2), ("message", 3)],
        [],
    ]
    assert board.telemetry.messages_stored == 2


async def test_a_duplicate_is_told_to_nobody(board: Switchboard) -> None:
    await board.make("m1", "alice", "bob")
    bob = await board.enter("bob")
    await post(board)
    board.delivery.message_stored(await post(board))
    assert await told(bob) == [[]]
    assert (board.telemetry.messages_stored, board.telemetry.messages_duplicate) == (0, 1)


async def test_a_new_match_is_told_to_its_members_as_each_sees_it(board: Switchboard) -> None:
    """Its first entry is in the summary, and is not pushed besides."""
    alice, carol = await board.enter("alice"), await board.enter("carol")
    await board.make("m1", "alice", "bob")
    (made,) = await alice.listen()
    assert (made["type"], made["match"], made["last_seq"], made["unread"]) == ("match", "m1", 1, 0)
    assert await told(carol) == [[]]
    assert board.hub.members(M1) == (ALICE, BOB)


async def test_a_change_of_members_is_told_in_order(board: Switchboard) -> None:
    """Who joined gets the match, who stays the entry, who left the entry and then that they left."""
    await board.make("m1", "alice", "bob")
    alice, bob, carol, dave = [await board.enter(name) for name in ("alice", "bob", "carol", "dave")]
    await board.make("m1", "alice", "carol")
    assert await told(alice, bob, carol, dave) == [
        [("members", 2)],
        [("members", 2), ("match.left",)],
        [("match",)],
        [],
    ]
    assert board.hub.members(M1) == (ALICE, CAROL)


async def test_who_comes_back_gets_the_match_again(board: Switchboard) -> None:
    await board.make("m1", "alice", "bob")
    await board.make("m1", "alice", "carol")
    bob = await board.enter("bob")
    await board.make("m1", "alice", "bob", "carol")
    (made,) = await bob.listen()
    assert (made["type"], made["last_seq"]) == ("match", 3)


async def test_the_end_of_a_match_is_told_to_all(board: Switchboard) -> None:
    """And nobody is a member of it here afterwards."""
    await board.make("m1", "alice", "bob")
    alice, bob = await board.enter("alice"), await board.enter("bob")
    await board.make("m1")
    assert await told(alice, bob) == [[("members", 2), ("match.left",)]] * 2
    assert board.hub.members(M1) == ()


async def test_setting_the_same_members_again_is_no_news(board: Switchboard) -> None:
    await board.make("m1", "alice", "bob")
    alice = await board.enter("alice")
    board.delivery.members_set(await change(board, BOB, ALICE))
    assert await told(alice) == [[]]


async def test_who_leaves_a_match_stops_writing_in_it(board: Switchboard) -> None:
    """Those who stay hear it, once; the user's last device need not say it again."""
    await board.make("m1", "alice", "bob", "carol")
    alice, bob, carol = [await board.enter(name) for name in ("alice", "bob", "carol")]
    alice.send(type="typing", match="m1", on=True)
    await board.advance(1)
    assert await told(bob, carol) == [[("typing", "alice", True)]] * 2
    await board.make("m1", "bob", "carol")
    await board.advance(1)
    assert await told(bob, carol) == [[("members", 2), ("typing", "alice", False)]] * 2
    alice.hang_up()
    await board.advance(1)
    assert await told(bob, carol) == [[], []]


async def test_receipts_of_one_member_coalesce_to_the_latest(board: Switchboard) -> None:
    """They are told to every connection of every member but the one that moved."""
    await board.make("m1", "alice", "bob")
    phone, laptop, bob = [await board.enter(name) for name in ("alice", "alice", "bob")]
    for number in range(3):
        await post(board, f"c{number}")
        (marked,) = await board.store.mark([Mark(M1, BOB, Seq(2 + number), Seq(0))])
        assert isinstance(marked, Marked)
        board.delivery.marked(marked, bob.peer)
    await board.advance(1)
    for client in (phone, laptop):
        (receipt,) = await client.listen()
        assert (receipt["type"], receipt["user"], receipt["delivered"]) == ("receipt", "bob", 4)
    assert await told(bob) == [[]]


async def test_a_message_takes_back_the_writing_that_still_waits(board: Switchboard) -> None:
    """It would be shown after the message, by a reader that is behind."""
    await board.make("m1", "alice", "bob")
    bob = await board.enter("bob")
    for kind in TypingKind:
        board.typing.should_forward(ALICE, M1, kind, on=True, now=board.clock.now())
        board.delivery.typing(ALICE, M1, (ALICE, BOB), on=True, kind=kind)
    board.delivery.message_stored(await post(board))
    assert await told(bob) == [[("message", 2)]]
    assert board.typing.stopped(ALICE, M1) == ()


async def test_presence_is_told_to_watchers_and_no_change_is_lost(board: Switchboard) -> None:
    """Of more users than an outbox holds ephemeral frames for."""
    bob = await board.enter("bob")
    for number in range(300):
        presence = Presence(UserId(f"u{number}"), Status.ONLINE, number)
        board.watches.watch(bob.peer, (*board.watches.watched(bob.peer), presence.user))
        board.delivery.presence(presence)
    await board.advance(1)
    versions = [changes[0]["v"] for message in await bob.listen() if isinstance(changes := message["changes"], list)]
    assert versions == list(range(300))
    assert board.telemetry.presence_changes == 300


async def test_an_app_event_is_told_to_the_users_connections(board: Switchboard) -> None:
    """And it is told how many there are."""
    phone, laptop, bob = [await board.enter(name) for name in ("alice", "alice", "bob")]
    assert board.delivery.event(ALICE, "boost", {"minutes": 30}) == 2
    assert board.delivery.event(DAVE, "boost", {}) == 0
    assert (
        await phone.listen() == await laptop.listen() == [{"type": "event", "name": "boost", "data": {"minutes": 30}}]
    )
    assert await told(bob) == [[]]
