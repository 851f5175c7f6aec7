"""P10, the embedded half: the same behaviour in memory and on SQLite."""

import asyncio
from collections.abc import Awaitable
from typing import Final

import msgspec

from loadtest.client import Refused
from protocol.from_server import MatchMade, Message, ReceiptMoved
from protocol.ids import MatchId, Micros, Seq
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import Node

# What is told in other numbers each time.
_TIMES: Final = ("created_at", "last_at", "last_seen")
_NAMES: Final = ("session", "store_epoch")


async def run(ground: Ground) -> list[Check]:
    """Play one script on both, and compare every answer and push."""
    memory = await _play(await ground.node(None))
    sqlite = await _play(await ground.node("twins.db"))
    different = [place for place, (one, other) in enumerate(zip(memory, sqlite, strict=False)) if one != other]
    return [
        Check(f"{len(memory)} answers and pushes in memory, {len(sqlite)} on SQLite", len(memory) == len(sqlite) > 0),
        Check(f"{len(different)} of them differ (times and random names apart)", not different),
    ]


async def _play(node: Node) -> list[str]:
    """Play the script and return everything that came, one line each."""
    played = [_line(each) for each in await _script(node)]
    await node.stop()
    return played


async def _script(node: Node) -> list[object]:
    api = node.api()
    seen: list[object] = [await api.put_match("m", ["alice", "bob"])]
    alice, bob = await node.client("alice"), await node.client("bob")
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
    carol = await node.client("carol")
    seen += [await carol.hello(), await carol.history("m"), await alice.matches()]
    seen += [await api.put_match("m", ["bob", "carol"]), await _or_refusal(alice.send("m", "gone", "c9"))]
    seen += [await alice.history("m"), await _or_refusal(alice.history("none"))]
    await api.end_match("m")
    seen += [await api.match("m"), await api.log("m"), await _or_refusal(bob.send("m", "ended", "c4"))]
    seen.append(await api.put_match("m", ["alice", "bob"]))
    seen += [await alice.next(MatchMade), await api.log("m")]
    await asyncio.gather(alice.close(), bob.close(), carol.close())
    api.close()
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
            return {key: _mask(key) or _masked(each) for key, each in value.items()}
        case list() | tuple():
            return [_masked(each) for each in value]
        case _:
            return value


def _mask(key: object) -> str:
    return "*" if key in _TIMES or key in _NAMES else ""


def _raw(value: object) -> object:
    """Write bodies as they came, byte for byte."""
    assert isinstance(value, msgspec.Raw)
    return bytes(value).decode()


CLAIM = Claim(
    "P10",
    "Same behaviour from laptop to cluster (the embedded half)",
    "In memory and on SQLite the server answers alike.",
    "One script of sends, repeats, refusals, pages, receipts and changes of members was played on both.",
    run,
)
