"""Typing relayed in a match of two: the cheapest thing the server does, so its share in everything else."""

from loadtest.race.course import Rally
from tests.benchmarks.load import seat
from tests.benchmarks.measure import Row, per_target, ratio
from tests.benchmarks.plan import Plan, Sockets, constant, typing_frame
from tests.benchmarks.targets import Target

PAIRS = 200


async def run(plan: Plan) -> list[Row]:
    """Measure pairs that answer each typing event by one."""
    await plan.make_matches({f"typing-{pair}": [f"ty-{pair}-a", f"ty-{pair}-b"] for pair in range(PAIRS)})
    sockets = Sockets([])
    loads = [(target, await _load(target, sockets)) for target in plan.targets]
    found = per_target(await plan.alternate(loads))
    await sockets.close()
    against = ratio(found[0], next((each for each in found if each.target == "websockets.serve"), None))
    met = None if against is None else against <= 0.5
    expect = "at most 0.50 of websockets.serve"
    return [Row("typing", "typing relayed in a match of two", "µs CPU a relayed event", found, expect, met)]


async def _load(target: Target, sockets: Sockets) -> Rally:
    users = [f"ty-{pair}-{side}" for pair in range(PAIRS) for side in "ab"]
    connections = await sockets.open(target, users, lambda number: f"/typing/{number // 2}")
    seats = [
        seat(connection, constant(typing_frame(f"typing-{number // 2}")), b'{"type":"typing"')
        for number, connection in enumerate(connections)
    ]
    return Rally(list(zip(seats[::2], seats[1::2], strict=True)))
