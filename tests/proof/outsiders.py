"""P9, between nodes: who belongs is the same everywhere, also for what nobody stores, within two seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from loadtest.client import Client, Refused, decode_ok
from protocol.calls import CallStart
from protocol.errors import ErrorCode
from protocol.from_client import Block, Typing
from protocol.from_server import Entry, MatchLeft, PresenceChanged, Status, TypingSeen
from protocol.ids import ClientId, MatchId, UserId
from tests.proof.bus import is_ready, says_bus, until
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import UNLIMITED, Node
from tests.proof.shared import Shared, shared

PROMISED_S: Final = 2.0
PAUSE_S: Final = 0.05
WITHIN_S: Final = 20.0
# Every one is to be heard: what is held back anyway proves nothing.
EVERY_ONE: Final = {"TYPING_INTERVAL_MS": "0", "EPHEMERAL_HOLD_MS": "0"}


async def run(ground: Ground) -> list[Check]:
    """Take people out of matches on one node while they type on another, with and without a bus."""
    with shared(ground) as place:
        here, there = await place.node(**UNLIMITED, **EVERY_ONE), await place.node(**UNLIMITED, **EVERY_ONE)
        checks = [
            *await _removed(here, there, ground),
            *await _blocked(here, there, ground),
            *await _without_bus(place, here, there, ground),
        ]
        for node in (here, there):
            await node.stop()
        faults = here.tracebacks + there.tracebacks
    return [*checks, Check(f"{faults} faults in the nodes' logs", faults == 0)]


async def _removed(here: Node, there: Node, ground: Ground) -> list[Check]:
    """A member of `there` is taken out through `here`: nothing of them comes any more, and nothing goes to them."""
    ground.tell("a member is removed on the other node")
    match = MatchId("trio")
    api = here.api()
    await api.put_match(match, ["alice", "bob", "carol"])
    alice, bob, carol = await here.arrive("alice"), await there.arrive("bob"), await there.arrive("carol")
    shown = {each.user for each in (await bob.watch("alice", "carol")).presence}
    await _type_until_seen(bob, match, alice, "bob")
    await _type_until_seen(bob, match, carol, "bob")
    await _type_until_seen(alice, match, bob, "alice")
    await api.put_match(match, ["alice", "carol"])
    api.close()
    removed_s = asyncio.get_running_loop().time()
    told = await _told_of(bob, match)
    refused_s = await _refused_after(bob, match)
    await asyncio.sleep(max(0.0, removed_s + PROMISED_S - asyncio.get_running_loop().time()))
    for client in (alice, bob, carol):
        client.pushes.clear()
    for client in (alice, carol, bob):
        client.typing(match)
    await alice.send(match, "now that bob is gone", "c1")
    await _type_until_seen(carol, match, alice, "carol")
    await alice.close()
    await carol.close()
    await asyncio.sleep(PROMISED_S)
    heard = [push for _, push in bob.pushes if _concerns(push, match)]
    typed = [push for _, push in (*alice.pushes, *carol.pushes) if isinstance(push, TypingSeen) and push.user == "bob"]
    await bob.close()
    return [
        Check(f"before, bob is shown {len(shown)} partners and everybody sees who types", shown == {"alice", "carol"}),
        Check("bob is told on his node that he was taken out on the other", told),
        Check(f"his typing is refused after {refused_s:.2f} s at most", refused_s <= PROMISED_S),
        Check(f"from then on {len(typed)} of his typing events reach anybody", not typed),
        Check(f"and {len(heard)} of theirs reach him: typing, presence, messages", not heard),
    ]


async def _blocked(here: Node, there: Node, ground: Ground) -> list[Check]:
    """One who is blocked on `here` writes, types, comes, goes and calls on `there`, and nothing of it gets through."""
    ground.tell("somebody is blocked on the other node")
    match = MatchId("two")
    api = here.api()
    await api.put_match(match, ["gina", "hugo"])
    gina, hugo = await here.arrive("gina"), await there.arrive("hugo")
    await gina.watch("hugo")
    await hugo.watch("gina")
    await _type_until_seen(hugo, match, gina, "hugo")
    await _type_until_seen(gina, match, hugo, "gina")
    sent = await gina.send(match, "the last one", "c1")
    await gina.request(Block(gina.next_id(), UserId("hugo")), _nothing)
    await asyncio.sleep(PROMISED_S)
    for client in (gina, hugo):
        client.pushes.clear()
    tries: list[tuple[str, Callable[[], Awaitable[object]], ErrorCode]] = [
        ("a message", lambda: hugo.send(match, "are you there?", "x1"), ErrorCode.REFUSED),
        ("a message of hers", lambda: gina.send(match, "never mind", "c2"), ErrorCode.REFUSED),
        ("a call", lambda: _call(hugo, match), ErrorCode.CALL_REFUSED),
    ]
    through = [what for what, attempt, code in tries if not await _is_refused(attempt, code)]
    await hugo.receipt(match, read=sent.seq)
    for client in (hugo, gina):
        client.typing(match)
    # Their other devices come and go: whom nobody sees nobody is told of.
    for node, user in ((there, "hugo"), (here, "gina")):
        await (await node.arrive(user)).close()
    shown = [each.status for each in (await hugo.watch("gina")).presence if each.status is not Status.OFFLINE]
    await hugo.close()
    await asyncio.sleep(PROMISED_S)
    heard = [
        type(push).__name__
        for client, other in ((gina, "hugo"), (hugo, "gina"))
        for _, push in client.pushes
        if other in repr(push)
    ]
    await gina.close()
    log = await api.log(match)
    api.close()
    named = f": {', '.join(through)}" if through else ""
    return [
        Check(
            f"somebody is blocked: of {len(tries)} messages and calls {len(through)} get through{named}", not through
        ),
        Check(f"of typing, receipts and presence between the two {len(heard) + len(shown)}", not heard and not shown),
        Check(f"the log ends with what was written before, {log[-1].seq}", log[-1].seq == sent.seq),
    ]


async def _call(client: Client, match: MatchId) -> object:
    return await client.request(CallStart(client.next_id(), match, ClientId("call"), "audio"), decode_ok)


async def _without_bus(place: Shared, here: Node, there: Node, ground: Ground) -> list[Check]:
    """Without a bus a node believes nothing that it remembers: a removal that it cannot hear of holds all the same."""
    ground.tell("a member is removed while there is no Redis")
    match = MatchId("deaf")
    api = here.api()
    await api.put_match(match, ["dave", "erin", "frank"])
    dave, erin = await there.arrive("dave"), await there.arrive("erin")
    await _type_until_seen(dave, match, erin, "dave")
    await asyncio.to_thread(place.redis.kill)
    await until(lambda: says_bus(there))
    await api.put_match(match, ["erin", "frank"])
    refused_s = await _refused_after(dave, match)
    erin.pushes.clear()
    dave.typing(match)
    denied = await _is_refused(lambda: dave.send(match, "still here", "x1"))
    await dave.ping()
    await erin.ping()
    typed = [push for _, push in erin.pushes if isinstance(push, TypingSeen) and push.user == "dave"]
    await asyncio.to_thread(place.redis.restart_empty)
    for node in (here, there):
        await until(lambda node=node: is_ready(node))  # type: ignore[misc]
    api.close()
    told = await _told_of(dave, match)
    await dave.close()
    await erin.close()
    return [
        Check(
            f"without Redis: who was taken out on the other node is refused after {refused_s:.2f} s",
            refused_s <= PROMISED_S,
        ),
        Check(f"{len(typed)} of his typing events reach anybody, and his message is refused", not typed and denied),
        Check("when Redis is back he is told", told),
    ]


async def _type_until_seen(typist: Client, match: MatchId, watcher: Client, user: str) -> None:
    """Type until it is seen: nodes know each other's members, and so that the next one would be, too."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            typist.typing(match)
            with suppress(TimeoutError):
                await watcher.next(TypingSeen, matching=lambda seen: seen.user == user, within_s=1.0)
                return


async def _refused_after(typist: Client, match: MatchId) -> float:
    """Type until that is refused; return after how many seconds it was."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while loop.time() < began_s + WITHIN_S:
        if await _is_refused(lambda: typist.request(Typing(match, on=True, id=typist.next_id()), _nothing)):
            break
        await asyncio.sleep(PAUSE_S)
    return loop.time() - began_s


async def _is_refused(attempt: Callable[[], Awaitable[object]], code: ErrorCode = ErrorCode.NOT_MEMBER) -> bool:
    try:
        await attempt()
    except Refused as refused:
        return refused.code is code
    return False


async def _told_of(client: Client, match: MatchId) -> bool:
    try:
        await client.next(MatchLeft, matching=lambda left: left.match == match, within_s=WITHIN_S)
    except TimeoutError:
        return False
    return True


def _concerns(push: object, match: MatchId) -> bool:
    return isinstance(push, PresenceChanged) or (isinstance(push, TypingSeen | Entry) and push.match == match)


def _nothing(payload: bytes) -> None:
    """The answer says nothing but that it is one."""


CLAIM = Claim(
    "P9",
    "Nobody in who does not belong (between nodes)",
    "What nobody stores is for members only, too: a node forgets a member within 2 s of a change on any other, and believes "
    "nothing that it remembers when the bus is lost. Blocking holds on every path.",
    "Members were taken out on one node while they were typing and watching on another, with the bus and without it; "
    "somebody was blocked on one and wrote, typed, read, came, went and called on the other.",
    run,
)
