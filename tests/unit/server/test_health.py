"""What a node says of itself when it is asked whether it should get new connections."""

import asyncio

import pytest
from typing_extensions import override

from protocol.ids import Micros
from server.adapters.memory.bus import MemoryHubOfNodes
from server.adapters.memory.store import MemoryStore
from server.health import HOLDS_S, Health, HealthParts
from server.journal import Journal
from server.lane import LaneLimits
from server.upkeep import Upkeep
from tests.support.clock import FakeClock


class AskedStore(MemoryStore):
    """Counts how often it is asked to write; waits at its door."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.asked = 0
        self.door = asyncio.Event()
        self.door.set()

    @override
    async def check(self) -> None:
        self.asked += 1
        await self.door.wait()
        await super().check()


class World:
    def __init__(self, queue: int = 10) -> None:
        self.clock = FakeClock()
        self.store = AskedStore(self.clock)
        self.bus = MemoryHubOfNodes(self.clock).bus()
        journal = Journal(self.store, limits=LaneLimits(queue=queue))
        self.health = Health(HealthParts(self.store, journal, self.bus, None, self.clock.now))

    async def wrong(self) -> dict[str, str]:
        ready = await self.health.check()
        wrong = {name: said for name, said in ready.checks.items() if said != "ok"}
        assert ready.ready is not bool(wrong)
        return wrong


async def test_all_is_well() -> None:
    assert await World().wrong() == {}


async def test_a_node_that_is_being_stopped_wants_nobody() -> None:
    world = World()
    world.health.is_draining = True
    assert await world.wrong() == {"accepting": "draining"}


async def test_a_journal_that_is_full_takes_nothing() -> None:
    assert await World(queue=0).wrong() == {"journal": "full"}


async def test_a_store_that_takes_nothing_is_told_until_it_does() -> None:
    world = World()
    await world.store.close()
    assert await world.wrong() == {"store": "the store is closed"}


async def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.health.WITHIN_S", 0)
    world = World()
    world.store.door.clear()
    assert await world.wrong() == {"store": "no answer within 0 s"}


async def test_however_many_ask_the_store_is_asked_now_and_then() -> None:
    world = World()
    await asyncio.gather(*(world.wrong() for _ in range(20)))
    assert world.store.asked == 1
    world.clock.advance(HOLDS_S)
    await world.wrong()
    assert world.store.asked == 2


async def test_partitions_that_end_soon_are_told() -> None:
    world = World()

    async def make_partitions() -> Micros:
        return world.clock.micros()

    upkeep = Upkeep(make_partitions, world.clock.micros)
    await upkeep.round()
    journal = Journal(world.store)
    ready = await Health(HealthParts(world.store, journal, world.bus, upkeep, world.clock.now)).check()
    assert ready.checks["partitions"] == "partitions for 0 more days only"
    assert upkeep.left_s == 0
