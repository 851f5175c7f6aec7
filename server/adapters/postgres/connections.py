"""Connections to one database: a bounded number, made when first needed, dropped when in doubt.

Guarantees: a statement that failed in a way that may have left its connection out of step never shares it with the next
one; once a connection was lost those that wait are dropped, too, because what ended it ends them sooner or later;
behind a pooler in transaction mode every statement has a transaction of its own, without prepared statements, so
that it does not matter which backend serves it. `close` waits for what is under way. While the guard says that nobody
answers there, nothing is sent and nobody waits.

Not asyncpg's own pool: that one resets a connection, a round trip, each time it comes back.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import asyncpg
from msgspec import Struct

from server.adapters.guard import Guard
from server.adapters.postgres.address import Address
from server.adapters.postgres.errors import ERRORS, LOST, ends_connection, name_of, unavailable
from server.ports import StoreUnavailable

Connection = asyncpg.Connection
Rows = Sequence[asyncpg.Record]
_CLOSED: Final = "the store is closed"


class Timeouts(Struct, frozen=True):
    """How long things may take. The server's ends a statement before ours gives up the connection."""

    connect_s: float = 5.0
    statement_s: float = 5.0
    lock_s: float = 2.0
    idle_in_transaction_s: float = 10.0
    # Beyond the server's own time-out: a frozen server or a black hole.
    answer_s: float = 7.0
    # Waiting for a connection that is free.
    free_s: float = 5.0


class Connector(Struct, frozen=True):
    """Makes connections to one database; `is_pooled`: something hands our transactions to several backends."""

    address: Address
    timeouts: Timeouts
    is_pooled: bool

    async def connect(self) -> Connection:
        """Connect; raise one of `ERRORS`, or ValueError for an address that the driver cannot use."""
        return await asyncpg.connect(
            self.address.url,
            timeout=self.timeouts.connect_s,
            command_timeout=self.timeouts.answer_s,
            statement_cache_size=0 if self.is_pooled else 100,
            max_cached_statement_lifetime=0,
            server_settings=self._settings(),
        )

    async def fetch(self, connection: Connection, statement: str, *arguments: object) -> Rows:
        """Run one statement in a transaction of its own."""
        if not self.is_pooled:
            return await connection.fetch(statement, *arguments)
        # Without a transaction, parse and execute could meet two backends.
        await connection.execute(self._begin())
        try:
            rows: Rows = await connection.fetch(statement, *arguments)
        except asyncpg.PostgresError:
            await connection.execute("ROLLBACK")
            raise
        await connection.execute("COMMIT")
        return rows

    def _settings(self) -> dict[str, str]:
        if self.is_pooled:  # PgBouncer refuses to connect with settings that it does not track.
            return {"application_name": "duologue"}
        return {
            "application_name": "duologue",
            "default_transaction_isolation": "read committed",  # what the functions are written for
            "jit": "off",
            "statement_timeout": _ms(self.timeouts.statement_s),
            "lock_timeout": _ms(self.timeouts.lock_s),
            "idle_in_transaction_session_timeout": _ms(self.timeouts.idle_in_transaction_s),
        }

    def _begin(self) -> str:
        return (
            "BEGIN ISOLATION LEVEL READ COMMITTED;"
            f"SET LOCAL statement_timeout = {_ms(self.timeouts.statement_s)};"
            f"SET LOCAL lock_timeout = {_ms(self.timeouts.lock_s)};"
            f"SET LOCAL idle_in_transaction_session_timeout = {_ms(self.timeouts.idle_in_transaction_s)}"
        )


class Greeting(Struct, frozen=True):
    """A statement that each new connection begins with, and who is told the answer."""

    statement: str
    answered: Callable[[Rows], None]


class Connections:
    """At most `size` connections, each used by one call at a time."""

    __slots__ = ("_connector", "_free", "_greeting", "_guard", "_idle", "_is_closed", "_size")

    def __init__(self, connector: Connector, size: int, guard: Guard, greeting: Greeting | None = None) -> None:
        self._connector = connector
        self._guard = guard
        self._size = size
        self._greeting = greeting
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._is_closed = False

    async def fetch(self, statement: str, *arguments: object) -> Rows:
        """Run one statement; raise one of `ERRORS` when it failed, `StoreUnavailable` when it was not sent."""
        self._guard.check()
        connection = await self._take()
        number = self._guard.began()
        try:
            rows = await self._connector.fetch(connection, statement, *arguments)
        except BaseException as error:
            self._tell_guard(error)
            self._return_after(connection, error)
            raise
        finally:
            self._guard.ended(number)
        self._guard.succeeded()
        self._give_back(connection)
        return rows

    def _tell_guard(self, error: BaseException) -> None:
        """A connection that was lost tells nothing: whether anybody is there shows when the next one is made."""
        if isinstance(error, TimeoutError):
            self._guard.failed()
        elif isinstance(error, asyncpg.PostgresError) and not ends_connection(error):
            self._guard.succeeded()
        else:
            self._guard.gave_up()

    async def close(self) -> None:
        """Wait for what is under way, then end every connection."""
        self._is_closed = True
        for _ in range(self._size):
            await self._free.acquire()
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.close(timeout=self._connector.timeouts.connect_s)
            except ERRORS:
                connection.terminate()
        for _ in range(self._size):
            self._free.release()

    async def _take(self) -> Connection:
        await self._wait()
        try:
            if self._is_closed:
                raise StoreUnavailable(_CLOSED)
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():  # the server may have gone since
                    return connection
                self._drop_idle()
            return await self._open()
        except BaseException:
            self._guard.gave_up()
            self._free.release()
            raise

    async def _wait(self) -> None:
        if self._is_closed:
            raise StoreUnavailable(_CLOSED)
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._connector.timeouts.free_s):
                await self._free.acquire()
        except TimeoutError:
            self._guard.gave_up()
            raise StoreUnavailable("every connection to the database is busy") from None

    async def _open(self) -> Connection:
        try:
            connection = await self._connector.connect()
        except (*ERRORS, ValueError) as error:
            self._guard.failed()
            raise StoreUnavailable(f"cannot connect to the database: {name_of(error)}") from error
        if self._greeting is None:
            return connection
        try:
            self._greeting.answered(await self._connector.fetch(connection, self._greeting.statement))
        except BaseException as error:
            connection.terminate()
            if isinstance(error, ERRORS):
                raise unavailable(error) from error
            raise
        return connection

    def _give_back(self, connection: Connection) -> None:
        self._idle.append(connection)
        self._free.release()

    def _return_after(self, connection: Connection, error: BaseException) -> None:
        if ends_connection(error) or connection.is_closed():
            _drop(connection)
            if isinstance(error, ERRORS):  # not where only the caller gave up
                self._drop_idle()
            self._free.release()
        else:
            self._give_back(connection)

    def _drop_idle(self) -> None:
        while self._idle:
            _drop(self._idle.pop())


def _drop(connection: Connection) -> None:
    with suppress(*LOST):
        connection.terminate()


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
