"""Two people on two nodes, one PostgreSQL and one Redis between them, call each other."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.async_api import expect

from tests.browser.callers import Caller, NewCaller, meet
from tests.support.private_cluster import nodes_of, private_cluster
from tests.support.private_coturn import private_coturn
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import PrivateServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def nodes(
    postgres: PrivatePostgres, redis_server: PrivateRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[PrivateServer, ...]]:
    """Run two nodes and a relay."""
    with ExitStack() as stack:
        relay = stack.enter_context(private_coturn(tmp_path_factory.mktemp("relay")))
        cluster = private_cluster(postgres, redis_server, CALL_RELAY_ONLY="true", **relay.settings)
        yield stack.enter_context(nodes_of(cluster, 2))


async def test_the_callee_is_on_another_node(new_caller: NewCaller, nodes: tuple[PrivateServer, ...]) -> None:
    """Ringing, signals, the end and the line in the log go from node to node."""
    ada = await new_caller("Ada", url=nodes[0].http_url)
    bo = await new_caller("Bo", url=nodes[1].http_url)
    other: Caller = await new_caller("Bo", url=nodes[0].http_url)
    await meet(ada, bo)
    await ada.press("Video call")
    await expect(other.sheet).to_be_visible()
    await bo.press("Accept with video")
    await expect(other.sheet).to_have_count(0)
    await talk_goes_on(ada, bo)
    await bo.press("Hang up")
    for caller in (ada, bo):
        await expect(caller.view).to_contain_text("Call ended")
        await expect(caller.entries).to_have_text([re.compile(r"^Video call, \d+:\d\d$")])


async def talk_goes_on(*callers: Caller) -> None:
    """Everybody sees the other move, over the relay."""
    for caller in callers:
        await caller.sees_moving_pictures()
        assert await caller.routes() == [["relay", "relay"]]
