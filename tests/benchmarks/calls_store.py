"""What the stores take for a call: `python -m tests.benchmarks.calls_store` prints CPU per call, of the node and of PostgreSQL.

A call is six views and six changes: ring, a device rings, answer, two reports, end. Durable: fsync and synchronous_commit are on.
"""

import asyncio
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import Final

import psutil
import uvloop

from protocol.calls import CallId, CallOutcome
from protocol.ids import MatchId, UserId
from server.adapters.clock import SystemClock
from server.adapters.postgres.store import PostgresStore
from server.adapters.sqlite.store import SqliteStore
from server.core.calls import CallChange, CallNote
from tests.benchmarks.measure import own_cpu_us
from tests.support.private_postgres import private_postgres

CALLS: Final = 400
TOGETHER: Final = 20
STEPS: Final = (CallOutcome.RINGING, None, CallOutcome.ONGOING, None, None, CallOutcome.COMPLETED)
VALUE: Final = b'{"about":"a call of two, as long as most are"}' * 24
# 1.1 KB, as a call of two is.
_numbers: Final = count()


async def call(store: PostgresStore | SqliteStore, match: MatchId, users: tuple[UserId, UserId]) -> None:
    """Do for one call what the desk does."""
    name, clock = CallId(f"call-{next(_numbers)}"), SystemClock()
    for version, state in enumerate(STEPS):
        await store.call_view(call=name if version else None, match=match, caller=users[0], since_us=600_000_000)
        now = clock.micros()
        ends = state is CallOutcome.COMPLETED
        note = None if state is None else CallNote(name, state, users[0], "video", now, users)
        await store.change_call(
            CallChange(
                change=f"{name} {version}",
                call=name,
                match=match,
                version=version,
                value=VALUE,
                caller=users[0],
                started_at=now,
                ended_at=now if ends else None,
                deadline_at=None if ends else now,
                users=users,
                seated=() if ends else users,
                nodes=() if ends else ("n",),
                note=note,
            )
        )


async def measure(store: PostgresStore | SqliteStore) -> None:
    """Make calls, so many at a time, each in a match of its own."""
    pairs = [(MatchId(f"m{n}"), (UserId(f"a{n}"), UserId(f"b{n}"))) for n in range(TOGETHER)]
    for match, users in pairs:
        await store.set_members(match, users)

    async def talk(match: MatchId, users: tuple[UserId, UserId]) -> None:
        for _ in range(CALLS // TOGETHER):
            await call(store, match, users)

    await asyncio.gather(*(talk(match, users) for match, users in pairs))


def family_cpu_us(pid: int) -> float:
    """Return the CPU time that a program and all that it started have used."""
    family = psutil.Process(pid)
    times = [each.cpu_times() for each in (family, *family.children(recursive=True))]
    return sum(each.user + each.system for each in times) * 1e6


async def main() -> None:
    """Print both."""
    with tempfile.TemporaryDirectory(prefix="duologue-bench-") as folder:
        embedded = await SqliteStore.open(Path(folder) / "calls.db", SystemClock())
        before = own_cpu_us()
        await measure(embedded)
        print(f"SQLite: {(own_cpu_us() - before) / CALLS:,.0f} µs a call, all in the node")
        await embedded.close()
    with private_postgres(is_durable=True) as server:
        shared = await PostgresStore.open(server.url(), SystemClock())
        await measure(shared)  # plans, caches
        ours, theirs = own_cpu_us(), family_cpu_us(server.program.pid)
        await measure(shared)
        ours, theirs = own_cpu_us() - ours, family_cpu_us(server.program.pid) - theirs
        print(f"PostgreSQL: {theirs / CALLS:,.0f} µs a call in the server, {ours / CALLS:,.0f} µs in the node")
        await shared.close()


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
