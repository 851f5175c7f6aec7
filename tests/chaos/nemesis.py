"""Carries out a plan, one fault at a time on each track, and counts what was really done."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import groupby

from tests.chaos.cluster import Cluster
from tests.chaos.plan import Step
from tests.chaos.proxy import Proxy

CUT_SHARE = 0.3


class Nemesis:
    """`run` it beside the traffic; when it returns everything that it did has been undone."""

    def __init__(self, cluster: Cluster, proxy: Proxy, plan: list[Step], tell: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._proxy = proxy
        self._plan = plan
        self._tell = tell
        self.fired: Counter[str] = Counter()
        # What was done when, in seconds since the start.
        self.history: list[tuple[float, str]] = []

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
            what = await self._do(step, random.Random(step.chance))
            self.fired[step.kind.name] += 1
            self.history.append((round(time.monotonic() - began, 3), what))
            self._tell(what)

    async def _do(self, step: Step, chance: random.Random) -> str:
        done = await self._way(step)(step.lasts_s, chance)
        return f"{step.kind.name}: {done}, {step.lasts_s:.1f} s"

    def _way(self, step: Step) -> Callable[[float, random.Random], Awaitable[str]]:
        return {
            "node killed": self._kill_node,
            "sockets cut": self._cut_sockets,
            "bus readers cut": self._cut_readers,
        }[step.kind.name]

    # ---- nodes

    async def _kill_node(self, lasts_s: float, chance: random.Random) -> str:
        node = chance.choice(self._cluster.nodes)
        await node.kill()
        await asyncio.sleep(lasts_s)
        await node.start()
        return node.name

    # ---- sockets

    async def _cut_sockets(self, lasts_s: float, chance: random.Random) -> str:
        return f"{self._proxy.cut(CUT_SHARE, chance)} of {len(self._proxy.links)}"

    # ---- Redis

    async def _cut_readers(self, lasts_s: float, chance: random.Random) -> str:
        return str(await asyncio.to_thread(self._cluster.redis.say, "CLIENT", "KILL", "TYPE", "pubsub"))
