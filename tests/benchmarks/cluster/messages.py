"""Durable messages between two: on one node, over two, on one to four; and what crossing from node to node adds to the time."""

import asyncio
from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct

from loadtest.race.course import Metronome, Rally, Seat, leave_all, seat_all, settle
from tests.benchmarks.cluster.nodes import Nodes, Used

WARM_S = 0.5
TEXTS_PER_S = 100.0

Place = Callable[[int, int], int]
# From the number of a pair and of one of the two to the node that this one is on.


class Load(Struct, frozen=True):
    """How many talk, how often and how long it is measured."""

    pairs: int
    windows: int
    window_s: float


class Cost(Struct, frozen=True):
    """CPU time of one message in microseconds, and how many shared a commit. Medians of the windows."""

    nodes: float
    postgres: float
    redis: float
    spread: tuple[float, float]
    batch: float
    received: int
    expected: int

    @property
    def per_second(self) -> float:
        """Messages for a second of the nodes' CPU."""
        return 1e6 / self.nodes


async def cost(nodes: Nodes, load: Load, name: str, place: Place) -> Cost:
    """Measure pairs in which each message is the answer to the last one."""
    seats = await _seat(nodes, load.pairs, name, place)
    rally = Rally(seats)
    before = await nodes.counters()
    rally.start()
    await asyncio.sleep(WARM_S)
    windows: list[tuple[Used, int]] = []
    for _ in range(load.windows):
        used, count = nodes.used(), rally.received
        await asyncio.sleep(load.window_s)
        windows.append((nodes.used().since(used), rally.received - count))
    rally.stop()
    await settle(rally)
    after = await nodes.counters()
    await leave_all([seat for pair in seats for seat in pair])
    return _cost_of(windows, _batch(before, after), rally)


async def times(nodes: Nodes, load: Load, name: str, place: Place) -> tuple[float, float]:
    """Return p50 and p99, in milliseconds, from when a message was due to its arrival at the other one."""
    seats = await _seat(nodes, load.pairs, name, place)
    beat = Metronome(seats, TEXTS_PER_S)
    beat.start()
    await asyncio.sleep(WARM_S)
    beat.times = type(beat.times)()
    await asyncio.sleep(load.windows * load.window_s)
    beat.stop()
    await settle(beat)
    await leave_all([seat for pair in seats for seat in pair])
    p50, p99 = beat.times.quantiles((0.5, 0.99))
    return p50 / 1000, p99 / 1000


async def _seat(nodes: Nodes, pairs: int, name: str, place: Place) -> list[list[Seat]]:
    rooms = {f"{name}-{pair}": [f"{name}-{pair}-{side}" for side in "ab"] for pair in range(pairs)}
    await nodes.speech(nodes.ports[0]).prepare(rooms)
    seats: list[list[Seat]] = [[] for _ in rooms]
    for side in (0, 1):
        for node, port in enumerate(nodes.ports):
            here = {
                room: [users[side]] for pair, (room, users) in enumerate(rooms.items()) if place(pair, side) == node
            }
            found = await seat_all(nodes.speech(port), port, here)
            for room, (seat,) in found.items():
                seats[int(room.rpartition("-")[2])].append(seat)
    return seats


def _batch(before: dict[str, float], after: dict[str, float]) -> float:
    stored = after["messages_stored"] - before["messages_stored"]
    return stored / max(after["journal_batches"] - before["journal_batches"], 1)


def _cost_of(windows: Sequence[tuple[Used, int]], batch: float, rally: Rally) -> Cost:
    each = [used.nodes / max(count, 1) for used, count in windows]
    return Cost(
        median(each),
        median(used.postgres / max(count, 1) for used, count in windows),
        median(used.redis / max(count, 1) for used, count in windows),
        (min(each), max(each)),
        batch,
        rally.received,
        rally.expected,
    )
