"""P1 at the store: what was answered is there after kill -9, in order and without a gap."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.from_server import Message
from server.adapters.clock import SystemClock
from server.adapters.sqlite.store import SqliteStore
from tests.support.clock import FakeClock
from tests.support.programs import ROOT
from tests.support.store_writer import MATCHES
from tests.support.stores import World, seqs


async def killed_after(path: Path, answers: int) -> list[str]:
    """Run the writer, kill it when it has printed `answers` lines, give all the whole lines that it printed."""
    command = (sys.executable, "-m", "tests.support.store_writer", str(path))
    writer = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    lines = [await writer.stdout.readline() for _ in range(answers)]
    writer.kill()
    lines += (await writer.stdout.read()).splitlines(keepends=True)
    await writer.wait()
    return [line.decode().rstrip("\n") for line in lines if line.endswith(b"\n")]


@pytest.mark.parametrize("answers", [1, 50, 777])
async def test_every_answered_message_survives_kill_9(tmp_path: Path, answers: int) -> None:
    path = tmp_path / "store.sqlite3"
    answered = await killed_after(path, answers)
    answered += await killed_after(path, answers)  # The second one opens what the first one left.
    assert len(answered) >= 2 * answers
    world = World(await SqliteStore.open(path, SystemClock()), FakeClock())
    found: set[str] = set()
    for number in range(MATCHES):
        log = await world.sync_all(f"m{number}")
        assert seqs(log) == list(range(1, len(log) + 1))
        times = [entry.created_at for entry in log]
        assert times == sorted(set(times))
        messages = [entry for entry in log if isinstance(entry, Message)]
        assert [message.n for message in messages] == list(range(1, len(messages) + 1))
        assert (await world.state(f"m{number}")).last_seq == len(log)
        found |= {f"{m.match} {m.seq} {m.created_at} {m.client_id}" for m in messages}
    await world.store.close()
    assert set(answered) <= found
