"""What an idle connection keeps in memory: growth of the resident set over the number of connections."""

import asyncio

from tests.benchmarks.load import close_all, open_all
from tests.benchmarks.measure import Row, Series
from tests.benchmarks.plan import Plan
from tests.benchmarks.targets import Target

CONNECTIONS = 5_000
QUICK_CONNECTIONS = 1_000
SETTLE_S = 1.0


async def run(plan: Plan) -> list[Row]:
    """Connect thousands, each user with one match of two."""
    count = QUICK_CONNECTIONS if plan.quick else CONNECTIONS
    await plan.make_matches({f"idle-{pair}": [f"id-{2 * pair}", f"id-{2 * pair + 1}"] for pair in range(count // 2)})
    found = [await _grow(target, count) for target in plan.targets]
    kib = found[0].median
    notes = ["ours: authenticated, each user with a match of two, after a collection of garbage"]
    title = f"idle connections, {count:,} at once"
    return [Row("idle", title, "KiB RSS a connection", found, "at most 4 KiB", kib <= 4, notes)]


async def _grow(target: Target, count: int) -> Series:
    """Open `count` connections and see what stays. The first few pay for code that was never run before."""
    users = [f"id-{number}" for number in range(count)]
    await close_all(await open_all(target, users[:50], lambda _: "/idle"))
    await asyncio.sleep(SETTLE_S)
    before = target.rss_bytes()
    connections = await open_all(target, users, lambda _: "/idle")
    await asyncio.sleep(SETTLE_S)
    if target.is_duologue:
        target.collect()
        await asyncio.sleep(SETTLE_S)
    grown = target.rss_bytes() - before
    alive = sum(not connection.closed.done() for connection in connections)
    await close_all(connections)
    return Series(target.name, [grown / 1024 / count], alive, count, 0.0, 0.0)
