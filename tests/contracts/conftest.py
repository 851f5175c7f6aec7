"""One world for each kind of store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.ports import Store
from tests.support.clock import FakeClock
from tests.support.postgres_stores import empty, open_postgres
from tests.support.private_postgres import PrivatePostgres
from tests.support.stores import STORES, World, open_store


@pytest.fixture(params=[*STORES, "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    store: Store
    if request.param == "postgres":
        # Asked for here only, so that no server is started for the others.
        cluster = request.getfixturevalue("postgres")
        assert isinstance(cluster, PrivatePostgres)
        await empty(cluster.url())
        store = await open_postgres(cluster.url(), clock)
    else:
        store = await open_store(str(request.param), tmp_path, clock)
    yield World(store, clock)
    await store.close()
