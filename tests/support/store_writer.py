"""A program that posts to a SQLite store for ever and prints what was answered, to be killed: `python -m … PATH`."""

import asyncio
import sys
from pathlib import Path

from protocol.ids import MatchId
from server.adapters.clock import SystemClock
from server.adapters.sqlite.store import SqliteStore
from server.core.log import Appended
from tests.support.stores import ALICE, BOB, post

MATCHES = 3


async def write(path: Path) -> None:
    """Post batches to a few matches from several tasks; print each answer when it comes."""
    clock = SystemClock()
    store = await SqliteStore.open(path, clock)
    for number in range(MATCHES):
        await store.set_members(MatchId(f"m{number}"), (ALICE, BOB))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(_post_for_ever(store, clock))


async def _post_for_ever(store: SqliteStore, clock: SystemClock) -> None:
    while True:
        batch = [post(clock.random_id(), match=f"m{number % MATCHES}") for number in range(5)]
        for outcome in await store.append(batch):
            assert isinstance(outcome, Appended)
            message = outcome.message
            print(message.match, message.seq, message.created_at, message.client_id, flush=True)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
