"""Connect, authenticate and be welcomed: what a reconnect storm costs."""

import asyncio
import time
from functools import partial

from loadtest.client import Client
from loadtest.tokens import sign_token
from tests.benchmarks.load import Stopwatch, close_all, open_all
from tests.benchmarks.measure import Row, Window, per_target
from tests.benchmarks.plan import Plan
from tests.benchmarks.targets import TOKEN_SECRET, Target

CONNECTS = 1_000
MESSAGES = 10
SETTLE_S = 0.5


async def run(plan: Plan) -> list[Row]:
    """Measure connects of users who each have one match of two with some messages; 64 connects under way at a time."""
    await plan.make_matches({f"conn-{pair}": [f"co-{2 * pair}", f"co-{2 * pair + 1}"] for pair in range(CONNECTS // 2)})
    for pair in range(CONNECTS // 2):
        await _fill(plan.duologue, pair)
    calls = {target.name: partial(_connect_all, target) for target in plan.targets}
    found = per_target(await plan.take_turns(calls))
    notes = [
        f"ours: TCP, upgrade, HS256 token, welcome with one match of {MESSAGES} messages; peers: TCP and upgrade only"
    ]
    met = found[0].median <= 200
    return [Row("connect", "connect, token, welcome", "µs CPU a connect", found, "at most 200 µs", met, notes)]


async def _fill(target: Target, pair: int) -> None:
    user = f"co-{2 * pair}"
    client = await Client.connect(target.url(""), token=sign_token(user, TOKEN_SECRET, int(time.time()) + 600))
    await client.hello()
    for number in range(MESSAGES):
        await client.send(f"conn-{pair}", f"message {number}", f"fill-{number}")
    await client.close()


async def _connect_all(target: Target) -> Window:
    users = [f"co-{number}" for number in range(CONNECTS)]
    stopwatch = Stopwatch(target)
    connections = await open_all(target, users, lambda _: "/connect")
    finish = stopwatch.stop()
    alive = sum(not connection.closed.done() for connection in connections)
    await close_all(connections)
    await asyncio.sleep(SETTLE_S)
    return finish(alive, CONNECTS, CONNECTS)
