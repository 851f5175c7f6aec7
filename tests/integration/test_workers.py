"""`--workers N`: several nodes on one port, kept by a parent that replaces what falls and ends them all."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from loadtest.api import Api
from loadtest.client import Client
from loadtest.connection import HandshakeRefused
from protocol.from_server import GoingAway, Message
from tests.support.people import People, name_of, numbers, people_on, until_numbers
from tests.support.private_cluster import Cluster, Crowd, private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import PrivateServer, inherited
from tests.support.programs import ROOT, free_port, running

WORKERS = 2
# Workers share their connections out by chance.
ATTEMPTS = 200
# A parent that gives up on a worker sooner.
IMPATIENT = "import sys, server.workers as w; w.HUNG_S, w.END_SLACK_S = 5.0, 3.0; from server.__main__ import main; sys.exit(main())"


def free_ports(number: int) -> int:
    """Return the first of so many free ports in a row."""
    while True:
        first = free_port()
        if all(free_port() == first + place for place in range(1, number)):
            return first


@pytest.fixture(scope="module")
def cluster(postgres: PrivatePostgres, redis_server: PrivateRedis) -> Cluster:
    """Make a cluster on a database of its own."""
    return private_cluster(postgres, redis_server, WORKERS=str(WORKERS), NODE_NAME="w", DRAIN_S="5")


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_ports(WORKERS)


@pytest.fixture(scope="module")
def server(cluster: Cluster, metrics_port: int) -> Iterator[PrivateServer]:
    """Run one with two workers for all tests that do not end it."""
    with cluster.node(METRICS_PORT=str(metrics_port)) as server:
        yield server


@pytest.fixture
async def people(server: PrivateServer) -> AsyncIterator[People]:
    async with people_on(server) as people:
        yield people
    assert "Traceback" not in server.program.output()


@contextmanager
def impatient(cluster: Cluster, **settings: str) -> Iterator[PrivateServer]:
    port = free_port()
    environment = inherited() | cluster.settings(PORT=str(port), **settings)
    with running([sys.executable, "-c", IMPATIENT, "--dev"], ready=f":{port}", environment=environment) as program:
        yield PrivateServer(port, program)


def workers_of(server: PrivateServer) -> list[psutil.Process]:
    return sorted(psutil.Process(server.program.pid).children(), key=lambda worker: worker.pid)


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds that no event tells of."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - another process's life
            await asyncio.sleep(0.02)


async def node_of(people: People, client: Client) -> str:
    """Return which worker a client is on."""
    assert client.welcome is not None
    async with asyncio.timeout(60):
        while True:
            listed = await people.api.call("GET", f"/v1/users/{name_of(client)}/sessions")
            for each in listed.read(dict[str, list[dict[str, object]]])["sessions"]:
                if each["session"] == client.welcome.session:
                    return str(each["node"])


async def on_every_worker(people: People, user: str) -> dict[str, Client]:
    """Connect until there is somebody on each worker; return one client of each."""
    found: dict[str, Client] = {}
    for _ in range(ATTEMPTS):
        client = await people.come(user)
        node = await node_of(people, client)
        if node in found:
            await client.close()
        found.setdefault(node, client)
        if len(found) == WORKERS:
            return found
    raise AssertionError(found)


# ---- working together


async def test_people_on_different_workers_chat(people: People) -> None:
    """One port, one line that says so; each worker is a node of its own name."""
    alice, bob = people.users("alice", "bob")
    match = await people.match(alice, bob)
    writers, readers = await on_every_worker(people, alice), await on_every_worker(people, bob)
    assert {node[:4] for node in writers} == {"w-0-", "w-1-"}
    for node, writer in writers.items():
        sent = await writer.send(match, f"from {node}", node)
        for reader in readers.values():
            assert (await reader.next(Message)).seq == sent.seq
    (line,) = [line for line in people.server.program.output().splitlines() if "is ready" in line]
    assert f"{people.server.http_url}, shared by {WORKERS} workers" in line


async def test_each_worker_has_a_port_for_its_own_numbers(people: People, metrics_port: int) -> None:
    """Which is no page, no API and no WebSocket; on the common port, where any of them may answer, are no numbers."""
    await on_every_worker(people, people.users("alice")[0])
    for worker in range(WORKERS):
        private = people.leaves_api(Api(f"http://127.0.0.1:{metrics_port + worker}", "dev"))
        await until_numbers(private, lambda now: now["connections_open"] >= 1)
        assert (await private.exchange("GET", "/readyz")).status == 200
        assert (await private.exchange("GET", "/healthz")).status == 200
        for path in ("/", "/v1/dev", "/v1/users/alice/matches", "/openapi.json"):
            assert (await private.exchange("GET", path)).status == 404
        with pytest.raises(HandshakeRefused) as refused:
            await Client.connect(f"ws://127.0.0.1:{metrics_port + worker}/ws")
        assert refused.value.status == 403
    assert (await people.api.exchange("GET", "/metrics")).status == 404
    assert (await people.api.exchange("GET", "/readyz")).status == 200


async def test_a_node_alone_may_have_a_private_port_too(cluster: Cluster) -> None:
    port = free_port()
    with cluster.node(WORKERS="1", METRICS_PORT=str(port)) as server:
        api, private = Api(server.http_url, "dev"), Api(f"http://127.0.0.1:{port}", "dev")
        assert (await numbers(private))["connections_open"] == 0
        assert (await api.exchange("GET", "/metrics")).status == 404
        api.close()
        private.close()


# ---- falling


async def test_a_worker_that_is_killed_is_replaced(people: People, server: PrivateServer) -> None:
    """Told with its number and signal; nothing acked is lost, and the other one's clients notice nothing."""
    crowd, (alice,) = Crowd(people.api), people.users("alice")
    for _ in range(4):
        await crowd.pair(server, server)
    clients = await on_every_worker(people, alice)
    doomed, other = workers_of(server)

    async def kill() -> None:
        await crowd.all_more_acked()
        doomed.kill()
        await eventually(lambda: len(workers_of(server)) == WORKERS and doomed not in workers_of(server))
        await crowd.all_more_acked()

    report = await crowd.live(kill())
    assert (report.faults, report.unanswered) == (0, 0), report.render()
    assert [client.is_open for client in clients.values()].count(True) == 1
    assert other in workers_of(server)
    said = server.program.output()
    assert f"event=worker.ended worker=0 pid={doomed.pid} ended=SIGKILL again_in_s=0.5" in said
    await eventually(lambda: server.program.output().count("event=worker.ready worker=0") == 2)
    await on_every_worker(people, alice)


async def test_a_worker_that_stands_still_is_replaced(cluster: Cluster) -> None:
    """The kernel would go on giving it connections."""
    with impatient(cluster) as server:
        frozen, other = workers_of(server)
        frozen.suspend()
        await eventually(lambda: "event=worker.hung worker=0" in server.program.output())
        await eventually(lambda: server.program.output().count("event=worker.ready worker=0") == 2)
        assert not frozen.is_running()
        assert other in workers_of(server)


async def test_a_worker_that_falls_again_and_again_is_given_ever_more_time(cluster: Cluster) -> None:
    with cluster.node() as server:
        for pause in ("0.5", "1.0", "2.0"):
            before = server.program.output().count("event=worker.ready worker=1")
            (doomed,) = [each for each in workers_of(server) if f"pid={each.pid}" in last_start(server, worker=1)]
            doomed.kill()
            await eventually(lambda pause=pause: f"ended=SIGKILL again_in_s={pause}" in server.program.output())  # type: ignore[misc]
            await eventually(
                lambda before=before: (  # type: ignore[misc]
                    server.program.output().count("event=worker.ready worker=1") > before
                )
            )


def last_start(server: PrivateServer, *, worker: int) -> str:
    return [line for line in server.program.output().splitlines() if f"event=worker.started worker={worker} " in line][
        -1
    ]


# ---- ending


async def test_sigterm_ends_all_workers_gracefully(cluster: Cluster) -> None:
    """Everybody's clients are told; exit code 0; nobody stays."""
    with cluster.node() as server:
        workers = workers_of(server)
        async with people_on(server) as people:
            clients = await on_every_worker(people, people.users("alice")[0])
            people.api.close()
            os.kill(server.program.pid, signal.SIGTERM)
            for client in clients.values():
                await client.next(GoingAway)
                await client.close()
            assert await asyncio.to_thread(server.program.wait_ended) == 0
        assert not any(worker.is_running() for worker in workers)
        assert server.program.output().count("event=stopped") == WORKERS


async def test_a_second_signal_ends_all_at_once(cluster: Cluster) -> None:
    with cluster.node(DRAIN_S="3600") as server:
        workers = workers_of(server)
        async with people_on(server) as people:
            clients = await on_every_worker(people, people.users("alice")[0])
            os.kill(server.program.pid, signal.SIGTERM)
            for client in clients.values():
                await client.next(GoingAway)
            os.kill(server.program.pid, signal.SIGTERM)
            assert await asyncio.to_thread(server.program.wait_ended) == 128 + signal.SIGTERM
        assert not any(worker.is_running() for worker in workers)


async def test_a_worker_that_does_not_end_is_ended(cluster: Cluster) -> None:
    """And the exit code says that this was no good end."""
    with impatient(cluster, DRAIN_S="0") as server:
        stuck, _ = workers_of(server)
        stuck.suspend()
        os.kill(server.program.pid, signal.SIGTERM)
        assert await asyncio.to_thread(server.program.wait_ended) == 1
        assert "event=worker.stays worker=0" in server.program.output()
        assert not stuck.is_running()


async def test_nobody_outlives_the_parent(cluster: Cluster) -> None:
    """Killed, it tells nobody: the kernel does, and the workers send their clients away."""
    with cluster.node() as server:
        workers = workers_of(server)
        async with people_on(server) as people:
            clients = await on_every_worker(people, people.users("alice")[0])
            os.kill(server.program.pid, signal.SIGKILL)
            for client in clients.values():
                await client.next(GoingAway)
        await eventually(lambda: not any(worker.is_running() for worker in workers))


# ---- not starting


@pytest.mark.parametrize("taken", ["PORT", "METRICS_PORT"])
def test_what_no_worker_could_use_ends_the_start_with_one_line(cluster: Cluster, taken: str) -> None:
    """Exit code 2; also a port that others share among themselves is not joined."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = str(held.getsockname()[1])
        environment = inherited() | cluster.settings(**{"PORT": "0", taken: port, "LOG_LEVEL": "warning"})
        done = subprocess.run(
            [sys.executable, "-m", "server", "--dev"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    host = taken.replace("PORT", "HOST")
    why = f"cannot listen on {host} '127.0.0.1', {taken} {port}: Address already in use"
    assert (done.returncode, done.stderr) == (2, f"duologue: cannot start: {why}\n")
