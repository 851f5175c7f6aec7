"""`python -m server migrate`: makes the tables of PostgreSQL and ends."""

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from tests.integration.test_start import start
from tests.support.people import fresh
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import inherited
from tests.support.programs import ROOT


@pytest.fixture
async def settings(postgres: PrivatePostgres, redis_server: PrivateRedis) -> AsyncIterator[dict[str, str]]:
    """Make an empty database and a prefix of this test's own."""
    name = fresh("workers")
    yield {
        "DATABASE_URL": await postgres.make_database(name),
        "DATABASE_DURABILITY": "waived",
        "REDIS_URL": redis_server.url,
        "REDIS_PREFIX": f"{name}:",
    }
    await postgres.run(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_migrate_is_for_postgresql() -> None:
    """One line says so."""
    assert "postgresql" in start("--dev", "migrate")


def test_migrate_makes_the_tables_and_ends(settings: dict[str, str]) -> None:
    """Also when they are there."""
    for _ in range(2):
        argv, environment = [sys.executable, "-m", "server", "--dev", "migrate"], {**inherited(), **settings}
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "duologue: the tables are up to date\n")
