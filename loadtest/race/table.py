"""The result of a race: one table for people (Markdown that also reads well in a terminal), JSON for programs."""

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
from msgspec import Struct

from loadtest.race.contestants import LIFTED
from loadtest.race.disciplines import LARGE_TEXTS_PER_S, PAIR_TEXTS_PER_S, SMALL_TEXTS_PER_S, Results, Rules
from loadtest.race.lap import Figure, Outcome
from loadtest.race.stage import Contestant, NotRun

QUIET_CORES: Final = 0.15


class Line(Struct, frozen=True):
    """One contestant in the JSON."""

    name: str
    version: str
    does: str
    idle_kib: float
    connects: Outcome
    disciplines: dict[str, Outcome]


class Race(Struct, frozen=True):
    """A whole run."""

    command: str
    machine: str
    rules: Rules
    lines: list[Line]
    not_run: list[NotRun]


def race_of(
    contestants: Sequence[Contestant], missing: Sequence[NotRun], results: Results, rules: Rules, command: str
) -> Race:
    """Put the results together."""
    lines = [
        Line(
            each.name,
            each.version,
            each.does,
            results.arrivals[each.name].idle_kib,
            results.arrivals[each.name].connects,
            {name: outcomes[each.name] for name, outcomes in results.outcomes.items()},
        )
        for each in contestants
    ]
    return Race(command, _machine(), rules, lines, list(missing))


def write_json(race: Race, path: Path) -> None:
    """Write all windows of all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(race), indent=1))


def render(race: Race) -> str:
    """Return the table with what has to be known to read it."""
    rules = race.rules
    heads = [
        "",
        "text in a room of 2",
        "signal in a room of 2",
        f"delivery in a room of {rules.small:,}",
        f"delivery in a room of {rules.large:,}",
        "p50 / p99 at 2",
        f"at {rules.small:,}",
        f"at {rules.large:,}",
        "idle",
        "connect",
        "connects/s of a core",
        "received / expected",
    ]
    units = ["", *["µs CPU"] * 4, *["ms"] * 3, "KiB", "µs CPU", "", ""]
    rows = [heads, ["---"] * len(heads), units, *(_row(line) for line in race.lines)]
    rows += [[missing.name, f"not run: {missing.why}", *[""] * (len(heads) - 2)] for missing in race.not_run]
    return "\n".join(
        [f"`{race.command}`", "", race.machine, *_method(race), "", *map(_markdown, rows), "", *_notes(race)]
    )


def _row(line: Line) -> list[str]:
    of = line.disciplines
    timed = [_times(of[name]) for name in ("pair-time", "small-time", "large-time")]
    costs = [_cost(of[name]) for name in ("pair", "signal", "small", "large")]
    per_core = f"{1e6 / max(line.connects.server_us.median, 1e-9):,.0f}"
    arrived = min(outcome.delivered for outcome in (*of.values(), line.connects))
    shown = "1" if arrived == 1 else f"**{arrived:.4f}**"
    return [line.name, *costs, *timed, f"{line.idle_kib:.1f}", _cost(line.connects), per_core, shown]


def _cost(outcome: Outcome) -> str:
    beside = outcome.helpers_us.median
    return _spread(outcome.server_us) + (f" + {beside:.1f}" if beside >= 0.05 else "")


def _spread(figure: Figure) -> str:
    return f"{figure.median:.1f} ({min(figure.values):.1f}-{max(figure.values):.1f})"


def _times(outcome: Outcome) -> str:
    p50, p99 = (outcome.figure(of).median / 1000 for of in _QUANTILES)
    return f"{p50:.1f} / {p99:.1f}"


_QUANTILES: Final[tuple[Callable[..., float], ...]] = (lambda window: window.p50_us, lambda window: window.p99_us)


def _method(race: Race) -> list[str]:
    rules = race.rules
    shares = [share for line in race.lines for each in line.disciplines.values() for share in each.others_cores] or [
        0.0
    ]
    judged = "" if median(shares) <= QUIET_CORES else ": too much, run it again"
    # Those that rest are alive: each sends signs of life to all its connections.
    others = f"Other programs, resting contestants too, used {median(shares):.2f} cores meanwhile (median; {max(shares):.2f} at most)"
    texts = f"{PAIR_TEXTS_PER_S:g} texts/s over pairs, {SMALL_TEXTS_PER_S:g}/s and {LARGE_TEXTS_PER_S:g}/s in the rooms"
    return [
        f"Medians of {rules.windows} alternated windows of {rules.window_s:g} s (lowest-highest).",
        f"Servers on one core, the load client on another. {others}{judged}.",
        "CPU times under closed load: the next text leaves when the last one has arrived. `+` is of Redis and PostgreSQL.",
        f"Delivery times under open load, from when a text was due: {texts}.",
        "Limits lifted for ours: " + " ".join(f"{name}={value}" for name, value in LIFTED.items()),
    ]


def _notes(race: Race) -> list[str]:
    return [f"- **{line.name}** ({line.version}): {line.does}." for line in race.lines]


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0].partition(": ")[2] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}."
