"""What every test may ask for, and how hypothesis behaves.

Runs are repeatable: hypothesis derives its examples from the test itself. HYPOTHESIS_PROFILE=explore looks further with
a new seed each time and prints it; repeat such a run with `--hypothesis-seed`.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.support.bus_nodes import buses as buses
from tests.support.postgres_stores import clustered as clustered
from tests.support.private_pgbouncer import pgbouncer as pgbouncer
from tests.support.private_postgres import postgres as postgres
from tests.support.private_redis import redis_server as redis_server
from tests.support.private_server import PrivateServer, private_server
from tests.support.workers import WholeFiles, longest_first

# A shared machine stalls now and then: neither an example nor its making is ever timed.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("repeatable"), derandomize=False, max_examples=2_000)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "repeatable")
settings.load_profile(PROFILE)


def pytest_configure(config: pytest.Config) -> None:
    """Give an exploring run a seed that can be told."""
    if PROFILE == "explore" and config.getoption("hypothesis_seed") is None:
        config.option.hypothesis_seed = str(random.getrandbits(32))


def pytest_report_header(config: pytest.Config) -> str:
    """Print what a run needs to be repeated."""
    seed = config.getoption("hypothesis_seed")
    return f"hypothesis: {PROFILE} profile, seed {'from each test' if seed is None else seed}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: longest_first(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Share tests out between workers by files, in the order above."""
    config.option.loadscopereorder = False
    return WholeFiles(config, log)


@pytest.fixture
def dev_server(tmp_path: Path) -> Iterator[PrivateServer]:
    """Run a server in dev mode on a SQLite file of this test's own."""
    with private_server(tmp_path / "duologue.sqlite3") as server:
        yield server
