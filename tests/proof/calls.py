"""P8: one device answers, nobody rings for ever, nobody is left in a ghost call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count as counting
from typing import Final

from msgspec import Struct

from loadtest.client import Client, Refused
from protocol.calls import (
    CallCancelled,
    CallEnded,
    CallEntry,
    CallId,
    CallOutcome,
    CallPeerJoined,
    CallReason,
    CallSeat,
)
from protocol.errors import ErrorCode
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import UNLIMITED, Node
from tests.proof.shared import shared
from tests.support.talkers import accept, hang_up, report, rings, start

RACES: Final = 20
DEVICES: Final = 3
TIMERS: Final = {"CALL_RING_S": "6", "CALL_UNREACHABLE_S": "6", "CALL_CALLER_GRACE_S": "2"}
_OVER: Final = frozenset(CallOutcome) - {CallOutcome.RINGING, CallOutcome.ONGOING}


class Race(Struct):
    """What came of devices that answered at once."""

    seats: int
    refused: int
    told: int
    joined: int
    silent: bool
    outcomes: list[CallOutcome]


class Ring(Struct):
    """What came of a ring that nobody took."""

    what: str
    reasons: list[CallReason]
    outcomes: list[CallOutcome]
    is_free: bool


class House:
    """Two nodes, and callers with fresh names."""

    def __init__(self, nodes: Sequence[Node], ground: Ground) -> None:
        self.nodes = nodes
        self.ground = ground
        self._numbers = counting(1)
        self._clients: list[Client] = []

    async def come(self, node: Node, user: str) -> Client:
        """Connect a device."""
        client = await node.client(user)
        self._clients.append(client)
        await client.hello()
        return client

    async def ringing(self, node: Node) -> tuple[Client, list[Client], CallSeat, str]:
        """Call somebody whose devices, on both nodes, ring: the caller on `node`, the devices, the seat, the match."""
        number = next(self._numbers)
        match, caller, callee = f"m{number}", f"caller{number}", f"callee{number}"
        api = self.nodes[0].api()
        await api.put_match(match, [caller, callee])
        api.close()
        alice = await self.come(node, caller)
        devices = [await self.come(self.nodes[place % 2], callee) for place in range(number, number + DEVICES)]
        seat = await start(alice, match)
        await asyncio.gather(*map(rings, devices))
        return alice, devices, seat, match

    async def outcomes(self, match: str, call: CallId) -> list[CallOutcome]:
        """Return how the log says that the call ended; once, if all is well."""
        api = self.nodes[0].api()
        log = await api.log(match)
        api.close()
        ends = [each for each in log if isinstance(each, CallEntry) and each.state in _OVER]
        assert all(each.call == call for each in ends)
        return [each.state for each in ends]

    async def close(self) -> None:
        """Let everybody go."""
        await asyncio.gather(*(client.close() for client in self._clients if client.is_open))


async def run(ground: Ground) -> list[Check]:
    """Have devices answer at once; then let rings come to nothing in three ways."""
    with shared(ground) as place:
        nodes = [await place.node(**UNLIMITED, **TIMERS) for _ in range(3)]
        house = House(nodes[:2], ground)
        races = []
        for number in range(RACES):
            ground.tell(f"two devices answer at once, {number + 1} of {RACES}")
            races.append(await _race(house, number))
        ground.tell("rings that nobody takes")
        rings_out = await asyncio.gather(
            _ring_out(house, nodes[0], "nobody answered", _nothing),
            _ring_out(house, nodes[1], "the caller's socket was cut", _cut),
            _ring_out(house, nodes[2], "the caller's node was killed", lambda _: nodes[2].kill()),
        )
        await house.close()
        seats = sum([await node.counter("call_seats") for node in house.nodes])
        for node in house.nodes:
            await node.stop()
    faults = sum(node.tracebacks for node in nodes)
    ghosts = Check(f"{seats:.0f} seats left on the nodes, {faults} faults in their logs", seats == faults == 0)
    return [*_of_races(races), *map(_of_ring, rings_out), ghosts]


async def _race(house: House, number: int) -> Race:
    alice, devices, seat, match = await house.ringing(house.nodes[number % 2])
    # The first two are never on one node.
    racing = house.ground.chance.sample(devices[:2], 2)
    answers = await asyncio.gather(*(accept(each, seat.call) for each in racing), return_exceptions=True)
    won = [(device, each) for device, each in zip(racing, answers, strict=True) if isinstance(each, CallSeat)]
    codes = [each.code for each in answers if isinstance(each, Refused)]
    winner, second = won[0]
    losers = [device for device in devices if device is not winner]
    reasons = [(await device.next(CallCancelled)).reason for device in losers]
    await report(alice, seat.call, second.peer)
    await report(winner, seat.call, seat.peer)
    await hang_up(winner, seat.call)
    heard = await _heard(alice, lambda all_of_it: _has(all_of_it, CallEnded) and _has_outcome(all_of_it))
    quiet = [await _heard(device, _has_outcome) for device in devices]
    return Race(
        len(won),
        codes.count(ErrorCode.ANSWERED_ELSEWHERE),
        reasons.count(CallReason.ANSWERED_ELSEWHERE),
        sum(isinstance(each, CallPeerJoined) for each in heard),
        not any(_has(each, CallCancelled) for each in quiet),
        await house.outcomes(match, seat.call),
    )


async def _ring_out(house: House, node: Node, what: str, harm: Callable[[Client], Awaitable[None]]) -> Ring:
    """Ring, do harm, wait for silence; then see that the match is free for another call, from a node that lives."""
    alice, devices, seat, match = await house.ringing(node)
    await harm(alice)
    heard = [
        await _heard(device, lambda so_far: _has(so_far, CallCancelled) and _has_outcome(so_far)) for device in devices
    ]
    reasons = [each.reason for all_of_it in heard for each in all_of_it if isinstance(each, CallCancelled)]
    outcomes = await house.outcomes(match, seat.call)
    again = await house.come(house.nodes[0], seat.caller)
    other = await start(again, match)
    await asyncio.gather(*map(rings, devices))
    await hang_up(again, other.call)
    for device in devices:
        await device.next(CallCancelled)
    return Ring(what, reasons, outcomes, other.call != seat.call and not other.glare)


async def _nothing(_: Client) -> None:
    """Let it ring."""


async def _cut(client: Client) -> None:
    client.abort()


async def _heard(client: Client, enough: Callable[[Sequence[object]], bool]) -> list[object]:
    """Return everything that is pushed to `client` until that is enough."""
    heard: list[object] = []

    def is_enough(push: Struct) -> bool:
        heard.append(push)
        return enough(heard)

    await client.next(Struct, matching=is_enough)
    return heard


def _has(heard: Sequence[object], kind: type[object]) -> bool:
    return any(isinstance(each, kind) for each in heard)


def _has_outcome(heard: Sequence[object]) -> bool:
    return any(isinstance(each, CallEntry) and each.state in _OVER for each in heard)


def _of_races(races: list[Race]) -> list[Check]:
    def times(holds: Callable[[Race], bool]) -> int:
        return sum(map(holds, races))

    one, refused = times(lambda race: race.seats == 1), times(lambda race: race.refused == 1)
    told, joined = sum(race.told for race in races), times(lambda race: race.joined == 1)
    quiet = times(lambda race: race.silent)
    logged = times(lambda race: race.outcomes == [CallOutcome.COMPLETED])
    return [
        Check(
            f"{one} of {RACES} times exactly one got the seat; {refused} times the other heard why not",
            one == refused == RACES,
        ),
        Check(
            f"{told} of {2 * RACES} other devices stopped ringing: answered_elsewhere",
            told == 2 * RACES and quiet == RACES,
        ),
        Check(f"{joined} of {RACES} callers saw one join, {logged} logs have one outcome", joined == logged == RACES),
    ]


def _of_ring(ring: Ring) -> Check:
    said = ", ".join(sorted(set(ring.reasons)))
    logged = ", ".join(ring.outcomes)
    free = "the next call began" if ring.is_free else "the next call did not begin"
    holds = len(ring.reasons) == DEVICES and ring.outcomes == [CallOutcome.MISSED] and ring.is_free
    return Check(f"{ring.what}: {len(ring.reasons)} devices went quiet ({said}), the log says {logged}, {free}", holds)


CLAIM = Claim(
    "P8",
    "One device answers",
    "The first to accept wins on whatever node; all others stop ringing with a reason; nothing rings or stays for ever.",
    f"{RACES} times two of somebody's {DEVICES} devices, on two nodes, accepted at once; then nobody did, "
    "or a caller's socket was cut, or a caller's node killed.",
    run,
)
