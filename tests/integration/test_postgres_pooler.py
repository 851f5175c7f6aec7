"""The PostgreSQL store behind PgBouncer in transaction mode, where consecutive transactions meet different backends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.adapters.postgres.connections import Timeouts
from server.adapters.postgres.store import PostgresStore
from server.core.log import UNSTORABLE
from server.ports import StoreUnavailable
from tests.support.postgres_stores import Clustered, open_postgres
from tests.support.stores import ALICE, BOB, M, World, post, seqs, stored


@pytest.fixture(params=["", "?pool_mode=transaction"])
async def pooled(request: pytest.FixtureRequest, clustered: Clustered, pgbouncer: int) -> AsyncIterator[World]:
    store = await open_postgres(clustered.cluster.url(port=pgbouncer) + request.param, clustered.clock)
    yield World(store, clustered.clock)
    await store.close()


async def test_many_writes_and_reads_at_once(pooled: World) -> None:
    rooms = [f"room {number}" for number in range(6)]
    await asyncio.gather(*(pooled.make(ALICE, BOB, match=room) for room in rooms))
    answers = await asyncio.gather(
        *(pooled.store.append([post(f"{n}-{i}", match=room) for i in range(5)]) for n in range(8) for room in rooms),
        *(pooled.store.append([post(f"{n}-{i}", match=room) for i in range(5)]) for n in range(8) for room in rooms),
    )
    duplicates = [stored(outcome).duplicate for outcomes in answers for outcome in outcomes]
    assert duplicates.count(False) == len(rooms) * 40
    pages = await asyncio.gather(*(pooled.page(ALICE, match=room, after=0) for room in rooms))
    assert all(seqs(page.entries) == list(range(1, 42)) for page in pages)


async def test_a_row_that_is_refused_leaves_no_transaction_behind(pooled: World, clustered: Clustered) -> None:
    await pooled.make(ALICE, BOB)
    await clustered.admin.execute(
        "ALTER TABLE duologue.entries ADD CONSTRAINT short CHECK (position('xxx'::bytea IN body) = 0)"
    )
    try:
        outcomes = await pooled.store.append([post("a"), post("b", text="x" * 50), post("c")])
    finally:
        await clustered.admin.execute("ALTER TABLE duologue.entries DROP CONSTRAINT short")
    assert [outcome == UNSTORABLE for outcome in outcomes] == [False, True, False]
    assert seqs((await pooled.page()).entries) == [3, 2, 1]


async def test_time_outs_hold_without_settings_of_the_connection(clustered: Clustered, pgbouncer: int) -> None:
    await clustered.world.make(ALICE, BOB)
    url, clock = clustered.cluster.url(port=pgbouncer), clustered.clock
    store = await PostgresStore.open(url, clock, allow_unsafe=True, now=clock.micros, timeouts=Timeouts(lock_s=0.05))
    async with clustered.admin.transaction():
        await clustered.admin.fetch("SELECT FROM duologue.matches WHERE match_id = $1 FOR UPDATE", M)
        with pytest.raises(StoreUnavailable, match="55P03"):
            await store.append([post("a")])
    assert stored((await store.append([post("a")]))[0]).message.seq == 2
    await store.close()
