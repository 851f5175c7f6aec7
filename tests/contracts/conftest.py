"""One world for each kind of store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.stores import STORES, World, open_store


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    store = await open_store(str(request.param), tmp_path, clock)
    yield World(store, clock)
    await store.close()
