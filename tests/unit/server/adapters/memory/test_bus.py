"""The bus in memory, where the contract suite does not look: nothing is left behind, and what is not there does no harm."""

import asyncio

from protocol.ids import SessionId, UserId
from server.adapters.memory.bus import MemoryHubOfNodes
from tests.support.bus_nodes import Ear
from tests.support.clock import FakeClock

ALICE, BOB, S = UserId("alice"), UserId("bob"), SessionId("s")


async def turn() -> None:
    """Let everything that was handed over arrive."""
    await asyncio.sleep(0)


async def test_after_all_have_left_the_hub_is_empty() -> None:
    hub = MemoryHubOfNodes(clock := FakeClock(), 2.0)
    buses = [hub.bus() for _ in range(3)]
    for number, bus in enumerate(buses):
        bus.start(Ear())
        bus.register(ALICE, SessionId(f"{number}"))
        await bus.watch([ALICE, BOB])
    assert (hub.sessions, hub.online) == (3, 1)
    for bus in buses:
        await bus.close()
        await bus.close()
    clock.advance(3.0)
    hub.settle()
    assert (hub.sessions, hub.online) == (0, 0)


async def test_what_was_on_its_way_to_a_node_that_closed_is_dropped() -> None:
    hub = MemoryHubOfNodes(FakeClock(), 2.0)
    (a, b), (ear_a, ear_b) = (hub.bus(), hub.bus()), (Ear(), Ear())
    a.start(ear_a)
    b.start(ear_b)
    b.register(BOB, S)
    await b.watch([ALICE])
    a.route((BOB,), b"x")
    a.batch_ended(1)
    a.register(ALICE, S)
    await a.close()
    await b.close()
    await turn()
    assert ear_b == Ear(_heard=ear_b._heard)
    assert ear_a == Ear(_heard=ear_a._heard)


async def test_a_bus_that_was_not_started_hears_and_says_nothing() -> None:
    hub = MemoryHubOfNodes(FakeClock(), 2.0)
    bus, other, ear = hub.bus(), hub.bus(), Ear()
    other.start(ear)
    other.register(BOB, S)
    bus.route((BOB,), b"x")
    bus.register(ALICE, S)
    await turn()
    assert ear.deliveries == []
    assert hub.sessions == 1


async def test_news_of_who_is_watched_no_more_is_not_told() -> None:
    hub = MemoryHubOfNodes(FakeClock(), 2.0)
    bus, ear = hub.bus(), Ear()
    bus.start(ear)
    await bus.watch([ALICE])
    bus.register(ALICE, S)
    bus.unwatch([ALICE])
    await turn()
    assert ear.changes == []
