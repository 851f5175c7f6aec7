"""What stops the PostgreSQL store from being opened: one line that says which and why, never the password."""

import asyncio
import socket
from collections.abc import AsyncIterator

import asyncpg
import pytest

from server.adapters.postgres.connections import Timeouts
from server.adapters.postgres.schema import MIGRATIONS, SCHEMA_VERSION
from server.adapters.postgres.store import PostgresStore, migrate
from server.core.log import MembersSet
from server.ports import StoreUnusable
from tests.support.clock import FakeClock
from tests.support.private_postgres import PrivatePostgres
from tests.support.programs import free_port
from tests.support.stores import ALICE, BOB, M

SECRET = "secret"
PATIENT = Timeouts(connect_s=60)


@pytest.fixture
async def url(postgres: PrivatePostgres) -> AsyncIterator[str]:
    """Make an empty database of this test's own."""
    yield await postgres.make_database("start")
    await postgres.run("DROP DATABASE start WITH (FORCE)")


async def refused(
    url: str,
    *,
    allow_unsafe: bool = True,
    migrates: bool = True,
    replica_url: str | None = None,
    timeouts: Timeouts = PATIENT,
) -> str:
    with pytest.raises(StoreUnusable) as caught:
        await PostgresStore.open(
            url,
            FakeClock(),
            allow_unsafe=allow_unsafe,
            migrates=migrates,
            replica_url=replica_url,
            timeouts=timeouts,
        )
    line = str(caught.value)
    assert SECRET not in line
    assert "\n" not in line
    return line


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize(
    "bad",
    [
        "mysql://u:secret@h/db",
        "postgresql://u:secret/word@h/db",
        "postgresql://u:12/secret@h/db",
        "postgresql://u:secret@h:port/db",
        "postgresql://u:secret@[::1/db",
        "secret",
        "postgresql://u:secret@h/db?pool_mode=statement",
        "postgresql://u:secret@h/db?secret",
    ],
)
async def test_an_address_that_cannot_be_read(bad: str) -> None:
    assert "address of the store" in await refused(bad)


async def test_nobody_listens_there() -> None:
    port = free_port()
    line = await refused(f"postgresql://u:secret@127.0.0.1:{port}/db")
    assert line.startswith(f"cannot use the store postgresql://127.0.0.1:{port}/db: it cannot be reached")


async def test_somebody_listens_who_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url, timeouts = f"postgresql://u:secret@127.0.0.1:{port}/db?sslmode=disable", Timeouts(connect_s=1.0)
        assert await refused(url, timeouts=timeouts) == (
            f"cannot use the store postgresql://127.0.0.1:{port}/db: it does not answer"
        )


async def test_no_such_database_user_or_option(postgres: PrivatePostgres) -> None:
    assert (await refused(postgres.url("none"))).endswith("/none: there is no such database")
    assert (await refused(postgres.url(user="nobody"))).endswith("it refuses this user or password")
    assert "driver cannot use" in await refused(postgres.url() + "?sslmode=sometimes")


async def test_a_server_that_answers_before_its_disk_has_it(url: str) -> None:
    assert "fsync is off" in await refused(url, allow_unsafe=False)
    with pytest.raises(StoreUnusable, match="fsync is off"):
        await migrate(url, FakeClock())


async def test_a_database_in_another_encoding(postgres: PrivatePostgres) -> None:
    await postgres.run("CREATE DATABASE odd TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    assert "encoded in LATIN1" in await refused(postgres.url("odd"))
    await postgres.run("DROP DATABASE odd")


async def test_a_database_that_can_be_read_only(postgres: PrivatePostgres, url: str) -> None:
    await postgres.run("ALTER DATABASE start SET default_transaction_read_only = on")
    assert "name the primary" in await refused(url)


async def test_a_schema_from_the_future_from_another_version_and_none(url: str) -> None:
    assert "run the migrations first" in await refused(url, migrates=False)
    assert "no tables of Duologue" in await refused(url.replace("/start", "/postgres"), replica_url=url)
    await migrate(url, FakeClock(), allow_unsafe=True)
    await migrate(url, FakeClock(), allow_unsafe=True)
    await (await PostgresStore.open(url, FakeClock(), allow_unsafe=True, migrates=False)).close()
    await execute(url, "INSERT INTO duologue.migrations VALUES (9999, 'future', 'x')")
    assert f"schema 9999; this one knows {SCHEMA_VERSION}" in await refused(url)
    await execute(url, "DELETE FROM duologue.migrations WHERE number = 9999")
    await execute(url, "UPDATE duologue.migrations SET checksum = 'other' WHERE number = 2")
    assert f"another {MIGRATIONS[1].name}.sql" in await refused(url)


async def test_an_account_without_rights(postgres: PrivatePostgres, url: str) -> None:
    await execute(url, "DROP ROLE IF EXISTS clerk", "CREATE ROLE clerk LOGIN")
    clerk = postgres.url("start", user="clerk")
    assert "this account lacks a right" in await refused(clerk)
    await migrate(url, FakeClock(), allow_unsafe=True)
    assert "this account lacks a right" in await refused(clerk)
    await execute(
        url, "GRANT USAGE ON SCHEMA duologue TO clerk", "GRANT SELECT ON ALL TABLES IN SCHEMA duologue TO clerk"
    )
    assert "this account lacks rights to its tables" in await refused(clerk)
    await execute(url, "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA duologue TO clerk")
    store = await PostgresStore.open(clerk, FakeClock(), allow_unsafe=True)
    assert isinstance(await store.set_members(M, (ALICE, BOB)), MembersSet)
    await store.close()
    await execute(url, "DROP OWNED BY clerk", "DROP ROLE clerk")


async def test_nodes_that_start_at_once_make_one_store(url: str) -> None:
    clock = FakeClock()
    stores = await asyncio.gather(*(PostgresStore.open(url, clock, allow_unsafe=True) for _ in range(4)))
    assert len({store.epoch for store in stores}) == 1
    for store in stores:
        await store.close()
    again = await PostgresStore.open(url, clock, allow_unsafe=True)
    assert again.epoch == stores[0].epoch
    await again.close()


async def test_a_server_that_goes_while_the_store_is_opened(url: str) -> None:
    store = await PostgresStore.open(url, FakeClock(), allow_unsafe=True)
    await store.close()
    await execute(
        url,
        "CREATE OR REPLACE FUNCTION duologue.make_partitions(p_at bigint, p_months integer) RETURNS bigint "
        "LANGUAGE sql AS 'SELECT pg_terminate_backend(pg_backend_pid())::int::bigint'",
    )
    assert "connection was closed in the middle of operation" in await refused(url)
