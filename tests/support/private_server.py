"""A Duologue server of a test's own: a free loopback port, its own data, no setting of the caller's environment."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import Program, free_port, running

# All that a server may take from the environment of the tests. A developer's PORT or API_KEYS stays outside.
INHERITED = ("HOME", "LANG", "PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class PrivateServer:
    """A running server: where it listens and the process behind it."""

    port: int
    program: Program

    @property
    def http_url(self) -> str:
        """The origin of the page and the API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self.port}/ws"


@contextmanager
def private_server(
    database: Path | None = None, *, port: int | None = None, dev: bool = True, **settings: str
) -> Iterator[PrivateServer]:
    """Run `python -m server` until the block ends: in memory, or on the SQLite file `database`.

    `settings` are environment variables by name; failed authentications are not limited unless they say so. Give `port` again to restart a server where its clients look for it.
    """
    port = free_port() if port is None else port
    environment = {
        **inherited(),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": "memory:" if database is None else f"sqlite:{database}",
        # All tests have one address, and many of them fail to authenticate on purpose.
        "AUTH_FAILURES_MAX": "1000000",
        **settings,
    }
    argv = [sys.executable, "-m", "server", *(["--dev"] if dev else [])]
    with running(argv, ready=f":{port}", environment=environment) as program:
        yield PrivateServer(port, program)


def inherited() -> dict[str, str]:
    """Return what a started server may see of this environment, with what coverage needs to measure it."""
    return {
        name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(("COVERAGE_", "COV_"))
    }
