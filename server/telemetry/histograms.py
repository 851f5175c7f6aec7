"""Distributions of what a node measures: counts by upper bounds, kept as plain integers like the other numbers.

`observe` costs a bisection, about 0.2 µs, and takes no lock: it is called on the event loop only.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
MESSAGES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 300)


class Histogram:
    """How many values were at most each of `bounds`, and their sum."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Give each bound as Prometheus writes it with the number of values up to it, the last one `+Inf` with all."""
        up_to = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            up_to += count
            yield ("+Inf" if bound == float("inf") else f"{bound:g}"), up_to


def seconds() -> Histogram:
    """Make one for times, from half a millisecond to ten seconds."""
    return Histogram(SECONDS)


def messages() -> Histogram:
    """Make one for sizes of batches."""
    return Histogram(MESSAGES)
