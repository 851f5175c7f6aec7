"""What a run found, as it is kept: everything needed to draw it, to compare it and to make it again."""

from pathlib import Path

import msgspec
from msgspec import Struct

from loadtest.findings import Report
from loadtest.histogram import Histogram
from loadtest.scenario import Scenario

FORMAT = 1
QUANTILES = (0.5, 0.9, 0.99, 1.0)
SLOPE_LEAST_S = 60


class Machine(Struct, frozen=True):
    """Where the load was made."""

    processor: str
    cores: int
    kernel: str
    python: str
    packages: dict[str, str]


class Second(Struct):
    """One second. Times are quantiles in microseconds (0.5, 0.9, 0.99, 1). Negative seconds are before the load began."""

    at_s: int
    connected: int = 0
    counts: dict[str, int] = {}
    times: dict[str, tuple[int, int, int, int]] = {}
    agents_cpu: list[float] = []
    # Share of a core, of each process that made load.
    server_cpu: float | None = None
    server_rss_bytes: int | None = None
    others_cpu: float | None = None
    # Cores that all other programs on this machine used.


class Mark(Struct, frozen=True):
    """Something that happened, drawn into every plot."""

    at_s: float
    what: str


class Budget(Struct, frozen=True):
    """A stated limit and what was found."""

    name: str
    limit: float
    found: float | None
    # None: nothing of the kind was measured, which is no way to keep a budget.
    is_kept: bool


class Step(Struct, frozen=True):
    """One step of a search for the capacity."""

    offered_per_s: float
    sent_per_s: float
    p50_ms: float
    p99_ms: float
    server_cpu: float | None
    broke: str
    # Which budget; empty when all were kept.


class Result(Struct):
    """A whole run. `invalid` says why its figures are not the server's; `faults` must all be zero."""

    format: int
    name: str
    run: str
    started_at: str
    command: str
    url: str
    users: int
    devices: int
    agents: int
    duration_s: float
    warm_up_s: float
    rate_per_s: float
    seed: int
    scenario: Scenario
    machine: Machine
    seconds: list[Second] = []
    marks: list[Mark] = []
    counts: dict[str, int] = {}
    # Over the whole run.
    times: dict[str, Histogram] = {}
    # From the end of the warm-up on.
    report: Report = msgspec.field(default_factory=Report)
    faults: dict[str, int] = {}
    tolerated: dict[str, int] = {}
    # The same counts where the scenario breaks things on purpose.
    budgets: list[Budget] = []
    steps: list[Step] = []
    knee: str = ""
    invalid: list[str] = []
    notes: list[str] = []

    @property
    def measured_s(self) -> float:
        """How long it was measured: all but the warm-up."""
        return max(self.duration_s - self.warm_up_s, 1.0)

    @property
    def broken(self) -> dict[str, int]:
        """Return the promises that were broken."""
        return {name: count for name, count in self.faults.items() if count}

    @property
    def verdict(self) -> str:
        """Return FAIL (a promise or a budget is broken), INVALID (the figures are not the server's) or PASS."""
        if self.broken or any(not budget.is_kept for budget in self.budgets):
            return "FAIL"
        return "INVALID" if self.invalid else "PASS"

    @property
    def exit_code(self) -> int:
        """Return what the command ends with."""
        return {"PASS": 0, "FAIL": 1, "INVALID": 3}[self.verdict]

    def measured(self) -> list[Second]:
        """Return the seconds after the warm-up while load was offered."""
        return [second for second in self.seconds if self.warm_up_s <= second.at_s < self.duration_s]

    def per_s(self, count: str) -> float:
        """Return how often something happened a second, after the warm-up."""
        seconds = self.measured()
        return sum(second.counts.get(count, 0) for second in seconds) / max(len(seconds), 1)

    def server_cores(self) -> float | None:
        """Return how many cores the server used on average, None when it was not seen."""
        found = [second.server_cpu for second in self.measured() if second.server_cpu is not None]
        return sum(found) / len(found) if found else None

    def server_rss_bytes(self) -> int | None:
        """Return the most memory that the server held, None when it was not seen."""
        found = [second.server_rss_bytes for second in self.seconds if second.server_rss_bytes is not None]
        return max(found) if found else None

    def server_rss_slope(self) -> float | None:
        """Return by how many bytes a minute the server's memory grew, None when it was not seen for a minute.

        The line of least squares through the last two thirds of what was measured: caches fill in the first.
        """
        seen = [(second.at_s, second.server_rss_bytes) for second in self.measured()]
        found = [(at_s, rss) for at_s, rss in seen[len(seen) // 3 :] if rss is not None]
        if len(found) < SLOPE_LEAST_S:
            return None
        middle_s = sum(at_s for at_s, _ in found) / len(found)
        middle = sum(rss for _, rss in found) / len(found)
        spread = sum((at_s - middle_s) ** 2 for at_s, _ in found)
        return 60 * sum((at_s - middle_s) * (rss - middle) for at_s, rss in found) / spread


class BadResult(Exception):
    """A file that is no result of ours; its text is for people."""


class _Head(Struct):
    """What every version of the format has."""

    format: int


def write_result(result: Result, path: Path) -> None:
    """Write it as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(result) + b"\n")


def read_result(path: Path) -> Result:
    """Read one; raise `BadResult`."""
    try:
        text = path.read_bytes()
        found = msgspec.json.decode(text, type=_Head).format
        if found != FORMAT:
            raise BadResult(
                f"{path} has format {found}, from another version of the load tester; this one reads {FORMAT}"
            )
        return msgspec.json.decode(text, type=Result)
    except OSError as error:
        raise BadResult(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise BadResult(f"{path} is no result of a run: {error}") from None
