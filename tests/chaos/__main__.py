"""`python -m tests.chaos [--seed N] [--duration S] [--nodes N]`: PASS or FAIL with counts."""

import argparse
import random
import sys
from collections.abc import Sequence

import uvloop

from tests.chaos.crippled import DEFENCES, cripple_clients
from tests.chaos.plan import FAILOVERS, KINDS, ONLY_KILLS, ONLY_PRESENCE, Kind
from tests.chaos.run import HURRIED_PAUSE_S, PAUSE_S, Options, run


def main() -> int:
    """Run once; 1 when anything was not as promised."""
    outcome = uvloop.run(run(_options()))
    print(outcome.render())
    return 1 if outcome.broken else 0


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--duration", type=float, default=60.0, metavar="S", help="seconds of faults")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--without", choices=DEFENCES, default="", help="switch a defence off: such a run must fail")
    parser.add_argument("--pooled", action="store_true", help="put PgBouncer, in transaction mode, before PostgreSQL")
    parser.add_argument("--sentinel", action="store_true", help="two Redis servers and three Sentinels that fail over")
    parser.add_argument("--only-kills", action="store_true", help="kill nodes while people write fast")
    parser.add_argument("--only-presence", action="store_true", help="leave a way to know who is there, and judge that")
    given = parser.parse_args()
    cripple_clients(given.without)
    only_kills = given.only_kills or given.without == "routing"
    return Options(
        given.seed,
        given.duration,
        given.nodes,
        kinds=_kinds(given, only_kills=only_kills),
        pause_s=HURRIED_PAUSE_S if only_kills else PAUSE_S,
        without=given.without,
        is_pooled=given.pooled,
        has_sentinels=given.sentinel,
    )


def _kinds(given: argparse.Namespace, *, only_kills: bool) -> Sequence[Kind]:
    if given.only_presence:
        return ONLY_PRESENCE
    return ONLY_KILLS if only_kills else FAILOVERS if given.sentinel else KINDS


if __name__ == "__main__":
    sys.exit(main())
