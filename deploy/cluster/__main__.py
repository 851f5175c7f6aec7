"""`make cluster`: run the smallest honest cluster here until Ctrl-C, and say where to click."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from deploy.cluster.parts import Place, nginx, node, postgres, redis, shared_settings
from deploy.cluster.programs import ClusterError, Program, Recipe, free_port

USUAL_PORT: Final = 8000
LOOK_S: Final = 0.3
AGAIN_S: Final = 1.0
# A program that falls so soon after its start, so often, will not come to stand.
SHORT_LIFE_S: Final = 5.0
STARTS_MAX: Final = 5
END_WITHIN_S: Final = 10.0


def main() -> int:
    """Run the cluster; return the exit code."""
    arguments = _parser().parse_args()
    stop = _on_signals()
    folder = Path(tempfile.mkdtemp(prefix="duologue-cluster-"))
    cluster = Cluster(Place(folder, arguments.port or free_port(USUAL_PORT)), stop)
    try:
        cluster.start(arguments.nodes)
        cluster.keep()
    except ClusterError as problem:
        print(f"cluster: {problem}", file=sys.stderr)
        return 1
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


class Cluster:
    """The programs in the order in which they need each other."""

    def __init__(self, place: Place, stop: threading.Event) -> None:
        self._place = place
        self._stop = stop
        self._programs: list[Program] = []

    def start(self, nodes: int) -> None:
        """Start everything and tell where it is; gives up quietly when told to stop."""
        place = self._place
        place.make()
        database, database_url = postgres(place)
        bus, bus_url = redis(place)
        self._start(database, bus)
        settings = shared_settings(database_url, bus_url)
        recipes = [node(number, settings) for number in range(1, nodes + 1)]
        # The first one makes the tables.
        self._start(recipes[0])
        self._start(*recipes[1:])
        self._start(nginx(place, [recipe.port for recipe in recipes]))
        if not self._stop.is_set():
            self._tell()

    def keep(self) -> None:
        """Start again what falls, until told to stop."""
        while not self._stop.wait(LOOK_S):
            for program in self._programs:
                if program.ended:
                    self._start_again(program)

    def end(self) -> None:
        """End everything, what stands on others first."""
        if self._programs:
            print("Ending the cluster.", file=sys.stderr)
        nodes = [program for program in self._programs if program.recipe.name.startswith("node")]
        before = self._programs[:2]
        for together in (self._programs[2 + len(nodes) :], nodes, before[1:], before[:1]):
            for program in together:
                program.ask_to_end()
            for program in together:
                program.wait_ended(END_WITHIN_S)

    def _start(self, *recipes: Recipe) -> None:
        if self._stop.is_set():
            return
        programs = [Program(recipe, self._place.logs) for recipe in recipes]
        self._programs += programs
        for program in programs:
            program.start()
        for program in programs:
            program.wait_ready(self._stop)

    def _start_again(self, program: Program) -> None:
        name, how = program.recipe.name, program.ended
        if time.monotonic() - program.started_at > SHORT_LIFE_S:
            program.starts = 1
        if program.starts >= STARTS_MAX:
            raise ClusterError(f"{name} falls again and again, last with {how}:\n{program.last_words()}")
        print(f"{name} ended ({how}) and is started again.", file=sys.stderr)
        if self._stop.wait(AGAIN_S):
            return
        program.start()
        # What stands on it comes later in the list; if it falls at once, the next round sees that.
        with suppress(ClusterError):
            program.wait_ready(self._stop)

    def _tell(self) -> None:
        lines = [f"Duologue is ready: http://127.0.0.1:{self._place.port} (open it in two windows; Ctrl-C ends it)"]
        for program in self._programs:
            recipe = program.recipe
            where = f"http://127.0.0.1:{recipe.port}" if recipe.name.startswith("node") else f"127.0.0.1:{recipe.port}"
            lines.append(f"  {recipe.name:9} {where:23} pid {program.pid}")
        lines.append(f"  logs      {self._place.logs}")
        lines.append("Kill any of them (kill -9 PID) while you chat: it is started again, and no message is lost.")
        print("\n".join(lines), file=sys.stderr, flush=True)


def _on_signals() -> threading.Event:
    stop = threading.Event()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m deploy.cluster", description="Run a cluster on this machine.")
    parser.add_argument("--nodes", type=int, default=2, help="how many nodes (2)")
    port = int(os.environ.get("PORT") or 0)
    parser.add_argument(
        "--port", type=int, default=port, help=f"where to click ($PORT, else {USUAL_PORT} when it is free)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
