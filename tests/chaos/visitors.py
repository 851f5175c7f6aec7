"""People who come and go on the nodes while things break, others who watch them, and the judge of what those were shown.

They connect to the nodes directly, so that it is known on which one everybody is. What is uncertain meanwhile follows from
the faults: of a frozen node its own people and watchers, of the bus everybody, for as long as the design gives it to recover.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from loadtest.api import Api
from protocol.from_server import Status
from tests.chaos.cluster import Cluster
from tests.chaos.nemesis import Done
from tests.proof.node import token
from tests.support.gathering import AGAIN_S, Gathering
from tests.support.presence_judge import FOR_EVER, Bounds, Loss, Verdict, View, judge

VISITORS: Final = 5
STAYS_S: Final = (0.5, 4.0, 25.0)
AWAYS_S: Final = (0.5, 3.0, 25.0)
SETTLE_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.1
# From the end of a fault until everybody sees and has what there is: the bus's own bound, and a node's that was frozen.
BUS_RECOVERS_S: Final = 30.0
READER_RECOVERS_S: Final = 8.0
NODE_RECOVERS_S: Final = 14.0
# One that still has its lease goes on as it was.
HELD_S: Final = 7.5
HELD_RECOVERS_S: Final = 3.0
_TRACKS: Final = {"redis": BUS_RECOVERS_S, "bus": READER_RECOVERS_S}
_FROZEN: Final = ("node frozen", "node frozen past its lease")
_FULL: Final = "node killed with full hands"


def bounds(late_s: float) -> Bounds:
    """Return the promises, with so much on top for a busy machine."""
    gone = {Loss.GOODBYE: late_s, Loss.CLOSE: 2.0 + late_s, Loss.KILL: 12.0 + late_s, Loss.SILENCE: 37.0 + late_s}
    return Bounds(late_s, gone, {Loss.CLOSE: 1.5 - late_s, Loss.KILL: 8.0 - late_s}, unknown_s=late_s)


class Visitors:
    """`run` them beside the traffic, then `settle`, then ask for the `verdict`."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = random.Random(chance.random())
        self._names = [f"visitor-{number}" for number in range(VISITORS)]
        self._watchers = {node: f"watcher-{node}" for node in range(len(cluster.nodes))}
        self._gathering = Gathering(self._url, token)
        self._gathering.loss = lambda node: Loss.KILL if cluster.nodes[node].is_killed else Loss.CLOSE
        self._is_over = False
        # Who did not get right in the end: watcher and visitor.
        self.unsettled: list[tuple[str, str]] = []

    async def make(self, api: Api) -> None:
        """Make the matches."""
        for watcher in self._watchers.values():
            await api.put_match(f"{watcher} and all", [watcher, *self._names])

    async def run(self, until_s: float) -> None:
        """Come, go and watch until the loop's time is `until_s`."""
        async with asyncio.TaskGroup() as group:
            for name in self._names:
                group.create_task(self._live(name, until_s))
            for node in self._watchers:
                group.create_task(self._watch(node, until_s))

    async def _live(self, name: str, until_s: float) -> None:
        await self._gathering.live(name, self._node, self._chance, until_s, stays_s=STAYS_S, aways_s=AWAYS_S)

    async def settle(self) -> None:
        """Have some stay and the others be gone, and wait until every watcher sees just that."""
        last = {stay.user: stay.loss for stay in self._gathering.stays}
        stay = {name for name in self._names if last.get(name) is not Loss.KILL and self._chance.random() < 0.5}
        for name in sorted(stay):
            await self._come(name)
        for node in self._watchers:
            await self._look(node)
        until_s = self._gathering.now_s() + SETTLE_WITHIN_S
        while self._wrong(stay) and self._gathering.now_s() < until_s:  # noqa: ASYNC110 - what others know has no event
            await asyncio.sleep(LOOK_EVERY_S)
        self.unsettled = self._wrong(stay)
        await self._gathering.end()

    def verdict(self, done: Sequence[Done], late_s: float) -> Verdict:
        """Weigh every moment in which nothing excuses."""
        gathering = self._gathering
        for each in done:
            kind = each.kind
            if (recovers_s := _TRACKS.get(kind.track, BUS_RECOVERS_S if kind.name == _FULL else 0.0)) > 0:
                self._excuse(each, range(len(self._cluster.nodes)), recovers_s)
            elif kind.name in _FROZEN:
                is_held = each.ended_s - each.began_s < HELD_S
                recovers_s = HELD_RECOVERS_S if is_held else NODE_RECOVERS_S
                self._excuse(each, range(1, len(self._cluster.nodes)), recovers_s)
        return judge(gathering.stays, gathering.views, bounds(late_s), gathering.now_s())

    def _excuse(self, done: Done, nodes: Sequence[int], recovers_s: float) -> None:
        span = (done.began_s, done.ended_s + recovers_s)
        for visit in self._gathering.visits:
            was_there = visit.stay.came_s < span[1] and visit.stay.gone_s > span[0] - NODE_RECOVERS_S
            if visit.node in nodes and was_there:
                visit.stay.uncertain.append(span)
                visit.stay.lingers.append(span)
        for view in self._gathering.views:
            if int(view.name.partition(" ")[0]) in nodes:
                view.blind.append(span)

    def _url(self, node: int) -> str:
        return f"ws://127.0.0.1:{self._cluster.nodes[node].port}/ws"

    def _node(self) -> int:
        return self._chance.randrange(len(self._cluster.nodes))

    async def _come(self, name: str) -> None:
        while True:
            try:
                await self._gathering.arrive(name, self._node())
            except OSError:
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _watch(self, node: int, until_s: float) -> None:
        """Watch again whenever the connection has ended."""
        while self._gathering.now_s() < until_s:
            view = self._latest(node)
            if view is None or view.ended_s < FOR_EVER:
                try:
                    await self._open(node)
                except OSError:
                    await asyncio.sleep(AGAIN_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, node: int) -> None:
        """Make sure that somebody watches there."""
        until_s = self._gathering.now_s() + SETTLE_WITHIN_S
        while (view := self._latest(node)) is None or view.ended_s < FOR_EVER:
            try:
                await self._open(node)
            except OSError:
                if self._gathering.now_s() > until_s:
                    raise
                await asyncio.sleep(AGAIN_S)

    async def _open(self, node: int) -> None:
        await self._gathering.watch(f"{node} {len(self._gathering.views)}", self._watchers[node], node, self._names)

    def _latest(self, node: int) -> View | None:
        views = [view for view in self._gathering.views if view.name.startswith(f"{node} ")]
        return views[-1] if views else None

    def _wrong(self, stay: set[str]) -> list[tuple[str, str]]:
        found = []
        for node in self._watchers:
            view = self._latest(node)
            for name in self._names:
                newest = max(
                    (each.presence for each in (view.shown if view else []) if each.presence.user == name),
                    key=lambda presence: presence.v,
                    default=None,
                )
                is_here = newest is not None and newest.status not in (Status.OFFLINE, Status.UNKNOWN)
                if newest is None or newest.status is Status.UNKNOWN or is_here != (name in stay):
                    found.append((self._watchers[node], name))
        return found
