"""P4, over nodes: whoever comes back to any node, after any time, is given exactly what was missed, by the store alone."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtest.client import Client, Closed, Refused
from loadtest.connection import HandshakeRefused
from protocol.from_server import Entry, Gap, Push, Reset
from protocol.ids import Cursor, MatchId, Micros, Seq
from protocol.limits import RESUME_ENTRIES_MAX
from tests.proof.claims import Check, Claim, Ground, count
from tests.proof.node import UNLIMITED, Node, token
from tests.proof.shared import Shared, shared
from tests.proof.traffic import PHRASES

MATCH: Final = MatchId("returned to")
READERS: Final = 8
LATECOMERS: Final = 3
PAUSE_S: Final = 0.01
LASTS_S: Final = 14.0
AWAY_MAX_S: Final = 1.5
REDIS_AWAY_S: Final = (3.0, 6.0)
KILL_AT_S: Final = 8.0
WITHIN_S: Final = 20.0
BEFORE_ALL: Final[Cursor] = (Seq(0), Micros(0))


@dataclass(slots=True)
class Return:
    """What one return brought, as it came: entries after `cursor`, up to what was acked before it began (`target`)."""

    cursor: Cursor
    target: int
    brought: list[Entry] = field(default_factory=list)
    gaps: int = 0
    resets: int = 0
    synced: list[Entry] = field(default_factory=list)
    is_whole: bool = False
    without_redis: bool = False


@dataclass(slots=True)
class Faults:
    """How often a return was not as promised."""

    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    differing: int = 0
    old: int = 0
    untold: int = 0

    @property
    def sum(self) -> int:
        return self.lost + self.doubled + self.disordered + self.differing + self.old + self.untold


def weigh(returns: Sequence[Return], log: Sequence[Entry]) -> Faults:
    """Compare every entry of every return with the log: its place, its content, and that it came once and in order."""
    faults = Faults()
    for each in returns:
        first = each.cursor[0] + 1
        owed = each.target - each.cursor[0]
        got = [*each.brought, *each.synced]
        seqs = [entry.seq for entry in got if entry.seq <= each.target]
        faults.lost += len(set(range(first, each.target + 1)) - set(seqs))
        faults.doubled += len(seqs) - len(set(seqs))
        faults.disordered += seqs != sorted(seqs)
        faults.differing += sum(entry != log[entry.seq - 1] for entry in got if entry.seq <= len(log))
        faults.old += sum(entry.seq < first for entry in got)
        # That there is more is told after as much as a client is given at once, not before; no good cursor is refused.
        is_told = len(each.brought) == RESUME_ENTRIES_MAX if each.gaps else owed <= RESUME_ENTRIES_MAX
        faults.untold += each.resets > 0 or not is_told
    return faults


class _Writing:
    """One who writes all the time; `acked` is how far the log is known to go."""

    def __init__(self, node: Node, chance: random.Random) -> None:
        self._node = node
        self._chance = chance
        self.acked = 0

    async def run(self, until_s: float) -> None:
        client = await self._node.client("writer")
        await client.hello()
        number = 0
        while asyncio.get_running_loop().time() < until_s:
            number += 1
            sent = await client.send(MATCH, f"{number} {self._chance.choice(PHRASES)}", f"c{number}")
            self.acked = sent.seq
            await asyncio.sleep(PAUSE_S)
        await client.close()


class _Reader:
    """Comes back again and again, each time with its last cursor, to whatever node lets it in."""

    def __init__(self, user: str, nodes: Sequence[Node], writing: _Writing, chance: random.Random) -> None:
        self._user = user
        self._nodes = nodes
        self._writing = writing
        self._chance = chance
        self.cursor: Cursor = BEFORE_ALL
        self.returns: list[Return] = []

    async def run(self, until_s: float, redis: "_Redis") -> None:
        while asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(self._chance.uniform(0, AWAY_MAX_S))
            await self.come_back(self._chance.choice(self._nodes), without_redis=redis.is_away)

    async def come_back(self, node: Node, *, without_redis: bool = False) -> None:
        """Say hello with the cursor, and take what comes until all is there that was acked before."""
        back = Return(self.cursor, self._writing.acked, without_redis=without_redis)
        arrived = asyncio.Event()

        def take(push: Push) -> None:
            if arrived.is_set():
                return
            if isinstance(push, Gap | Reset):
                back.gaps += isinstance(push, Gap)
                back.resets += isinstance(push, Reset)
                arrived.set()
            elif isinstance(push, Entry):
                back.brought.append(push)
                if push.seq >= back.target:
                    arrived.set()

        client = Client(token=token(self._user), on_push=take)
        try:
            async with asyncio.timeout(WITHIN_S):
                await client.open(node.url)
                await client.hello({MATCH: self.cursor})
                if back.target > self.cursor[0]:
                    await arrived.wait()
                if back.gaps:
                    await self._ask_for_the_rest(client, back)
            back.is_whole = True
        except (OSError, HandshakeRefused, Closed, Refused):  # a TimeoutError is an OSError
            # A node that dies meanwhile gives nothing; one that only says nothing is at fault.
            back.is_whole = client.is_open
        if client.is_open:
            client.abort()
            await client.closed()
        if back.is_whole:
            self.returns.append(back)
            self._move(back)

    async def _ask_for_the_rest(self, client: Client, back: Return) -> None:
        last = back.brought[-1]
        cursor: Cursor = (last.seq, last.created_at)
        while cursor[0] < back.target:
            page = (await client.sync({MATCH: cursor})).matches[MATCH]
            back.synced += page.entries
            cursor = (page.entries[-1].seq, page.entries[-1].created_at)

    def _move(self, back: Return) -> None:
        for entry in (*back.brought, *back.synced):
            if entry.seq == self.cursor[0] + 1:
                self.cursor = (entry.seq, entry.created_at)


class _Redis:
    """Is killed, and comes back with nothing."""

    def __init__(self, place: Shared, ground: Ground) -> None:
        self._place = place
        self._ground = ground
        self.is_away = False

    async def run(self) -> None:
        gone_s, back_s = REDIS_AWAY_S
        await asyncio.sleep(gone_s)
        self._ground.tell("kill -9 of Redis")
        await asyncio.to_thread(self._place.redis.kill)
        self.is_away = True
        await asyncio.sleep(back_s - gone_s)
        self.is_away = False
        await asyncio.to_thread(self._place.redis.restart_empty)


async def run(ground: Ground) -> list[Check]:
    """Read on two nodes, by fits and starts, while one dies and Redis is not there at all for a while."""
    with shared(ground) as place:
        nodes = [await place.node(**UNLIMITED), await place.node(**UNLIMITED)]
        writing, redis = _Writing(nodes[0], ground.chance), _Redis(place, ground)
        api = nodes[0].api()
        names = [f"reader-{number}" for number in range(READERS + LATECOMERS)]
        await api.put_match(MATCH, ["writer", *names])
        writing.acked = len(await api.log(MATCH))
        readers = [_Reader(name, nodes, writing, ground.chance) for name in names]
        until_s = asyncio.get_running_loop().time() + LASTS_S
        async with asyncio.TaskGroup() as group:
            group.create_task(writing.run(until_s))
            group.create_task(redis.run())
            group.create_task(_kill(nodes[1], ground))
            for reader in readers[:READERS]:
                group.create_task(reader.run(until_s, redis))
        for reader in readers:
            ground.tell("everybody comes back once more, some of them for the first time")
            await reader.come_back(ground.chance.choice(nodes))
        log = await api.log(MATCH)
        api.close()
        for node in nodes:
            await node.stop()
        tracebacks = sum(node.tracebacks for node in nodes)
    returns = [each for reader in readers for each in reader.returns]
    behind = sum(reader.cursor[0] != log[-1].seq for reader in readers)
    return [*_checks(returns, log, behind), Check(f"{tracebacks} faults in the nodes' logs", tracebacks == 0)]


def _checks(returns: Sequence[Return], log: Sequence[Entry], behind: int) -> list[Check]:
    faults = weigh(returns, log)
    missed = sum(each.target - each.cursor[0] for each in returns)
    without = sum(each.without_redis and each.target > each.cursor[0] for each in returns)
    long = sum(each.gaps > 0 for each in returns)
    return [
        Check(
            f"{count(len(returns), 'return')} to two nodes brought {missed:,} entries that were missed while away: "
            f"{faults.lost} lost, {faults.doubled} twice, {faults.disordered} times out of order, "
            f"{faults.differing} other than stored, {faults.old} they had",
            missed > 0 and not faults.sum,
        ),
        Check(f"{count(without, 'return')} while there was no Redis were answered alike", without > 0),
        Check(
            f"{count(long, 'return')} after more than {RESUME_ENTRIES_MAX} entries brought that many and `gap`, no other did",
            long >= LATECOMERS and not faults.untold,
        ),
        Check(f"{behind} readers do not hold the whole log of {len(log):,} in the end", behind == 0 < len(log)),
    ]


async def _kill(node: Node, ground: Ground) -> None:
    await asyncio.sleep(KILL_AT_S)
    ground.tell("kill -9 of a node")
    await node.kill()
    await node.start()


CLAIM = Claim(
    "P4",
    "Resume is history (any node, any time)",
    "A client comes back to any node, after any time, and gets exactly what it missed or is told that there is more; from "
    "the store, whatever has become of Redis.",
    f"{READERS} readers left and came back with their cursors all the time while somebody wrote, {LATECOMERS} only in the "
    "end; Redis was killed and came back empty, a node was killed. Every entry was compared with the log.",
    run,
)
