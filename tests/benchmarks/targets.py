"""What is measured: our server and its two peers, each alone on core 0, and what the kernel says that they use."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.processes import cpu_us, pinned, rss_bytes
from loadtest.race.contestants import LIFTED as LIFTED_FOR_THE_RACE
from tests.support.private_server import inherited
from tests.support.programs import Program, free_port, running

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
API_KEY: Final = "bench-key-7d1f0c5a9e3b4862d4c8a1f7b2e69035"
TOKEN_SECRET: Final = "bench-hs256-5b8e2f9c1d7a4036e9f3b6c2a8d15470"
# The race's, and those of calls.
LIFTED: Final = {
    **LIFTED_FOR_THE_RACE,
    "CALL_STARTS_PER_MIN": "100000",
    "CALL_UNANSWERED_MAX": "100000",
    "CALL_SIGNAL_RATE_PER_S": "1000000",
    "CALL_SIGNAL_BURST": "1000000",
    "CALL_RING_S": "600",
    "CALL_UNREACHABLE_S": "600",
    "CALL_CONNECT_S": "600",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A running process that relays."""

    name: str
    port: int
    program: Program

    @property
    def is_duologue(self) -> bool:
        """Whether it speaks our protocol; the peers pass on anything, by path."""
        return self.name == "duologue"

    def url(self, path: str) -> str:
        """Return where to connect; `path` names the room on a peer."""
        return f"ws://127.0.0.1:{self.port}{'/ws' if self.is_duologue else path}"

    @property
    def http_url(self) -> str:
        """Return the origin of the HTTP API."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_us(self) -> float:
        """Return the CPU time used so far by all threads, from the scheduler's own nanoseconds."""
        return cpu_us(self.program.pid)

    def rss_bytes(self) -> int:
        """Return the resident memory."""
        return rss_bytes(self.program.pid)

    def collect(self) -> None:
        """Make our server collect garbage."""
        os.kill(self.program.pid, signal.SIGUSR2)


@contextmanager
def targets(folder: Path) -> Iterator[list[Target]]:
    """Run our server and the peers that this machine can run, until the block ends."""
    with ExitStack() as stack:
        found = [stack.enter_context(_duologue(folder)), stack.enter_context(_websockets())]
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is not None:
            found.append(stack.enter_context(_c_relay(compiler, folder)))
        yield found


@contextmanager
def _duologue(folder: Path) -> Iterator[Target]:
    port = free_port()
    environment = {
        **inherited(),
        **LIFTED,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": f"sqlite:{folder / 'bench.db'}",
        "API_KEYS": API_KEY,
        "TOKEN_SECRETS": TOKEN_SECRET,
    }
    argv = [sys.executable, "-m", "tests.benchmarks.collectable"]
    with running(pinned(argv, SERVER_CORE), ready=f":{port}", environment=environment) as program:
        yield Target("duologue", port, program)


@contextmanager
def _websockets() -> Iterator[Target]:
    port = free_port()
    argv = [sys.executable, "-m", "loadtest.race.rivals.websockets_serve", str(port)]
    with running(pinned(argv, SERVER_CORE), ready="ready", environment=inherited()) as program:
        yield Target("websockets.serve", port, program)


@contextmanager
def _c_relay(compiler: str, folder: Path) -> Iterator[Target]:
    binary, port = folder / "relay", free_port()
    subprocess.run([compiler, "-O2", "-o", binary, Path(__file__).with_name("relay.c")], check=True)
    with running(pinned([str(binary), str(port)], SERVER_CORE), ready="ready", environment=inherited()) as program:
        yield Target("C epoll", port, program)
