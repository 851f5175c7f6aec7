"""What a node of several cannot stand on stops its start: one line that says what and why, exit code 2, no password."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bad_input.test_settings import SECRET, start
from tests.support.people import fresh
from tests.support.private_cluster import Cluster, private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis, private_redis
from tests.support.programs import free_port


@pytest.fixture
def cluster(postgres: PrivatePostgres, redis_server: PrivateRedis) -> Cluster:
    """Have a database without tables."""
    return private_cluster(postgres, redis_server)


def refused(cluster: Cluster, **settings: str) -> str:
    """Start a node that cannot, and return its only line."""
    shared = {
        "DATABASE_URL": cluster.postgres.url(cluster.database),
        "DATABASE_DURABILITY": "waived",
        "REDIS_URL": cluster.redis.url,
        "TOKEN_SECRETS": SECRET,
    }
    line = start({**shared, **settings})
    assert "hunter2" not in line
    assert "secret@" not in line
    return line


@pytest.fixture
def odd_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PrivateRedis]:
    """Run a Redis with these options."""
    with private_redis(tmp_path, *request.param) as server:
        yield server


@pytest.mark.parametrize(
    "odd_redis, why",
    [
        (("--cluster-enabled", "yes"), "is a cluster; the bus needs one server, or Sentinel"),
        (("--rename-command", "EVALSHA", ""), "does not run Lua"),
        (("--requirepass", "hunter2"), "NOAUTH"),
        (("--user", "default", "on", "nopass", "~*", "&*", "-@all", "+info"), "NOPERM"),
    ],
    ids=["cluster", "no Lua", "password", "rights"],
    indirect=["odd_redis"],
)
def test_a_redis_that_will_never_do(cluster: Cluster, odd_redis: PrivateRedis, why: str) -> None:
    """A wrong one, or one that does not let us in."""
    assert why in refused(cluster, REDIS_URL=odd_redis.url)


@pytest.mark.parametrize(
    "settings, why",
    [
        ({"REDIS_URL": "http://u:hunter2@127.0.0.1"}, "redis"),
        ({"REDIS_URL": "redis://u:hunter2@127.0.0.1/x"}, "the number of a database and nothing else"),
        ({"REDIS_URL": "redis+sentinel://127.0.0.1"}, "redis+sentinel"),
        ({"DATABASE_URL": "memory:"}, "REDIS_URL"),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}, "it cannot be reached"),
        ({"DATABASE_URL": "postgresql://u:hunter2@[::1/x"}, "the address of the store cannot be read"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value.values())).replace("hunter2", "p"),
)
def test_addresses_that_lead_nowhere(cluster: Cluster, settings: dict[str, str], why: str) -> None:
    assert why in refused(cluster, **settings)


async def test_a_schema_from_the_future_and_an_account_without_rights(cluster: Cluster) -> None:
    """Nothing is changed there."""
    with cluster.node():
        pass
    clerk = fresh("clerk").replace("-", "_")
    await cluster.postgres.run(f"CREATE ROLE {clerk} LOGIN PASSWORD 'hunter2'", database=cluster.database)
    url = cluster.postgres.url(cluster.database, user=clerk)
    assert "lacks a right" in refused(cluster, DATABASE_URL=url)
    insert = "INSERT INTO duologue.migrations VALUES (9999, 'future', 'x')"
    await cluster.postgres.run(insert, database=cluster.database)
    assert "a newer Duologue made it (schema 9999" in refused(cluster)
    await cluster.postgres.run(f"DROP ROLE {clerk}")


async def test_a_node_whose_redis_is_away_starts_and_says_so(cluster: Cluster) -> None:
    """It may come; until then nothing is promised that needs it."""
    with cluster.node(REDIS_URL=f"redis://127.0.0.1:{free_port()}") as server:
        assert "bus.away" in server.program.output()
