"""`python -m loadtest race`: run the race and print its table; exit code 1 when a text of ours got lost."""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import uvloop

from loadtest.race.contestants import STARTS, contestants
from loadtest.race.disciplines import Rules, run_all
from loadtest.race.garage import Garage
from loadtest.race.table import race_of, render, write_json

CLIENT_CORE: Final = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may be said of a race."""
    parser.add_argument("--only", action="append", choices=STARTS, help="run this one (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="short windows, small rooms: does it work?")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.6, help="length of a window")
    parser.add_argument("--json", type=Path, default=Path("build/race.json"))
    parser.add_argument("--garage", type=Path, default=Path("build/race"), help="where rivals are installed")


def run(options: argparse.Namespace) -> int:
    """Run it; the limit of open files has been raised, and the servers inherit it."""
    quick = Rules(1, 0.1, warm_up=0, large=200, idle=200)
    rules = quick if options.quick else Rules(options.windows, options.seconds)
    with tempfile.TemporaryDirectory(prefix="duologue-race-") as folder:
        garage = Garage(options.garage.resolve())
        with contestants(options.only or list(STARTS), Path(folder), garage, _tell) as (running, missing):
            if len(os.sched_getaffinity(0)) > 1:
                os.sched_setaffinity(0, {CLIENT_CORE})
            results = uvloop.run(run_all(running, rules, _tell))
            race = race_of(running, missing, results, rules, "python -m loadtest race")
    _tell("")
    print(render(race))
    write_json(race, options.json)
    ours = [line for line in race.lines if line.name.startswith("Duologue")]
    return 0 if all(each.delivered == 1 for line in ours for each in line.disciplines.values()) else 1


def _tell(what: str) -> None:
    """Tell somebody who watches what is going on."""
    if sys.stderr.isatty():
        print(f"\r  {what:<70}", end="" if what else "\r", file=sys.stderr, flush=True)
