"""Servers for the tests that do not need their own; a module with other settings overrides `servers`.

A module that names `BACKENDS` runs once on each: embedded, one node on PostgreSQL and Redis (shared), two nodes, over which
its connections are spread.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.people import People, people_on, unlimited_server
from tests.support.private_cluster import Cluster, private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import PrivateServer


@pytest.fixture(scope="session")
def common_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """Run one server on SQLite for the whole run, with the rate limits lifted."""
    with unlimited_server(tmp_path_factory.mktemp("common") / "duologue.db") as server:
        yield server


@pytest.fixture(scope="session")
def common_cluster(postgres: PrivatePostgres, redis_server: PrivateRedis) -> Cluster:
    """Have one database for the nodes of the whole run."""
    return private_cluster(postgres, redis_server)


@pytest.fixture(scope="session")
def common_node(common_cluster: Cluster) -> Iterator[PrivateServer]:
    """Run one node on PostgreSQL and Redis, likewise."""
    with common_cluster.node() as server:
        yield server


@pytest.fixture(scope="session")
def other_node(common_cluster: Cluster, common_node: PrivateServer) -> Iterator[PrivateServer]:
    """Run another one beside it."""
    with common_cluster.node() as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have the modules that name `BACKENDS` run once on each."""
    backends = getattr(metafunc.module, "BACKENDS", None)
    if backends is not None and "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", backends, scope="module")


@pytest.fixture(scope="module")
def backend() -> str:
    """What the module's server stands on."""
    return "embedded"


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest, backend: str) -> tuple[PrivateServer, ...]:
    """The nodes that `people` are on."""
    # Asked for here only, so that nothing is started for a kind that no test wants.
    names = {
        "embedded": ("common_server",),
        "shared": ("common_node",),
        "two nodes": ("common_node", "other_node"),
    }[backend]
    return tuple(map(request.getfixturevalue, names))


@pytest.fixture(scope="module")
def server(servers: tuple[PrivateServer, ...]) -> PrivateServer:
    """The first of them."""
    return servers[0]


@pytest.fixture
async def people(request: pytest.FixtureRequest, server: PrivateServer) -> AsyncIterator[People]:
    """People on the nodes; after each test none has a fault in its log."""
    # A module that overrides `server` has but that one.
    servers = request.getfixturevalue("servers")
    nodes = servers if server in servers else (server,)
    async with people_on(*nodes) as people:
        yield people
    for node in nodes:
        assert "Traceback" not in node.program.output()
