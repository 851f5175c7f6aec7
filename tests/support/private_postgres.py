"""A PostgreSQL of the tests' own: a fresh cluster on a free loopback port, under an account that may not be root.

PostgreSQL refuses to run as root, so that root's tests hand it to the account `postgres`. Clusters live directly below
/tmp because that account cannot enter pytest's folders. With `is_durable=False` nothing is synced: for tests whose
subject is not what a power cut leaves.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.support.private_server import inherited
from tests.support.programs import Program, find_program, free_port, running

OWNER = "duologue"
READY = "database system is ready to accept"
# Beyond these a test has not given back what it opened.
SETTINGS = ("max_connections=60", "shared_buffers=64MB", "wal_level=replica", "max_wal_senders=4", "autovacuum=on")
NOT_DURABLE = ("fsync=off", "full_page_writes=off")


@dataclass(slots=True)
class PrivatePostgres:
    """A running cluster; `program` is another one after a restart."""

    folder: Path
    port: int
    program: Program

    def url(self, database: str = "postgres", user: str = OWNER, port: int | None = None) -> str:
        """Return the address of a database."""
        return f"postgresql://{user}:secret@127.0.0.1:{port or self.port}/{database}"

    async def admin(self, database: str = "postgres") -> asyncpg.Connection:
        """Open a connection with every right."""
        return await asyncpg.connect(self.url(database))

    async def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements one by one, with every right."""
        connection = await self.admin(database)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def make_database(self, name: str) -> str:
        """Make an empty database and return its address."""
        await self.run(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.url(name)


def as_account() -> tuple[str, ...]:
    """Return what goes before a program that refuses to run as root, and that ends with these tests however they end."""
    ends_with_us = ("setpriv", "--pdeathsig=INT")
    if os.geteuid() != 0:
        return ends_with_us
    return (*ends_with_us, "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", "-C", "/")


def make_folder(prefix: str) -> Path:
    """Make a folder that the account of `as_account` owns."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    folder.chmod(0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    return folder


def run_program(*argv: str) -> None:
    """Run a program of PostgreSQL's to its end."""
    done = subprocess.run((*as_account(), *argv), capture_output=True, text=True, env=inherited(), check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def private_postgres(*settings: str, is_durable: bool = False) -> Iterator[PrivatePostgres]:
    """Make a cluster and run it until the block ends."""
    folder = make_folder("duologue-pg-")
    try:
        initdb = (
            find_program("initdb"),
            "-D",
            str(folder),
            "-U",
            OWNER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        )
        run_program(*initdb, "--no-sync")
        durability = () if is_durable else NOT_DURABLE
        with running_cluster(folder, (*SETTINGS, *durability, *settings)) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_cluster(folder: Path, settings: Sequence[str] = (), port: int | None = None) -> Iterator[PrivatePostgres]:
    """Run the cluster in `folder` until the block ends."""
    port = free_port() if port is None else port
    options = [option for setting in settings for option in ("-c", setting)]
    argv = (*as_account(), find_program("postgres"), "-D", str(folder), "-p", str(port), "-h", "127.0.0.1", "-k", "")
    with running((*argv, *options), ready=READY, environment=inherited()) as program:
        yield PrivatePostgres(folder, port, program)
        program.stop(signal.SIGINT)  # fast: does not wait for those who are still connected


@contextmanager
def streaming_replica(primary: PrivatePostgres) -> Iterator[PrivatePostgres]:
    """Run a replica that follows `primary` until the block ends."""
    folder = make_folder("duologue-replica-")
    try:
        run_program(
            *(find_program("pg_basebackup"), "-D", str(folder), "-h", "127.0.0.1", "-p", str(primary.port)),
            *("-U", OWNER, "-R", "-X", "stream", "-c", "fast", "--no-sync"),
        )
        with running_cluster(folder, (*SETTINGS, *NOT_DURABLE)) as replica:
            yield replica
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """Run one cluster for all tests that ask; each makes its own database."""
    with private_postgres() as cluster:
        yield cluster
