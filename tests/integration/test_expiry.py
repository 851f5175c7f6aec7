"""What ends a connection by time: a token that runs out, a hello that never comes."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from loadtest.client import Client, Refused
from protocol.errors import ErrorCode
from protocol.from_server import TokenExpiring
from tests.support.people import People, people_on
from tests.support.private_server import PrivateServer, private_server
from tests.support.tokens import sign

API_KEY = "test-only-key-2b9d4c71e8f35a60d7c8b9a0f1e2d3c4"
SECRET = "test-only-hs256-71c4e9a2b86d4f03958e1d7c2a4b6f80"


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    """Run a server with short times."""
    with private_server(
        dev=False,
        API_KEYS=API_KEY,
        TOKEN_SECRETS=SECRET,
        TOKEN_WARNING_S="60",
        TOKEN_GRACE_S="0.5",
        AUTH_TIMEOUT_S="1",
    ) as server:
        yield server


@pytest.fixture
async def people(server: PrivateServer) -> AsyncIterator[People]:
    """People whose backend has an API key."""
    async with people_on(server, key=API_KEY) as people:
        yield people
    assert "Traceback" not in server.program.output()


def token_of(user: str, ttl_s: float) -> str:
    """Sign a token that may live for less than a second."""
    return sign({"sub": user, "exp": time.time() + ttl_s}, SECRET)


async def come_for(people: People, user: str, ttl_s: float) -> Client:
    """Connect with such a token."""
    client = people.leaves(await Client.connect(people.server.ws_url, token=token_of(user, ttl_s)))
    await client.hello()
    return client


async def test_a_token_that_is_refreshed_keeps_the_connection(people: People) -> None:
    """Warned in time; one that is not refreshed is closed with 4001 after the grace, the other lives on."""
    (alice,) = people.users("alice")
    kept, dropped = await come_for(people, alice, 1.0), await come_for(people, alice, 1.0)
    for client in (kept, dropped):
        warning = await client.next(TokenExpiring)
        assert 0 < warning.in_ms <= 1_500
    await kept.refresh(token_of(alice, 3600))
    assert await dropped.closed() == 4001
    await kept.ping()


async def test_an_expired_token_does_not_refresh(people: People) -> None:
    """The connection ends when its own token's grace does."""
    (alice,) = people.users("alice")
    client = await come_for(people, alice, 0.8)
    with pytest.raises(Refused) as refused:
        await client.refresh(token_of(alice, -1))
    assert refused.value.code is ErrorCode.TOKEN_EXPIRED
    assert await client.closed() == 4001


async def test_a_token_with_time_left_is_not_warned_of(people: People) -> None:
    """61 s before its end nothing is said; after a refresh by one with less, it is."""
    (alice,) = people.users("alice")
    client = await come_for(people, alice, 3600)
    await client.ping()
    assert client.pushes == []
    await client.refresh(token_of(alice, 30))
    assert (await client.next(TokenExpiring)).in_ms <= 30_500


async def test_one_who_does_not_say_hello_in_time_is_closed(people: People) -> None:
    """With 4002, however much else they say."""
    silent = people.leaves(await Client.connect(people.server.ws_url))
    talkative = people.leaves(await Client.connect(people.server.ws_url))
    await talkative.ping()
    assert await silent.closed() == await talkative.closed() == 4002
