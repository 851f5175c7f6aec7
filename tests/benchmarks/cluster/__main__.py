"""`python -m tests.benchmarks.cluster [--quick]`: print what nodes on PostgreSQL and Redis cost. Never fails on a time."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from msgspec import Struct, structs

from loadtest.race.stage import SERVER_CORE
from tests.benchmarks.__main__ import raise_file_limit
from tests.benchmarks.cluster import history, messages
from tests.benchmarks.cluster.messages import Cost, Load
from tests.benchmarks.cluster.nodes import Nodes, cluster
from tests.benchmarks.cluster.resume import resume
from tests.benchmarks.plan import progress
from tests.benchmarks.targets import LOAD_CORE

NODES_MAX: Final = 4


class Size(Struct, frozen=True):
    """How large it is."""

    load: Load
    pairs_timed: int
    messages: int
    pages: int
    clients: int


FULL: Final = Size(Load(300, 5, 1.5), 50, 2_000_000, 2_000, 1_000)
QUICK: Final = Size(Load(40, 1, 0.3), 10, 20_000, 100, 50)


class Line(Struct, frozen=True):
    """One figure, and what is expected of it."""

    what: str
    figure: str
    expected: str = "-"
    met: bool | None = None


def main() -> int:
    """Run all of it; 1 when something got lost, for then the figures are worth nothing."""
    options = _options()
    raise_file_limit()
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {LOAD_CORE})
    lines: list[Line] = []
    lost = 0
    with cluster() as nodes:
        lost = uvloop.run(_run(nodes, QUICK if options.quick else FULL, lines))
    print(
        f"Nodes, PostgreSQL (fsync and synchronous_commit on) and Redis on core {SERVER_CORE}, load on core {LOAD_CORE}.\n"
    )
    print("| what | figure | expected |  |\n| --- | --- | --- | --- |")
    print("\n".join(f"| {each.what} | {each.figure} | {each.expected} | {_judged(each.met)} |" for each in lines))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(lines), indent=1))
    return 1 if lost else 0


async def _run(nodes: Nodes, size: Size, lines: list[Line]) -> int:
    """Measure; return how many messages got lost."""
    costs: list[Cost] = []
    for count in range(1, NODES_MAX + 1):
        nodes.add()
        progress(f"messages, {count} nodes")
        load = structs.replace(size.load, pairs=size.load.pairs * count)  # as much for each node, however many
        costs.append(await messages.cost(nodes, load, f"cost{count}", partial(_apart, count)))
        lines += _lines_of(count, costs)
        if count == 2:
            near = await messages.times(nodes, _timed(size), "near", partial(_apart, 1))
            far = await messages.times(nodes, _timed(size), "far", partial(_apart, 2))
            lines.append(_crossing(near, far))
    progress("clients that come back")
    back = await resume(nodes, size.clients)
    what = f"{size.clients:,} clients come back at once, 20 messages missed by each"
    figure = f"all after {back.all_ms:,.0f} ms, half after {back.one_ms:,.0f} ms; {back.nodes_us:.0f} µs CPU of a node, {back.postgres_us:.0f} µs of PostgreSQL a client"
    lines.append(Line(what, figure))
    lines += await _history(nodes, size)
    progress("")
    return sum(cost.expected - cost.received for cost in costs) + back.expected - back.received


def _apart(nodes: int, pair: int, side: int) -> int:
    """Place the two of a pair on neighbouring nodes."""
    return (pair + side) % nodes


def _timed(size: Size) -> Load:
    return Load(size.pairs_timed, size.load.windows, size.load.window_s)


def _lines_of(count: int, costs: Sequence[Cost]) -> list[Line]:
    cost, alone = costs[-1], costs[0]
    figure = (
        f"{cost.nodes:.1f} µs CPU of the nodes ({cost.spread[0]:.1f}-{cost.spread[1]:.1f}), {cost.postgres:.1f} PostgreSQL,"
        f" {cost.redis:.1f} Redis; {cost.batch:.0f} a commit; received/expected {cost.received / cost.expected:g}"
    )
    if count == 1:
        met = cost.per_second >= 15_000
        per_second = Line("the same, a second of node CPU", f"{cost.per_second:,.0f}", "at least 15,000", met)
        return [Line("durable message of two on one node", figure), per_second]
    figure += f"; {cost.nodes / alone.nodes:.2f} of one node"
    return [Line(f"the two on different nodes, {count} nodes", figure, "flat is the aim" if count > 2 else "-")]


def _crossing(near: tuple[float, float], far: tuple[float, float]) -> Line:
    added = far[0] - near[0]
    figure = f"{near[0]:.1f} / {near[1]:.1f} ms on one node, {far[0]:.1f} / {far[1]:.1f} over two: {added:.1f} ms more at the median"
    return Line("delivery p50 / p99, 100 messages/s", figure, "under 2 ms more", added < 2)


async def _history(nodes: Nodes, size: Size) -> list[Line]:
    progress(f"{size.messages:,} messages are written")
    matches = await history.fill(nodes, size.messages)
    progress("pages")

    async def restart() -> None:
        await asyncio.to_thread(nodes.restart_postgres)

    cold = await history.read(nodes, matches, size.pages, restart)
    warm = await history.read(nodes, matches, size.pages, None)
    what = f"history page of 50 at {size.messages:,} messages, p50 / p99"
    return [
        Line(f"{what}, just after a restart of PostgreSQL", f"{cold.p50:.1f} / {cold.p99:.1f} ms"),
        Line(f"{what}, warm", f"{warm.p50:.1f} / {warm.p99:.1f} ms", "p99 under 5 ms", warm.p99 < 5),
    ]


def _judged(met: bool | None) -> str:
    return "" if met is None else "met" if met else "MISSED"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cluster", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short and small: does it work?")
    parser.add_argument("--json", type=Path, default=Path("build/bench-cluster.json"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
