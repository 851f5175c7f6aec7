"""`python -m tests.chaos [--seed N] [--duration S] [--nodes N]`: PASS or FAIL with counts."""

import argparse
import random
import sys

import uvloop

from tests.chaos.run import Options, run


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
    given = parser.parse_args()
    return Options(given.seed, given.duration, given.nodes)


if __name__ == "__main__":
    sys.exit(main())
