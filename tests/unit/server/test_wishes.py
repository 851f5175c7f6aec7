"""How users want to be shown: stored, answered, told to their other devices and to those who watch, on two nodes."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from protocol.close_codes import CloseCode
from protocol.from_client import OwnStatus
from protocol.ids import UserId
from server.core.people import Person, PresenceWish
from tests.support.switchboard import Client, Json, Switchboard, two_running

Nodes = tuple[Switchboard, Switchboard]


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    """Two nodes on one store, where alice and bob share a match."""
    async with two_running() as (here, there):
        await here.make("m1", "alice", "bob")
        yield here, there
        for board in (here, there):
            for recipient in board.hub:
                recipient.close(CloseCode.GOING_AWAY, "the test ends")


async def settle(nodes: Nodes) -> None:
    for _ in range(2):
        for board in nodes:
            await board.settle()


async def heard(nodes: Nodes, client: Client) -> list[Json]:
    """Return what came up to now, from both nodes."""
    await settle(nodes)
    client.board.loop.pass_time(0.1)
    return await client.listen()


async def watching(board: Switchboard) -> Client:
    alice = await board.enter("alice")
    await alice.ask(type="presence.watch", id=1, users=["bob"])
    return alice


def shown(pushes: list[Json]) -> list[tuple[object, object]]:
    changes = [msgspec.convert(push["changes"], list[Json]) for push in pushes]
    return [(change["status"], change.get("text", "")) for some in changes for change in some]


def own(status: str, text: str = "", last_seen: str = "exact") -> Json:
    return {"type": "presence.own", "status": status, "text": text, "last_seen": last_seen}


async def test_a_wish_is_answered_and_told_to_the_others(nodes: Nodes) -> None:
    """To the user's other devices what was wished, on all nodes; to those who watch how the user is."""
    here, there = nodes
    alice, bob, tablet, laptop = await watching(there), *[await board.enter("bob") for board in (here, here, there)]
    assert shown(await heard(nodes, alice)) == [("online", "")]
    bob.send(type="presence.set", id=7, status="dnd", text="In an exam")
    assert await heard(nodes, bob) == [{"type": "ok", "id": 7}]
    assert await heard(nodes, tablet) == await heard(nodes, laptop) == [own("dnd", "In an exam")]
    assert shown(await heard(nodes, alice)) == [("dnd", "In an exam")]
    laptop.send(type="presence.set", text="")  # What is left out stays, and without an id there is no answer.
    assert await heard(nodes, laptop) == []
    assert await heard(nodes, bob) == await heard(nodes, tablet) == [own("dnd")]
    assert shown(await heard(nodes, alice)) == [("dnd", "")]
    assert (await there.enter("bob")).welcome["presence"] == {"status": "dnd", "text": "", "last_seen": "exact"}


async def test_who_becomes_invisible_leaves_and_comes_back(nodes: Nodes) -> None:
    """Also by a device on another node, and without a debounce."""
    here, there = nodes
    alice, bob, laptop = await watching(here), await here.enter("bob"), await there.enter("bob")
    await heard(nodes, alice)
    laptop.send(type="presence.set", id=1, status="invisible")
    assert shown(await heard(nodes, alice)) == [("offline", "")]
    await bob.ask(type="client_state", state="inactive")
    await bob.ask(type="client_state", state="active")
    late = await there.enter("bob")
    assert await heard(nodes, alice) == []
    late.send(type="presence.set", id=1, status="online")
    assert shown(await heard(nodes, alice)) == [("online", "")]


async def test_a_device_whose_wish_met_another_one_is_told_what_came_of_both(nodes: Nodes) -> None:
    """Behind its answer: it cannot know what the other one wished."""
    here, there = nodes
    bob, laptop = await here.enter("bob"), await there.enter("bob")
    bob.send(type="presence.set", id=1, status="dnd")
    laptop.send(type="presence.set", id=2, text="Busy")
    await settle(nodes)
    first, second = await heard(nodes, bob), await heard(nodes, laptop)
    # Whichever was stored first: in the end both know both.
    assert {"type": "ok", "id": 1} in first
    assert {"type": "ok", "id": 2} in second
    (person,) = await here.store.people([UserId("bob")])
    for client, told in ((bob, first), (laptop, second)):
        assert client.peer.shown is not None
        assert client.peer.shown.presence == person.presence
        if {"type": "ok", "id": 1} in told:
            assert told[-1] == own("dnd", "Busy")


async def test_a_device_is_told_behind_its_answer_when_a_later_wish_was_heard_before(nodes: Nodes) -> None:
    here, _ = nodes
    bob = await here.enter("bob")
    attention, peer = here.attention, bob.peer
    first = await here.store.set_presence(UserId("bob"), PresenceWish(OwnStatus.AWAY))
    second = await here.store.set_presence(UserId("bob"), PresenceWish(OwnStatus.DND, "Later"))
    assert isinstance(first, Person)
    assert isinstance(second, Person)
    attention.person_changed(peer, second)
    assert await bob.listen() == [own("dnd", "Later")]
    assert attention.wished(peer, PresenceWish(OwnStatus.AWAY), first) == second.presence
    assert peer.shown is not None
    assert peer.shown.version == second.version


async def test_wishes_are_taken_in_their_order(nodes: Nodes) -> None:
    here, _ = nodes
    bob = await here.enter("bob")
    for number in range(5):
        bob.send(type="presence.set", id=number, text=f"{number}")
    answers = await heard(nodes, bob)
    assert [answer["id"] for answer in answers] == list(range(5))
    (person,) = await here.store.people([UserId("bob")])
    assert person.presence.text == "4"


async def test_changes_within_100_ms_are_told_as_the_last_of_them(nodes: Nodes) -> None:
    """Whoever changes them, and from whatever node the news come."""
    here, there = nodes
    alice, bob, laptop = await watching(there), await here.enter("bob"), await there.enter("bob")
    await heard(nodes, alice)
    for number in range(4):
        (bob, laptop)[number % 2].send(type="presence.set", text=f"{number}")
        await settle(nodes)
    assert await alice.listen() == []
    assert shown(await heard(nodes, alice)) == [("online", "3")]


async def test_one_user_may_wish_so_often_a_minute(nodes: Nodes) -> None:
    here, _ = nodes
    bob, tablet = await here.enter("bob"), await here.enter("bob")
    for number in range(10):
        assert {"type": "ok", "id": number} in await (bob, tablet)[number % 2].ask(
            type="presence.set", id=number, text=f"{number}"
        )
    await bob.listen()
    await tablet.listen()
    (refused,) = await bob.ask(type="presence.set", id=11, text="more")
    assert (refused["type"], refused["id"], refused["code"]) == ("error", 11, "rate_limited")
    assert isinstance(refused["retry_after_ms"], int)
    assert await tablet.listen() == []


async def test_a_wish_that_cannot_be_stored_is_refused(nodes: Nodes) -> None:
    here, _ = nodes
    bob = await here.enter("bob")
    await here.store.close()
    (refused,) = await bob.ask(type="presence.set", id=1, status="dnd")
    assert (refused["type"], refused["id"], refused["code"]) == ("error", 1, "unavailable")


async def test_who_hangs_up_while_a_wish_is_stored_is_shown_so_all_the_same(nodes: Nodes) -> None:
    """On the next connection, and now on the others; a dead one is not registered again."""
    here, there = nodes
    alice, bob, laptop = await watching(here), await here.enter("bob"), await there.enter("bob")
    await heard(nodes, alice)
    bob.send(type="presence.set", id=1, status="dnd")
    bob.hang_up()
    await asyncio.sleep(0)
    assert await heard(nodes, laptop) == [own("dnd")]
    assert shown(await heard(nodes, alice)) == [("dnd", "")]
    laptop.hang_up(CloseCode.NORMAL)
    assert shown(await heard(nodes, alice)) == [("offline", "")]
