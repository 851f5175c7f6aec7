"""One message to everybody else in a match of 50 and of 1,000, alone and with 8 arriving together."""

from loadtest.race.course import Crowd
from tests.benchmarks.load import seat
from tests.benchmarks.measure import Row, per_target, ratio
from tests.benchmarks.plan import Plan, Sockets, constant, plain_frame, sending

SIZES = (50, 1000)
TOGETHER = (1, 8)


async def run(plan: Plan) -> list[Row]:
    """Measure all four."""
    return [await _measure(plan, size, together) for size in SIZES for together in TOGETHER]


async def _measure(plan: Plan, size: int, together: int) -> Row:
    match = f"fan-{size}"
    users = [f"fan-{size}-{number}" for number in range(size)]
    await plan.make_matches({match: users})
    sockets = Sockets([])
    loads = []
    for target in plan.targets:
        connections = await sockets.open(target, users, lambda _: f"/fan/{size}/{together}")
        make = sending(match, f"{users[0]}-{together}") if target.is_duologue else constant(plain_frame())
        room = [seat(connection, make, b'{"type":"message"') for connection in connections]
        loads.append((target, Crowd(room, together=together)))
    found = per_target(await plan.alternate(loads))
    await sockets.close()
    expect, met = _verdict(Row("", "", "", found, "", None), size, together)
    how = "alone" if together == 1 else f"{together} together"
    note = "ours: stored on SQLite before it is delivered"
    title = f"fan-out in a match of {size:,}, {how}"
    return Row(f"fan-{size}-{together}", title, "µs CPU a delivery", found, expect, met, [note])


def _verdict(row: Row, size: int, together: int) -> tuple[str, bool | None]:
    if size != 1000:
        return "-", None
    if together == 1:
        against = ratio(row.series[0], row.of("C epoll"))
        return "at most 1.30 of C epoll", None if against is None else against <= 1.3
    return "under 2 µs", row.series[0].median < 2
