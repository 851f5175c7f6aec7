"""One server for the tests that do not need their own; a module with other settings overrides `server`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.people import People, people_on, unlimited_server
from tests.support.private_cluster import private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import PrivateServer


@pytest.fixture(scope="session")
def common_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """Run one server on SQLite for the whole run, with the rate limits lifted."""
    with unlimited_server(tmp_path_factory.mktemp("common") / "duologue.db") as server:
        yield server


@pytest.fixture(scope="session")
def common_node(postgres: PrivatePostgres, redis_server: PrivateRedis) -> Iterator[PrivateServer]:
    """Run one node on PostgreSQL and Redis for the whole run, likewise."""
    with private_cluster(postgres, redis_server).node() as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have the modules that say `BACKENDS = ("embedded", "shared")` run once on each."""
    backends = getattr(metafunc.module, "BACKENDS", None)
    if backends is not None and "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", backends, scope="module")


@pytest.fixture(scope="module")
def backend() -> str:
    """What the module's server stands on."""
    return "embedded"


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, backend: str) -> PrivateServer:
    """The server that `people` are on."""
    # Asked for here only, so that nothing is started for a kind that no test wants.
    server = request.getfixturevalue("common_server" if backend == "embedded" else "common_node")
    assert isinstance(server, PrivateServer)
    return server


@pytest.fixture
async def people(server: PrivateServer) -> AsyncIterator[People]:
    """People on `server`; after each test it has no fault in its log."""
    async with people_on(server) as people:
        yield people
    assert "Traceback" not in server.program.output()
