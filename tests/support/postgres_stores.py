"""PostgreSQL stores to test: opened on a database that is emptied before, which is faster than making one for each."""

import asyncpg

from server.adapters.store_postgres import PostgresStore
from tests.support.clock import FakeClock

_TABLES = ("matches", "members", "entries", "blocks", "routes")
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
