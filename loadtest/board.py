"""Where the samples of all processes come together: second by second, and since any moment."""

from collections.abc import Mapping
from typing import Final

from loadtest.histogram import Histogram
from loadtest.jobs import Sample
from loadtest.meters import Meters
from loadtest.processes import Usage
from loadtest.result import QUANTILES, Second

_S: Final = 1_000_000


class Board:
    """Seconds since `begin_us` (the moment that the load begins; before that they are negative)."""

    def __init__(self, agents: int) -> None:
        self.begin_us = 0
        self.whole = Meters()
        self._meters: dict[int, Meters] = {}
        self._seconds: dict[int, Second] = {}
        self._connected = [0] * agents
        self._last_us = [0] * agents
        self._usage: tuple[int, Usage] | None = None
        self._early: list[tuple[int, Sample]] = []

    def begin(self, at_us: int) -> None:
        """Say when the load begins; what came before is put in its place now."""
        self.begin_us = at_us
        early, self._early = self._early, []
        for agent, sample in early:
            self.sample(agent, sample)

    def sample(self, agent: int, sample: Sample) -> None:
        """Take a process's second. It is the one in which most of it lay."""
        if not self.begin_us:
            self._early.append((agent, sample))
            self._connected[agent] = sample.connected
            return
        at_s = self.second_of(sample.at_us - _S // 2)
        self.add(at_s, sample.meters)
        self._connected[agent] = sample.connected
        second = self._second(at_s)
        second.connected = sum(self._connected)
        second.agents_cpu = [*second.agents_cpu, sample.cpu]

    def add(self, at_s: int, meters: Meters) -> None:
        """Add to a second."""
        self.whole.add(meters)
        self._meters.setdefault(at_s, Meters()).add(meters)

    def server(self, now_us: int, usage: Usage | None) -> None:
        """Take what the server's processes used so far."""
        if usage is None:
            return
        if self._usage is not None and self.begin_us:
            then_us, before = self._usage
            second = self._second(self.second_of(now_us - _S // 2))
            # After a restart the new process has used less than the old one had.
            used_us = max(usage.cpu_us - before.cpu_us, 0.0)
            second.server_cpu = used_us / max(now_us - then_us, 1)
            second.server_rss_bytes = usage.rss_bytes
        self._usage = (now_us, usage)

    def second_of(self, at_us: int) -> int:
        """Return in which second of the load a moment is."""
        return (at_us - self.begin_us) // _S

    @property
    def connected(self) -> int:
        """How many devices have a welcome, by the last samples."""
        return sum(self._connected)

    def seconds(self) -> list[Second]:
        """Return all seconds in order, their times summed up as quantiles."""
        for at_s, meters in self._meters.items():
            second = self._second(at_s)
            second.counts = dict(meters.counts)
            second.times = quantiles(meters.times)
        return [self._seconds[at_s] for at_s in sorted(self._seconds)]

    def second(self, at_s: int) -> tuple[Second, Meters]:
        """Return one second and what was counted in it."""
        return self._second(at_s), self._meters.get(at_s, Meters())

    def between(self, low_s: float, high_s: float) -> Meters:
        """Return the sum of the seconds from `low_s` up to before `high_s`."""
        whole = Meters()
        for at_s, meters in self._meters.items():
            if low_s <= at_s < high_s:
                whole.add(meters)
        return whole

    def server_cores(self, low_s: float, high_s: float) -> float | None:
        """Return what the server used on average between two moments, None when it was not seen."""
        found = [
            second.server_cpu
            for at_s, second in self._seconds.items()
            if low_s <= at_s < high_s and second.server_cpu is not None
        ]
        return sum(found) / len(found) if found else None

    def _second(self, at_s: int) -> Second:
        return self._seconds.setdefault(at_s, Second(at_s, connected=self.connected))


def quantiles(times: Mapping[str, Histogram]) -> dict[str, tuple[int, int, int, int]]:
    """Return the quantiles that are kept of each second."""
    found = {}
    for name, histogram in times.items():
        low, high, higher, highest = histogram.quantiles(QUANTILES)
        found[name] = (low, high, higher, highest)
    return found
