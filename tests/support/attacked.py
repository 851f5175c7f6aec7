"""A server under attack, and the questions asked of it afterwards: still serving, nothing left open, no traceback, no growth."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.support.api import Api
from tests.support.chatter import Chatter
from tests.support.private_server import PrivateServer, private_server

GROWTH_MAX_KIB: Final = 24 * 1024
# What one group of cases may leave of itself in the server's memory: the allocator's slack, no more.
IDLE: Final = {
    "connections_open": 0,
    "http_connections_open": 1,  # the one that asks
    "sessions_authenticated": 0,
    "users_online": 0,
    "journal_queue_depth": 0,
}


class Attacked(Struct, frozen=True):
    """A running server."""

    server: PrivateServer
    settled_rss_kib: int

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, for sockets."""
        return "127.0.0.1", self.port

    @property
    def api(self) -> Api:
        """Its API, called as the backend."""
        return Api(self.port)

    def problems(self) -> list[str]:
        """What its log has of faults."""
        lines = self.server.program.output().splitlines()
        return [line for line in lines if "Traceback" in line or "level=error" in line or "never awaited" in line]

    def metric(self, name: str) -> int:
        """Read one of its numbers."""
        return read_metrics(self.api)[name]

    def left_over(self) -> dict[str, int]:
        """Wait until all gauges are as they are without clients; return those that stay otherwise."""
        waited = threading.Event()
        rest: dict[str, int] = {}
        for _ in range(5_000):
            now = read_metrics(self.api)
            rest = {name: now[name] for name, idle in IDLE.items() if now[name] != idle}
            if not rest:
                break
            waited.wait(0.01)  # another process's sockets: there is no event to await
        return rest

    def grown_kib(self) -> int:
        """Tell how much memory it has taken since it was ready."""
        return rss_kib(self.server.program.pid) - self.settled_rss_kib

    def check(self) -> None:
        """Ask everything."""
        with Chatter(self.port) as client:
            assert client.is_alive()
        assert self.left_over() == {}
        problems = self.problems()
        assert not problems, problems[0]
        assert self.grown_kib() < GROWTH_MAX_KIB


@contextmanager
def attacked(settings: Mapping[str, str], database: Path | None = None, *, dev: bool = True) -> Iterator[Attacked]:
    """Run a server until the block ends; then it must be as it was, and end by itself."""
    with private_server(database, port=None, dev=dev, **settings) as server:
        with Chatter(server.port) as client:  # what is loaded at the first request is no growth
            assert client.is_alive()
        read_metrics(Api(server.port))
        yield (target := Attacked(server, rss_kib(server.program.pid)))
        target.check()


def read_metrics(api: Api) -> dict[str, int]:
    """Read the server's numbers, by their names without prefix and suffix."""
    lines = api.call("GET", "/metrics").content.decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith("duologue_")]
    return {name.removeprefix("duologue_").removesuffix("_total"): round(float(value)) for name, value in pairs}


def rss_kib(pid: int) -> int:
    """Read the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError(f"no process {pid}")
