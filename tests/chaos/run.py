"""One run: start the cluster, let people write while the nemesis works, heal, wait, weigh."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from loadtest.findings import Report
from protocol.close_codes import comes_back
from tests.chaos.callers import Callers
from tests.chaos.cluster import Cluster, Node
from tests.chaos.crippled import cripple_database
from tests.chaos.history import write_history
from tests.chaos.nemesis import Nemesis
from tests.chaos.plan import KINDS, Kind, make_plan
from tests.chaos.proxy import Proxy
from tests.chaos.traffic import Crowd
from tests.chaos.visitors import Visitors
from tests.support.presence_judge import Verdict

PAUSE_S = 0.12
# A node that is killed has more to lose between commit and bus.
HURRIED_PAUSE_S = 0.03
PRESENCE_LATE_S = 3.0
GAUGES_WITHIN_S = 15.0
PROGRESS_EVERY_S = 5.0
# What a node left behind is found when its lease is over and another one has renewed for as long.
DIRECTORY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to do; the same seed, duration and kinds are the same plan."""

    seed: int
    duration_s: float
    nodes: int
    kinds: Sequence[Kind] = KINDS
    # A defence that is switched off: such a run must fail.
    without: str = ""
    is_pooled: bool = False
    has_sentinels: bool = False
    # Seats of a killed node are found after 40 s, which a short run does not wait for.
    has_calls: bool = True
    pause_s: float = PAUSE_S
    # What a bound of presence may take on top on a busy machine.
    presence_late_s: float = PRESENCE_LATE_S
    tell: Callable[[str], None] = print


@dataclass(slots=True)
class Outcome:
    """The counts of a run."""

    options: Options
    report: Report = field(default_factory=Report)
    fired: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    numbers: Counter[str] = field(default_factory=Counter)
    presence: Verdict = field(default_factory=Verdict)
    # Who was shown wrong when all had had the time to know: by whom, and who.
    unsettled: list[tuple[str, str]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    ghosts: int = 0
    stuck: int = 0
    unacked: int = 0
    gave_up: int = 0
    gauges: dict[str, float] = field(default_factory=dict)
    listed: int = 0
    tracebacks: int = 0
    reconnects: int = 0
    resent: int = 0
    synced: int = 0
    took_s: float = 0.0
    history: str = ""

    @property
    def broken(self) -> dict[str, int]:
        """Return what must be zero and is not."""
        counts = {
            **self.report.broken(),
            "without an answer in the end": self.unacked,
            "clients that gave up": self.gave_up,
            "gauges not back at zero": len(self.gauges),
            "users listed as connected after all have gone": self.listed,
            "tracebacks": self.tracebacks,
            **{f"users shown {what}": count for what, count in Counter(it.what for it in self.presence.wrong).items()},
            "users shown wrong in the end": len(self.unsettled),
            "calls without an end": self.ghosts,
            "devices that ring or talk on": self.stuck,
            "rings without end": self.calls["rings without end"],
            "calls never connected": int(self.options.has_calls and not self.calls["calls connected"]),
            **{f"never fired: {kind.name}": 1 for kind in self.options.kinds if not self.fired[kind.name]},
        }
        return {what: count for what, count in counts.items() if count}

    def render(self) -> str:
        """Return everything for a reader."""
        lines = [
            self.report.render(),
            f"clients: {self.reconnects} reconnects, {self.resent} messages sent again, {self.synced} syncs",
            f"presence: {self.presence.told} states told, judged for {self.presence.judged_s:.0f} s of one watcher and one user",
            f"calls: {_listed(self.calls)}",
            f"faults: {_listed(self.fired)}",
            f"the nodes' logs on the bus: {_listed(self.troubles)}",
            f"counters at the end: {_listed(self.numbers)}",
            *(f"  ! {count} {what}" for what, count in self.broken.items()),
            *(f"  ! {gauge} is {value:g}" for gauge, value in self.gauges.items()),
            *(f"  ! {wrong}" for wrong in self.presence.wrong[:10]),
            *(f"  ! {watcher} saw {user} wrong in the end" for watcher, user in self.unsettled[:10]),
            *([f"history with the nodes' logs: {self.history}"] if self.history else []),
            self._verdict(),
        ]
        return "\n".join(lines)

    def _verdict(self) -> str:
        return (
            f"{'FAIL' if self.broken else 'PASS'} {sum(self.fired.values())} faults of {len(self.fired)} kinds on "
            f"{self.options.nodes} nodes, {self.report.acked} messages acked, {self.report.faults} promises broken, "
            f"in {self.took_s:.0f} s, seed {self.options.seed}"
            f"{', through PgBouncer' if self.options.is_pooled else ''}"
            f"{', with Sentinels' if self.options.has_sentinels else ''}"
            f"{f', without {self.options.without}' if self.options.without else ''}"
        )


async def run(options: Options) -> Outcome:
    """Run once, and leave nothing behind but the history of a failure."""
    began = time.monotonic()
    options.tell(f"seed {options.seed}: {options.duration_s:g} s of faults on {options.nodes} nodes")
    with ExitStack() as stack:
        cluster = Cluster(
            stack, options.nodes, options.without, is_pooled=options.is_pooled, has_sentinels=options.has_sentinels
        )
        try:
            await cluster.start()
            await cripple_database(options.without, cluster.postgres.url())
            outcome = await _run(options, cluster)
        finally:
            await cluster.stop()
    outcome.took_s = time.monotonic() - began
    return outcome


async def _run(options: Options, cluster: Cluster) -> Outcome:
    chance = random.Random(f"{options.seed}/traffic")
    visitors = Visitors(cluster, random.Random(f"{options.seed}/visitors"))
    proxy = Proxy(lambda: chance.choice(cluster.nodes).port)
    quiet = Proxy(lambda: cluster.spared.port)
    crowd = Crowd(_url(await proxy.start()), _url(await quiet.start()), chance)
    plan = make_plan(options.seed, options.duration_s, options.kinds)
    nemesis = Nemesis(cluster, proxy, plan, options.duration_s, options.tell)
    outcome = Outcome(options)
    async with asyncio.TaskGroup() as group:
        api = cluster.nodes[0].api()
        await crowd.make(api)
        await visitors.make(api)
        callers = Callers(_url(proxy.port), random.Random(f"{options.seed}/calls"), group.create_task)
        await callers.make(api)
        for client in crowd.clients:
            group.create_task(client.run())
        progress = group.create_task(_progress(options, crowd))
        end_s = asyncio.get_running_loop().time() + options.duration_s
        calling = [callers.call(end_s)] if options.has_calls else []
        writing = [crowd.write(client, end_s, options.pause_s) for client in crowd.writers]
        await asyncio.gather(nemesis.run(), visitors.run(end_s), *writing, *calling)
        options.tell("healed; waiting for answers and for everybody to catch up")
        settling = group.create_task(visitors.settle())
        outcome.unacked = await crowd.acked()
        outcome.report, stored = await crowd.weigh(api)
        await settling
        progress.cancel()
        outcome.gave_up = sum(any(not comes_back(code) for code in each.log.close_codes) for each in crowd.clients)
        for client in crowd.clients:
            await client.stop()
        if options.has_calls:
            await callers.finish(api)
            outcome.ghosts, outcome.stuck, outcome.calls = callers.ghosts, callers.stuck, callers.counts
        api.close()
    outcome.fired = nemesis.fired
    outcome.presence, outcome.unsettled = visitors.verdict(nemesis.done, options.presence_late_s), visitors.unsettled
    _count_clients(outcome, crowd)
    await _count_nodes(outcome, cluster)
    proxy.close()
    quiet.close()
    if outcome.broken:
        outcome.history = await asyncio.to_thread(
            write_history, options.seed, nemesis.history, crowd.clients, stored, cluster.nodes
        )
    return outcome


def _url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/ws"


async def _progress(options: Options, crowd: Crowd) -> None:
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        submitted = sum(len(client.log.submitted) for client in crowd.clients)
        unacked = sum(client.log.unacked for client in crowd.clients)
        ready = sum(client.is_ready for client in crowd.clients)
        options.tell(f"  {submitted - unacked} acked, {unacked} waiting, {ready} of {len(crowd.clients)} connected")


def _count_clients(outcome: Outcome, crowd: Crowd) -> None:
    logs = [client.log for client in crowd.clients]
    outcome.reconnects = sum(log.connections - 1 for log in logs)
    outcome.resent = sum(len(each.transmissions) > 1 for log in logs for each in log.submitted.values())
    outcome.synced = sum(log.synced for log in logs)


async def _count_nodes(outcome: Outcome, cluster: Cluster) -> None:
    for node in cluster.nodes:
        counters, gauges = await _settled(node)
        outcome.gauges |= {f"{node.name} {name}": value for name, value in gauges.items() if value}
        for name in ("messages_stored", "messages_duplicate", "resumes", "repairs", "gaps"):
            outcome.numbers[name] += int(counters.get(name, 0))
    outcome.listed = await _still_listed(cluster)
    outcome.troubles = cluster.troubles()
    outcome.tracebacks = cluster.tracebacks


async def _settled(node: Node) -> tuple[dict[str, float], dict[str, float]]:
    """Read a node's numbers when its gauges are back at zero, or have had the time to be."""
    deadline = time.monotonic() + GAUGES_WITHIN_S
    while True:
        counters, gauges = await node.numbers()
        if not any(gauges.values()) or time.monotonic() > deadline:
            return counters, gauges
        await asyncio.sleep(0.2)


async def _still_listed(cluster: Cluster) -> int:
    """Count the users in the directory when there are none left, or have had the time to go."""
    deadline = time.monotonic() + DIRECTORY_WITHIN_S
    while True:
        listed = await cluster.directory()
        if not listed or time.monotonic() > deadline:
            return listed
        await asyncio.sleep(0.5)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common()) or "none"
