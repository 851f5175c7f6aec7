"""What a process of the load tester counts and times, handed over once a second and begun anew."""

from typing import Final

from msgspec import Struct

from loadtest.histogram import Histogram

# Users whose first device came or whose last one went, and changes of presence that were told to somebody.
PRESENCE_CHANGED: Final = "presence changed"
PRESENCE_SEEN: Final = "presence seen"


class Meters(Struct):
    """Counts by name, and histograms of microseconds by name.

    The names of what is timed: `delivery` from the moment that a message was due to its arrival on another device, `ack` to
    its answer, `connect` from dialling to the welcome, `comeback` from a loss that nobody wanted to the next welcome,
    `history` a page, and of the load tester itself `lag`, how late it did what was due.
    """

    counts: dict[str, int] = {}
    times: dict[str, Histogram] = {}

    def count(self, name: str, number: int = 1) -> None:
        """Count something."""
        self.counts[name] = self.counts.get(name, 0) + number

    def time(self, name: str, us: int) -> None:
        """Time something."""
        histogram = self.times.get(name)
        if histogram is None:
            histogram = self.times[name] = Histogram()
        histogram.record(us)

    def add(self, other: "Meters") -> None:
        """Add all that `other` has."""
        for name, number in other.counts.items():
            self.count(name, number)
        for name, histogram in other.times.items():
            self.times.setdefault(name, Histogram()).add(histogram)

    def take(self) -> "Meters":
        """Return what there is and begin anew."""
        taken = Meters(self.counts, self.times)
        self.counts, self.times = {}, {}
        return taken
