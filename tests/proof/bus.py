"""P5, between nodes: live delivery repairs itself, and nobody has to ask."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from loadtest.findings import Report
from loadtest.resuming import ResumingClient
from tests.proof.claims import Check, Claim, Ground, count
from tests.proof.node import UNLIMITED, Node
from tests.proof.shared import Shared, shared, wrong
from tests.proof.traffic import Crowd

MATCHES: Final = ("m1", "m2", "m3", "m4")
PEOPLE: Final = 3  # on each node
PAUSE_S: Final = 0.1
CUTS: Final = 20
CUT_EVERY_S: Final = 0.1
# A lease is over after 10 s: the node must find out that it was taken for dead.
FROZEN_S: Final = 12.0
WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05


class Trouble:
    """Everything that is done to two nodes and what is between them, and what was seen of it."""

    def __init__(self, place: Shared, spared: Node, victim: Node, tell: Callable[[str], None]) -> None:
        self._place = place
        self._nodes = (spared, victim)
        self._victim = victim
        self._tell = tell
        self.cut = 0
        self.repairs = 0.0
        self.incarnations = 0.0
        self.deaf: list[str] = []

    async def make(self) -> None:
        """Do it all, one thing after the other."""
        for harm in (self._cut_readers, self._empty_redis, self._kill_redis, self._freeze, self._kill):
            await harm()

    async def _cut_readers(self) -> None:
        self._tell("cutting what listens")
        for _ in range(CUTS):
            await asyncio.sleep(CUT_EVERY_S)
            cut = await asyncio.to_thread(self._place.redis.say, "CLIENT", "KILL", "TYPE", "pubsub")
            assert isinstance(cut, int)
            self.cut += cut

    async def _empty_redis(self) -> None:
        self._tell("emptying Redis")
        before = await self._sum("repairs")
        await asyncio.to_thread(self._place.redis.say, "FLUSHALL")
        await until(self._repaired_since(before))

    async def _kill_redis(self) -> None:
        """Nobody hears anybody until it is back, with nothing in it."""
        self._tell("kill -9 of Redis")
        await asyncio.to_thread(self._place.redis.kill)
        for node in self._nodes:
            await until(lambda node=node: says_bus(node))  # type: ignore[misc]
            self.deaf.append((await wrong(node)).get("bus", ""))
        await asyncio.to_thread(self._place.redis.restart_empty)
        await self._all_ready()

    async def _freeze(self) -> None:
        self._tell(f"a node frozen for {FROZEN_S:.0f} s")
        self._victim.freeze()
        await asyncio.sleep(FROZEN_S)
        self._victim.thaw()
        await until(self._has_new_name)
        await self._all_ready()
        self.incarnations = await self._victim.counter("bus_incarnations")
        self.repairs = await self._sum("repairs")

    async def _kill(self) -> None:
        self._tell("kill -9 of a node")
        await self._victim.kill()
        await self._victim.start()
        await self._all_ready()

    async def _all_ready(self) -> None:
        for node in self._nodes:
            await until(lambda node=node: is_ready(node))  # type: ignore[misc]

    async def _has_new_name(self) -> bool:
        return await self._victim.counter("bus_incarnations") > 0

    def _repaired_since(self, before: float) -> Callable[[], Awaitable[bool]]:
        async def repaired() -> bool:
            return await self._sum("repairs") > before

        return repaired

    async def _sum(self, name: str) -> float:
        return sum([await node.counter(name) for node in self._nodes])


async def run(ground: Ground) -> list[Check]:
    """Let people on both nodes write to each other while everything between them breaks."""
    with shared(ground) as place:
        spared, victim = await place.node(**UNLIMITED), await place.node(**UNLIMITED)
        crowd = Crowd(spared, ground.chance)
        crowd.settle_within_s = WITHIN_S
        here, there = ([f"{where}{number}" for number in range(PEOPLE)] for where in ("here", "there"))
        await crowd.make({match: [*here, *there] for match in MATCHES})
        staying = [crowd.add(user, patient=True) for user in here]
        for user in there:
            crowd.add(user, node=victim, patient=True)
        trouble = Trouble(place, spared, victim, ground.tell)
        report = await crowd.live(_write_through(crowd, trouble))
        ready = [not await wrong(node) for node in (spared, victim)]
        left = [await _left_open(node) for node in (spared, victim)]
        await spared.stop()
        await victim.stop()
    faults = spared.tracebacks + victim.tracebacks
    return [*_delivery(report, trouble, staying), *_nodes(trouble, ready, left, faults)]


def _delivery(report: Report, trouble: Trouble, staying: list[ResumingClient]) -> list[Check]:
    connections = sum(client.log.connections for client in staying)
    kept = report.acked > 0 and report.lost == report.unanswered == 0
    return [
        Check(f"{report.acked:,} messages acked meanwhile, {report.lost} of them lost, {report.unanswered} open", kept),
        Check(f"{report.faults} faults of any kind in {report.shown:,} entries shown", report.faults == 0),
        Check(
            f"{len(staying)} clients of the node that lived did nothing but stay: {count(connections, 'connection')}",
            connections == len(staying),
        ),
        Check(
            f"{count(trouble.cut, 'listening connection')} cut; {trouble.repairs:.0f} times the nodes told again what "
            "may have been missed",
            trouble.cut > 0 and trouble.repairs > 0,
        ),
    ]


def _nodes(trouble: Trouble, ready: list[bool], left: list[dict[str, float]], faults: int) -> list[Check]:
    said = sorted(set(trouble.deaf))
    return [
        Check(
            f"without Redis {len(trouble.deaf)} of 2 nodes said 503 on /readyz: {', '.join(said)}", all(trouble.deaf)
        ),
        Check(f"{sum(ready)} of 2 said that they were ready again at the end", all(ready)),
        Check("the frozen node found out that it was taken for dead, and took a new name", trouble.incarnations > 0),
        Check(f"gauges at zero when all had gone: {left if any(left) else 'every one on both nodes'}", not any(left)),
        Check(f"{faults} faults in the nodes' logs", faults == 0),
    ]


async def _write_through(crowd: Crowd, trouble: Trouble) -> None:
    """Have everybody write until the trouble is over."""
    writers = [asyncio.ensure_future(_write(crowd, client)) for client in crowd.clients]
    try:
        await trouble.make()
    finally:
        for writer in writers:
            writer.cancel()


async def _write(crowd: Crowd, client: ResumingClient) -> None:
    while True:
        crowd.say(client, crowd.chance.choice(MATCHES))
        await asyncio.sleep(PAUSE_S * 2 * crowd.chance.random())


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look at other processes again and again until it holds; raise `TimeoutError`."""
    async with asyncio.timeout(WITHIN_S):
        while not await holds():  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(LOOK_EVERY_S)


async def is_ready(node: Node) -> bool:
    """Whether the node says so."""
    return not await wrong(node)


async def says_bus(node: Node) -> bool:
    """Whether the node says that it does not hear the others."""
    return "bus" in await wrong(node)


async def _left_open(node: Node) -> dict[str, float]:
    """Return what is not at zero though there was time to get there."""

    async def is_clean() -> bool:
        return not await node.left_open()

    try:
        await until(is_clean)
    except TimeoutError:
        return await node.left_open()
    return {}


CLAIM = Claim(
    "P5",
    "Live delivery repairs itself (between nodes)",
    "What is lost between nodes is noticed and told again from the store, without a client's doing. A deaf node says so.",
    f"{PEOPLE} people on each of two nodes wrote while what listens was cut {CUTS} times, Redis was emptied, then killed, "
    f"one node was frozen for {FROZEN_S:.0f} s, then killed.",
    run,
)
