"""The tables and functions of the PostgreSQL store: made, brought up to date and checked.

Guarantees: each numbered file is applied once and in order, whoever starts at the same time; nothing is used that a
newer version made. Refuses, with one line each: what cannot be reached, a standby, a server that would answer before
the disk has it, missing rights, a database that is not UTF-8, tables changed by another version's files.
"""

from hashlib import sha256
from pathlib import Path
from typing import Final

import asyncpg
from msgspec import Struct

from server.adapters.postgres.address import Address
from server.adapters.postgres.connections import Connection, Connector, Timeouts
from server.adapters.postgres.errors import ERRORS, name_of
from server.ports import StoreUnusable

MONTHS_AHEAD: Final = 3
OLDEST_SERVER: Final = 140_000
_FACTS: Final = """
    SELECT pg_backend_pid() AS pid, pg_is_in_recovery() AS is_standby, current_setting('fsync') AS fsync,
        current_setting('synchronous_commit') AS synchronous_commit, current_setting('server_encoding') AS encoding,
        current_setting('server_version_num')::integer AS version, current_setting('transaction_read_only') AS read_only,
        EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'duologue') AS is_made
"""
# Not to_regclass: within a transaction that asks before and after waiting for a lock, it repeats its first answer.
_IS_MADE: Final = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'duologue' AND tablename = 'migrations')
"""
_RIGHTS: Final = """
    SELECT bool_and(has_table_privilege(name, rights)) FROM (VALUES
        ('duologue.store', 'SELECT'), ('duologue.blocks', 'SELECT, INSERT, DELETE'),
        ('duologue.presence', 'SELECT, INSERT, UPDATE'), ('duologue.matches', 'SELECT, INSERT, UPDATE'),
        ('duologue.members', 'SELECT, INSERT, UPDATE'), ('duologue.entries', 'SELECT, INSERT'),
        ('duologue.routes', 'SELECT, INSERT, UPDATE, DELETE'),
        ('duologue.revocations', 'SELECT, INSERT, UPDATE, DELETE'),
        ('duologue.calls', 'SELECT, INSERT, UPDATE'), ('duologue.call_users', 'SELECT, INSERT, UPDATE'),
        ('duologue.call_settings', 'SELECT, INSERT, UPDATE'), ('duologue.call_nodes', 'SELECT, INSERT, UPDATE, DELETE')
    ) AS needed (name, rights_needed), LATERAL unnest(string_to_array(rights_needed, ', ')) AS rights
"""
_MIGRATIONS: Final = """
    CREATE TABLE IF NOT EXISTS duologue.migrations (
        number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


class Migration(Struct, frozen=True):
    """One numbered file of SQL."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """What tells whether the file is the one that was applied."""
        return sha256(self.sql.encode()).hexdigest()


def _read_migrations(folder: Path) -> tuple[Migration, ...]:
    files = sorted(folder.glob("[0-9]*.sql"))
    return tuple(Migration(int(f.name[:4]), f.stem, f.read_text(encoding="utf-8")) for f in files)


MIGRATIONS: Final = _read_migrations(Path(__file__).parent)
SCHEMA_VERSION: Final = MIGRATIONS[-1].number


class Found(Struct, frozen=True):
    """What a look at the database told."""

    is_pooled: bool
    epoch: str


async def prepare(address: Address, timeouts: Timeouts, *, new_epoch: str, is_safe: bool, applies: bool) -> Found:
    """Check the database, make or renew its tables where `applies`, and return how to use it."""
    connection = await _connect(address, timeouts)
    try:
        # In a transaction throughout: behind a pooler each statement could else meet another backend.
        async with connection.transaction():
            is_pooled = await _check(connection, address, is_safe=is_safe)
            epoch = await _bring_up_to_date(connection, address, new_epoch=new_epoch, applies=applies)
        await connection.close(timeout=timeouts.connect_s)
        return Found(is_pooled if address.is_pooled is None else address.is_pooled, epoch)
    except ERRORS as error:
        raise _refusal(address, _explain(error)) from None
    finally:
        connection.terminate()


async def check_replica(address: Address, timeouts: Timeouts) -> bool:
    """Check that the replica can be reached; return whether it is pooled. How far behind it is matters at each read."""
    connection = await _connect(address, timeouts)
    try:
        async with connection.transaction():
            facts = await connection.fetchrow(_FACTS)
        assert facts is not None
        if not facts["is_made"]:
            raise _refusal(address, "it has no tables of Duologue; is it a replica of the store?")
        return _is_pooled(connection, facts) if address.is_pooled is None else address.is_pooled
    except ERRORS as error:
        raise _refusal(address, _explain(error)) from None
    finally:
        connection.terminate()


async def _connect(address: Address, timeouts: Timeouts) -> Connection:
    try:
        return await Connector(address, timeouts, is_pooled=True).connect()
    except ValueError:  # also of the driver's own kind, whose text may quote the address
        raise _refusal(address, "the driver cannot use this address") from None
    except ERRORS as error:
        raise _refusal(address, _explain(error)) from None


async def _check(connection: Connection, address: Address, *, is_safe: bool) -> bool:
    facts = await connection.fetchrow(_FACTS)
    assert facts is not None
    if facts["version"] < OLDEST_SERVER:
        raise _refusal(address, f"it needs PostgreSQL {OLDEST_SERVER // 10_000} or newer")
    if facts["encoding"] != "UTF8":
        raise _refusal(address, f"the database is encoded in {facts['encoding']}; make one with ENCODING 'UTF8'")
    if facts["is_standby"] or facts["read_only"] == "on":
        raise _refusal(address, "it can be read only; name the primary")
    for setting in ("fsync", "synchronous_commit"):
        if is_safe and facts[setting] == "off":
            raise _refusal(address, f"{setting} is off, so that a crash would lose messages that were acknowledged")
    return _is_pooled(connection, facts)


def _is_pooled(connection: Connection, facts: asyncpg.Record) -> bool:
    """Tell whether somebody between us and the server made up the process id that came with the connection."""
    return bool(facts["pid"] != connection.get_server_pid())


async def _bring_up_to_date(connection: Connection, address: Address, *, new_epoch: str, applies: bool) -> str:
    # Whoever starts at the same time waits here, and finds it done. A transaction's lock: a pooler strands a session's.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('duologue.migrations', 0))")
    done = await _applied(connection)
    _compare(done, address)
    missing = [each for each in MIGRATIONS if each.number not in done]
    if missing and not applies:
        raise _refusal(address, f"its schema is {max(done, default=0)}, not {SCHEMA_VERSION}; run the migrations first")
    if missing:
        await _apply(connection, missing, new_epoch)
    elif not await connection.fetchval(_RIGHTS):
        raise _refusal(address, "this account lacks rights to its tables")
    return str(await connection.fetchval("SELECT epoch FROM duologue.store"))


async def _applied(connection: Connection) -> dict[int, str]:
    if not await connection.fetchval(_IS_MADE):
        return {}
    return {row[0]: row[1] for row in await connection.fetch("SELECT number, checksum FROM duologue.migrations")}


def _compare(done: dict[int, str], address: Address) -> None:
    newest = max(done, default=0)
    if newest > SCHEMA_VERSION:
        raise _refusal(address, f"a newer Duologue made it (schema {newest}; this one knows {SCHEMA_VERSION})")
    for each in MIGRATIONS:
        if done.get(each.number, each.checksum) != each.checksum:
            raise _refusal(address, f"another {each.name}.sql than this version's was applied to it")


async def _apply(connection: Connection, missing: list[Migration], new_epoch: str) -> None:
    await connection.execute("CREATE SCHEMA IF NOT EXISTS duologue")
    await connection.execute(_MIGRATIONS)
    await connection.execute("SET LOCAL search_path = duologue, pg_temp")
    for each in missing:
        await connection.execute(each.sql)
        row = (each.number, each.name, each.checksum)
        await connection.execute("INSERT INTO duologue.migrations VALUES ($1, $2, $3)", *row)
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM duologue.store)"):
        await connection.execute("INSERT INTO duologue.store VALUES ($1)", new_epoch)


def _explain(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "it does not answer"
        case OSError():
            return f"it cannot be reached ({error.strerror or type(error).__name__})"
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return "it refuses this user or password"
        case asyncpg.InvalidCatalogNameError():
            return "there is no such database"
        case asyncpg.InsufficientPrivilegeError():
            return f"this account lacks a right: {error}"
        case _:
            return name_of(error)


def _refusal(address: Address, reason: str) -> StoreUnusable:
    return StoreUnusable(f"cannot use the store {address.shown}: {reason}")
