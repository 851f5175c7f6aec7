"""What will be done when: made from the seed before anything starts, so that the same seed is the same plan."""

import random
from collections.abc import Sequence
from typing import Final, NamedTuple


class Kind(NamedTuple):
    """A kind of fault: its name, on which track it is (tracks go on at the same time), how many seconds it lasts."""

    name: str
    track: str
    shortest_s: float
    longest_s: float


class Step(NamedTuple):
    """One fault: when it begins (seconds after the start), how long it lasts, and a number for its own chance."""

    at_s: float
    kind: Kind
    lasts_s: float
    chance: int


KINDS: Final = (
    Kind("node killed", "nodes", 0.0, 2.0),
    Kind("node killed with full hands", "nodes", 0.0, 0.5),
    Kind("node frozen", "nodes", 3.0, 7.0),
    Kind("node frozen past its lease", "nodes", 11.5, 14.0),
    Kind("Redis frozen", "redis", 2.0, 12.0),
    Kind("Redis killed and started with nothing", "redis", 0.0, 3.0),
    Kind("Redis restarted from an old dump", "redis", 1.0, 4.0),
    Kind("Redis emptied", "redis", 0.0, 0.0),
    Kind("bus readers cut", "bus", 0.2, 1.5),
    Kind("bus readers flooded", "bus", 0.0, 0.0),
    Kind("PostgreSQL backends terminated", "postgres", 0.0, 0.0),
    Kind("PostgreSQL restarted", "postgres", 0.0, 1.0),
    Kind("PostgreSQL crashed", "postgres", 0.0, 1.0),
    Kind("PostgreSQL's disk full", "postgres", 0.5, 2.0),
    Kind("node's clock jumped", "clocks", 2.0, 6.0),
    Kind("database's clock jumped", "clocks", 2.0, 6.0),
    Kind("sockets cut", "sockets", 0.0, 0.0),
    Kind("sockets delayed", "sockets", 1.0, 3.0),
)
# With Sentinels: two servers, of which one is the master.
FAILOVERS: Final = (
    *(kind for kind in KINDS if kind.track not in {"redis", "bus"} and kind.name != "node killed with full hands"),
    Kind("Redis failed over", "redis", 4.0, 6.0),
    Kind("Redis master killed", "redis", 5.0, 7.0),
)
# Everything that has a node repair what it may have missed of the last half minute also tells what was never routed. Sockets are cut
# because nobody would come back to the nodes that are killed.
ONLY_KILLS: Final = tuple(kind for kind in KINDS if kind.name in {"node killed with full hands", "sockets cut"})
# For a run of some seconds: what recovers in the blink of an eye, and one of each track.
SHORT: Final = tuple(
    kind
    for kind in KINDS
    if kind.name
    in {
        "node killed",
        "node frozen",
        "Redis emptied",
        "bus readers cut",
        "bus readers flooded",
        "node's clock jumped",
        "PostgreSQL backends terminated",
        "sockets cut",
        "sockets delayed",
    }
)
# What leaves a way to know who is there: while Redis is away nobody can be judged.
ONLY_PRESENCE: Final = tuple(kind for kind in KINDS if kind.name in {"node killed", "node frozen", "sockets cut"})
# From the end of a fault to the beginning of the next one of its track.
PAUSE_S: Final = (0.7, 2.5)
# Without a store nothing is committed, and nothing can be lost: it is mostly there.
POSTGRES_PAUSE_S: Final = (3.0, 7.0)
FIRST_S: Final = 1.0


def make_plan(seed: int, duration_s: float, kinds: Sequence[Kind] = KINDS) -> list[Step]:
    """Return the faults by their beginning; each track goes through its kinds in an order of chance, again and again."""
    steps: list[Step] = []
    for track in dict.fromkeys(kind.track for kind in kinds):
        steps += _track(random.Random(f"{seed}/{track}"), duration_s, [kind for kind in kinds if kind.track == track])
    return sorted(steps, key=lambda step: step.at_s)


def _track(chance: random.Random, duration_s: float, kinds: list[Kind]) -> list[Step]:
    steps: list[Step] = []
    at_s = FIRST_S
    while True:
        chance.shuffle(kinds)
        for kind in kinds:
            at_s += chance.uniform(*(POSTGRES_PAUSE_S if kind.track == "postgres" else PAUSE_S))
            lasts_s = chance.uniform(kind.shortest_s, kind.longest_s)
            if at_s + lasts_s > duration_s:
                return steps
            steps.append(Step(at_s, kind, lasts_s, chance.randrange(1_000_000)))
            at_s += lasts_s
