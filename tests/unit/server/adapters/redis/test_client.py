"""The client for single questions: every kind of address, nothing tried twice, no long wait."""

import asyncio
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from server.adapters.redis.client import CONNECTIONS_MAX, TIMEOUT_S, close_client, make_client
from server.ports import BusUnusable
from tests.support.private_redis import PrivateRedis, sentinel_trio


@pytest.mark.parametrize("url", ["http://x", "redis+sentinel://x", "redis://a,b", "redis://x/y"])
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(BusUnusable):
        _ = make_client(url)


async def test_it_reaches_a_port_a_socket_and_a_database(redis_server: PrivateRedis) -> None:
    for url in (redis_server.url, redis_server.unix_url, f"{redis_server.url}/3"):
        client = make_client(url, timeout_s=5)
        assert await client.echo("hi") == b"hi"
        await close_client(client)
    client = make_client(redis_server.unix_url)
    assert client.connection_pool.connection_class is UnixDomainSocketConnection
    await close_client(client)


def test_what_tls_needs_is_handed_on() -> None:
    pool = make_client(
        "rediss://user:pass@redis.example:6390/2?ssl_cert_reqs=none&ssl_check_hostname=no"
    ).connection_pool
    assert pool.connection_class is SSLConnection
    told = pool.connection_kwargs
    assert (told["host"], told["port"], told["db"], told["username"]) == ("redis.example", 6390, 2, "user")
    assert (told["ssl_cert_reqs"], told["ssl_check_hostname"]) == ("none", False)


async def test_sentinels_name_the_master(tmp_path: Path) -> None:
    with ExitStack() as stack:
        trio = stack.enter_context(sentinel_trio(tmp_path, down_after_ms=60_000))
        client = make_client(trio.url, timeout_s=5)
        await client.set("a", "b")
        assert trio.master.say("GET", "a") == b"b"
        await close_client(client)


async def test_nobody_waits_for_long_and_nothing_is_tried_twice() -> None:
    """A server that takes connections and says nothing."""
    accepted = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        with closing(writer):
            await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = make_client(f"redis://127.0.0.1:{port}", timeout_s=0.05)
    assert TIMEOUT_S < 1
    with pytest.raises(RedisTimeoutError):
        await client.ping()
    assert accepted == 1
    outcomes = await asyncio.gather(*(client.ping() for _ in range(3 * CONNECTIONS_MAX)), return_exceptions=True)
    assert all(isinstance(outcome, RedisError) for outcome in outcomes)
    await close_client(client)
    server.close()
    await server.wait_closed()
    with pytest.raises(RedisConnectionError):
        await client.ping()
    await close_client(client)
