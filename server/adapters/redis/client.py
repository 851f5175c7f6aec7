"""The client for what is asked of Redis one by one: limits, tickets, the list of sessions. The bus has connections of its own.

Nothing is tried twice (a decision counted twice would be wrong) and nobody waits long: with one connection or with none,
an answer that does not come within `TIMEOUT_S` is an error, and the caller goes on without Redis.
"""

from collections.abc import Callable
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.adapters.redis.endpoint import RedisUrl, parse_redis_url, sentinel_of

TIMEOUT_S: Final = 0.25
CONNECTIONS_MAX: Final = 8
# What means that there was no answer, or none of use.
ERRORS: Final = (RedisError, OSError, TimeoutError)


def make_client(url: str, timeout_s: float = TIMEOUT_S) -> Redis:
    """Return a client for `url`, which connects when it is first used; raise `BusUnusable` for one that cannot be used."""
    parsed = parse_redis_url(url)
    options: dict[str, object] = {
        "db": parsed.db,
        "username": parsed.username,
        "password": parsed.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if parsed.service:
        return Redis.from_pool(_sentinel_pool(parsed, options))
    kind, place = _place(parsed)
    # Typed loosely: what a connection takes depends on its kind.
    make_pool: Callable[..., BlockingConnectionPool] = BlockingConnectionPool
    return Redis.from_pool(make_pool(CONNECTIONS_MAX, timeout_s, connection_class=kind, **place, **options))


async def close_client(client: Redis) -> None:
    """Close every connection of a client, those to Sentinels, too."""
    pool = client.connection_pool
    await client.aclose()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _place(url: RedisUrl) -> tuple[type[AbstractConnection], dict[str, object]]:
    if url.path:
        return UnixDomainSocketConnection, {"path": url.path}
    host, port = url.hosts[0]
    place: dict[str, object] = {"host": host, "port": port}
    if url.scheme != "rediss":
        return Connection, place
    tls: dict[str, object] = {name: value for name, value in url.options.items() if name.startswith("ssl_")}
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = tls["ssl_check_hostname"] not in {"0", "false", "no"}
    return SSLConnection, place | tls


def _sentinel_pool(url: RedisUrl, options: dict[str, object]) -> SentinelConnectionPool:
    make_pool: Callable[..., SentinelConnectionPool] = SentinelConnectionPool
    return make_pool(url.service, sentinel_of(url), max_connections=CONNECTIONS_MAX, **options)
