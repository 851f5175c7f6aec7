"""`python -m tests.benchmarks [--only NAME] [--quick] [--json PATH]`: print a table of ratios. Never fails on a time."""

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import uvloop

from tests.benchmarks import calls, connects, fan_out, idle, stored, typing_relay
from tests.benchmarks.measure import Row
from tests.benchmarks.plan import Plan
from tests.benchmarks.table import render, results, write_json
from tests.benchmarks.targets import LOAD_CORE, targets

BENCHMARKS: Final[Mapping[str, Callable[[Plan], Awaitable[list[Row]]]]] = {
    "idle": idle.run,
    "connect": connects.run,
    "typing": typing_relay.run,
    "stored": stored.run,
    "calls": calls.run,
    "fan-out": fan_out.run,
}
# Idle goes first: memory that other benchmarks left behind would hide what a connection takes.


def main() -> int:
    """Run what was asked for; 1 when something got lost, for then the figures are worth nothing."""
    options = _options()
    raise_file_limit()
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {LOAD_CORE})
    else:
        print("Only one core here: server and load share it.", file=sys.stderr)
    windows, window_s = (3, 0.5) if options.quick else (options.windows, options.seconds)
    rows: list[Row] = []
    for name in options.only or BENCHMARKS:
        print(f"  {name} …", file=sys.stderr, flush=True)
        rows += _run(name, windows, window_s, options.quick)
    found = results(rows, windows, window_s)
    print(render(found))
    write_json(found, options.json)
    return 0 if all(each.received == each.expected for row in rows for each in row.series) else 1


def _run(name: str, windows: int, window_s: float, quick: bool) -> list[Row]:
    """Run one benchmark on freshly started processes."""
    with tempfile.TemporaryDirectory(prefix="duologue-bench-") as folder, targets(Path(folder)) as running:
        if len(running) < 3:
            print("  C epoll: not run, no C compiler here", file=sys.stderr)
        return uvloop.run(_await(BENCHMARKS[name](Plan(running, windows, window_s, quick))))


async def _await(rows: Awaitable[list[Row]]) -> list[Row]:
    return await rows


def raise_file_limit() -> None:
    """Thousands of sockets need as many files; children inherit it."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="run this one (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="short windows and fewer connections: does it work?")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a window")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
