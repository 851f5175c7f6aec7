"""What ends a connection by time: a token that runs out. (A hello that never comes: tests/bad_input/test_json.py.)"""

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
    ) as server:
        yield server


@pytest.fixture
async def people(server: PrivateServer) -> AsyncIterator[People]:
    """People whose backend has an API key."""
    async with people_on(server, key=API_KEY) as people:
        yield people
    assert "Traceback" not in server.program.output()


def token_of(user: str, ttl_s: float) -> str:
    """Sign a token that lives for so long; less than nothing, and it has run out."""
    return sign({"sub": user, "exp": time.time() + ttl_s}, SECRET)


async def come_for(people: People, user: str, ttl_s: float) -> Client:
    """Connect with such a token."""
    client = people.leaves(await Client.connect(people.server.ws_url, token=token_of(user, ttl_s)))
    await client.hello()
    return client


async def test_a_token_that_is_refreshed_keeps_the_connection(people: People) -> None:
    """Warned in time; those not refreshed, or with a token that has run out, are closed with 4001 after the grace."""
    (alice,) = people.users("alice")
    kept, dropped, late = [await come_for(people, alice, 3.0) for _ in range(3)]
    for client in (kept, dropped, late):
        warning = await client.next(TokenExpiring)
        assert 0 < warning.in_ms <= 3_500
    await kept.refresh(token_of(alice, 3600))
    with pytest.raises(Refused) as refused:
        await late.refresh(token_of(alice, -1))
    assert refused.value.code is ErrorCode.TOKEN_EXPIRED
    assert await dropped.closed() == await late.closed() == 4001
    await kept.ping()


async def test_a_token_with_time_left_is_not_warned_of(people: People) -> None:
    """61 s before its end nothing is said; after a refresh by one with less, it is."""
    (alice,) = people.users("alice")
    client = await come_for(people, alice, 3600)
    await client.ping()
    assert client.pushes == []
    await client.refresh(token_of(alice, 30))
    assert (await client.next(TokenExpiring)).in_ms <= 30_500
