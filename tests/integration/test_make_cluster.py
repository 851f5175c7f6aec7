"""`make cluster`: PostgreSQL, Redis, two nodes and nginx of its own; people come through the proxy and notice none of it."""

import asyncio
import os
import re
import signal
import tempfile
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from loadtest.api import Api as ApiClient
from loadtest.client import Client, Refused
from loadtest.connection import HandshakeRefused
from protocol.close_codes import CloseCode
from protocol.from_server import Message
from protocol.ids import MatchId
from tests.support.api import Api
from tests.support.people import People, came, fresh, name_of, people_on, say
from tests.support.private_server import PrivateServer, inherited
from tests.support.programs import Program, free_port, running

LIST = re.compile(r"^  (\w+) +(?:http://)?127\.0\.0\.1:(\d+) +pid (\d+)$", re.MULTILINE)
USERS = 50


def cluster_environment(port: int, folder: Path) -> dict[str, str]:
    return inherited() | {"PORT": str(port), "TMPDIR": str(folder)}


def listed(program: Program) -> dict[str, tuple[int, int]]:
    """Return the port and the process of every program that was told."""
    return {name: (int(port), int(pid)) for name, port, pid in LIST.findall(program.output())}


@contextmanager
def own_folder() -> Iterator[Path]:
    """Make a folder for all that a cluster has; the account of PostgreSQL can enter. In the end nothing is in it."""
    folder = Path(tempfile.mkdtemp(prefix="duologue-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    folder.rmdir()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with own_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[PrivateServer]:
    """Run `make cluster` for all tests that do not end it; what it listens on is nginx."""
    port = free_port()
    argv = ("make", "cluster")
    with running(argv, ready="Kill any", environment=cluster_environment(port, folder)) as program:
        yield PrivateServer(port, program)


@pytest.fixture
async def people(front: PrivateServer) -> AsyncIterator[People]:
    async with people_on(front) as people:
        yield people


async def node_of(people: People, client: Client) -> str:
    """Return the node that a client is on."""
    assert client.welcome is not None
    async with asyncio.timeout(60):
        while True:
            answer = await people.api.call("GET", f"/v1/users/{name_of(client)}/sessions")
            for each in answer.read(dict[str, list[dict[str, object]]])["sessions"]:
                if each["session"] == client.welcome.session:
                    return str(each["node"])[:5]


async def apart(people: People) -> tuple[dict[str, Client], MatchId]:
    """Return two of one match who are on different nodes, by node."""
    alice, bob = people.users("alice", "bob")
    match = await people.match(alice, bob)
    first = await people.come(alice)
    found = {await node_of(people, first): first}
    # Usually the next one; others may be on their way out.
    for _ in range(20):
        client = await people.come(bob)
        found.setdefault(await node_of(people, client), client)
        if len(found) == 2:
            return found, match
        await client.close()
    raise AssertionError(found)


async def test_two_chat_through_the_proxy_over_both_nodes(people: People) -> None:
    found, match = await apart(people)
    first, second = found.values()
    assert found.keys() == {"node1", "node2"}
    for writer, reader in ((first, second), (second, first)):
        for sent in await say(writer, match, *"abc"):
            assert (await reader.next(Message)).seq == sent.seq
    assert await came(first, Message) == []


async def test_the_page_and_its_origin_pass_the_proxy(people: People, front: PrivateServer) -> None:
    """Another page's scripts do not; nor do the nodes' numbers."""
    assert b"<title>Duologue" in (await people.api.exchange("GET", "/")).body
    own = {"Origin": front.http_url}
    people.leaves(await Client.connect(front.ws_url, headers=own))
    with pytest.raises(HandshakeRefused) as refused:
        await Client.connect(front.ws_url, headers={"Origin": "http://elsewhere.example"})
    assert refused.value.status == 403
    assert (await people.api.exchange("GET", "/metrics")).status == 404


async def test_a_ticket_is_in_no_log(people: People, folder: Path) -> None:
    """Neither of the proxy's nor of a node's, used or refused."""
    (alice,) = people.users("alice")
    ticket = await people.api.ticket(alice)
    client = people.leaves(await Client.connect(people.server.ws_url, ticket=ticket))
    await client.hello()
    again = people.leaves(await Client.connect(people.server.ws_url, ticket=ticket))
    with pytest.raises(Refused):
        await again.hello()
    logs = logs_in(folder)
    assert {"access.log", "nginx.log", "node1.log", "node2.log"} <= logs.keys()
    assert [name for name, log in logs.items() if ticket in log] == []


def logs_in(folder: Path) -> dict[str, str]:
    return {log.name: log.read_text() for log in folder.glob("duologue-cluster-*/logs/*")}


# ---- who is behind the proxy


def call_from(address: str, front: PrivateServer, path: str, credential: str, **headers: str) -> tuple[int, str]:
    """Ask the API from an address of this machine; return the status and how much is left."""
    connection = HTTPConnection("127.0.0.1", front.port, timeout=60, source_address=(address, 0))
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {credential}", **headers})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("X-RateLimit-Remaining", "")
    finally:
        connection.close()


async def client_from(address: str, front: PrivateServer, token: str) -> Client:
    """Connect from an address of this machine."""
    client = Client(token=token)
    await client.open(front.ws_url, local_address=address)
    return client


def test_failures_of_one_client_lock_out_no_other(front: PrivateServer) -> None:
    """Whatever it says of itself; on either node, since both share the count."""
    api, user = Api(front.port), fresh("alice")
    token, path = api.token(user), f"/v1/users/{user}/matches"
    for number in range(5):
        assert (
            call_from("127.0.0.21", front, path, "rubbish", **{"X-Forwarded-For": f"127.0.0.{30 + number}"})[0] == 401
        )
    statuses = [call_from("127.0.0.21", front, path, "rubbish")[0] for _ in range(10)]
    assert statuses[-5:] == [429] * 5  # at most one more on each node, before it is told
    assert call_from("127.0.0.21", front, path, token, Forwarded="for=127.0.0.22")[0] == 429
    for address in ("127.0.0.22", "127.0.0.30"):
        assert call_from(address, front, path, token)[0] == 200
    assert call_from("127.0.0.21", front, path, "dev")[0] == 200


async def test_fifty_users_on_one_address_are_limited_one_by_one(people: People, front: PrivateServer) -> None:
    """A campus: each has a bucket of their own, on both nodes together, and one that is empty is nobody else's."""
    users = people.users(*(f"user{number}" for number in range(USERS)))
    tokens = [await people.api.token(user) for user in users]
    clients = [people.leaves(await client_from("127.0.0.41", front, token)) for token in tokens]
    await asyncio.gather(*(client.hello() for client in clients))
    assert {await node_of(people, client) for client in clients[:10]} == {"node1", "node2"}

    def ask(number: int) -> tuple[int, str]:
        return call_from("127.0.0.41", front, f"/v1/users/{users[number]}/matches", tokens[number])

    # API_RATE_PER_S is 20: several at a time are faster than that on any machine.
    with ThreadPoolExecutor(8) as pool:
        while (greedy := {status for status, _ in await to_thread(list, pool.map(ask, [0] * 60))}) == {200}:
            continue
    assert greedy <= {200, 429}
    others = await to_thread(lambda: [ask(number) for number in range(1, USERS)])
    assert others == [(200, "39")] * (USERS - 1)  # API_BURST is 40


# ---- falling and ending


async def test_what_is_killed_is_started_again(people: People, front: PrivateServer) -> None:
    """All that nodes stand on, and a node: its people come back through the proxy and find who stayed."""
    found, match = await apart(people)
    processes, killed = listed(front.program), ("redis", "postgres", "node1")
    for name in killed:
        os.kill(processes[name][1], signal.SIGKILL)
    assert await found["node1"].closed() == CloseCode.ABNORMAL
    await until(lambda: all(f"{name} ended (SIGKILL) and is started" in front.program.output() for name in killed))
    await until_ready(front.program)
    back = await people.come(name_of(found["node1"]))
    sent = await back.send(match, "still here", fresh("message"))
    assert (await found["node2"].next(Message, within_s=60)).seq == sent.seq


async def until_ready(program: Program) -> None:
    """Wait until every node says that it is."""
    ports = [port for name, (port, _) in listed(program).items() if name.startswith("node")]
    async with asyncio.timeout(60):
        while not all([await is_ready(port) for port in ports]):  # noqa: ASYNC110 - other processes' lives
            await asyncio.sleep(0.1)


async def is_ready(port: int) -> bool:
    api = ApiClient(f"http://127.0.0.1:{port}", "")
    try:
        return (await api.exchange("GET", "/readyz")).status == 200
    except OSError:
        return False
    finally:
        api.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that no event tells of."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - other processes' lives
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
async def test_nothing_outlives_it(number: signal.Signals) -> None:
    """Neither after Ctrl-C nor when make itself is killed: no process, no file."""
    with own_folder() as folder:
        environment = cluster_environment(free_port(), folder)
        with running(("make", "cluster", "NODES=1"), ready="Kill any", environment=environment) as program:
            everything = psutil.Process(program.pid).children(recursive=True)
            assert {"postgres", "redis-server", "nginx"} <= {each.name() for each in everything}
            if number is signal.SIGINT:
                os.killpg(program.pid, number)  # as the terminal does: all in the foreground
            else:
                os.kill(program.pid, number)
            await until(lambda: not any(each.is_running() for each in everything))
            await until(lambda: not any(folder.iterdir()))
            await to_thread(program.wait_ended)
