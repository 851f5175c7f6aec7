"""Windows, medians and spreads. A window in which something got lost is invalid, and its row says so."""

import resource
from collections.abc import Mapping
from statistics import median

from msgspec import Struct


class Window(Struct, frozen=True):
    """One stretch of load on one target: CPU and wall time, and how much of what was expected arrived."""

    cpu_us: float
    wall_us: float
    load_cpu_us: float
    received: int
    expected: int
    count: int
    # How many of the unit the CPU time was spent on.
    others: float = 0.0
    # Cores that other programs used meanwhile: they cost us caches, so the quietest windows count.

    @property
    def us_each(self) -> float:
        """CPU time of the target for one of the unit."""
        return self.cpu_us / max(self.count, 1)


class Series(Struct, frozen=True):
    """All windows of one target in one benchmark, or plain values when it is not time that is measured."""

    target: str
    values: list[float]
    received: int
    expected: int
    target_load: float
    # Share of a core that the target used, and that our load client used.
    client_load: float
    others: float = 0.0
    # The most that other programs used in one of the windows, in cores.

    @property
    def median(self) -> float:
        """The value to quote."""
        return median(self.values)

    @property
    def delivered(self) -> float:
        """Received / expected; below 1 the series is invalid."""
        return self.received / self.expected if self.expected else 0.0


class Row(Struct, frozen=True):
    """One benchmark: what was done, in which unit, what each target took, what we aim for and whether it is met."""

    name: str
    title: str
    unit: str
    series: list[Series]
    expect: str
    met: bool | None
    notes: list[str] = []

    def of(self, target: str) -> Series | None:
        """Return the series of `target`, None where it was not run."""
        return next((each for each in self.series if each.target == target), None)


def series(target: str, windows: list[Window]) -> Series:
    """Sum up the windows of one target."""
    wall_us = sum(window.wall_us for window in windows)
    return Series(
        target,
        [window.us_each for window in windows],
        sum(window.received for window in windows),
        sum(window.expected for window in windows),
        sum(window.cpu_us for window in windows) / wall_us,
        sum(window.load_cpu_us for window in windows) / wall_us,
        max(window.others for window in windows),
    )


def quietest(windows: list[Window], count: int) -> list[Window]:
    """Return the `count` windows in which other programs used least."""
    return sorted(windows, key=lambda window: window.others)[:count]


def ratio(ours: Series, peer: Series | None) -> float | None:
    """Return ours / theirs, None where there is none."""
    return None if peer is None or not peer.median else ours.median / peer.median


def per_target(windows: Mapping[str, list[Window]]) -> list[Series]:
    """Sum up all targets."""
    return [series(target, each) for target, each in windows.items()]


def own_cpu_us() -> float:
    """Return the CPU time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6
