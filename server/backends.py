"""What a node stands on, by its settings: embedded (SQLite or memory, and nobody else), or shared (PostgreSQL, Redis)."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from protocol.ids import Micros
from server.adapters.memory.bus import MemoryHubOfNodes
from server.adapters.memory.limiter import MemoryLimiter
from server.adapters.memory.sessions import MemorySessions
from server.adapters.memory.store import MemoryStore
from server.adapters.memory.tickets import MemoryTickets
from server.adapters.sqlite.store import SqliteStore
from server.ports import Calls, Clock, Revocations, RouteLog, Store, StoreUnusable
from server.settings import Settings
from server.shared import Shared, Tell
from server.telemetry import Telemetry

RANDOM_CHARS: Final = 8


class Record(Store, Calls, Revocations, Protocol):
    """A store as a node needs it."""


class Backends(Struct, frozen=True):
    """Everything outside the process, or what stands in for it. `routes` only where several nodes share the store."""

    node: str
    store: Record
    routes: RouteLog | None
    lanes: int
    shared: Shared
    # Writes what the store counts into a node's numbers.
    tell: Tell
    # After what time to ask the store again while it is away, else 0.
    away_ms: Callable[[], int] = lambda: 0
    # Makes the coming months where the store has such.
    make_partitions: Callable[[], Awaitable[Micros]] | None = None

    async def close(self) -> None:
        """Leave the other nodes, then the store."""
        await self.shared.close()
        await self.store.close()


async def open_backends(settings: Settings, clock: Clock) -> Backends:
    """Open the store, and make what talks to Redis; `StoreUnusable` or `BusUnusable` says why not.

    A Redis that is away now is no reason: the node connects when it is there.
    """
    node = f"{settings.node_name}-{clock.random_id()[:RANDOM_CHARS]}"
    shared = await _on_redis(settings, clock, node) if settings.redis_url else _alone(settings, clock, node)
    if settings.is_postgresql:
        return await _on_postgres(settings, clock, node, shared)
    return Backends(node, await _open_embedded(settings.sqlite_path, clock), None, 1, shared, _tell_nothing)


async def _on_redis(settings: Settings, clock: Clock, node: str) -> Shared:
    from server.on_redis import join_redis  # noqa: PLC0415 - a quarter of a second that an embedded server need not wait

    return await join_redis(settings, clock, node)


async def _on_postgres(settings: Settings, clock: Clock, node: str, shared: Shared) -> Backends:
    from server.on_postgres import LANES, open_postgres, tell_postgres  # noqa: PLC0415 - likewise

    store = await open_postgres(settings, clock)

    def tell(numbers: Telemetry) -> None:
        tell_postgres(store, numbers)

    # Routes also alone: what was stored by a call whose answer was lost is told by its route.
    return Backends(node, store, store, LANES, shared, tell, store.guards[0].retry_after_ms, store.make_partitions)


async def _open_embedded(path: Path | None, clock: Clock) -> Record:
    if path is None:
        return MemoryStore(clock)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnusable(f"cannot use the store {path}: {error.strerror} ({path.parent})") from None
    return await SqliteStore.open(path, clock)


def _alone(settings: Settings, clock: Clock, node: str) -> Shared:
    bus = MemoryHubOfNodes(clock, settings.presence_debounce_ms / 1000).bus()
    return Shared(
        bus=bus,
        tickets=MemoryTickets(clock.now, clock.random_bytes),
        limiter=MemoryLimiter(clock.micros),
        sessions=MemorySessions(node),
        work=(bus.run,),
        tell=_tell_nothing,
        close=bus.close,
    )


def _tell_nothing(_: Telemetry) -> None:
    """What is embedded counts nothing that the node does not."""
