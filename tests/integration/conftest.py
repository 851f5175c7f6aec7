"""One server for the tests that do not need their own; a module with other settings overrides `server`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.people import People, people_on, unlimited_server
from tests.support.private_server import PrivateServer


@pytest.fixture(scope="session")
def common_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """Run one server on SQLite for the whole run, with the rate limits lifted."""
    with unlimited_server(tmp_path_factory.mktemp("common") / "duologue.db") as server:
        yield server


@pytest.fixture(scope="module")
def server(common_server: PrivateServer) -> PrivateServer:
    """The server that `people` are on."""
    return common_server


@pytest.fixture
async def people(server: PrivateServer) -> AsyncIterator[People]:
    """People on `server`; after each test it has no fault in its log."""
    async with people_on(server) as people:
        yield people
    assert "Traceback" not in server.program.output()
