"""Every bus: presence counts sessions over all nodes, waits before it says offline, and tells those who watch."""

import asyncio
import random
import time
from itertools import count

from msgspec import structs

from protocol.from_client import LastSeen, OwnStatus
from protocol.from_server import OwnPresence, Presence, PresenceChange, Status
from protocol.ids import SessionId, UserId
from server.core.presence import HOUR_US, Departure, Shown
from tests.support.bus_nodes import DEBOUNCE_S, Buses, BusNode

ONLINE, OFFLINE = Status.ONLINE, Status.OFFLINE
SLACK_US = 60_000_000
# On a busy machine the debounce may be over before the next step: then the same is done with somebody else.
_number = count()


async def test_who_is_watched_is_told_as_they_are_now(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await a.register(("alice", "1"))
    states = await b.watch("alice", "bob", "alice")
    assert [(state.user, state.status) for state in states.values()] == [("alice", ONLINE), ("bob", OFFLINE)]
    assert all(state.v > 0 and state.last_seen is None for state in states.values())
    assert await b.watch() == {}


async def test_coming_is_told_at_once_and_going_after_the_debounce(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    user, before, came, meanwhile = await came_and_lost(a, b)
    assert meanwhile == structs.replace(came, change=None)
    went = await b.ear.status(user, OFFLINE)
    assert before.v < came.v < went.v
    assert came.last_seen is None
    assert went.last_seen is not None
    assert went.v - SLACK_US < went.last_seen <= went.v - round(DEBOUNCE_S * 0.9 * 1_000_000)
    assert (came.change, went.change) == (PresenceChange.CAME, PresenceChange.LEFT)
    assert (await b.watch(user))[user] == structs.replace(went, change=None)


async def came_and_lost(a: BusNode, b: BusNode) -> tuple[str, Presence, Presence, Presence]:
    """Return who came to `a` and was lost, and what `b` knew before, by then, and within the debounce."""
    while True:
        user = f"alice {next(_number)}"
        before = (await b.watch(user))[user]
        await a.register((user, "1"))
        came = await b.ear.status(user, ONLINE)
        lost_at = time.monotonic()
        await a.unregister((user, "1"))
        meanwhile = (await b.watch(user))[user]
        if time.monotonic() - lost_at < 0.9 * DEBOUNCE_S:
            return user, before, came, meanwhile


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
    await b.watch("end")
    await a.register(("end", "0"))
    user = await lost_and_back(a, b)
    await a.unregister(("end", "0"))
    await b.ear.status("end", OFFLINE)
    assert [change.status for change in b.ear.changes if change.user == user] == [ONLINE]


async def lost_and_back(a: BusNode, b: BusNode) -> str:
    """Return who was lost on `a` and came to `b` within the debounce."""
    while True:
        user = f"alice {next(_number)}"
        await b.watch(user)
        await a.register((user, "1"))
        lost_at = time.monotonic()
        await a.unregister((user, "1"))
        await b.register((user, "2"))
        if time.monotonic() - lost_at < 0.9 * DEBOUNCE_S:
            return user


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


async def test_looking_is_not_watching(buses: Buses) -> None:
    """Each is told once, as those who watch are told; nobody hears of changes for it."""
    a, b = await buses.node(), await buses.node()
    await a.register(("alice", "1"))
    ids = [UserId(user) for user in ("bob", "alice", "bob")]
    states = await b.bus.presence_of(ids)
    assert [(state.user, state.status) for state in states] == [("bob", OFFLINE), ("alice", ONLINE)]
    assert {state.user: state for state in states} == await b.watch("alice", "bob")
    b.bus.unwatch(ids)
    assert await b.bus.presence_of(()) in ([], ())
    a.bus.unregister(UserId("alice"), SessionId("1"), Departure.GOODBYE)
    await a.settled()
    (gone,) = await b.bus.presence_of([UserId("alice")])
    assert gone.status is OFFLINE
    await b.watch("end")
    await a.register(("end", "1"))
    await b.ear.status("end", ONLINE)
    assert b.ear.latest("alice") is b.ear.latest("bob") is None


async def test_looking_ends_no_watch(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.watch("alice")
    await b.bus.presence_of([UserId("alice")])
    await a.register(("alice", "1"))
    await b.ear.status("alice", ONLINE)


# ---- how users are shown

ALICE = UserId("alice")
IDLE = Shown(is_idle=True)


def says(node: BusNode, session: str, shown: Shown | None) -> None:
    node.bus.register(ALICE, SessionId(session), shown)


def wish(
    version: int, status: OwnStatus = OwnStatus.ONLINE, text: str = "", last_seen: LastSeen = LastSeen.EXACT
) -> Shown:
    return Shown(presence=OwnPresence(status, text, last_seen), version=version)


async def test_away_is_whose_devices_are_all_idle(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.watch("alice")
    says(a, "1", Shown())
    await b.ear.status("alice", ONLINE)
    says(a, "1", IDLE)
    away = await b.ear.status("alice", Status.AWAY)
    says(b, "2", Shown())
    back = await b.ear.status("alice", ONLINE)
    assert (away.change, back.change) == (PresenceChange.STATUS, PresenceChange.STATUS)
    assert away.last_seen is back.last_seen is None
    b.go("alice", "2")
    await b.ear.status("alice", Status.AWAY)
    says(a, "1", Shown())
    await b.ear.status("alice", ONLINE)


async def test_a_session_that_is_not_counted_shows_nobody(buses: Buses) -> None:
    """Frames reach it all the same."""
    a, b = await buses.node(), await buses.node()
    await b.watch("alice", "bob")
    says(a, "1", None)
    await a.settled()
    b.route("frame", "alice")
    await a.ear.frame(b"frame")
    assert (await b.watch("alice"))["alice"].status is OFFLINE
    a.go("alice", "1")
    await a.register(("bob", "2"))
    await b.ear.status("bob", ONLINE)
    assert b.ear.latest("alice") is None


async def test_a_wish_holds_over_all_devices_and_the_newest_counts(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.watch("alice")
    says(a, "1", wish(5, OwnStatus.DND, "In an exam"))
    dnd = await b.ear.status("alice", Status.DND)
    assert (dnd.text, dnd.change) == ("In an exam", PresenceChange.CAME)
    says(b, "2", wish(4, OwnStatus.ONLINE))  # It comes late.
    await b.settled()
    assert (await b.watch("alice"))["alice"] == structs.replace(dnd, change=None)
    says(b, "2", wish(6, OwnStatus.DND, "Done"))
    await b.ear.until(lambda ear: (it := ear.latest("alice")) is not None and it.text == "Done")
    says(a, "1", wish(7, OwnStatus.AWAY))
    assert (await b.ear.status("alice", Status.AWAY)).text == ""


async def test_news_of_a_user_come_in_the_order_of_their_versions(buses: Buses) -> None:
    """However fast they change, and by sessions of several nodes; the last is how the user is."""
    a, b, c = await buses.node(), await buses.node(), await buses.node()
    before = (await c.watch("alice"))["alice"]
    for version in range(1, 40):
        says((a, b)[version % 2], f"{version % 3}", wish(version, text=f"{version}"))
        if version % 5 == 0:
            await asyncio.sleep(0)
    await c.ear.until(lambda ear: (it := ear.latest("alice")) is not None and it.text == "39")
    versions = [before.v, *(change.v for change in c.ear.changes if change.user == "alice")]
    assert versions == sorted(set(versions))


async def test_who_is_invisible_is_offline_since_that_began(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.watch("alice", "end")
    says(a, "1", wish(5, text="here"))
    await b.ear.status("alice", ONLINE)
    says(a, "1", wish(6, OwnStatus.INVISIBLE, "here"))
    gone = await b.ear.status("alice", OFFLINE)
    assert (gone.text, gone.change) == ("", PresenceChange.LEFT)
    assert gone.last_seen is not None
    a.go("alice", "1")
    await a.register(("end", "1"))
    await a.unregister(("end", "1"))
    await b.ear.status("end", OFFLINE)  # Alice's debounce is over, too.
    says(a, "2", wish(6, OwnStatus.INVISIBLE, "here"))
    await a.settled()
    assert (await b.watch("alice"))["alice"] == structs.replace(gone, change=None)
    says(a, "2", wish(7))
    assert (await b.ear.status("alice", ONLINE)).change is PresenceChange.CAME


async def test_a_goodbye_is_told_at_once_and_a_handoff_waits(buses: Buses) -> None:
    """Whose node is being stopped has more time to come back than whoever is lost; nobody has to be offline for that."""
    a, b = await buses.node(), await buses.node()
    await b.watch("alice", "bob", "carol", "end")
    await a.register(("alice", "1"), ("bob", "1"), ("carol", "1"), ("end", "1"))
    a.bus.unregister(ALICE, SessionId("1"), Departure.GOODBYE)
    gone = await b.ear.status("alice", OFFLINE)
    assert gone.last_seen is not None
    assert gone.v == gone.last_seen  # No debounce lies between.
    a.bus.unregister(UserId("bob"), SessionId("1"), Departure.HANDOFF)
    await a.unregister(("end", "1"))
    await b.ear.status("end", OFFLINE)
    assert (await b.watch("bob"))["bob"].status is ONLINE
    await b.register(("bob", "2"))
    await b.unregister(("carol", "1"))
    assert [change.status for change in b.ear.changes if change.user == "bob"] == [ONLINE]


async def test_last_seen_is_rounded_for_those_who_want_that(buses: Buses) -> None:
    a, b = await buses.node(), await buses.node()
    await b.watch("alice")
    says(a, "1", wish(5, last_seen=LastSeen.ROUNDED))
    await b.ear.status("alice", ONLINE)
    a.bus.unregister(ALICE, SessionId("1"), Departure.GOODBYE)
    gone = await b.ear.status("alice", OFFLINE)
    assert gone.last_seen is not None
    assert gone.last_seen % HOUR_US == 0
    assert gone.v - HOUR_US - SLACK_US < gone.last_seen <= gone.v
    assert (await b.watch("alice"))["alice"] == structs.replace(gone, change=None)
