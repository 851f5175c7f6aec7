"""Goodbyes, connections at which nobody looks, and who is away because of it, on a node without sockets."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from protocol.close_codes import CloseCode
from protocol.from_server import Status, TypingSeen
from protocol.ids import MatchId, UserId
from server.core.latest import typing_key
from server.hub import frame
from tests.support.switchboard import Client, Json, Switchboard, running

M1, M2 = "m1", "m2"


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    """A node where alice has matches with bob and carol, and which is empty again in the end."""
    async with running(Switchboard()) as board:
        await board.make(M1, "alice", "bob")
        await board.make(M2, "alice", "carol")
        yield board
        for recipient in board.hub:
            recipient.close(CloseCode.GOING_AWAY, "the test ends")
        await board.advance(10)
        assert (board.nodes.online, len(board.watches), len(board.typing), len(board.wheel)) == (0, 0, 0, 0)


async def watching(board: Switchboard, user: str, *users: str, **hello: object) -> Client:
    client = await board.enter(user, **hello)
    await client.ask(type="presence.watch", id=1, users=list(users))
    return client


async def told(board: Switchboard, client: Client) -> list[tuple[object, object]]:
    """Return what came of presence, in order."""
    await board.advance(0.1)
    return [
        (change["user"], change["status"])
        for push in await client.listen()
        if push["type"] == "presence"
        for change in changes_of(push)
    ]


def changes_of(push: Json) -> list[Json]:
    changes = push["changes"]
    assert isinstance(changes, list)
    return changes


async def inactive(client: Client, **fields: object) -> list[Json]:
    return await client.ask(type="client_state", state="inactive", **fields)


async def active(client: Client, **fields: object) -> list[Json]:
    return await client.ask(type="client_state", state="active", **fields)


# ---- goodbye


async def test_a_goodbye_is_told_at_once_and_a_lost_connection_after_the_debounce(board: Switchboard) -> None:
    bob, carol = await board.enter("bob"), await board.enter("carol")
    alice = await watching(board, "alice", "bob", "carol")
    bob.hang_up(CloseCode.NORMAL)
    carol.hang_up(1001)
    assert await told(board, alice) == [("bob", "offline")]
    await board.advance(2)
    assert await told(board, alice) == [("carol", "offline")]


async def test_a_goodbye_of_one_device_is_none_of_its_user(board: Switchboard) -> None:
    phone, laptop = await board.enter("bob"), await board.enter("bob")
    alice = await watching(board, "alice", "bob")
    phone.hang_up(CloseCode.NORMAL)
    await board.advance(5)
    assert await told(board, alice) == []
    laptop.hang_up(CloseCode.NORMAL)
    assert await told(board, alice) == [("bob", "offline")]


@pytest.mark.parametrize("is_stopped", [True, False])
async def test_nobody_who_was_sent_away_says_goodbye(board: Switchboard, is_stopped: bool) -> None:
    """They are on their way to another node, whether this one is being stopped or has missed something."""
    bob = await board.enter("bob")
    alice = await watching(board, "alice", "bob")
    if is_stopped:
        board.router.leave(0)
    else:
        board.router.going_away(0)
    bob.hang_up(CloseCode.NORMAL)
    await board.advance(9.5)
    assert await told(board, alice) == []
    await board.advance(0.5)
    assert await told(board, alice) == [("bob", "offline")]


# ---- away


async def test_who_does_not_look_for_long_is_away_until_they_look(board: Switchboard) -> None:
    bob, alice = await board.enter("bob"), await watching(board, "alice", "bob")
    assert await inactive(bob, id=7) == [{"type": "ok", "id": 7}]
    await board.advance(29)
    assert await inactive(bob) == []  # Said again, it begins nothing anew.
    assert await told(board, alice) == []
    await board.advance(1)
    assert await told(board, alice) == [("bob", "away")]
    assert await active(bob, id=8) == [{"type": "ok", "id": 8}]
    assert await told(board, alice) == [("bob", "online")]
    assert await active(bob) == []
    assert await told(board, alice) == []


async def test_who_looks_again_soon_was_never_away(board: Switchboard) -> None:
    """And nothing is left of it: the wheel holds the deadlines of the two connections."""
    bob, alice = await board.enter("bob"), await watching(board, "alice", "bob")
    armed = len(board.wheel)
    for _ in range(3):
        await inactive(bob)
        assert len(board.wheel) == armed + 1
        await board.advance(20)
        await active(bob)
        assert len(board.wheel) == armed
    await board.advance(60)
    assert await told(board, alice) == []


async def test_a_user_is_away_when_all_devices_are_idle(board: Switchboard) -> None:
    """One that is inactive from its hello on is idle at once: nobody has looked at it."""
    laptop, alice = await board.enter("bob"), await watching(board, "alice", "bob")
    phone = await board.enter("bob", client_state="inactive")
    assert await told(board, alice) == []
    await inactive(laptop)
    await board.advance(31)
    assert await told(board, alice) == [("bob", "away")]
    laptop.hang_up()
    await board.advance(3)
    assert await told(board, alice) == []
    await active(phone)
    assert await told(board, alice) == [("bob", "online")]


async def test_who_comes_with_a_phone_in_the_pocket_comes_away(board: Switchboard) -> None:
    alice = await watching(board, "alice", "bob")
    bob = await board.enter("bob", client_state="inactive")
    assert await told(board, alice) == [("bob", "away")]
    bob.hang_up()
    await board.advance(3)
    assert await told(board, alice) == [("bob", "offline")]


async def test_an_inactive_connection_that_ends_grows_idle_no_more(board: Switchboard) -> None:
    bob = await board.enter("bob")
    await inactive(bob)
    bob.hang_up()
    await board.advance(60)
    (state,) = await board.bus.presence_of((UserId("bob"),))
    assert state.status is Status.OFFLINE


# ---- hold-back


async def test_who_does_not_look_is_told_the_newest_when_they_do(board: Switchboard) -> None:
    """In front of the `ok`; messages and receipts come as always."""
    alice = await watching(board, "alice", "bob", "carol")
    await alice.ask(type="message.send", id=2, match=M2, client_id="a1", body={"text": "hi"})
    await inactive(alice)
    bob = await board.enter("bob")
    carol = await board.enter("carol")
    bob.hang_up(CloseCode.NORMAL)
    await board.enter("bob")
    carol.send(type="typing", match=M2, on=True)
    await board.advance(1)
    assert await alice.listen() == []
    carol.send(type="receipt", match=M2, read=2)
    await board.advance(1)
    await carol.ask(type="message.send", id=1, match=M2, client_id="c1", body={"text": "hi"})
    assert [push["type"] for push in await alice.listen()] == ["receipt", "message"]
    *news, ok = await active(alice, id=9)
    # What bob was meanwhile nobody is told, nor that carol was writing what has come.
    assert [(each["user"], each["status"]) for push in news for each in changes_of(push)] == [
        ("carol", "online"),
        ("bob", "online"),
    ]
    assert ok == {"type": "ok", "id": 9}


async def test_typing_is_given_back_as_long_as_it_is_shown(board: Switchboard) -> None:
    alice, bob = await board.enter("alice", client_state="inactive"), await board.enter("bob")
    bob.send(type="typing", match=M1, on=True)
    await board.advance(5)
    carol = await board.enter("carol")
    carol.send(type="typing", match=M2, on=True)
    await board.advance(4)
    (push,) = await active(alice)
    assert (push["type"], push["user"], push["on"]) == ("typing", "carol", True)


async def test_of_those_who_are_no_partners_any_more_nothing_is_given_back(board: Switchboard) -> None:
    alice = await watching(board, "alice", "bob", "carol")
    await inactive(alice)
    await board.enter("bob")
    await board.enter("carol")
    await board.advance(1)
    await board.make(M1, "alice", "dave")
    await alice.listen()
    (push,) = await active(alice)
    assert [change["user"] for change in changes_of(push)] == ["carol"]


async def test_what_was_read_meanwhile_is_not_given_back(board: Switchboard) -> None:
    alice = await watching(board, "alice", "bob")
    await inactive(alice)
    await board.enter("bob")
    await board.advance(1)
    (answer,) = await alice.ask(type="presence.watch", id=2, users=["bob"])
    assert [state["status"] for state in msgspec.convert(answer["presence"], list[Json])] == ["online"]
    assert await active(alice) == []


async def test_nothing_is_given_back_of_one_whom_a_block_parts(board: Switchboard) -> None:
    """But that nothing is known of them any more."""
    alice = await watching(board, "alice", "bob", "carol")
    laptop = await board.enter("alice")
    await inactive(alice)
    bob = await board.enter("bob")
    bob.send(type="typing", match=M1, on=True)
    await board.enter("carol")
    await board.advance(1)
    await laptop.ask(type="block", id=1, user="bob")
    blocked, *news, stopped = await active(alice)
    assert blocked["type"] == "blocked"
    changes = [change for push in news for change in changes_of(push)]
    assert [(change["user"], change["status"]) for change in changes] == [("carol", "online"), ("bob", "unknown")]
    assert (stopped["type"], stopped["on"]) == ("typing", False)


async def test_what_another_node_told_of_one_whom_a_block_parts_is_not_given_back(board: Switchboard) -> None:
    """That node may not have heard of the block, and say nothing more."""
    alice, laptop = await board.enter("alice"), await board.enter("alice")
    await inactive(alice)
    typing = TypingSeen(MatchId(M1), UserId("bob"), on=True)
    board.hub.push_passing((UserId("alice"),), typing_key(typing.user, typing.match, typing.kind), frame(typing))
    await laptop.ask(type="block", id=1, user="bob")
    assert [push["type"] for push in await active(alice)] == ["blocked"]


async def test_who_does_not_look_is_told_of_a_block_when_they_do(board: Switchboard) -> None:
    """Whatever else changes meanwhile: who is in their matches, how they want to be shown."""
    bob = await board.enter("bob")
    alice = await watching(board, "alice", "bob", "carol")
    await inactive(alice)
    await bob.ask(type="block", id=1, user="alice")
    await board.make("m3", "alice", "bob", "dave")
    await board.make("m3", "alice", "bob")
    await (await board.enter("alice")).ask(type="presence.set", id=2, text="Hi")
    pushes = await active(alice)
    assert [change for push in pushes if push["type"] == "presence" for change in changes_of(push)] == [
        {"user": "bob", "status": "unknown", "v": 0}
    ]


async def test_a_reader_too_slow_for_its_own_news_is_not_there_again(board: Switchboard) -> None:
    """It is ended by the very push that tells it how its user is shown: nothing may register it after that."""
    phone, laptop = await board.enter("alice"), await board.enter("alice")
    phone.line.stop_reading()
    board.flusher.bound_bytes = board.flusher.ample_bytes = 1
    laptop.send(type="presence.set", text="Hi")
    await board.settle()
    assert phone.line.closed is not None
    laptop.hang_up()
    await board.advance(10)
    assert (board.nodes.online, len(board.hub)) == (0, 0)


async def test_a_reader_too_slow_for_what_was_held_back_is_ended(board: Switchboard) -> None:
    others = [f"user{number}" for number in range(9)]
    await board.make("m3", "dave", *others)
    dave = await watching(board, "dave", *others, client_state="inactive")
    for other in others:
        await board.enter(other)
    dave.line.stop_reading()
    board.flusher.bound_bytes, board.flusher.keys_max = 500, 1
    assert await active(dave) == []
    assert dave.line.closed is not None
    assert dave.line.closed[0] == CloseCode.SLOW_READER
