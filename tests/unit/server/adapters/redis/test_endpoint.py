"""Redis URLs: what is understood, and what is refused in one line that shows no password."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio.connection import SSLConnection
from redis.exceptions import RedisError

from server.adapters.redis.endpoint import RedisEndpoint, parse_redis_url
from server.ports import BusUnusable
from tests.support.private_redis import private_redis, sentinel_trio
from tests.support.programs import free_port


def test_a_host_with_everything() -> None:
    url = parse_redis_url("redis://us%3Aer:p%40ss@example.org:7000/3")
    assert (url.hosts, url.db, url.username, url.password) == ((("example.org", 7000),), 3, "us:er", "p@ss")
    assert url.shown == "redis://example.org:7000"


@pytest.mark.parametrize(
    "text, host, db",
    [
        ("redis://", ("localhost", 6379), 0),
        ("redis://h", ("h", 6379), 0),
        ("redis://[::1]:7000", ("::1", 7000), 0),
        ("redis://h?db=4", ("h", 6379), 4),
        ("rediss://h/2?ssl_ca_certs=%2Fca.pem", ("h", 6379), 2),
    ],
)
def test_defaults(text: str, host: tuple[str, int], db: int) -> None:
    url = parse_redis_url(text)
    assert (url.hosts, url.db) == ((host,), db)


def test_a_socket() -> None:
    url = parse_redis_url("unix://:secret@/run/redis%20one.sock?db=2")
    assert (url.path, url.db, url.password) == ("/run/redis one.sock", 2, "secret")
    assert "secret" not in url.shown


def test_sentinels() -> None:
    url = parse_redis_url("redis+sentinel://:pw@a:1,b,[::1]:3/my%20master/5?sentinel_password=x")
    assert url.hosts == (("a", 1), ("b", 26379), ("::1", 3))
    assert (url.service, url.db, url.password, url.options) == ("my master", 5, "pw", {"sentinel_password": "x"})


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "no scheme"),
        ("localhost:6379", "'localhost'"),
        ("http://h", "'http'"),
        ("redis://h:port", "Port"),
        ("redis://h:99999", "Port"),
        ("redis://h/zero", "number of a database"),
        ("redis://h/0/1", "number of a database"),
        ("redis://h?db=-1", "number of a database"),
        ("redis://h?timeout=3", "'timeout'"),
        ("redis://h?ssl_ca_certs=x", "'ssl_ca_certs'"),
        ("redis://a,b", "several hosts"),
        ("redis://h?db", "bad query field"),
        ("redis+sentinel://a:1", "name of the service"),
        ("unix://", "path of a socket"),
        ("rediss://h?ssl_cert_reqs=perhaps", "perhaps"),
        ("rediss://h?ssl_made_up=1", "ssl_made_up"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(BusUnusable, match=why) as refused:
        RedisEndpoint(text.replace("://", "://:hunter2@") if "://" in text else text)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text, credentials",
    [
        ("redis://h", ()),
        ("redis://:pw@h", ("pw",)),
        ("redis://user:pw@h", ("user", "pw")),
        ("redis://user@h", ("user", "")),
    ],
)
def test_credentials(text: str, credentials: tuple[str, ...]) -> None:
    assert RedisEndpoint(text).credentials == credentials


async def test_one_address_needs_no_asking_and_never_moves() -> None:
    endpoint = RedisEndpoint("redis://h:1")
    assert await endpoint.locate() == ("h", 1)
    assert not await endpoint.has_moved(("other", 2))
    await endpoint.close()


async def test_names_of_hosts_are_checked_with_tls_unless_told() -> None:
    for options, checks in (("", True), ("?ssl_check_hostname=false", False)):
        connection = RedisEndpoint(f"rediss://h{options}")._connection(("h", 1))
        assert isinstance(connection, SSLConnection)
        assert connection.ssl_context.get().check_hostname is checks


async def test_sentinels_that_nobody_answers_for_know_no_master() -> None:
    endpoint = RedisEndpoint(f"redis+sentinel://127.0.0.1:{free_port()}/chat")
    with pytest.raises(RedisError):
        await endpoint.locate()
    assert not await endpoint.has_moved(("127.0.0.1", 1))
    await endpoint.close()


async def test_a_master_that_moved_is_found(tmp_path: Path) -> None:
    with sentinel_trio(tmp_path, down_after_ms=60_000) as trio:
        endpoint = RedisEndpoint(trio.url)
        address = await endpoint.locate()
        assert address == ("127.0.0.1", trio.master.port)
        assert not await endpoint.has_moved(address)
        assert await endpoint.has_moved(("127.0.0.1", 1))
        await endpoint.close()


async def test_it_connects_through_a_socket_of_the_machine(tmp_path: Path) -> None:
    with private_redis(tmp_path) as server:
        endpoint = RedisEndpoint(server.unix_url + "?db=1")
        connection = await endpoint.connect(await endpoint.locate())
        await connection.disconnect()
        protocol = await endpoint.dial(await endpoint.locate(), asyncio.Protocol)
        assert isinstance(protocol, asyncio.Protocol)
