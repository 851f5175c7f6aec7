"""The search for the highest load that keeps the budgets, and why it is not higher.

Steps of the same length, each a factor above the last, until a budget breaks; then half-way between the highest that held
and the lowest that broke. What breaks once is tried once more, as it may have been something else on the machine. The first
third of a step is left out: it still has the last step's queues.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Final

from loadtest.board import Board
from loadtest.clock import monotonic_us
from loadtest.judging import CPU_MOST, time_of
from loadtest.meters import Meters
from loadtest.result import Step
from loadtest.scenario import Ceiling

_S: Final = 1_000_000
_REPORT_S: Final = 0.5
# Until all processes have told their last second.
_REFUSED_MOST: Final = 0.01
_KEPT_UP: Final = 0.9
# Less than this share of what was offered got its answer: the queue grows.


async def search(
    ceiling: Ceiling,
    budgets: Mapping[str, float],
    board: Board,
    pace: Callable[[float], None],
    tell: Callable[[str], None],
) -> tuple[list[Step], str]:
    """Return all steps, and what was found in words."""
    steps: list[Step] = []
    rate_per_s: float | None = ceiling.from_per_s
    while rate_per_s is not None and len(steps) < ceiling.steps_max:
        pace(rate_per_s)
        began_s = (monotonic_us() - board.begin_us) / _S
        await asyncio.sleep(ceiling.step_s + _REPORT_S)
        window = (began_s + ceiling.step_s / 3, began_s + ceiling.step_s)
        steps.append(measure(rate_per_s, board, window, budgets))
        tell(_line(steps[-1]))
        rate_per_s = next_rate(steps, ceiling)
    return steps, knee(steps, _load_testers_cpu(board))


def next_rate(steps: list[Step], ceiling: Ceiling) -> float | None:
    """Return what to try next, None when it is known well enough."""
    last = steps[-1]
    if last.broke and sum(step.offered_per_s == last.offered_per_s for step in steps) == 1:
        return last.offered_per_s
    held = max((step.offered_per_s for step in steps if not step.broke), default=0.0)
    broke = min((step.offered_per_s for step in _broken(steps)), default=0.0)
    if not broke:
        return held * ceiling.factor
    if broke - held <= ceiling.within * broke or broke < 1:
        return None
    return (held + broke) / 2


def measure(rate_per_s: float, board: Board, window: tuple[float, float], budgets: Mapping[str, float]) -> Step:
    """Sum up one step."""
    # Whole seconds: what lies in one that is only begun is not told yet.
    low_s = math.ceil(window[0])
    high_s = max(math.floor(window[1]), low_s + 1)
    meters = board.between(low_s, high_s)
    sent_per_s = meters.counts.get("sent", 0) / (high_s - low_s)
    p50_ms, p99_ms = (time_of(name, meters.times) or 0.0 for name in ("p50_ms", "p99_ms"))
    cores = board.server_cores(low_s, high_s)
    return Step(rate_per_s, sent_per_s, p50_ms, p99_ms, cores, _what_broke(meters, budgets))


def _what_broke(meters: Meters, budgets: Mapping[str, float]) -> str:
    for name, limit in budgets.items():
        found = time_of(name, meters.times)
        if found is not None and found > limit:
            return f"{name} was {found:.1f}, not {limit:g}"
    sent, acked = meters.counts.get("sent", 0), meters.counts.get("acked", 0)
    refused = {name: count for name, count in meters.counts.items() if name.startswith("error ")}
    if sum(refused.values()) > sent * _REFUSED_MOST:
        worst = max(refused, key=lambda name: refused[name]).removeprefix("error ")
        return f"{sum(refused.values()):,} requests were refused, most with {worst}"
    if acked < sent * _KEPT_UP:
        return f"only {acked / max(sent, 1):.0%} of what was sent got its answer meanwhile"
    return ""


def knee(steps: list[Step], agents_cpu: float) -> str:
    """Say what the highest load was that held, and what seems to hold it down."""
    held = [step for step in steps if not step.broke]
    broken = sorted(_broken(steps), key=lambda step: step.offered_per_s)
    if not broken:
        return f"No budget broke up to {held[-1].offered_per_s:,.0f} messages/s: search from there." if held else ""
    most = f"{max(step.sent_per_s for step in held):,.0f} messages/s held" if held else "No load held"
    first = broken[0]
    at = f"{most}; at {first.offered_per_s:,.0f} offered {first.broke}"
    if agents_cpu > CPU_MOST:
        return f"{at}. The load tester's own core was full: this is its limit, not the server's."
    if "refused" in first.broke:
        return f"{at}. A limit of the server was met, not its capacity: lift it while you test (docs/loadtest.md), or use more users."
    if first.server_cpu is None:
        return f"{at}. The server's process could not be seen, so why is not known."
    if first.server_cpu > CPU_MOST:
        return f"{at}. The server's process used {first.server_cpu:.2f} cores: its CPU is the limit."
    return (
        f"{at}. The server's process used only {first.server_cpu:.2f} cores: look at what it waits for "
        "(the disk under its store, the database, Redis, or other programs on its machine)."
    )


def _broken(steps: list[Step]) -> list[Step]:
    """Return the steps that broke, without those that held when they were tried again."""
    held = {step.offered_per_s for step in steps if not step.broke}
    return [step for step in steps if step.broke and step.offered_per_s not in held]


def _load_testers_cpu(board: Board) -> float:
    recent = board.seconds()[-10:]
    return max((max(second.agents_cpu, default=0.0) for second in recent), default=0.0)


def _line(step: Step) -> str:
    cpu = "" if step.server_cpu is None else f", server {step.server_cpu:.2f} cores"
    verdict = f"BROKE: {step.broke}" if step.broke else "held"
    return (
        f"  step: {step.offered_per_s:,.0f}/s offered, {step.sent_per_s:,.0f}/s sent, p50 {step.p50_ms:.1f} ms, "
        f"p99 {step.p99_ms:.1f} ms{cpu}: {verdict}"
    )
