"""`python -m tests.benchmarks.presence [--quick]`: what presence and typing cost, on one node and over two. Never fails on a time.

CPU time of the nodes and of Redis, divided by what happened; people are on one node, those who watch them on another where
there are two. Everything is as in production but for limits, and that whoever looks away is away at once.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import redis
import uvloop
from msgspec import Struct

from deploy.cluster.parts import CHECKOUT, inherited, postgres
from deploy.cluster.programs import Program, Recipe, free_port
from loadtest.api import Api
from loadtest.client import Client
from loadtest.clock import wall_s
from loadtest.processes import rss_bytes
from loadtest.race.contestants import LIFTED
from loadtest.race.garage import Garage
from loadtest.race.stage import SERVER_CORE, Stage, cpu_us
from loadtest.tokens import sign_token
from protocol.from_client import ClientState, ClientStateSet, Typing
from protocol.from_server import PresenceChanged, Push, TypingSeen
from protocol.ids import MatchId
from tests.benchmarks.__main__ import raise_file_limit
from tests.benchmarks.load import gather
from tests.benchmarks.plan import progress
from tests.benchmarks.targets import API_KEY, LOAD_CORE, TOKEN_SECRET

AS_IN_PRODUCTION: Final = {
    **LIFTED,
    "MAX_MEMBERS": "2000",
    "EPHEMERAL_HOLD_MS": "100",
    "TYPING_INTERVAL_MS": "3000",
    "PRESENCE_AWAY_MS": "0",
}
SETTLE_S: Final = 1.0
REST_S: Final = 3.0
# Until what those cost who came and went is over.
WITHIN_S: Final = 20.0
HELD_S: Final = 0.15
AT_ONCE: Final = 50
# Events of one who types, for each answer that is waited for.
TOGETHER: Final = 20


class Size(Struct, frozen=True):
    """How large it is. Each of `watched` people of a group is seen by each of its `watchers`."""

    groups: int = 10
    watched: int = 20
    watchers: int = 20
    crowd: int = 1_000
    windows: int = 3
    rounds: int = 4
    # In one window; each waits until everybody has been told.
    memory_watchers: int = 50
    memory_watched: int = 200
    typists: int = 200


QUICK: Final = Size(3, 5, 5, 50, 2, 2, 5, 50, 20)


class Line(Struct, frozen=True):
    """One figure, and how it grows."""

    what: str
    figure: str
    grows: str


class Used(Struct, frozen=True):
    """CPU time in microseconds, and writes of the nodes."""

    at_s: float
    nodes: float
    redis: float
    writes: int

    def since(self, before: "Used") -> "Used":
        """Return what was used after `before`."""
        at_s, writes = self.at_s - before.at_s, self.writes - before.writes
        return Used(at_s, self.nodes - before.nodes, self.redis - before.redis, writes)

    def without(self, idle: "Used") -> "Used":
        """Return what was used because of the load: leases and clocks go on whether or not there is any."""
        share = self.at_s / idle.at_s
        return Used(self.at_s, self.nodes - share * idle.nodes, self.redis - share * idle.redis, self.writes)


class Place:
    """Nodes alone on a core, and the Redis that they share when there are two."""

    def __init__(self, stage: Stage, nodes: int, **settings: str) -> None:
        self._stage = stage
        where = {"DATABASE_URL": "memory:"}
        self._redis: Program | None = None
        self.redis_url = ""
        if nodes > 1:
            recipe, database_url = postgres(stage.place)
            stage.start(recipe)
            self._redis, self.redis_url = stage.redis()
            where = {"DATABASE_URL": database_url, "REDIS_URL": self.redis_url}
        self.ports: list[int] = []
        self._nodes = [self._start({**AS_IN_PRODUCTION, **where, **settings}) for _ in range(nodes)]

    def _start(self, settings: dict[str, str]) -> Program:
        port = free_port()
        own = {"HOST": "127.0.0.1", "PORT": str(port), "API_KEYS": API_KEY, "TOKEN_SECRETS": TOKEN_SECRET}
        environment = {**inherited(), **settings, **own, "PYTHONPATH": str(CHECKOUT)}
        argv = (sys.executable, "-m", "tests.benchmarks.collectable")
        self.ports.append(port)
        return self._stage.start(Recipe("node", argv, port, ready="is ready", environment=environment))

    @property
    def name(self) -> str:
        """What it is, in words."""
        return "one node" if len(self.ports) == 1 else "two nodes, Redis between"

    def used(self) -> Used:
        """Return what was used so far."""
        writes = sum(_writes(node.pid) for node in self._nodes)
        return Used(time.monotonic(), cpu_us(self._nodes), cpu_us([self._redis]) if self._redis else 0.0, writes)

    async def idle(self) -> Used:
        """Return what is used in a while in which nothing happens."""
        before = self.used()
        await asyncio.sleep(SETTLE_S)
        return self.used().since(before)

    async def memory_bytes(self) -> tuple[int, int]:
        """Return what the last node and Redis hold, after a collection."""
        await asyncio.sleep(SETTLE_S)
        os.kill(self._nodes[-1].pid, signal.SIGUSR2)
        await asyncio.sleep(SETTLE_S)
        return rss_bytes(self._nodes[-1].pid), _redis_bytes(self.redis_url) if self.redis_url else 0

    async def make(self, matches: dict[str, list[str]]) -> None:
        """Make matches."""
        api = Api(f"http://127.0.0.1:{self.ports[0]}", API_KEY)
        for match, members in matches.items():
            await api.put_match(match, members)
        api.close()

    async def counter(self, name: str) -> float:
        """Read a counter of the first node."""
        api = Api(f"http://127.0.0.1:{self.ports[0]}", API_KEY)
        text = (await api.call("GET", "/metrics")).body.decode()
        api.close()
        found = [line.split()[1] for line in text.splitlines() if line.startswith(f"duologue_{name}")]
        return float(found[0]) if found else 0.0

    async def seat(
        self, users: Sequence[str], node: int, on_push: Callable[[Push], None] | None = None
    ) -> list[Client]:
        """Connect users to a node."""
        expires_at_s = int(wall_s()) + 3600
        seated: list[Client] = []

        async def one(user: str) -> Client:
            url = f"ws://127.0.0.1:{self.ports[node]}/ws"
            client = await Client.connect(url, token=sign_token(user, TOKEN_SECRET, expires_at_s), on_push=on_push)
            await client.hello()
            return client

        for first in range(0, len(users), AT_ONCE):
            seated += await gather([one(user) for user in users[first : first + AT_ONCE]])
        return seated


class Told:
    """Counts the changes, or the typing, that people were told of."""

    def __init__(self, kind: type[PresenceChanged | TypingSeen] = PresenceChanged) -> None:
        self._kind = kind
        self.count = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def push(self, push: Push) -> None:
        """Take a push of any watcher."""
        if isinstance(push, PresenceChanged | TypingSeen) and isinstance(push, self._kind):
            self.count += len(push.changes) if isinstance(push, PresenceChanged) else 1
            if self.count >= self._wanted:
                self._reached.set()

    async def until(self, count: int) -> None:
        """Wait until so many were told in all; raise `TimeoutError` when some got lost."""
        self._wanted = count
        if self.count < count:
            self._reached.clear()
            async with asyncio.timeout(WITHIN_S):
                await self._reached.wait()


async def turns(
    place: Place, people: Sequence[Client], told: Told, watchers: int, size: Size
) -> list[tuple[float, ...]]:
    """Have all `people` look away and look again, at once; return for each window the µs a transition of nodes and Redis, and
    how many frames left in a write."""
    found: list[tuple[float, ...]] = []
    states: Final[tuple[ClientState, ...]] = (ClientState.INACTIVE, ClientState.ACTIVE)
    await asyncio.sleep(REST_S)
    idle = await place.idle()
    for _ in range(size.windows):
        before, count = place.used(), told.count
        for number in range(2 * size.rounds):
            for client in people:
                client.tell(ClientStateSet(states[number % 2]))
            if watchers:
                await told.until(count + (number + 1) * len(people) * watchers)
            else:
                # As long as it takes to be told, and an answer of one: those of all would cost more than what is measured.
                await asyncio.sleep(HELD_S)
                await people[-1].ping()
        used, changes = place.used().since(before).without(idle), 2 * size.rounds * len(people)
        found.append((used.nodes / changes, used.redis / changes, (told.count - count) / max(used.writes, 1)))
    return found


async def transitions(place: Place, size: Size) -> list[Line]:
    """Cost of a change that nobody watches, that a group watches, that a crowd watches."""
    last = len(place.ports) - 1
    groups = {
        f"group-{group}": [f"g{group}-{side}{number}" for side, many in (("p", size.watched), ("w", size.watchers)) for number in range(many)]
        for group in range(size.groups)
    }  # fmt: skip
    crowd = {"crowd": ["star", *(f"fan{number}" for number in range(size.crowd))]}
    await place.make({**groups, **crowd})
    told = Told()
    people = await place.seat([user for members in groups.values() for user in members[: size.watched]], 0)
    watchers = await place.seat([user for each in groups.values() for user in each[size.watched :]], last, told.push)
    await asyncio.sleep(SETTLE_S)
    progress(f"{place.name}: nobody watches")
    alone = _medians(await turns(place, people, told, 0, size))
    for number, watcher in enumerate(watchers):
        await watcher.watch(*groups[f"group-{number // size.watchers}"][: size.watched])
    progress(f"{place.name}: {size.watchers} watch each")
    few = _medians(await turns(place, people, told, size.watchers, size))
    await gather([client.close() for client in (*people, *watchers)])
    told = Told()
    (star,) = await place.seat(["star"], 0)
    fans = await place.seat(crowd["crowd"][1:], last, told.push)
    for fan in fans:
        await fan.watch("star")
    progress(f"{place.name}: {size.crowd:,} watch one")
    many = _medians(await turns(place, [star], told, size.crowd, size))
    await gather([client.close() for client in (star, *fans)])
    return [
        Line(f"a change that nobody watches, {place.name}", _cost(alone), "with changes"),
        Line(
            f"a change that {size.watchers} watch, {place.name}",
            f"{_cost(few)}; {(few[0] - alone[0]) / size.watchers:.2f} µs a watcher",
            "with changes that are watched, and their watchers; not with users",
        ),
        Line(
            f"a change of one user whom {size.crowd:,} watch, {place.name}",
            f"{_cost(many)}; {(many[0] - alone[0]) / size.crowd:.2f} µs a watcher",
            "with watchers; Redis once for each node that watches",
        ),
        Line(
            f"{size.watched} changes at once, {place.name}",
            f"{few[2]:.1f} frames in a write",
            "up to what changes in 100 ms and is watched",
        ),
    ]


async def watched_bytes(place: Place, size: Size) -> Line:
    """Memory of whom somebody watches: each of these has one watcher."""
    rooms = {
        f"room-{number}": [f"m{number}-w", *(f"m{number}-{user}" for user in range(size.memory_watched))]
        for number in range(size.memory_watchers)
    }
    await place.make(rooms)
    watchers = await place.seat([members[0] for members in rooms.values()], -1)
    before = await place.memory_bytes()
    for watcher, members in zip(watchers, rooms.values(), strict=True):
        await watcher.watch(*members[1:])
    after = await place.memory_bytes()
    await gather([watcher.close() for watcher in watchers])
    users = size.memory_watchers * size.memory_watched
    node, directory = ((now - then) / users for now, then in zip(after, before, strict=True))
    beside = f", {directory:.0f} bytes of Redis" if directory else ""
    return Line(
        f"a watched user, of {users:,}, {place.name}",
        f"{node:.0f} bytes of a node{beside}",
        "with users who are watched",
    )


async def typing(place: Place, size: Size, *, is_forwarded: bool) -> float:
    """Have people type all the time; return the µs of an event that was handed on, or of one that was not."""
    pairs = {f"pair-{number}": [f"t{number}-a", f"t{number}-b"] for number in range(size.typists)}
    await place.make(pairs)
    told = Told(TypingSeen)
    typists = await place.seat([members[0] for members in pairs.values()], 0)
    readers = await place.seat([members[1] for members in pairs.values()], 0, told.push)
    counter, together = ("typing_forwarded", 1) if is_forwarded else ("typing_suppressed", TOGETHER)
    found = []
    for _ in range(size.windows + 1):
        before, counted = place.used(), await place.counter(counter)
        for _ in range(2 * size.rounds):
            count = told.count
            for match, client in zip(pairs, typists, strict=True):
                for _ in range(together):
                    client.tell(Typing(MatchId(match), True))
            if is_forwarded:
                await told.until(count + len(pairs))
            else:
                await gather([client.ping() for client in typists])
        used = place.used().since(before)
        found.append(used.nodes / max(await place.counter(counter) - counted, 1))
    await gather([client.close() for client in (*typists, *readers)])
    # The first one forwards, and fills the caches of members.
    return median(found[1:])


async def measure(stage: Stage, size: Size) -> list[Line]:
    """Measure all of it."""
    lines: list[Line] = []
    for nodes in (1, 2):
        place = Place(stage, nodes)
        # On a fresh node: what was let go before would hide what is taken.
        lines += [await watched_bytes(place, size), *await transitions(place, size)]
    progress("typing")
    suppressed = await typing(
        Place(stage, 1, TYPING_INTERVAL_MS="30000", TYPING_EXPIRES_MS="60000"), size, is_forwarded=False
    )
    every_one = Place(stage, 1, TYPING_INTERVAL_MS="0", EPHEMERAL_HOLD_MS="0")
    forwarded = await typing(every_one, size, is_forwarded=True)
    figure = f"{suppressed:.1f} µs suppressed, {forwarded:.1f} µs forwarded: {suppressed / forwarded:.2f} of it"
    progress("")
    return [*lines, Line("a typing event", figure, "with what is typed; forwarded once in 3 s")]


def main() -> None:
    """Print a table, and keep it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.presence", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short and small: does it work?")
    parser.add_argument("--json", type=Path, default=Path("build/bench-presence.json"))
    options = parser.parse_args()
    raise_file_limit()
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {LOAD_CORE})
    with _stage() as stage:
        lines = uvloop.run(measure(stage, QUICK if options.quick else Size()))
    print(f"Presence and typing: nodes, PostgreSQL and Redis on core {SERVER_CORE}, load on core {LOAD_CORE}.\n")
    print("| what | CPU, memory | grows |\n| --- | --- | --- |")
    print("\n".join(f"| {line.what} | {line.figure} | {line.grows} |" for line in lines))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(lines), indent=1))


@contextmanager
def _stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="duologue-bench-") as folder:
        Path(folder).chmod(0o711)
        stage = Stage(Path(folder), Garage(Path("build/race")))
        try:
            yield stage
        finally:
            stage.end()


def _medians(windows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(median(each) for each in zip(*windows, strict=True))


def _cost(found: tuple[float, ...]) -> str:
    return f"{found[0]:.0f} µs of nodes" + (f", {found[1]:.0f} of Redis" if found[1] else "")


def _writes(pid: int) -> int:
    """Count the system calls of a process that write."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("syscw:")).split()[1])


def _redis_bytes(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        info = client.info("memory")
    assert isinstance(info, dict)
    return int(info["used_memory"])


if __name__ == "__main__":
    main()
