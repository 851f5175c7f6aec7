"""PostgreSQL stores to test: opened on a database that is emptied before, which is faster than making one for each."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec import Struct

from server.adapters.postgres.store import PostgresStore
from tests.support.clock import FakeClock
from tests.support.private_postgres import PrivatePostgres
from tests.support.stores import World

_TABLES = (
    "matches",
    "members",
    "entries",
    "blocks",
    "routes",
    "revocations",
    "presence",
    "calls",
    "call_users",
    "call_settings",
    "call_nodes",
)
_EMPTY = "; ".join(f"DELETE FROM duologue.{table}" for table in _TABLES)


async def open_postgres(url: str, clock: FakeClock) -> PostgresStore:
    """Open a store whose time is the test's clock; what is written there does not survive a power cut."""
    return await PostgresStore.open(url, clock, allow_unsafe=True, now=clock.micros)


async def empty(url: str) -> None:
    """Remove everything but the tables, where there are some."""
    connection = await asyncpg.connect(url)
    if await connection.fetchval("SELECT to_regclass('duologue.routes')"):
        await connection.execute(_EMPTY)
    await connection.close()


class Clustered(Struct):
    """A PostgreSQL store, its world, and a way around it."""

    store: PostgresStore
    world: World
    clock: FakeClock
    cluster: PrivatePostgres
    url: str
    admin: asyncpg.Connection

    async def open(self) -> PostgresStore:
        """Open another node's store on the same database."""
        return await open_postgres(self.url, self.clock)

    async def until_waiting(self, count: int = 1) -> list[int]:
        """Wait until so many of the store's backends wait for a lock; return their process ids."""
        async with asyncio.timeout(60):
            while True:
                # Within a transaction the view would stand still.
                await self.admin.execute("SELECT pg_stat_clear_snapshot()")
                rows = await self.admin.fetch(
                    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'duologue'"
                )
                if len(rows) >= count:
                    return [row["pid"] for row in rows]
                await asyncio.sleep(0.005)


@pytest.fixture
async def clustered(postgres: PrivatePostgres) -> AsyncIterator[Clustered]:
    """Open an empty PostgreSQL store."""
    url, clock = postgres.url(), FakeClock()
    await empty(url)
    store = await open_postgres(url, clock)
    admin = await asyncpg.connect(url)
    yield Clustered(store, World(store, clock), clock, postgres, url, admin)
    await admin.close()
    await store.close()
