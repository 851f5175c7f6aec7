"""How often one may ask, and fail: the API's limits and their headers, failed authentications, clients behind a proxy."""

import asyncio
import time
from collections.abc import Iterator
from secrets import token_hex

import pytest

from loadtest.client import Client, Refused
from loadtest.connection import HandshakeRefused
from protocol.errors import ErrorCode
from tests.support.api import Api, Reply
from tests.support.people import fresh, people_on
from tests.support.private_server import PrivateServer, private_server
from tests.support.reverse_proxy import reverse_proxy

PER_ADDRESS = 50
SETTINGS: dict[str, str] = {
    # So little that nothing comes back while a test runs.
    "API_RATE_PER_S": "0.06",
    "API_BURST": "25",
    "API_KEY_RATE_PER_S": "1000",
    "API_KEY_BURST": "500",
    "MINTS_PER_MIN": "3",
    "AUTH_FAILURES_MAX": "5",
    "MAX_CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS),
    "TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
}


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    """Run a server that believes what comes from this machine, so that each test has addresses of its own."""
    with private_server(None, port=None, dev=True, **SETTINGS) as server:
        yield server


@pytest.fixture
def api(server: PrivateServer) -> Api:
    return Api(server.port)


def address() -> str:
    """Return an address that nobody had before."""
    number = int(token_hex(5), 16)
    return f"100.{64 + number % 64}.{number // 64 % 256}.{number // 16_384 % 256}"


def read_matches(api: Api, user: str, **headers: str) -> Reply:
    return api.call("GET", f"/v1/users/{user}/matches", None, content=None, **headers)


def in_headers(reply: Reply, name: str) -> dict[str, dict[str, int]]:
    """Read a list of structured fields: each item's name and parameters."""
    items = [item.strip().split(";") for item in reply.headers[name].split(",")]
    return {
        item[0].strip('"'): {key: int(value) for key, value in (part.split("=") for part in item[1:])} for item in items
    }


# ---- the API


def test_a_user_may_ask_so_often_and_is_told_what_is_left(api: Api) -> None:
    user = fresh("alice")
    mine = api.as_(api.token(user))
    before = time.time()
    first = read_matches(mine, user)
    assert first.status == 200
    assert in_headers(first, "ratelimit-policy") == {"api": {"q": 25, "w": 417}}
    assert in_headers(first, "ratelimit")["api"] == {"r": 24, "t": 17}
    assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("25", "24")
    assert int(before) + 17 <= int(first.headers["x-ratelimit-reset"]) <= time.time() + 17

    replies = [read_matches(mine, user) for _ in range(40)]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    for reply in refused:
        assert reply.code == "rate_limited"
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.headers["x-ratelimit-remaining"] == "0"
    other = fresh("bob")
    assert read_matches(api.as_(api.token(other)), other).status == 200


def test_an_api_key_has_a_limit_of_its_own(api: Api) -> None:
    reply = read_matches(api, "alice")
    assert in_headers(reply, "ratelimit-policy") == {"key": {"q": 500, "w": 1}}


def test_a_user_may_mint_so_many_tickets_a_minute(api: Api) -> None:
    mine = api.as_(api.token(fresh("alice")))
    statuses = [mine.call("POST", "/v1/tickets", {}).status for _ in range(7)]
    assert 429 in statuses
    assert 3 <= statuses.count(201) <= 6  # a minute may end meanwhile
    refused = mine.call("POST", "/v1/tickets", {})
    if refused.status == 429:
        assert set(in_headers(refused, "ratelimit")) == {"api", "mints"}
        assert refused.headers["x-ratelimit-limit"] == "3"


def test_answers_that_no_limit_was_asked_for_have_no_headers(api: Api) -> None:
    for reply in (api.call("GET", "/healthz"), api.as_("").call("POST", "/v1/tickets", {})):
        assert not [name for name in reply.headers if "ratelimit" in name]


# ---- failed authentications


def test_after_five_failures_an_address_waits_and_others_do_not(api: Api) -> None:
    here, user = address(), fresh("alice")
    good = api.token(user)
    for _ in range(5):
        reply = read_matches(api.as_("rubbish"), user, x_forwarded_for=here)
        assert (reply.status, reply.code) == (401, "token_invalid")
    sixth = read_matches(api.as_("rubbish"), user, x_forwarded_for=here)
    assert (sixth.status, sixth.code) == (429, "rate_limited")
    assert 890 <= int(sixth.headers["retry-after"]) <= 900
    assert read_matches(api.as_(good), user, x_forwarded_for=here).status == 429
    assert read_matches(api.as_(good), user, x_forwarded_for=address()).status == 200
    # The backend cannot be locked out.
    assert read_matches(api, user, x_forwarded_for=here).status == 200


def test_what_the_proxy_did_not_say_is_not_believed(api: Api) -> None:
    """A client's own header stays left of what the proxy adds."""
    here, user = address(), fresh("alice")
    for _ in range(5):
        read_matches(api.as_("rubbish"), user, x_forwarded_for=f"{address()}, {here}, 10.1.2.3")
    assert read_matches(api.as_("rubbish"), user, x_forwarded_for=f"{address()}, {here}").status == 429
    forwarded = address()
    for _ in range(5):
        read_matches(api.as_("rubbish"), user, forwarded=f'for={address()}, for="{forwarded}:4711"')
    assert read_matches(api.as_("rubbish"), user, forwarded=f"for={forwarded}").status == 429


def test_ipv6_counts_by_its_network(api: Api) -> None:
    for number in range(5):
        read_matches(api.as_("rubbish"), "alice", x_forwarded_for=f"2001:db8:77:1::{number}")
    assert read_matches(api.as_("rubbish"), "alice", x_forwarded_for="2001:db8:77:1:ffff::1").status == 429
    assert read_matches(api.as_("rubbish"), "alice", x_forwarded_for="2001:db8:77:2::1").status == 401


def test_without_trusted_proxies_headers_change_nothing() -> None:
    with private_server(AUTH_FAILURES_MAX="5") as server:
        api = Api(server.port)
        statuses = [read_matches(api.as_("rubbish"), "a", x_forwarded_for=address()).status for _ in range(6)]
        assert statuses == [401] * 5 + [429]
        assert read_matches(api, "a").status == 200


def test_requests_without_credentials_and_forbidden_ones_are_no_failures(api: Api) -> None:
    here, user = address(), fresh("alice")
    mine = api.as_(api.token(user))
    for _ in range(8):
        assert read_matches(api.as_(""), user, x_forwarded_for=here).status == 401
        assert read_matches(mine, "somebody", x_forwarded_for=here).status == 403
    assert read_matches(mine, user, x_forwarded_for=here).status == 200


# ---- behind a proxy


async def test_fifty_users_on_one_address_behind_a_proxy(server: PrivateServer) -> None:
    """All get in and each has a limit of their own; the address has one for connections, which the proxy itself has not."""
    async with reverse_proxy(server.port) as proxy, people_on(server) as people:
        proxy.client = address()
        users = people.users(*(f"user{number}" for number in range(PER_ADDRESS)))
        clients = [
            people.leaves(await Client.connect(proxy.ws_url, token=await people.api.token(user))) for user in users
        ]
        await asyncio.gather(*(client.hello() for client in clients))
        with pytest.raises(HandshakeRefused) as refused:
            await Client.connect(proxy.ws_url)
        assert refused.value.status == 429
        told = await people.api.call("GET", "/healthz")  # the API's connection is this machine's own
        assert told.status == 200
        proxy.client = address()
        other = people.leaves(await Client.connect(proxy.ws_url, token=await people.api.token(users[0])))
        await other.hello()


async def test_on_the_socket_failures_count_for_the_client_behind_the_proxy(server: PrivateServer) -> None:
    async with reverse_proxy(server.port) as proxy, people_on(server) as people:
        proxy.client = address()
        (alice,) = people.users("alice")
        before = people.leaves(await Client.connect(proxy.ws_url, token=await people.api.token(alice)))
        await before.hello()
        for _ in range(5):
            client = await Client.connect(proxy.ws_url, token="rubbish")
            with pytest.raises(Refused) as refused:
                await client.hello()
            assert refused.value.code is ErrorCode.TOKEN_INVALID
            assert await client.closed() == 4501
        client = await Client.connect(proxy.ws_url, token=await people.api.token(alice))
        with pytest.raises(Refused) as refused:
            await client.hello()
        assert refused.value.code is ErrorCode.RATE_LIMITED
        assert refused.value.error.retry_after_ms
        assert await client.closed() == 4011
        await before.ping()
        proxy.client = address()
        elsewhere = people.leaves(await Client.connect(proxy.ws_url, token=await people.api.token(alice)))
        await elsewhere.hello()
