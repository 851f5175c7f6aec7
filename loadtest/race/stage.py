"""Where contestants are started: each server on one core, together with the Redis and PostgreSQL that it uses."""

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from msgspec import Struct

from deploy.cluster.parts import Place, redis
from deploy.cluster.programs import Program, Recipe, find_program
from loadtest.processes import usage
from loadtest.race.garage import Garage
from loadtest.race.speech import Speech

SERVER_CORE: Final = 0
END_WITHIN_S: Final = 10.0


class Contestant(Struct, frozen=True):
    """A server that runs. `signals` says things that it need not keep, where there is a way of its own for those."""

    name: str
    version: str
    does: str
    port: int
    speech: Speech
    signals: Speech
    server: Program
    helpers: tuple[Program, ...] = ()

    def cpu_us(self) -> tuple[float, float]:
        """Return the CPU time used so far by the server, and by what stands beside it."""
        return cpu_us((self.server,)), cpu_us(self.helpers)

    def rss_bytes(self) -> int:
        """Return the server's resident memory."""
        seen = usage(_family(self.server.pid))
        return seen.rss_bytes if seen else 0


class NotRun(Struct, frozen=True):
    """One that is not in the race, and why."""

    name: str
    why: str


def _pinned() -> tuple[str, ...]:
    """Return what starts a program on the servers' core; nothing where there is only one."""
    if len(os.sched_getaffinity(0)) < 2:
        return ()
    return (find_program("taskset"), "--cpu-list", str(SERVER_CORE))


def cpu_us(programs: Iterable[Program]) -> float:
    """Return the CPU time that these and all that they started have used."""
    seen = [usage(_family(program.pid)) for program in programs]
    return sum(each.cpu_us for each in seen if each)


class Stage:
    """Where contestants are started; all of them end with the block."""

    def __init__(self, folder: Path, garage: Garage) -> None:
        self.place = Place(folder, 0)
        self.garage = garage
        self._programs: list[Program] = []
        self._count = 0
        self.place.make()

    def start(self, recipe: Recipe) -> Program:
        """Start a program on the servers' core and wait until it is ready."""
        self._count += 1
        argv = (*_pinned(), *recipe.argv)
        program = Program(replace(recipe, name=f"{self._count}-{recipe.name}", argv=argv), self.place.logs)
        self._programs.append(program)
        program.start()
        program.wait_ready(threading.Event())
        return program

    def redis(self) -> tuple[Program, str]:
        """Start a Redis for one contestant alone."""
        recipe, url = redis(self.place)
        return self.start(recipe), url

    def end(self) -> None:
        """End them, what stands on others first."""
        for program in reversed(self._programs):
            program.ask_to_end()
            program.wait_ended(END_WITHIN_S)


def _family(pid: int) -> list[int]:
    """Return a process and all that it started and that still run."""
    found = [pid]
    for each in found:
        with suppress(OSError):  # it has gone
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found
