"""What a node stands on, by its settings: embedded (SQLite or memory, and nobody else), or shared (PostgreSQL, Redis)."""

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from server.adapters.bus_memory import MemoryHubOfNodes
from server.adapters.limiter_memory import MemoryLimiter
from server.adapters.limiter_redis import RedisLimiter
from server.adapters.redis_bus import RedisBus, RedisBusSettings
from server.adapters.redis_client import close_client, make_client
from server.adapters.sessions_memory import MemorySessions
from server.adapters.sessions_redis import RedisSessions
from server.adapters.store_memory import MemoryStore
from server.adapters.store_postgres import LANES, PostgresStore
from server.adapters.store_sqlite import SqliteStore
from server.adapters.tickets_memory import MemoryTickets
from server.adapters.tickets_redis import RedisTickets
from server.ports import (
    Bus,
    Calls,
    Clock,
    Limiter,
    Revocations,
    RouteLog,
    Sessions,
    Store,
    StoreUnusable,
    Tickets,
)
from server.settings import Settings

RANDOM_CHARS: Final = 8

Work = Callable[[], Coroutine[None, None, None]]


class Record(Store, Calls, Revocations, Protocol):
    """A store as a node needs it."""


class Shared(Struct, frozen=True):
    """What nodes share besides the store."""

    bus: Bus
    tickets: Tickets
    limiter: Limiter
    sessions: Sessions
    work: tuple[Work, ...]
    close: Callable[[], Awaitable[None]]


class Backends(Struct, frozen=True):
    """Everything outside the process, or what stands in for it. `routes` only where several nodes share the store."""

    node: str
    store: Record
    routes: RouteLog | None
    lanes: int
    shared: Shared

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
        store = await _open_postgres(settings, clock)
        # Also alone: what was stored by a call whose answer was lost is told by its route.
        return Backends(node, store, store, LANES, shared)
    return Backends(node, await _open_embedded(settings.sqlite_path, clock), None, 1, shared)


async def _open_postgres(settings: Settings, clock: Clock) -> PostgresStore:
    return await PostgresStore.open(
        settings.database_url,
        clock,
        replica_url=settings.database_read_replica_url or None,
        lanes=LANES + 1,  # one for the route log
        allow_unsafe=settings.database_durability == "waived",
    )


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
        close=bus.close,
    )


async def _on_redis(settings: Settings, clock: Clock, node: str) -> Shared:
    debounce_s = settings.presence_debounce_ms / 1000
    bus = RedisBus(RedisBusSettings(settings.redis_url, settings.redis_prefix, node, debounce_s=debounce_s), clock)
    await bus.check()
    client = make_client(settings.redis_url)
    sessions = RedisSessions(client, settings.redis_prefix, node)

    async def close() -> None:
        await bus.close()
        await sessions.close()
        await close_client(client)

    return Shared(
        bus=bus,
        tickets=RedisTickets(client, settings.redis_prefix, clock.random_bytes),
        limiter=RedisLimiter(client, settings.redis_prefix, fallback=MemoryLimiter(clock.micros), now=clock.now),
        sessions=sessions,
        work=(bus.run, sessions.run),
        close=close,
    )
