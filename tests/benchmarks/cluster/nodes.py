"""Nodes with their PostgreSQL (fsync and synchronous_commit on) and Redis, all on the servers' core, each measured apart."""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from deploy.cluster.parts import CHECKOUT, inherited, postgres
from deploy.cluster.programs import Program, Recipe, free_port
from loadtest.api import Api
from loadtest.clock import fresh_secret, wall_s
from loadtest.race.contestants import LIFTED
from loadtest.race.garage import Garage
from loadtest.race.speech import Duologue
from loadtest.race.stage import Stage, cpu_us

API_KEY: Final = "bench-key-7d1f0c5a9e3b4862d4c8a1f7b2e69035"


class Used(Struct, frozen=True):
    """CPU time in microseconds."""

    nodes: float
    postgres: float
    redis: float

    def since(self, before: "Used") -> "Used":
        """Return what was used after `before`."""
        return Used(self.nodes - before.nodes, self.postgres - before.postgres, self.redis - before.redis)


class Nodes:
    """A cluster. Every node takes the same tokens."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._recipe, self.database_url = postgres(stage.place)
        self._postgres = stage.start(self._recipe)
        self._redis, bus_url = stage.redis()
        self.secret = fresh_secret()
        self._settings = {
            "HOST": "127.0.0.1",
            "API_KEYS": API_KEY,
            "TOKEN_SECRETS": self.secret,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": bus_url,
            "PYTHONPATH": str(CHECKOUT),
        }
        self.ports: list[int] = []
        self._programs: list[Program] = []

    def add(self) -> int:
        """Start one more node; return its port."""
        port = free_port()
        environment = {**inherited(), **LIFTED, **self._settings, "PORT": str(port)}
        argv = (sys.executable, "-m", "server")
        self._programs.append(self._stage.start(Recipe("node", argv, port, ready="is ready", environment=environment)))
        self.ports.append(port)
        return port

    def speech(self, port: int) -> Duologue:
        """Return how people talk to the node at `port`."""
        return Duologue(f"http://127.0.0.1:{port}", API_KEY, self.secret, int(wall_s()))

    def used(self) -> Used:
        """Return the CPU time used so far."""
        return Used(cpu_us(self._programs), cpu_us([self._postgres]), cpu_us([self._redis]))

    async def counters(self) -> dict[str, float]:
        """Read the counters of all nodes, summed by name."""
        summed: dict[str, float] = {}
        for port in self.ports:
            api = Api(f"http://127.0.0.1:{port}", API_KEY)
            text = (await api.call("GET", "/metrics")).body.decode()
            api.close()
            for name, value in re.findall(r"^duologue_(\w+?)(?:_total)? (\S+)$", text, re.MULTILINE):
                summed[name] = summed.get(name, 0.0) + float(value)
        return summed

    def restart_postgres(self) -> None:
        """Have PostgreSQL begin with empty buffers; the system's file cache stays as it is."""
        self._postgres.ask_to_end()
        self._postgres.wait_ended(30)
        self._postgres = self._stage.start(self._recipe)


@contextmanager
def cluster() -> Iterator[Nodes]:
    """Run PostgreSQL and Redis until the block ends; nodes are added by `add`."""
    with tempfile.TemporaryDirectory(prefix="duologue-bench-") as folder:
        Path(folder).chmod(0o711)
        stage = Stage(Path(folder), Garage(Path("build/race")))
        try:
            yield Nodes(stage)
        finally:
            stage.end()
