"""P2: one order."""

from collections.abc import Sequence

from protocol.from_server import Entry
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import UNLIMITED, Node
from tests.proof.traffic import Crowd, cut_often

USERS = 4
DEVICES = 2
MESSAGES = 60
CUTS = 40


async def run(ground: Ground) -> list[Check]:
    """Let all devices of all members write into one match at once, on sockets that are cut."""
    node = await ground.node(**UNLIMITED)
    crowd = Crowd(node, ground.chance)
    users = [f"user-{number}" for number in range(USERS)]
    await crowd.make({"one": users})
    clients = [crowd.add(user, f"device-{device}") for user in users for device in range(DEVICES)]
    writing = [crowd.write(client, MESSAGES, 0.03) for client in clients]
    report = await crowd.live(cut_often(clients, ground.chance, CUTS, 0.04), *writing)
    (log,) = (await crowd.stored()).values()
    forwards, backwards = await _pages(node, "one", 7)
    await node.stop()
    return [
        Check(
            f"seq runs from 1 to {log[-1].seq} with {report.gaps} gaps", report.gaps == 0 and len(log) == log[-1].seq
        ),
        Check(f"created_at does not increase in {report.not_increasing} places", report.not_increasing == 0),
        Check(f"{report.out_of_order} messages out of the order sent, or shown", report.out_of_order == 0),
        Check("pages of 7 by created_at, both ways, give the same log", forwards == log and backwards == log[::-1]),
        Check(f"{len(clients)} devices show one log, {report.faults} faults of any kind", report.faults == 0),
    ]


async def _pages(node: Node, match: str, size: int) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """Read the log in pages, oldest first and newest first."""
    api = node.api()
    page = await api.entries(match, after=0, limit=size)
    forwards = list(page.messages)
    while not page.complete:
        page = await api.entries(match, after=forwards[-1].created_at, limit=size)
        forwards += page.messages
    page = await api.entries(match, limit=size)
    backwards = list(page.messages)
    while not page.complete:
        page = await api.entries(match, before=backwards[-1].created_at, limit=size)
        backwards += page.messages
    api.close()
    return forwards, backwards


CLAIM = Claim(
    "P2",
    "One order",
    "Each match has one log: `seq` without gaps from 1, `created_at` strictly increasing with it, each sender's order kept.",
    f"{USERS} people with {DEVICES} devices each wrote into one match at once; {CUTS} sockets were cut while they did.",
    run,
)
