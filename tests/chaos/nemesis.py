"""Carries out a plan, one fault at a time on each track, and counts what was really done."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import Final, NamedTuple

import asyncpg
import redis

from tests.chaos.cluster import Cluster
from tests.chaos.plan import Kind, Step
from tests.chaos.proxy import Proxy
from tests.support.private_redis import PrivateRedis

CUT_SHARE: Final = 0.3
# Shorter than a command to Redis may take (2 s).
HESITATION_S: Final = 1.0
CUT_EVERY_S: Final = 0.05
DELAY_S: Final = (0.1, 0.8)
# Shorter than the tokens of the clients live.
NODE_JUMP_S: Final = 600.0
# Less than a repair reaches back behind the last good moment: ages of what has to be told again are by this clock.
DATABASE_JUMP_S: Final = 20.0
AGAIN_S: Final = 0.3
TERMINATE_ALL: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'duologue'"
# No message of ours begins with this byte.
FLOOD_MESSAGE: Final = b"\xc1" * 100_000
FLOOD_MESSAGES: Final = 20
FLOOD_LIMIT: Final = "pubsub 65536 0 0"
USUAL_LIMIT: Final = "pubsub 33554432 8388608 60"


class Done(NamedTuple):
    """A fault that was made, and undone; the loop's seconds."""

    kind: Kind
    began_s: float
    ended_s: float


class Nemesis:
    """`run` it beside the traffic; when it returns everything that it did has been undone."""

    def __init__(
        self, cluster: Cluster, proxy: Proxy, plan: list[Step], duration_s: float, tell: Callable[[str], None]
    ) -> None:
        self._cluster = cluster
        self._proxy = proxy
        self._plan = plan
        self._duration_s = duration_s
        self._tell = tell
        self.fired: Counter[str] = Counter()
        # What was done when, in seconds since the start.
        self.history: list[tuple[float, str]] = []
        self.done: list[Done] = []

    async def run(self) -> None:
        """Do all that is planned."""
        began = time.monotonic()
        ordered = sorted(self._plan, key=lambda step: step.kind.track)
        async with asyncio.TaskGroup() as group:
            for _, steps in groupby(ordered, key=lambda step: step.kind.track):
                group.create_task(self._track(began, list(steps)))

    async def _track(self, began: float, steps: list[Step]) -> None:
        for step in steps:
            await asyncio.sleep(max(0.0, began + step.at_s - time.monotonic()))
            if time.monotonic() - began > self._duration_s and self.fired[step.kind.name]:
                continue  # Undoing took longer than planned, and nobody writes any more.
            self._note(began, f"{step.kind.name} …")
            began_s = asyncio.get_running_loop().time()
            what = await self._do(step, random.Random(step.chance))
            self.done.append(Done(step.kind, began_s, asyncio.get_running_loop().time()))
            if what:  # nothing was hit otherwise
                self.fired[step.kind.name] += 1
            self._note(began, f"{step.kind.name}: {what or 'nobody'}")

    def _note(self, began: float, what: str) -> None:
        at_s = time.monotonic() - began
        self.history.append((round(at_s, 3), what))
        self._tell(f"{at_s:6.1f} s  {what}")

    async def _do(self, step: Step, chance: random.Random) -> str:
        ways: dict[str, Callable[[float, random.Random], Awaitable[str]]] = {
            "node killed": self._kill_node,
            "node killed with full hands": self._kill_full_node,
            "node frozen": self._freeze_node,
            "node frozen past its lease": self._freeze_node,
            "Redis frozen": self._freeze_redis,
            "Redis killed and started with nothing": self._empty_redis_by_death,
            "Redis restarted from an old dump": self._age_redis,
            "Redis emptied": self._empty_redis,
            "Redis failed over": self._fail_over,
            "Redis master killed": self._kill_master,
            "bus readers cut": self._cut_readers,
            "bus readers flooded": self._flood_readers,
            "PostgreSQL backends terminated": self._terminate_backends,
            "PostgreSQL restarted": self._restart_postgres,
            "PostgreSQL crashed": self._crash_postgres,
            "PostgreSQL's disk full": self._fill_disk,
            "node's clock jumped": self._jump_node,
            "database's clock jumped": self._jump_database,
            "sockets cut": self._cut_sockets,
            "sockets delayed": self._delay_sockets,
        }
        return await ways[step.kind.name](step.lasts_s, chance)

    # ---- nodes

    async def _kill_node(self, lasts_s: float, chance: random.Random, then: Callable[[], None] = lambda: None) -> str:
        node = chance.choice(self._cluster.victims)
        await node.kill()
        then()
        await asyncio.sleep(lasts_s)
        await node.start()
        return f"{node.name} is back after {lasts_s:.1f} s"

    async def _kill_full_node(self, lasts_s: float, chance: random.Random) -> str:
        """Kill it with commits that Redis did not take: it stood still, too shortly for the other nodes to worry."""
        self._cluster.redis.freeze()
        try:
            await asyncio.sleep(HESITATION_S)
            return await self._kill_node(lasts_s, chance, self._cluster.redis.thaw)
        finally:
            self._cluster.redis.thaw()

    async def _freeze_node(self, lasts_s: float, chance: random.Random) -> str:
        node = chance.choice(self._cluster.victims)
        node.freeze()
        await asyncio.sleep(lasts_s)
        node.thaw()
        return f"{node.name} goes on after {lasts_s:.1f} s"

    # ---- Redis

    async def _freeze_redis(self, lasts_s: float, chance: random.Random) -> str:
        self._cluster.redis.freeze()
        await asyncio.sleep(lasts_s)
        self._cluster.redis.thaw()
        return f"goes on after {lasts_s:.1f} s"

    async def _empty_redis_by_death(self, lasts_s: float, chance: random.Random) -> str:
        await asyncio.to_thread(self._cluster.redis.kill)
        await asyncio.sleep(lasts_s)
        await asyncio.to_thread(self._cluster.redis.restart_empty)
        return f"is back after {lasts_s:.1f} s"

    async def _age_redis(self, lasts_s: float, chance: random.Random) -> str:
        await self._say("SAVE")
        await asyncio.sleep(lasts_s)
        await asyncio.to_thread(self._cluster.redis.restart_old)
        return f"{lasts_s:.1f} s old"

    async def _empty_redis(self, lasts_s: float, chance: random.Random) -> str:
        keys = await self._say("DBSIZE")
        await self._say("FLUSHALL")
        return f"{keys} keys" if keys else ""

    async def _fail_over(self, lasts_s: float, chance: random.Random) -> str:
        before = self._cluster.master()
        await asyncio.to_thread(self._cluster.fail_over)
        await asyncio.sleep(lasts_s)
        return "to the other server" if self._cluster.master() is not before else ""

    async def _kill_master(self, lasts_s: float, chance: random.Random) -> str:
        master = self._cluster.master()
        await asyncio.to_thread(master.kill)
        await asyncio.sleep(lasts_s)
        await asyncio.to_thread(master.start)
        return f"is back after {lasts_s:.1f} s, behind the other" if self._cluster.master() is not master else ""

    async def _cut_readers(self, lasts_s: float, chance: random.Random) -> str:
        """Cut them again and again: a reader that is back in a moment misses little by one cut."""
        cut, until = 0, time.monotonic() + lasts_s
        while time.monotonic() < until:
            cut += await asyncio.to_thread(_cut, self._cluster.redis)
            await asyncio.sleep(CUT_EVERY_S)
        return f"{cut} times within {lasts_s:.1f} s" if cut else ""

    async def _flood_readers(self, lasts_s: float, chance: random.Random) -> str:
        try:
            flooded = await asyncio.to_thread(_flood, self._cluster.redis)
        except redis.RedisError:  # it is away: nobody to flood
            return ""
        return f"{flooded} of them" if flooded else ""

    async def _say(self, *command: str) -> object:
        return await asyncio.to_thread(self._cluster.redis.say, *command)

    # ---- PostgreSQL

    async def _terminate_backends(self, lasts_s: float, chance: random.Random) -> str:
        admin = await self._cluster.postgres.admin()
        terminated = len(await admin.fetch(TERMINATE_ALL))
        await admin.close()
        return f"{terminated} of them" if terminated else ""

    async def _restart_postgres(self, lasts_s: float, chance: random.Random) -> str:
        await self._cluster.restart_postgres(signal.SIGINT, lasts_s)
        return f"is back after {lasts_s:.1f} s"

    async def _crash_postgres(self, lasts_s: float, chance: random.Random) -> str:
        await self._cluster.restart_postgres(signal.SIGQUIT, lasts_s)
        return f"is back after {lasts_s:.1f} s"

    async def _fill_disk(self, lasts_s: float, chance: random.Random) -> str:
        gave_up = await self._cluster.fill_disk(lasts_s)
        return f"for {lasts_s:.1f} s, until it gave up" if gave_up else ""

    # ---- clocks

    async def _jump_node(self, lasts_s: float, chance: random.Random) -> str:
        node, offset_s = chance.choice(self._cluster.nodes), chance.uniform(-NODE_JUMP_S, NODE_JUMP_S)
        node.jump(offset_s)
        await asyncio.sleep(lasts_s)
        node.jump(0)
        return f"{node.name}'s by {offset_s:.0f} s, and back"

    async def _jump_database(self, lasts_s: float, chance: random.Random) -> str:
        offset_s = chance.uniform(-DATABASE_JUMP_S, DATABASE_JUMP_S)
        for jump_s in (offset_s, 0.0):
            while True:  # It may be away just now.
                try:
                    await self._cluster.jump_database(jump_s)
                    break
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await asyncio.sleep(AGAIN_S)
            await asyncio.sleep(lasts_s if jump_s else 0)
        return f"by {offset_s:.1f} s, and back"

    # ---- sockets

    async def _cut_sockets(self, lasts_s: float, chance: random.Random) -> str:
        of = len(self._proxy.links)
        cut = self._proxy.cut(CUT_SHARE, chance)
        return f"{cut} of {of}" if cut else ""

    async def _delay_sockets(self, lasts_s: float, chance: random.Random) -> str:
        before, delay_s = self._proxy.delayed, chance.uniform(*DELAY_S)
        self._proxy.delay_s = delay_s
        await asyncio.sleep(lasts_s)
        self._proxy.delay_s = 0.0
        delayed = self._proxy.delayed - before
        return f"{delayed} reads by {delay_s:.2f} s" if delayed else ""


def _cut(server: PrivateRedis) -> int:
    with server.client() as client:
        try:
            return int(client.client_kill_filter(_type="pubsub"))
        except redis.RedisError:  # it is away, and they are cut off already
            return 0


def _flood(server: PrivateRedis) -> int:
    """Send every reader more than Redis is allowed to keep for one; return how many it threw out."""
    with server.client() as client:
        client.config_set("client-output-buffer-limit", FLOOD_LIMIT)
        before = _readers(client)
        with client.pipeline(transaction=True) as calls:
            for channel in client.pubsub_channels("*node:*"):
                for _ in range(FLOOD_MESSAGES):
                    calls.publish(channel, FLOOD_MESSAGE)
            calls.execute()
        client.config_set("client-output-buffer-limit", USUAL_LIMIT)
        return len(before - _readers(client))


def _readers(client: "redis.Redis") -> set[str]:
    listed = client.client_list(_type="pubsub")
    assert isinstance(listed, list)
    return {reader["id"] for reader in listed}
