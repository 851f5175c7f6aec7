"""What a node stands on, by its settings, and that each of it can be given back."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from server.adapters.clock import SystemClock
from server.adapters.memory.bus import MemoryBus
from server.adapters.memory.limiter import MemoryLimiter
from server.adapters.memory.sessions import MemorySessions
from server.adapters.memory.store import MemoryStore
from server.adapters.memory.tickets import MemoryTickets
from server.adapters.postgres.store import LANES, PostgresStore
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.limiter import RedisLimiter
from server.adapters.redis.sessions import RedisSessions
from server.adapters.redis.tickets import RedisTickets
from server.adapters.sqlite.store import SqliteStore
from server.backends import Backends, open_backends
from server.ports import BusUnusable, StoreUnavailable, StoreUnusable
from server.settings import from_environment
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import inherited
from tests.support.programs import ROOT, free_port
from tests.support.tokens import SECRET

ALONE = (MemoryBus, MemoryTickets, MemoryLimiter, MemorySessions)
TOGETHER = (RedisBus, RedisTickets, RedisLimiter, RedisSessions)


async def opened(**environment: str) -> Backends:
    settings = from_environment({"TOKEN_SECRETS": SECRET, "DATABASE_DURABILITY": "waived", **environment})
    return await open_backends(settings, SystemClock())


def kinds(backends: Backends) -> tuple[type, ...]:
    shared = backends.shared
    return tuple(map(type, (shared.bus, shared.tickets, shared.limiter, shared.sessions)))


async def given_back(backends: Backends) -> None:
    await backends.close()
    await asyncio.sleep(0)  # sockets that were given up close in the next turn
    with pytest.raises(StoreUnavailable):
        await backends.store.revocations(0)


@pytest.mark.parametrize("database, kind", [("memory:", MemoryStore), ("sqlite:{}/new/x.db", SqliteStore)])
async def test_an_embedded_node_shares_nothing(database: str, kind: type, tmp_path: Path) -> None:
    """One lane, because its store writes one thing at a time anyway."""
    backends = await opened(DATABASE_URL=database.format(tmp_path))
    assert (type(backends.store), backends.routes, backends.lanes) == (kind, None, 1)
    assert kinds(backends) == ALONE
    assert len(backends.shared.work) == 1
    await given_back(backends)


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreUnusable, match="cannot use the store"):
        await opened(DATABASE_URL=f"sqlite:{tmp_path}/file/x.db")


async def test_postgresql_without_redis_is_for_one_node(postgres: PrivatePostgres) -> None:
    """It keeps routes all the same: what was stored by a call whose answer was lost is told by them."""
    backends = await opened(DATABASE_URL=postgres.url())
    assert (type(backends.store), type(backends.routes), backends.lanes) == (PostgresStore, PostgresStore, LANES)
    assert kinds(backends) == ALONE
    await given_back(backends)


async def test_with_redis_commits_are_routed(postgres: PrivatePostgres, redis_server: PrivateRedis) -> None:
    """Each node under a name of its own, which starts with the one that it was given."""
    both = {"DATABASE_URL": postgres.url(), "REDIS_URL": redis_server.url, "NODE_NAME": "berlin"}
    nodes = [await opened(**both) for _ in range(2)]
    for node in nodes:
        assert isinstance(node.routes, PostgresStore)
        assert kinds(node) == TOGETHER
        assert len(node.shared.work) == 2
        assert node.node.startswith("berlin-")
        assert node.shared.sessions.node == node.node
    assert nodes[0].node != nodes[1].node
    for node in nodes:
        await given_back(node)


async def test_a_redis_that_is_away_is_waited_for(postgres: PrivatePostgres) -> None:
    backends = await opened(DATABASE_URL=postgres.url(), REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert backends.shared.bus.trouble
    await given_back(backends)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1/x", "redis://127.0.0.1?what=this"])
async def test_a_redis_that_will_never_do_stops_the_start(url: str, postgres: PrivatePostgres) -> None:
    with pytest.raises(BusUnusable):
        await opened(DATABASE_URL=postgres.url(), REDIS_URL=url)


def test_an_embedded_server_loads_no_driver_that_it_does_not_need() -> None:
    """They take longer to load than everything else together."""
    code = "import sys, server.__main__; print(*sorted({'asyncpg', 'redis', 'hiredis'} & set(sys.modules)))"
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=inherited(), capture_output=True, text=True)
    assert asked.stdout == "\n", asked.stderr
