"""Every bus: presence counts sessions over all nodes, waits before it says offline, and tells those who watch."""

import asyncio
import random

from protocol.from_server import Status
from protocol.ids import UserId
from tests.support.bus_nodes import DEBOUNCE_S, Buses, BusNode

ONLINE, OFFLINE = Status.ONLINE, Status.OFFLINE
SLACK_US = 5_000_000


async def test_who_is_watched_is_told_as_they_are_now(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await a.register(("alice", "1"))
    states = await b.watch("alice", "bob", "alice")
    assert [(state.user, state.status) for state in states.values()] == [("alice", ONLINE), ("bob", OFFLINE)]
    assert all(state.v > 0 and state.last_seen is None for state in states.values())
    assert await b.watch() == {}


async def test_coming_is_told_at_once_and_going_after_the_debounce(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    before = (await b.watch("alice"))["alice"]
    await a.register(("alice", "1"))
    came = await b.ear.status("alice", ONLINE)
    await a.unregister(("alice", "1"))
    assert (await b.watch("alice"))["alice"].status is ONLINE
    went = await b.ear.status("alice", OFFLINE)
    assert before.v < came.v < went.v
    assert came.last_seen is None
    assert went.last_seen is not None
    assert went.v - SLACK_US < went.last_seen <= went.v - round(DEBOUNCE_S * 0.9 * 1_000_000)
    assert (await b.watch("alice"))["alice"] == went


async def test_a_node_that_watches_its_own_user_is_told_as_well(buses: Buses) -> None:
    a = await buses.node()
    await a.watch("alice")
    await a.register(("alice", "1"))
    await a.ear.status("alice", ONLINE)
    await a.unregister(("alice", "1"))
    await a.ear.status("alice", OFFLINE)


async def test_devices_on_several_nodes_are_counted(buses: Buses) -> None:
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    await c.watch("alice", "end")
    await a.register(("alice", "1"))
    await b.register(("alice", "2"), ("end", "3"))
    await a.unregister(("alice", "1"))
    await b.unregister(("end", "3"))
    await c.ear.status("end", OFFLINE)
    assert [change.status for change in c.ear.changes if change.user == "alice"] == [ONLINE]
    await b.unregister(("alice", "2"))
    await c.ear.status("alice", OFFLINE)


async def test_who_is_back_within_the_debounce_was_never_away(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.watch("alice", "end")
    await a.register(("alice", "1"), ("end", "0"))
    await a.unregister(("alice", "1"))
    await b.register(("alice", "2"))
    await a.unregister(("end", "0"))
    await b.ear.status("end", OFFLINE)
    assert [change.status for change in b.ear.changes if change.user == "alice"] == [ONLINE]


async def test_who_is_watched_no_more_is_not_told(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.watch("alice", "bob")
    b.bus.unwatch([UserId("alice"), UserId("never watched")])
    await b.settled()
    await a.register(("alice", "1"), ("bob", "2"))
    await b.ear.status("bob", ONLINE)
    assert b.ear.latest("alice") is None


async def test_the_users_of_a_node_that_leaves_go_offline(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await a.register(("alice", "1"), ("bob", "2"))
    await b.register(("bob", "3"))
    await b.watch("alice", "bob")
    await a.leave()
    await b.ear.status("alice", OFFLINE)
    assert (await b.watch("bob"))["bob"].status is ONLINE


async def test_many_may_be_watched_at_once(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    users = [f"user {number}" for number in range(777)]
    await a.register(*((user, "s") for user in users[::2]))
    states = await b.watch(*users)
    assert list(states) == users
    assert [state.status for state in states.values()] == [OFFLINE if n % 2 else ONLINE for n in range(777)]
    await a.unregister(*((user, "s") for user in users[::2]))
    for user in users[::2]:
        await b.ear.status(user, OFFLINE)


async def test_after_any_coming_and_going_all_nodes_agree_with_what_is_there(buses: Buses) -> None:
    chance = random.Random(20)
    nodes = [await buses.node() for _ in range(3)]
    users = [f"user {number}" for number in range(6)]
    known = [await node.watch(*users) for node in nodes]
    here: list[tuple[BusNode, str, str]] = []
    for step in range(150):
        if here and chance.random() < 0.5:
            node, user, session = here.pop(chance.randrange(len(here)))
            node.go(user, session)
        else:
            node, user, session = chance.choice(nodes), chance.choice(users), f"session {step}"
            node.come(user, session)
            here.append((node, user, session))
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.02)
    online = {user for _, user, _ in here}
    for node, first in zip(nodes, known, strict=True):
        node.ear.changes = [*first.values(), *node.ear.changes]
        for user in users:
            await node.ear.status(user, ONLINE if user in online else OFFLINE)
    assert 0 < len(online) < len(users)
