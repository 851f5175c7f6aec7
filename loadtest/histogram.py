"""Histograms of durations that merge: buckets of equal relative width, as HdrHistogram has them.

Up to 255 each value has its own bucket; above, each doubling has 128, so that what is told is never less than what was
recorded and at most 0.8 % more. Only buckets that hold something take room. Two histograms of whatever processes and
machines add up without loss. docs/decisions/0008 says why this is not a package.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

_EXACT: Final = 256
_EXACT_BITS: Final = 8
_A_DOUBLING: Final = 128
_A_DOUBLING_BITS: Final = 7


class Histogram(Struct):
    """Counts of microseconds (or of anything else that is a natural number). Negative values count as 0."""

    buckets: dict[int, int] = {}
    count: int = 0
    total: int = 0
    highest: int = 0

    def record(self, value: int) -> None:
        """Count one value."""
        if value > self.highest:
            self.highest = value
        elif value < 0:
            value = 0
        self.count += 1
        self.total += value
        if value >= _EXACT:
            shift = value.bit_length() - _EXACT_BITS
            value = (shift << _A_DOUBLING_BITS) + (value >> shift)
        buckets = self.buckets
        buckets[value] = buckets.get(value, 0) + 1

    def add(self, other: "Histogram") -> None:
        """Count all that `other` counted."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.highest = max(self.highest, other.highest)

    def quantile(self, share: float) -> int:
        """Return what `share` of the values are at most, 0 when there are none. 1 is the highest, exactly."""
        wanted = share * self.count
        reached = 0
        for bucket in sorted(self.buckets):
            reached += self.buckets[bucket]
            if reached >= wanted:
                return min(_highest_of(bucket), self.highest)
        return self.highest

    def quantiles(self, shares: Iterable[float]) -> list[int]:
        """Return several, in order."""
        return [self.quantile(share) for share in shares]

    def curve(self) -> Iterator[tuple[float, int]]:
        """Yield for each bucket, from the lowest, the share of values that are at most its highest value."""
        reached = 0
        for bucket in sorted(self.buckets):
            reached += self.buckets[bucket]
            yield reached / self.count, min(_highest_of(bucket), self.highest)

    @property
    def mean(self) -> float:
        """The exact mean."""
        return self.total / self.count if self.count else 0.0


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of all."""
    whole = Histogram()
    for each in histograms:
        whole.add(each)
    return whole


def _highest_of(bucket: int) -> int:
    """Return the highest value that is counted in `bucket`."""
    if bucket < _EXACT:
        return bucket
    shift = bucket // _A_DOUBLING - 1
    return ((bucket - shift * _A_DOUBLING + 1) << shift) - 1
