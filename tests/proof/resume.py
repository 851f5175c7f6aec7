"""P4: resume is history."""

import asyncio

from loadtest.client import Client, Cursors
from loadtest.resuming import ResumingClient
from protocol.from_server import Entry, Gap, Message, Push, Reset
from protocol.ids import Cursor, MatchId, Micros, Seq
from protocol.limits import RESUME_ENTRIES_MAX
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import UNLIMITED, Node
from tests.proof.traffic import Crowd, cut_often, kill_often

READERS = 6
WRITERS = 2
MESSAGES = 120
CUTS = 60
KILLS = 2
MATCH = "resumed"


async def run(ground: Ground) -> list[Check]:
    """Cut readers again and again, and come back with old, very old and wrong cursors."""
    node = await ground.node(**UNLIMITED)
    crowd = Crowd(node, ground.chance)
    readers = [f"reader-{number}" for number in range(READERS)]
    writers = [f"writer-{number}" for number in range(WRITERS)]
    await crowd.make({MATCH: [*readers, *writers]})
    cut = [crowd.add(user) for user in readers]
    writing = [crowd.write(crowd.add(user), MESSAGES, 0.05) for user in writers]
    breaking = (cut_often(cut, ground.chance, CUTS, 0.08), kill_often(node, ground.chance, KILLS, ground.tell))
    report = await crowd.live(*breaking, *writing)
    log = (await crowd.stored())[MatchId(MATCH)]
    checks = [
        Check(f"{_returns(cut)} returns of {READERS} readers, who missed {report.missed} entries", report.missed == 0),
        Check(f"{report.faults} faults of any kind in {report.shown:,} entries shown", report.faults == 0),
        *await _by_hand(node, list(log)),
    ]
    await node.stop()
    return checks


async def _by_hand(node: Node, log: list[Entry]) -> list[Check]:
    """Come back with cursors of every age and compare with the log, entry by entry."""
    client = await node.client("reader-0")
    recent = log[-10]
    got = await _hello(client, _cursor(recent.seq, recent.created_at))
    exact = [each for each in got if isinstance(each, Message)] == log[-9:]
    client = await node.client("reader-0")
    first = log[0]
    old = await _hello(client, _cursor(first.seq, first.created_at))
    entries = [each for each in old if isinstance(each, Message)]
    told = any(isinstance(each, Gap) for each in old) and entries == log[1 : RESUME_ENTRIES_MAX + 1]
    client = await node.client("reader-0")
    wrong = await _hello(client, _cursor(recent.seq, recent.created_at + 1))
    reset = [type(each) for each in wrong] == [Reset]
    return [
        Check("a cursor 9 entries old brings exactly those 9, in order", exact),
        Check(f"one {len(log) - 1} entries old brings {RESUME_ENTRIES_MAX} and `gap`, so that nobody drowns", told),
        Check("one that is not of this log brings `reset` and nothing else", reset),
    ]


async def _hello(client: Client, cursors: Cursors) -> list[Push]:
    """Say hello and collect what comes before the answer to a ping that follows it."""
    await client.hello(cursors)
    await client.ping()
    # The resume is written as the socket drains: a second question is behind all of it.
    await asyncio.sleep(0.2)
    got = [push for _, push in client.pushes if isinstance(push, Message | Gap | Reset)]
    await client.close()
    return list(got)


def _cursor(seq: int, created_at: int) -> dict[MatchId, Cursor]:
    return {MatchId(MATCH): (Seq(seq), Micros(created_at))}


def _returns(clients: list[ResumingClient]) -> int:
    return sum(client.log.connections - 1 for client in clients)


CLAIM = Claim(
    "P4",
    "Resume is history",
    "A client that comes back with its cursors gets exactly what it missed, or is told to reload.",
    f"{READERS} readers had their sockets cut {CUTS} times while {WRITERS} wrote {MESSAGES} messages each; "
    f"the server was killed {KILLS} times.",
    run,
)
