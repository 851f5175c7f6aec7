"""Where Redis is, and how to connect to it: `redis://`, `rediss://`, `unix://`, and `redis+sentinel://` for a master by name.

    redis+sentinel://[user:password@]host:port,host:port/service[/db][?sentinel_password=…]

Refuses what it does not understand with one line that shows no password. Connections never retry by themselves: redis-py
would run a stalled command again, up to ten times, and so count or publish twice.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.ports import BusUnusable

SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel")
CONNECT_TIMEOUT_S: Final = 2.0
SENTINEL_TIMEOUT_S: Final = 0.5
SENTINEL_PORT: Final = 26379
REDIS_PORT: Final = 6379

# A host with its port, or the path of a socket.
Address = tuple[str, int] | str
Hosts = tuple[tuple[str, int], ...]
ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)


class RedisUrl(Struct, frozen=True):
    """A parsed address. `shown` is what may be told of it."""

    scheme: str
    shown: str
    hosts: Hosts = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    # Of the query: `ssl_…` as redis-py names them, `sentinel_username` and `sentinel_password`.
    options: dict[str, str] = {}


def parse_redis_url(url: str) -> RedisUrl:
    """Parse, or raise `BusUnusable`."""
    try:
        parts = urlsplit(url)
        return _parsed(parts)
    except ValueError as problem:
        raise BusUnusable(f"the Redis URL cannot be used: {problem}") from None


def _parsed(parts: SplitResult) -> RedisUrl:
    if parts.scheme not in SCHEMES:
        raise ValueError(f"it begins with {parts.scheme or 'no scheme'!r}, not with one of {', '.join(SCHEMES)}")
    credentials, _, places = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    is_sentinel, is_unix = parts.scheme == "redis+sentinel", parts.scheme == "unix"
    hosts = _hosts(places, SENTINEL_PORT if is_sentinel else REDIS_PORT)
    if not is_unix and not is_sentinel and len(hosts) > 1:
        raise ValueError("several hosts are for redis+sentinel:// only")
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    path = [] if is_unix else [unquote(part) for part in parts.path.split("/")[1:] if part]
    service = path.pop(0) if is_sentinel and path else ""
    if is_sentinel and not service:
        raise ValueError("redis+sentinel:// needs the name of the service after the hosts: …/mymaster")
    if is_unix and not parts.path:
        raise ValueError("unix:// needs the path of a socket")
    db = options.pop("db", path[0] if path else "0")
    _refuse_unknown(options, is_sentinel=is_sentinel, is_tls=parts.scheme == "rediss")
    if not db.isdecimal() or len(path) > 1:
        raise ValueError("after the host comes the number of a database and nothing else")
    return RedisUrl(
        scheme=parts.scheme,
        shown=f"{parts.scheme}://{parts.path if is_unix else places}{'/' + service if service else ''}",
        hosts=hosts,
        path=unquote(parts.path) if is_unix else "",
        service=service,
        db=int(db),
        username=unquote(username) or None,
        password=unquote(password) or None,
        options=options,
    )


def _hosts(places: str, port: int) -> Hosts:
    hosts = []
    for place in places.split(","):
        host = urlsplit(f"//{place}")
        hosts.append((host.hostname or "localhost", host.port or port))
    return tuple(hosts)


def _refuse_unknown(options: dict[str, str], *, is_sentinel: bool, is_tls: bool) -> None:
    for name in options:
        known = (is_tls and name.startswith("ssl_")) or (
            is_sentinel and name in {"sentinel_username", "sentinel_password"}
        )
        if not known:
            raise ValueError(f"it has an unknown option {name!r}")


class RedisEndpoint:
    """Makes connections to the Redis of one URL; with Sentinel, to the master that it names at that moment."""

    def __init__(self, url: str) -> None:
        """Refuses an unusable URL with `BusUnusable`; connects to nothing."""
        self._url = parse_redis_url(url)
        self.shown: Final = self._url.shown
        self._sentinel = sentinel_of(self._url) if self._url.service else None
        try:
            self._connection(self._url.path or self._url.hosts[0])
        except (TypeError, ValueError, OSError, RedisError) as problem:
            raise BusUnusable(f"the Redis URL {self.shown} cannot be used: {problem}") from None

    @property
    def credentials(self) -> tuple[str, ...]:
        """What AUTH is given; empty when nothing is."""
        url = self._url
        if url.username is not None:
            return (url.username, url.password or "")
        return (url.password,) if url.password is not None else ()

    async def locate(self) -> Address:
        """Return where to connect now; raise `RedisError` when no Sentinel knows a master."""
        if self._sentinel is None:
            return self._url.path or self._url.hosts[0]
        return cast("tuple[str, int]", await self._sentinel.discover_master(self._url.service))

    async def has_moved(self, address: Address) -> bool:
        """Tell whether Sentinel names another master by now; False when it cannot be asked."""
        if self._sentinel is None:
            return False
        try:
            return await self.locate() != address
        except (RedisError, OSError):
            return False

    async def connect(self, address: Address) -> AbstractConnection:
        """Open a connection for commands: authenticated, in its database; raise `RedisError` or OSError."""
        connection = self._connection(address)
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's has no types
        return connection

    async def dial(self, address: Address, protocol: Callable[[], ProtocolT]) -> ProtocolT:
        """Open a bare connection with a protocol of one's own; raise OSError."""
        loop = asyncio.get_running_loop()
        if isinstance(address, str):
            return (await loop.create_unix_connection(protocol, address))[1]
        connection = self._connection(address)
        tls = connection.ssl_context.get() if isinstance(connection, SSLConnection) else None
        return (await loop.create_connection(protocol, *address, ssl=tls))[1]

    async def close(self) -> None:
        """Close what was opened to ask Sentinel."""
        if self._sentinel is not None:
            await self._sentinel.aclose()

    def _connection(self, address: Address) -> AbstractConnection:
        url = self._url
        tls: dict[str, object] = {name: value for name, value in url.options.items() if name.startswith("ssl_")}
        if "ssl_check_hostname" in tls:
            tls["ssl_check_hostname"] = tls["ssl_check_hostname"] not in {"0", "false", "no"}
        place: dict[str, object] = (
            {"path": address} if isinstance(address, str) else {"host": address[0], "port": address[1]}
        )
        make: Callable[..., AbstractConnection] = Connection
        if url.scheme == "unix":
            make = UnixDomainSocketConnection
        elif url.scheme == "rediss":
            make = SSLConnection
        # No time limit of its own: redis-py would make a task of every write. The caller limits the whole exchange.
        return make(
            **place,
            **tls,
            db=url.db,
            username=url.username,
            password=url.password,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )


def sentinel_of(url: RedisUrl) -> Sentinel:
    """Return one to ask for the master's address; it connects when it is first asked."""
    return Sentinel(  # type: ignore[no-untyped-call]  # redis-py's has no types
        list(url.hosts),
        sentinel_kwargs={
            "username": url.options.get("sentinel_username"),
            "password": url.options.get("sentinel_password"),
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        },
    )
