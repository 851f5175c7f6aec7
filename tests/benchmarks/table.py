"""The results for people (Markdown that also reads well in a terminal) and for programs (JSON)."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.benchmarks.measure import Row, Series, ratio
from tests.benchmarks.targets import LIFTED

PEERS = ("websockets.serve", "C epoll")
PACKAGES = ("websockets", "uvloop", "msgspec", "orjson")


class Machine(Struct, frozen=True):
    """Where it was measured."""

    processor: str
    cores: int
    kernel: str
    python: str
    packages: dict[str, str]


class Results(Struct, frozen=True):
    """A whole run."""

    machine: Machine
    settings: dict[str, str]
    windows: int
    window_s: float
    rows: list[Row]


def results(rows: list[Row], windows: int, window_s: float) -> Results:
    """Put the rows together with where and how they were measured."""
    return Results(_machine(), dict(LIFTED), windows, window_s, rows)


def write_json(found: Results, path: Path) -> None:
    """Write everything, every window too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def render(found: Results) -> str:
    """Return the tables."""
    machine = found.machine
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    return "\n".join(
        [
            f"{machine.processor}, {machine.cores} cores, Linux {machine.kernel}, Python {machine.python}, {packages}.",
            f"Medians of {found.windows} alternated windows of {found.window_s} s (lowest to highest).",
            f"Server on core 0, load on core 1; other programs used up to {_others(found.rows):.2f} cores meanwhile.",
            "Limits lifted: " + " ".join(f"{name}={value}" for name, value in found.settings.items()),
            "",
            *_table(found.rows),
            "",
            *(f"- {', '.join(titles)}: {note}." for note, titles in _notes(found.rows).items()),
        ]
    )


def _notes(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return each note once, with the rows that it is about."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            found.setdefault(note, []).append(row.name)
    return found


def _others(rows: Sequence[Row]) -> float:
    return max((each.others for row in rows for each in row.series), default=0.0)


def _table(rows: Sequence[Row]) -> list[str]:
    head = ["", "unit", "Duologue", *PEERS, "ratio to each", "received/expected", "cores used, by us and by the load"]
    lines = [[*head, "expected", ""], ["---"] * (len(head) + 2)]
    lines += [_cells(row) for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _cells(row: Row) -> list[str]:
    ours = row.series[0]
    peers = [row.of(name) for name in PEERS]
    ratios = [ratio(ours, peer) for peer in peers]
    return [
        row.title,
        row.unit,
        _value(ours),
        *(_value(peer) if peer else "not run" for peer in peers),
        " / ".join("-" if each is None else f"{each:.2f}" for each in ratios),
        " / ".join(_delivered(each) for each in row.series),
        f"{ours.target_load:.2f}, {ours.client_load:.2f}" if ours.target_load else "-",
        row.expect,
        "" if row.met is None else "met" if row.met else "MISSED",
    ]


def _value(found: Series) -> str:
    if len(found.values) == 1:
        return f"{found.median:.2f}"
    return f"{found.median:.2f} ({min(found.values):.2f}-{max(found.values):.2f})"


def _delivered(found: Series) -> str:
    return "1" if found.received == found.expected else f"{found.delivered:.4f} INVALID"


def _machine() -> Machine:
    info = Path("/proc/cpuinfo").read_text()
    processor = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    packages = {name: version(name) for name in PACKAGES}
    return Machine(processor, os.cpu_count() or 1, platform.release(), platform.python_version(), packages)
