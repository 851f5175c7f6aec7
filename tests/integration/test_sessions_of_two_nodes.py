"""Sessions, revocation, tickets and limits of two nodes on one PostgreSQL and one Redis; with Redis away, too."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex

import pytest
from msgspec import Struct

from loadtest.client import Client, Refused
from protocol.errors import ErrorCode
from tests.support.api import Api
from tests.support.people import code_of, fresh
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis, private_redis
from tests.support.private_server import PrivateServer, private_server

SECRETS = {
    "TOKEN_SECRETS": "7c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f60718293",
    "API_KEYS": "k3y-8c1f0b7a6d5e4f3c2b1a09f8e7d6c5b4a392",
}
KEY = SECRETS["API_KEYS"]
# A Redis whose answer does not come within a quarter of a second is done without: tickets are unavailable, a decision is
# not counted for all. On a busy machine the same is done again, with somebody else.
ATTEMPTS = 5


class Cluster(Struct):
    """Two nodes and their Redis."""

    one: PrivateServer
    two: PrivateServer
    redis: PrivateRedis

    @property
    def here(self) -> Api:
        return Api(self.one.port, KEY)

    @property
    def there(self) -> Api:
        return Api(self.two.port, KEY)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, postgres: PrivatePostgres) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("two-nodes")
    database = asyncio.run(postgres.make_database(fresh("two").replace("-", "_")))
    with ExitStack() as stack:
        redis = stack.enter_context(private_redis(folder))
        settings = {
            **SECRETS,
            "DATABASE_URL": database,
            "DATABASE_DURABILITY": "waived",
            "REDIS_URL": redis.url,
            "AUTH_FAILURES_MAX": "5",
            "API_BURST": "30",
            "API_RATE_PER_S": "0.01",
            "TRUSTED_PROXIES": "127.0.0.1",
        }
        nodes = [
            stack.enter_context(private_server(None, port=None, dev=False, **settings, NODE_NAME=name))
            for name in ("one", "two")
        ]
        yield Cluster(nodes[0], nodes[1], redis)


async def come(server: PrivateServer, token: str, device: str | None = None) -> Client:
    client = await Client.connect(server.ws_url, token=token)
    await client.hello(device=device)
    return client


async def answer_of(server: PrivateServer, *, token: str | None = None, ticket: str | None = None) -> str:
    """Say hello and leave; return `welcome`, or why not."""
    # From an address of its own: refusals are counted by address.
    come_from = {"X-Forwarded-For": f"2001:db8:{token_hex(2)}:{token_hex(2)}::1"}
    client = await Client.connect(server.ws_url, token=token, ticket=ticket, headers=come_from)
    try:
        await client.hello()
    except Refused as refused:
        return code_of(refused)
    finally:
        await client.close()
    return "welcome"


def listed(api: Api, user: str) -> list[dict[str, object]] | None:
    """Return the sessions; None when Redis took too long."""
    reply = api.call("GET", f"/v1/users/{user}/sessions")
    if reply.status == 503:
        return None
    assert reply.status == 200, reply
    found = reply.json["sessions"]
    assert isinstance(found, list)
    return found


async def devices(api: Api, user: str, wanted: set[object]) -> list[dict[str, object]]:
    """Wait until just these devices are listed: what another node noted is seen a little later."""
    async with asyncio.timeout(60):
        while (found := listed(api, user)) is None or {each["device"] for each in found} != wanted:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    return found


async def test_sessions_of_both_nodes_are_listed_on_both(cluster: Cluster) -> None:
    user = fresh("alice")
    phone = await come(cluster.one, cluster.here.token(user), "phone")
    laptop = await come(cluster.two, cluster.here.token(user), "laptop")
    for api in (cluster.here, cluster.there):
        found = await devices(api, user, {"phone", "laptop"})
        assert len({each["node"] for each in found}) == 2
    await phone.close()
    await devices(cluster.there, user, {"laptop"})
    await laptop.close()


async def test_ending_a_session_reaches_the_other_node(cluster: Cluster) -> None:
    user = fresh("alice")
    lost, kept = cluster.here.token(user), cluster.here.token(user)
    phone, laptop = await come(cluster.two, lost, "phone"), await come(cluster.two, kept, "laptop")
    found = await devices(cluster.here, user, {"phone", "laptop"})
    session = next(each["session"] for each in found if each["device"] == "phone")
    assert cluster.here.call("DELETE", f"/v1/users/{user}/sessions/{session}").status == 204
    assert await phone.closed() == 4501
    await laptop.ping()
    assert [await answer_of(node, token=lost) for node in (cluster.one, cluster.two)] == ["token_invalid"] * 2
    assert [await answer_of(node, token=kept) for node in (cluster.one, cluster.two)] == ["welcome"] * 2
    await laptop.close()


async def test_signing_out_reaches_the_other_node(cluster: Cluster) -> None:
    user = fresh("alice")
    token = cluster.here.token(user)
    clients = [await come(cluster.one, token), await come(cluster.two, token)]
    assert cluster.there.call("DELETE", f"/v1/users/{user}/sessions").status == 204
    assert [await client.closed() for client in clients] == [4501, 4501]
    assert [await answer_of(node, token=token) for node in (cluster.one, cluster.two)] == ["token_invalid"] * 2
    assert await answer_of(cluster.one, token=cluster.there.token(user)) == "welcome"


async def test_a_ticket_of_one_node_works_on_the_other_once(cluster: Cluster) -> None:
    for _ in range(ATTEMPTS):
        reply = cluster.here.call("POST", "/v1/tickets", {"user": fresh("alice")})
        ticket = str(reply.json.get("ticket"))
        answers = [await answer_of(node, ticket=ticket) for node in (cluster.two, cluster.one)]
        if reply.status == 201 and ErrorCode.UNAVAILABLE not in answers:
            assert answers == ["welcome", "ticket_invalid"]
            return
    raise AssertionError("Redis never answered in time")


def test_a_users_requests_on_both_nodes_are_one_count(cluster: Cluster) -> None:
    for _ in range(ATTEMPTS):
        statuses = statuses_of_a_user(cluster, 34)
        assert set(statuses[:30]) == {200}
        if statuses[30:] == [429] * 4:
            return
    raise AssertionError("of 34 requests on two nodes never just 30 were answered")


def statuses_of_a_user(cluster: Cluster, requests: int) -> list[int]:
    """Ask as a new user on both nodes in turn."""
    user = fresh("alice")
    token = cluster.here.token(user)
    apis = (cluster.here.as_(token), cluster.there.as_(token))
    return [apis[turn % 2].call("GET", f"/v1/users/{user}/matches").status for turn in range(requests)]


async def test_failures_on_both_nodes_are_one_count(cluster: Cluster) -> None:
    """A node learns of a block with its own next failure."""
    bad = (cluster.here.as_("rubbish"), cluster.there.as_("rubbish"))
    for attempt in range(ATTEMPTS):
        address = f"203.0.113.{attempt}"
        for turn in range(6):
            reply = bad[turn % 2].call("GET", "/v1/users/a/matches", None, content=None, x_forwarded_for=address)
            assert reply.status == 401
            await asyncio.sleep(0.05)  # the count is told behind the scenes
        if await locks_out(cluster, address):
            return
    raise AssertionError("three failures on each of two nodes are not six")


async def locks_out(cluster: Cluster, address: str) -> bool:
    """Tell whether both nodes soon let nobody in from `address`; asking with good tokens is no failure."""
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            for api in (cluster.here, cluster.there):
                while is_let_in(cluster, api, address):  # noqa: ASYNC110 - another process's count
                    await asyncio.sleep(0.02)
            return True
    return False


def is_let_in(cluster: Cluster, api: Api, address: str) -> bool:
    """Ask from `address` as somebody who never asked before."""
    user = fresh("alice")
    mine = api.as_(cluster.here.token(user))
    status = mine.call("GET", f"/v1/users/{user}/matches", None, content=None, x_forwarded_for=address).status
    assert status in (200, 429)
    return status == 200


async def test_without_redis_revocations_hold_and_tickets_are_unavailable(cluster: Cluster) -> None:
    """By the database, within 2 s; tokens work, limits are each node's own."""
    user = fresh("alice")
    token, other = cluster.here.token(user), cluster.here.token(fresh("bob"))
    client = await come(cluster.two, token)
    cluster.redis.kill()
    assert cluster.here.call("POST", "/v1/tickets", {"user": user}).code == "unavailable"
    assert await answer_of(cluster.two, ticket="A" * 43) == ErrorCode.UNAVAILABLE
    assert cluster.here.call("GET", f"/v1/users/{user}/sessions").code == "unavailable"
    assert await answer_of(cluster.two, token=other) == "welcome"
    assert cluster.here.call("DELETE", f"/v1/users/{user}/sessions").status == 204
    async with asyncio.timeout(20):
        assert await client.closed() == 4501
    assert [await answer_of(node, token=token) for node in (cluster.one, cluster.two)] == ["token_invalid"] * 2
    cluster.redis.start()
    async with asyncio.timeout(60):
        while cluster.here.call("POST", "/v1/tickets", {"user": user}).status != 201:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
