"""The node under a page is stopped: the page is on another one before it ends, and nobody sees it."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.async_api import expect

from tests.browser.callers import NewCaller, meet, talk
from tests.support.private_cluster import nodes_of, private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import PrivateServer
from tests.support.reverse_proxy import reverse_proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Notes whether the banner that tells of a lost connection was ever there.
WATCH_BANNER = """() => {
  window.bannerSeen = false;
  const look = () => { bannerSeen ||= !document.querySelector(".banner").hidden; };
  new MutationObserver(look).observe(document.body, { attributes: true, childList: true, subtree: true });
  look();
}"""


@pytest.fixture(scope="module")
def nodes(postgres: PrivatePostgres, redis_server: PrivateRedis) -> Iterator[tuple[PrivateServer, ...]]:
    """Run two nodes."""
    with ExitStack() as stack:
        yield stack.enter_context(nodes_of(private_cluster(postgres, redis_server, DRAIN_S="20"), 2))


async def test_a_page_in_a_call_moves_before_its_node_ends(
    new_caller: NewCaller, nodes: tuple[PrivateServer, ...]
) -> None:
    """No banner, the same peer connection, and everything works on the other node."""
    async with reverse_proxy(nodes[0].port) as balancer:
        url = f"http://127.0.0.1:{balancer.port}"
        ada, bo = await new_caller("Ada", url=url), await new_caller("Bo", url=url)
        await meet(ada, bo)
        await talk(ada, bo)
        for caller in (ada, bo):
            await caller.page.evaluate(WATCH_BANNER)
        balancer.target = nodes[1].port
        os.kill(nodes[0].program.pid, signal.SIGTERM)
        assert await asyncio.to_thread(nodes[0].program.wait_ended) == 0
        for caller in (ada, bo):
            await caller.sees_moving_pictures()
            assert await caller.page.evaluate("[bannerSeen, connections.length, sockets.at(-1).readyState]") == [
                False,
                1,
                1,
            ]
        await ada.press("Hang up")
        for caller in (ada, bo):
            await expect(caller.entries).to_have_text([re.compile(r"^Video call, \d+:\d\d$")])
