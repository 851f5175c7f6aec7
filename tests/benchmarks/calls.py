"""Calls: what one costs from ring to end, what a signal costs, and what ringing and talking keep in memory.

SDP is canned, and no media flow: the server never sees any.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from loadtest.client import Client, decode_ok
from loadtest.frames import text_frame
from loadtest.race.course import Rally, Seat
from loadtest.tokens import sign_token
from protocol.calls import (
    CallAccept,
    CallHangup,
    CallIncoming,
    CallReport,
    CallRinging,
    CallSeat,
    CallSignal,
    CallStart,
    Candidate,
    PeerId,
)
from protocol.ids import ClientId, MatchId
from tests.benchmarks.load import MakeFrame, Stopwatch, gather, seat
from tests.benchmarks.measure import Row, Series, Window, per_target
from tests.benchmarks.plan import Plan
from tests.benchmarks.targets import TOKEN_SECRET, Target

PAIRS = 100
HELD = 1_000
QUICK_HELD = 200
TOGETHER = 50
ROUNDS = 5
# Calls of each pair in one window.
SETTLE_S = 1.0
CANDIDATE = Candidate("candidate:2 1 udp 33562367 203.0.113.9 49201 typ relay raddr 0.0.0.0 rport 0", "0", 0)

_seat = msgspec.json.Decoder(CallSeat).decode
A = TypeVar("A")
Pair = tuple[Client, Client, MatchId]


async def run(plan: Plan) -> list[Row]:
    """Measure our server; nobody else in this race has calls."""
    target = plan.duologue
    held = QUICK_HELD if plan.quick else HELD
    ringing, active = await _memory(plan, target, held)
    pairs = await _pairs(plan, target, "call", PAIRS)
    setups = per_target(await plan.take_turns({target.name: lambda: _set_up(target, pairs)}))
    signals = per_target(await plan.alternate([(target, await _signals(pairs))]))
    await _close(pairs)
    per_core = 1e6 / signals[0].median
    return [
        Row("calls", f"{held:,} calls that ring", "KiB RSS a call", [ringing], "-", None),
        Row("calls", f"{held:,} calls that go on", "KiB RSS a call", [active], "-", None),
        Row("calls", "a call on SQLite: ring, answer, connect, end", "µs CPU a call", setups, "-", None,
            [f"{PAIRS} pairs at once; start, ringing, accept, two reports and the end: six changes, each read, decided and committed alone"]),
        Row("calls", "a signal from seat to seat", "µs CPU a signal", signals, "-", None,
            [f"{per_core:,.0f} signals/s on one core"]),
    ]  # fmt: skip


async def _pairs(plan: Plan, target: Target, name: str, count: int) -> list[Pair]:
    await plan.make_matches({f"{name}-{pair}": [f"{name}-{pair}-a", f"{name}-{pair}-b"] for pair in range(count)})
    pairs: list[Pair] = []

    async def connect(pair: int) -> None:
        alice, bob = [await _client(target, f"{name}-{pair}-{side}") for side in "ab"]
        pairs.append((alice, bob, MatchId(f"{name}-{pair}")))

    await _in_parts([partial(connect, pair) for pair in range(count)])
    return pairs


async def _in_parts(works: Sequence[Callable[[], Awaitable[A]]]) -> list[A]:
    """Do all of it, so many at a time; return what came of each, in order."""
    done: list[A] = []
    for first in range(0, len(works), TOGETHER):
        done += await gather([work() for work in works[first : first + TOGETHER]])
    return done


async def _client(target: Target, user: str) -> Client:
    client = await Client.connect(target.url(""), token=sign_token(user, TOKEN_SECRET, int(time.time()) + 3600))
    await client.hello()
    return client


async def _close(pairs: list[Pair]) -> None:
    await gather([client.close() for alice, bob, _ in pairs for client in (alice, bob)])


async def _ring(pair: Pair, number: int = 0) -> CallSeat:
    alice, bob, match = pair
    start = CallStart(alice.next_id(), match, ClientId(f"start-{number}-{time.monotonic_ns()}"), "video")
    seat = await alice.request(start, _seat)
    await bob.next(CallIncoming)
    await bob.request(CallRinging(seat.call, bob.next_id()), decode_ok)
    return seat


async def _answer(pair: Pair, seat: CallSeat) -> CallSeat:
    alice, bob, _ = pair
    key = ClientId(f"accept-{time.monotonic_ns()}")
    answered = await bob.request(CallAccept(bob.next_id(), seat.call, key, "video"), _seat)
    for client, peer in ((alice, answered.peer), (bob, seat.peer)):
        await client.request(CallReport(seat.call, peer, "connected", id=client.next_id()), decode_ok)
    return answered


async def _end(pair: Pair, seat: CallSeat) -> None:
    alice, bob, _ = pair
    await alice.request(CallHangup(alice.next_id(), seat.call), decode_ok)
    for client in (alice, bob):
        client.pushes.clear()


async def _set_up(target: Target, pairs: list[Pair]) -> Window:
    """Have every pair make some calls, one after the other."""

    async def talk(pair: Pair) -> None:
        for number in range(ROUNDS):
            seat = await _ring(pair, number)
            await _answer(pair, seat)
            await _end(pair, seat)

    stopwatch = Stopwatch(target)
    await gather([talk(pair) for pair in pairs])
    finish = stopwatch.stop()
    calls = len(pairs) * ROUNDS
    return finish(calls, calls, calls)


async def _signals(pairs: list[Pair]) -> Rally:
    """Have every pair talk, and answer each signal by one."""
    seats = []
    for pair in pairs:
        call = await _ring(pair)
        answered = await _answer(pair, call)
        seats.append(
            [
                _speaker(pair[0], _signalling(call, answered.peer)),
                _speaker(pair[1], _signalling(call, call.peer)),
            ]
        )
    return Rally(seats)


def _speaker(client: Client, make: MakeFrame) -> Seat:
    return seat(client._open_connection(), make, b'{"type":"call.signal"')


def _signalling(seat: CallSeat, to: PeerId) -> MakeFrame:
    frame = text_frame(msgspec.json.encode(CallSignal(seat.call, to, 1, candidates=(CANDIDATE,))))
    return lambda _: frame


async def _memory(plan: Plan, target: Target, count: int) -> tuple[Series, Series]:
    """Grow the server by calls that ring, and then by their being answered."""
    pairs = await _pairs(plan, target, "held", count)
    warm = await _ring(pairs[0])
    await _end(pairs[0], warm)
    before = await _rss(target)
    seats = await _in_parts([partial(_ring, pair) for pair in pairs])
    ringing = await _rss(target)
    talking = list(zip(pairs, seats, strict=True))
    await _in_parts([partial(_answer, pair, seat) for pair, seat in talking])
    active = await _rss(target)
    await _in_parts([partial(_end, pair, seat) for pair, seat in talking])
    await _close(pairs)
    grown = [(size - before) / 1024 / count for size in (ringing, active)]
    first, second = (Series(target.name, [each], count, count, 0.0, 0.0) for each in grown)
    return first, second


async def _rss(target: Target) -> int:
    await asyncio.sleep(SETTLE_S)
    target.collect()
    await asyncio.sleep(SETTLE_S)
    return target.rss_bytes()
