"""P6, as far as one node goes: presence does not lie for long."""

import asyncio
import time

from loadtest.client import Client
from protocol.from_server import Presence, PresenceChanged, Status
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import Node

DEBOUNCE_S = 1.5
PING_AFTER_S = 1
PING_TIMEOUT_S = 1
LATE_S = 1.0
# What we allow on top of the promise on a busy machine.


async def run(ground: Ground) -> list[Check]:
    """Come and go in every way while a partner watches."""
    node = await ground.node(PING_AFTER_S=str(PING_AFTER_S), PING_TIMEOUT_S=str(PING_TIMEOUT_S))
    api = node.api()
    await api.put_match("pair", ["alice", "bob"])
    await api.put_match("others", ["carol", "dave"])
    api.close()
    alice = await node.arrive("alice")
    seen = (await alice.watch("bob", "carol")).presence
    checks = [
        Check("of bob and a stranger, only bob is shown", [each.user for each in seen] == ["bob"]),
        await _comes_online(node, alice),
        *await _two_devices(node, alice, ground),
        await _flicker(node, alice, ground),
        await _silent_loss(node, alice, ground),
    ]
    await alice.close()
    await node.stop()
    return checks


async def _comes_online(node: Node, alice: Client) -> Check:
    bob = await node.arrive("bob")
    change = await _next(alice)
    checks = Check("bob comes: shown as online at once", change.status is Status.ONLINE)
    await _leave_for_good(bob, alice)
    return checks


async def _two_devices(node: Node, alice: Client, ground: Ground) -> list[Check]:
    phone, laptop = await node.arrive("bob"), await node.arrive("bob")
    await _next(alice)
    ground.tell("one of two devices leaves")
    await phone.close()
    await asyncio.sleep(DEBOUNCE_S + LATE_S)
    quiet = not _changes(alice)
    left_at = time.time()
    laptop.abort()
    change = await _next(alice)
    took_s = time.time() - left_at
    seen = abs((change.last_seen or 0) / 1e6 - left_at)
    return [
        Check("one of bob's two devices leaves: nothing is shown", quiet),
        Check(f"the last one leaves: offline after {took_s:.1f} s", DEBOUNCE_S - 0.1 <= took_s <= DEBOUNCE_S + LATE_S),
        Check(f"last_seen is the time of the loss, within {seen:.2f} s", seen < LATE_S),
    ]


async def _flicker(node: Node, alice: Client, ground: Ground) -> Check:
    ground.tell("a short way through a tunnel")
    bob = await node.arrive("bob")
    await _next(alice)
    for _ in range(5):
        bob.abort()
        await asyncio.sleep(ground.chance.uniform(0.1, 0.6))
        bob = await node.arrive("bob")
    await asyncio.sleep(DEBOUNCE_S + LATE_S)
    flickers = len(_changes(alice))
    await _leave_for_good(bob, alice)
    return Check(f"bob's socket is cut 5 times and returns: alice is told {flickers} times", flickers == 0)


async def _silent_loss(node: Node, alice: Client, ground: Ground) -> Check:
    ground.tell("bob falls silent")
    bob = await node.arrive("bob")
    await _next(alice)
    bob.pause()
    change, began = await _next(alice), time.time()
    took_s = began - (change.last_seen or 0) / 1e6
    bob.abort()
    bound_s = PING_AFTER_S + PING_TIMEOUT_S + DEBOUNCE_S + LATE_S
    return Check(f"bob falls silent without a goodbye: offline, last seen {took_s:.1f} s ago", took_s <= bound_s)


async def _leave_for_good(bob: Client, alice: Client) -> None:
    await bob.close()
    await _next(alice)


async def _next(alice: Client) -> Presence:
    """Wait for the next change; all changes here are of bob."""
    return (await alice.next(PresenceChanged, within_s=15)).changes[-1]


def _changes(alice: Client) -> list[PresenceChanged]:
    return [push for _, push in alice.pushes if isinstance(push, PresenceChanged)]


CLAIM = Claim(
    "P6",
    "Presence does not lie for long (the part of one node)",
    "Devices are counted; a closed socket shows within 2 s, a silent one when it is missed; only partners are shown.",
    f"Devices came, left, flickered and fell silent while a partner watched. "
    f"(Pings after {PING_AFTER_S} s here instead of 25, to keep it short.)",
    run,
)
