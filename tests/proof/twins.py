"""P10, the embedded half: the same behaviour in memory and on SQLite."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

import msgspec

from loadtest.client import Client, Refused, decode_ok
from protocol.calls import CallDecline, CallEnded, CallPeerJoined, CallRang, CallSignalled
from protocol.from_server import MatchMade, Message, ReceiptMoved
from protocol.ids import MatchId, Micros, Seq
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import Node
from tests.support.talkers import accept, hang_up, report, rings, signal, start

# What is told in other numbers each time.
_TIMES: Final = ("created_at", "last_at", "last_seen", "started_at", "answered_at")
_SPANS: Final = ("age_ms", "expires_in_ms", "duration_ms")
_NAMES: Final = ("session", "store_epoch", "call", "peer")
_VARY: Final = frozenset((*_TIMES, *_SPANS, *_NAMES))


async def run(ground: Ground) -> list[Check]:
    """Play one script on both, and compare every answer and push."""
    memory, sqlite = await ground.node(None), await ground.node("twins.db")
    checks = compared(await play("in memory", memory), await play("on SQLite", sqlite))
    for node in (memory, sqlite):
        await node.stop()
    return checks


@dataclass(frozen=True, slots=True)
class Played:
    """Everything that came, one line each."""

    where: str
    lines: list[str]


async def play(where: str, here: Node, there: Node | None = None) -> Played:
    """Play the script between people on `here` and `there`, if that is another node."""
    return Played(where, [_line(each) for each in await _script(here, there or here)])


def compared(one: Played, other: Played) -> list[Check]:
    """Say whether two played alike."""
    ours, theirs = len(one.lines), len(other.lines)
    different = [place for place, (mine, its) in enumerate(zip(one.lines, other.lines, strict=False)) if mine != its]
    first = f": {one.lines[different[0]]} | {other.lines[different[0]]}" if different else ""
    return [
        Check(f"{ours} answers and pushes {one.where}, {theirs} {other.where}", ours == theirs > 0),
        Check(f"{len(different)} of them differ (times and random names apart){first}", not different),
    ]


async def _script(here: Node, there: Node) -> list[object]:
    api = here.api()
    seen: list[object] = [await api.put_match("m", ["alice", "bob"])]
    alice, bob = await here.client("alice"), await there.client("bob")
    seen += [await alice.hello(), await bob.hello()]
    first = await alice.send("m", "hi", "c1")
    seen += [
        first,
        await bob.next(Message),
        await alice.send("m", "hi", "c1"),
        await _or_refusal(alice.send("m", "other", "c1")),
        await _or_refusal(alice.send("m", "to nothing", "c2", reply_to=99)),
        await _or_refusal(alice.send("elsewhere", "?", "c3")),
        await bob.receipt("m", read=first.seq),
        await alice.next(ReceiptMoved),
        await bob.send("m", "a reply", "c1", data={"b": 1, "a": [True, None]}, reply_to=first.seq),
        await alice.next(Message),
        await alice.history("m"),
        await alice.history("m", after=first.created_at),
        await bob.history("m", before=first.created_at, limit=1),
        await bob.sync({MatchId("m"): (Seq(1), Micros(5))}),
        await bob.sync({MatchId("m"): (first.seq, first.created_at)}),
        await api.put_match("m", ["alice", "bob", "carol"]),
    ]
    carol = await here.client("carol")
    seen += [await carol.hello(), await carol.history("m"), await alice.matches()]
    await api.put_match("pair", ["alice", "bob"])
    seen += [*await _call(alice, bob), await bob.history("pair"), await alice.matches()]
    seen += [await api.put_match("m", ["bob", "carol"]), await _or_refusal(alice.send("m", "gone", "c9"))]
    seen += [await alice.history("m"), await _or_refusal(alice.history("none"))]
    await api.end_match("m")
    seen += [await api.match("m"), await api.log("m"), await _or_refusal(bob.send("m", "ended", "c4"))]
    seen.append(await api.put_match("m", ["alice", "bob"]))
    seen += [await alice.next(MatchMade), await api.log("m")]
    await asyncio.gather(alice.close(), bob.close(), carol.close())
    api.close()
    return seen


async def _call(alice: Client, bob: Client) -> list[object]:
    """Call, answer, signal, hang up; then call and be declined."""
    first = await start(alice, "pair")
    seen: list[object] = [first, await rings(bob), await alice.next(CallRang)]
    second = await accept(bob, first.call)
    seen += [second, await alice.next(CallPeerJoined), await _or_refusal(start(bob, "pair"))]
    await signal(alice, first.call, second.peer, 1)
    seen.append(await bob.next(CallSignalled))
    await report(alice, first.call, second.peer)
    await report(bob, first.call, first.peer)
    await hang_up(bob, first.call)
    seen += [await alice.next(CallEnded), await _or_refusal(accept(bob, first.call))]
    third = await start(bob, "pair")
    seen += [third, await rings(alice)]
    seen.append(await alice.request(CallDecline(alice.next_id(), third.call), decode_ok))
    seen.append(await bob.next(CallEnded))
    return seen


async def _or_refusal(answer: Awaitable[object]) -> object:
    try:
        return await answer
    except Refused as refused:
        return refused.error


def _line(value: object) -> str:
    """Write a value without what is told in other numbers each time."""
    return repr(_masked(msgspec.to_builtins(value, enc_hook=_raw)))


def _masked(value: object) -> object:
    match value:
        case dict():
            return {key: _mask(key, each) or _masked(each) for key, each in value.items()}
        case list() | tuple():
            return [_masked(each) for each in value]
        case _:
            return value


def _mask(key: object, value: object) -> str:
    return "*" if key in _VARY and not isinstance(value, dict | list | tuple) else ""


def _raw(value: object) -> object:
    """Write bodies as they came, byte for byte."""
    assert isinstance(value, msgspec.Raw)
    return bytes(value).decode()


CLAIM = Claim(
    "P10",
    "Same behaviour from laptop to cluster (the embedded half)",
    "In memory and on SQLite the server answers alike.",
    "One script of sends, repeats, refusals, pages, receipts, calls and changes of members was played on both.",
    run,
)
