"""Buses to test: nodes in one process, over memory or over a private Redis, each with an ear that remembers what it heard."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import pytest
from msgspec import structs

from protocol.from_server import Presence, Status
from protocol.ids import SessionId, UserId
from server.adapters.clock import SystemClock
from server.adapters.memory.bus import MemoryHubOfNodes
from server.adapters.redis.bus import RedisBus, RedisBusSettings
from server.core.latest import Key
from server.core.notices import Notice
from server.ports import Bus, Clock
from tests.support.private_redis import PrivateRedis

WITHIN_S: Final = 60.0
DEBOUNCE_S: Final = 0.3
# On a busy machine nothing is noticed as trouble but what is: a cut connection, a gap, another Redis.
PATIENT: Final = RedisBusSettings(
    "redis://set-by-the-test",
    lease_s=60.0,
    renew_s=0.4,
    silence_s=30.0,
    deaf_after_s=30.0,
    debounce_s=DEBOUNCE_S,
    settle_s=0.05,
    command_timeout_s=30.0,
)
# Nodes notice each other's end within two seconds, and trouble within one: for tests that wait for that.
QUICK: Final = structs.replace(PATIENT, lease_s=2.0, silence_s=1.0, deaf_after_s=0.8, command_timeout_s=0.6)
_prefixes: Final = count()

Delivery = tuple[tuple[UserId, ...], bytes, Key | None]


@dataclass
class Ear:
    """Remembers what a bus told its node; `until` waits for something to be true of it."""

    deliveries: list[Delivery] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    changes: list[Presence] = field(default_factory=list)
    repairs: list[float] = field(default_factory=list)
    routed_ids: list[int] = field(default_factory=list)
    alive: list[bool] = field(default_factory=list)
    # Frames and notices as they came.
    in_order: list[bytes | Notice] = field(default_factory=list)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def deliver(self, users: Sequence[UserId], frame: bytes, key: Key | None) -> None:
        self.deliveries.append((tuple(users), frame, key))
        self.in_order.append(frame)
        self._heard.set()

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)
        self.in_order.append(notice)
        self._heard.set()

    def presence(self, changes: Sequence[Presence]) -> None:
        self.changes.extend(changes)
        self._heard.set()

    def repair(self, since: float) -> None:
        self.repairs.append(since)
        self._heard.set()

    def routed(self, route_ids: Sequence[int]) -> None:
        self.routed_ids.extend(route_ids)
        self._heard.set()

    def bus_is(self, *, alive: bool) -> None:
        self.alive.append(alive)
        self._heard.set()

    async def until(self, is_true: Callable[["Ear"], bool], within_s: float = WITHIN_S) -> None:
        """Wait until `is_true` of what was heard."""
        async with asyncio.timeout(within_s):
            while not is_true(self):
                self._heard.clear()
                await self._heard.wait()

    async def frame(self, frame: bytes) -> None:
        """Wait for a frame."""
        await self.until(lambda ear: frame in ear.frames)

    async def status(self, user: str, status: Status) -> Presence:
        """Wait until the latest news of `user` is `status`, and return it."""
        await self.until(lambda ear: (known := ear.latest(user)) is not None and known.status is status)
        latest = self.latest(user)
        assert latest is not None
        return latest

    @property
    def frames(self) -> list[bytes]:
        return [frame for _, frame, _ in self.deliveries]

    def latest(self, user: str) -> Presence | None:
        """The newest of what was told of `user`."""
        return max((change for change in self.changes if change.user == user), key=lambda it: it.v, default=None)


@dataclass
class BusNode:
    """A node's bus, what it heard, and short ways to use it."""

    bus: Bus
    ear: Ear
    task: asyncio.Task[None]

    def come(self, user: str, session: str) -> None:
        self.bus.register(UserId(user), SessionId(session))

    def go(self, user: str, session: str) -> None:
        self.bus.unregister(UserId(user), SessionId(session))

    async def register(self, *pairs: tuple[str, str]) -> None:
        """Register (user, session) pairs and wait until that holds for everybody."""
        known = asyncio.Event()
        for user, session in pairs:
            self.come(user, session)
        for user, session in pairs[-1:]:  # They go in order, some hundreds in a turn.
            self.bus.when_registered(UserId(user), SessionId(session), known.set)
            await known.wait()
        await self.settled()

    async def unregister(self, *pairs: tuple[str, str]) -> None:
        """Unregister (user, session) pairs and wait until that holds for everybody."""
        for user, session in pairs:
            self.go(user, session)
        await self.settled()

    async def whole(self) -> None:
        """Wait until a bus over Redis has recovered; its last step is a repair."""
        bus = self.bus
        assert isinstance(bus, RedisBus)
        await self.ear.until(lambda _: bus.is_whole)

    async def settled(self) -> None:
        """Wait until what was asked before holds: a later answer is proof of it."""
        await self.bus.watch([UserId("nobody")])

    def route(self, frame: bytes | str, *users: str, key: Key | None = None) -> None:
        self.bus.route([UserId(user) for user in users], frame if isinstance(frame, bytes) else frame.encode(), key)

    async def watch(self, *users: str) -> dict[str, Presence]:
        states = await self.bus.watch([UserId(user) for user in users])
        return {state.user: state for state in states}

    async def stop(self) -> None:
        """Cancel `run` and wait for its end, as a node does before it closes."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def leave(self) -> None:
        """End in good order."""
        await self.stop()
        await self.bus.close()


class Buses:
    """Makes nodes of one kind that all know each other, and ends them."""

    def __init__(self, make: Callable[[], Bus], kind: str) -> None:
        self._make = make
        self.kind = kind
        self.nodes: list[BusNode] = []

    async def node(self, bus: Bus | None = None) -> BusNode:
        """Start one more node and wait until it is whole."""
        node = self.start(bus)
        await node.ear.until(lambda ear: ear.alive[-1:] == [True])
        return node

    def start(self, bus: Bus | None = None) -> BusNode:
        """Start one more node."""
        bus, ear = self._make() if bus is None else bus, Ear()
        bus.start(ear)
        node = BusNode(bus, ear, asyncio.create_task(bus.run()))
        self.nodes.append(node)
        return node

    async def close(self) -> None:
        for node in self.nodes:
            await node.leave()
        for node in self.nodes:
            if not node.task.cancelled():
                await node.task


def redis_buses(server: PrivateRedis, settings: RedisBusSettings = PATIENT, clock: Clock | None = None) -> Buses:
    """Make buses on `server`, under a prefix of their own."""
    clock = clock or SystemClock()
    url = settings.url if settings.url != PATIENT.url else server.url
    prefix = f"test {next(_prefixes)}*:"
    fields = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return Buses(lambda: RedisBus(RedisBusSettings(**fields | {"url": url, "prefix": prefix}), clock), "redis")


def memory_buses(clock: Clock | None = None) -> Buses:
    """Make buses in memory."""
    return Buses(MemoryHubOfNodes(clock or SystemClock(), DEBOUNCE_S).bus, "memory")


@asynccontextmanager
async def ending(buses: Buses) -> AsyncIterator[Buses]:
    """End all nodes when the block ends."""
    try:
        yield buses
    finally:
        await buses.close()


@pytest.fixture(params=["memory", "redis"])
async def buses(request: pytest.FixtureRequest) -> AsyncIterator[Buses]:
    """Make nodes of each kind."""
    if request.param == "memory":
        made = memory_buses()
    else:
        # Asked for here only, so that no server is started for the other kind.
        server = request.getfixturevalue("redis_server")
        assert isinstance(server, PrivateRedis)
        made = redis_buses(server)
    async with ending(made):
        yield made
