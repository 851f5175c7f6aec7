"""`python -m tests.proof [--seed N] [--only P1]`: show one promise after the other, end in PASS or FAIL with counts."""

import argparse
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Final

import uvloop

from tests.proof import (
    bus,
    calls,
    cluster,
    kept,
    live,
    once,
    order,
    outsiders,
    overload,
    presence,
    resume,
    returns,
    strangers,
    twins,
    watched,
)
from tests.proof.claims import Check, Claim, Ground, count

CLAIMS: Final[tuple[Claim, ...]] = (
    kept.CLAIM,
    order.CLAIM,
    once.CLAIM,
    resume.CLAIM,
    returns.CLAIM,
    live.CLAIM,
    bus.CLAIM,
    presence.CLAIM,
    watched.CLAIM,
    overload.CLAIM,
    calls.CLAIM,
    strangers.CLAIM,
    outsiders.CLAIM,
    twins.CLAIM,
    cluster.CLAIM,
)
_COLOURS: Final = {"PASS": "\033[32m", "FAIL": "\033[31m", "bold": "\033[1m", "dim": "\033[2m"}
_MARKS: Final = {True: "✓", False: "✗"}


def main() -> int:
    """Prove what was asked for; 1 when anything was not as claimed."""
    options = _options()
    chosen = [claim for claim in CLAIMS if not options.only or claim.promise in options.only]
    print(f"Every claim is tried on a real server. Seed {options.seed}; run with --seed {options.seed} to repeat it.\n")
    began = time.monotonic()
    found = [_prove(claim, options.seed) for claim in chosen]
    checks = [check for each in found for check in each]
    broken = [check for check in checks if not check.holds]
    verdict = "FAIL" if broken else "PASS"
    failed = f", {len(broken)} failed" if broken else ""
    print(_paint(verdict, f"{verdict} {count(len(chosen), 'claim')}, {count(len(checks), 'check')}{failed}"), end="")
    print(f" in {time.monotonic() - began:.0f} s, seed {options.seed}")
    return 1 if broken else 0


def _prove(claim: Claim, seed: int) -> list[Check]:
    print(_paint("bold", f"{claim.promise:<4} {claim.title}"))
    print(f"     {_paint('dim', 'claim')}  {claim.says}")
    print(f"     {_paint('dim', 'done ')}  {claim.done}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="duologue-proof-") as folder:
        checks = _run(claim, Ground(Path(folder), random.Random(f"{seed}/{claim.promise}")))
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    for check in checks:
        print(f"     {_paint('dim', 'seen ')}  {_paint(_verdict([check]), _MARKS[check.holds])} {check.seen}")
    print(f"     {_paint(_verdict(checks), _verdict(checks))}   in {time.monotonic() - began:.1f} s\n", flush=True)
    return checks


def _run(claim: Claim, ground: Ground) -> list[Check]:
    try:
        return uvloop.run(_await(claim, ground))
    except Exception as error:  # noqa: BLE001 - a proof that falls over has failed, and the others still count
        traceback.print_exc()
        print(*(node.printed for node in ground.nodes), sep="\n", file=sys.stderr)
        return [Check(f"the proof itself fell over: {type(error).__name__}: {error}", False)]


async def _await(claim: Claim, ground: Ground) -> list[Check]:
    try:
        return await claim.run(ground)
    finally:
        await ground.clear()


def _verdict(checks: list[Check]) -> str:
    return "PASS" if all(check.holds for check in checks) else "FAIL"


def _paint(how: str, text: str) -> str:
    return f"{_COLOURS[how]}{text}\033[0m" if sys.stdout.isatty() else text


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument(
        "--only",
        action="append",
        choices=list(dict.fromkeys(claim.promise for claim in CLAIMS)),
        help="may be repeated",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
