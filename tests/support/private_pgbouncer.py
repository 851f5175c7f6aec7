"""A PgBouncer of the tests' own, in transaction mode: every transaction of a client may meet another backend."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.private_postgres import OWNER, PrivatePostgres, as_account, make_folder
from tests.support.private_server import inherited
from tests.support.programs import find_program, free_port, running

_CONFIG = """
[databases]
* = host=127.0.0.1 port={server_port} user={owner}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
{more}
"""


@contextmanager
def private_pgbouncer(server: PrivatePostgres, more: str = "") -> Iterator[int]:
    """Run PgBouncer in front of `server` until the block ends; yields its port."""
    folder, port = make_folder("duologue-pgbouncer-"), free_port()
    config = folder / "pgbouncer.ini"
    try:
        config.write_text(_CONFIG.format(server_port=server.port, owner=OWNER, port=port, more=more))
        config.chmod(0o644)
        argv = (*as_account(), find_program("pgbouncer"), str(config))
        with running(argv, ready="process up", environment=inherited()) as program:
            yield port
            program.stop(signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pgbouncer(postgres: PrivatePostgres) -> Iterator[int]:
    """Run one for all tests that ask, in front of the cluster that all share."""
    with private_pgbouncer(postgres) as port:
        yield port
