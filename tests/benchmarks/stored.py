"""A message stored on SQLite (WAL, synchronous=FULL), acked, and delivered to the other of two. The peers store nothing."""

import re

from loadtest.api import Api
from loadtest.race.course import Rally
from tests.benchmarks.load import seat
from tests.benchmarks.measure import Row, per_target
from tests.benchmarks.plan import Plan, Sockets, sending
from tests.benchmarks.targets import API_KEY

PAIRS = 200


async def run(plan: Plan) -> list[Row]:
    """Measure pairs in which each message is the answer to the last one."""
    await plan.make_matches({f"stored-{pair}": [f"st-{pair}-a", f"st-{pair}-b"] for pair in range(PAIRS)})
    users = [f"st-{pair}-{side}" for pair in range(PAIRS) for side in "ab"]
    sockets = Sockets([])
    connections = await sockets.open(plan.duologue, users, lambda _: "")
    seats = [
        seat(connection, sending(f"stored-{number // 2}", user), b'{"type":"message"')
        for number, (connection, user) in enumerate(zip(connections, users, strict=True))
    ]
    load = Rally(list(zip(seats[::2], seats[1::2], strict=True)))
    before = await counters(plan)
    found = per_target(await plan.alternate([(plan.duologue, load)]))
    after = await counters(plan)
    await sockets.close()
    batch = (after["messages_stored"] - before["messages_stored"]) / max(
        after["journal_batches"] - before["journal_batches"], 1
    )
    note = f"{PAIRS} pairs at once, {batch:.0f} messages a commit"
    row = Row("stored", "message stored on SQLite, acked and delivered", "µs CPU a message", found, "-", None, [note])
    return [row]


async def counters(plan: Plan) -> dict[str, float]:
    """Read the server's counters by name."""
    api = Api(plan.duologue.http_url, API_KEY)
    text = (await api.call("GET", "/metrics")).body.decode()
    api.close()
    return {name: float(value) for name, value in re.findall(r"^duologue_(\w+?)(?:_total)? (\S+)$", text, re.MULTILINE)}
