"""P7: overload degrades by class."""

import asyncio

from loadtest.client import Client, Refused
from protocol.close_codes import CloseCode
from protocol.errors import ErrorCode
from protocol.from_server import Message, Push, TypingSeen
from protocol.ids import MatchId, Micros, Seq
from tests.proof.claims import Check, Claim, Ground
from tests.proof.node import UNLIMITED, Node, token

SLOW_READERS = 10
BIG_MESSAGES = 400
BIG_CHARS = 16_000
FLOOD = 100
TYPING = 120
OUTBOX_BYTES = 1024 * 1024
MEMORY_MAX_BYTES = SLOW_READERS * 2 * OUTBOX_BYTES + 32 * 1024 * 1024
# Each slow reader may cost what its outbox holds, and the server needs room to work.


async def run(ground: Ground) -> list[Check]:
    """Read nothing, write too much, type like mad."""
    slow = await ground.node("slow.db", **UNLIMITED)
    checks = await _slow_readers(slow, ground)
    await slow.stop()
    node = await ground.node("flood.db")
    api = node.api()
    await api.put_match("pair", ["alice", "bob"])
    api.close()
    ground.tell("floods")
    checks += [*await _message_flood(node), await _typing_flood(node), await _frame_flood(node)]
    checks.append(Check(f"{node.tracebacks + slow.tracebacks} tracebacks", node.tracebacks + slow.tracebacks == 0))
    await node.stop()
    return checks


async def _slow_readers(node: Node, ground: Ground) -> list[Check]:
    api = node.api()
    users = [f"slow-{number}" for number in range(SLOW_READERS)]
    await api.put_match("busy", ["writer", "reader", *users])
    api.close()
    got: list[Push] = []
    reader = await Client.connect(node.url, token=token("reader"), on_push=got.append)
    await reader.hello()
    writer = await node.arrive("writer")
    slow = [await node.arrive(user) for user in users]
    for client in slow:
        client.pause()
    before = node.rss_bytes()
    highest = before
    for number in range(BIG_MESSAGES):
        ground.tell(f"{number} of {BIG_MESSAGES} large messages written")
        await writer.send("busy", "", f"big-{number}", data={"x": "y" * BIG_CHARS})
        highest = max(highest, node.rss_bytes())
    last = await writer.send("busy", "the end", "end")
    await reader.ping()
    live = [push.seq for push in got if isinstance(push, Message)]
    cut = await node.counter("slow_readers_closed")
    for client in slow:
        client.resume()
    codes = [await client.closed() for client in slow]
    resumed = await _resume(node, users[0], slow[0])
    return [
        Check(
            f"{cut:.0f} of {SLOW_READERS} closed as too slow, {codes.count(CloseCode.SLOW_READER)} of them could read why",
            cut == SLOW_READERS,
        ),
        Check(f"memory grew by {(highest - before) / 1e6:.0f} MB meanwhile", highest - before < MEMORY_MAX_BYTES),
        Check(f"a reader that kept up got {len(live)} of {last.seq - 1} live", live == list(range(2, last.seq + 1))),
        Check(f"one that was closed came back and read on to {last.seq}", resumed == last.seq),
    ]


async def _resume(node: Node, user: str, closed: Client) -> int:
    """Come back with the last entry that was read, and follow `sync` to the end; return the seq it leads to."""
    got = [push for _, push in closed.pushes if isinstance(push, Message)]
    cursor = (got[-1].seq, got[-1].created_at) if got else (Seq(0), Micros(0))
    client = await node.arrive(user)
    while not (page := (await client.sync({MatchId("busy"): cursor})).matches[MatchId("busy")]).complete:
        if page.entries[0].seq != cursor[0] + 1:
            return 0
        cursor = (page.entries[-1].seq, page.entries[-1].created_at)
    await client.close()
    return page.entries[-1].seq if page.entries else cursor[0]


async def _message_flood(node: Node) -> list[Check]:
    """Far over 5 a second and 20 at once: each is answered, stored or refused, none vanishes."""
    alice = await node.arrive("alice")
    sends = [alice.send("pair", f"flood {number}", f"flood-{number}") for number in range(FLOOD)]
    answers = await asyncio.gather(*sends, return_exceptions=True)
    refused = [each for each in answers if isinstance(each, Refused)]
    stored = FLOOD - len(refused)
    polite = all(
        each.code is ErrorCode.RATE_LIMITED and each.error.retry_after_ms and each.error.stored == "no"
        for each in refused
    )
    api = node.api()
    held = sum(isinstance(entry, Message) for entry in await api.log("pair"))
    api.close()
    await alice.close()
    return [
        Check(f"of {FLOOD} messages at once {stored} stored, {len(refused)} refused with a time to wait", polite),
        Check(f"{held} in the log: none dropped silently, none stored against the answer", held == stored < FLOOD),
    ]


async def _typing_flood(node: Node) -> Check:
    alice, bob = await node.arrive("alice"), await node.arrive("bob")
    for _ in range(TYPING):
        alice.typing("pair")
    await alice.ping()
    await bob.next(TypingSeen)
    await asyncio.sleep(0.3)
    seen = 1 + sum(isinstance(push, TypingSeen) for _, push in bob.pushes)
    await alice.close()
    await bob.close()
    return Check(f"{TYPING} typing events in a row: the other side is told {seen} time(s)", seen == 1)


async def _frame_flood(node: Node) -> Check:
    alice = await node.arrive("alice")
    for _ in range(5_000):
        alice.typing("pair")
    async with asyncio.timeout(10):
        code = await alice.closed()
    return Check(f"5,000 frames without a pause: closed with {code}", code == CloseCode.TOO_MANY_FRAMES)


CLAIM = Claim(
    "P7",
    "Overload degrades by class",
    "Typing coalesces, messages never drop silently: a reader too slow is closed with a code that says resume. "
    "Memory is bounded.",
    f"{SLOW_READERS} readers stopped reading while {BIG_MESSAGES * BIG_CHARS / 1e6:.0f} MB were written; then floods of "
    "messages, typing and frames.",
    run,
)
