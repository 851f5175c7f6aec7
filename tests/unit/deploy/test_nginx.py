"""deploy/nginx.conf as nginx itself reads it, and what the nodes need of it."""

import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from deploy.cluster.parts import NGINX_CONF, Place, front_config, nginx
from deploy.cluster.programs import Program
from loadtest.connection import open_connection
from server.settings import Settings
from tests.support.programs import find_program, free_port

CONFIG = NGINX_CONF.read_text()


def check(config: Path) -> str:
    """Have nginx check a whole configuration; return what it says."""
    argv = (find_program("nginx"), "-t", "-q", "-e", "stderr", "-p", str(config.parent), "-c", str(config))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


@contextmanager
def front(place: Place, nodes: list[int]) -> Iterator[str]:
    """Run nginx in front of these ports until the block ends; yield where clients connect."""
    program = Program(nginx(place, nodes), place.logs)
    program.start()
    try:
        program.wait_ready(threading.Event())
        yield f"ws://127.0.0.1:{place.port}/ws"
    finally:
        program.ask_to_end()
        program.wait_ended(30.0)


@asynccontextmanager
async def node(port: int) -> AsyncIterator[None]:
    """Listen as a node that says nothing, until the block ends."""

    async def stay(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(stay, "127.0.0.1", port, compression=None):
        yield


async def all_get_in(url: str) -> None:
    """Connect ten times, one after the other, and stay for as long as the others do; raise `HandshakeRefused`."""
    connections = [await open_connection(url, lambda _: None) for _ in range(10)]
    for connection in connections:
        connection.abort()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, free_port())
    place.make()
    return place


def test_nginx_takes_it(place: Place) -> None:
    """Without a warning; the nodes' names are those of compose, which only its network knows."""
    nginx(place, [18_001, 18_002, 18_003])
    assert check(place.folder / "nginx" / "nginx.conf") == ""


def test_the_same_text_serves_on_this_machine(place: Place) -> None:
    """Other addresses, and nothing else."""
    here = front_config(CONFIG, 18_000, [18_001], place.logs)
    assert "listen 127.0.0.1:18000;" in here
    assert here.count("server 127.0.0.1:") == 1
    assert "node1" not in here
    assert "node2" not in here
    assert "/var/log" not in here
    assert len(here.splitlines()) == len(CONFIG.splitlines()) - 1


def test_a_quiet_socket_outlives_the_proxys_patience() -> None:
    """Nodes ping before it ends, and have given the silent up by then."""
    settings = Settings()
    for direction in ("read", "send"):
        patience_s = CONFIG.split(f"proxy_{direction}_timeout ")[1].split("s;")[0]
        assert float(patience_s) > 2 * (settings.ping_after_s + settings.ping_timeout_s)


def test_no_query_reaches_a_log() -> None:
    """It may be a ticket."""
    line = next(line for line in CONFIG.splitlines() if line.startswith("log_format"))
    for variable in ("$request ", '$request"', "$request_uri", "$args", "$query_string"):
        assert variable not in line


async def test_a_node_that_was_started_again_takes_everybody_at_once(place: Place) -> None:
    """Also when nobody speaks anything but WebSocket, which ends too late to tell nginx that the node is well."""
    first, second = free_port(), free_port()
    with front(place, [first, second]) as url:
        async with node(second):
            await all_get_in(url)  # the first one refuses, and is found to be down
        async with node(first):
            await all_get_in(url)
