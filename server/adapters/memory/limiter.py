"""The `Limiter` port in memory: the whole truth of a single node, and what a node of a cluster falls back to.

Bounded: of more than `keys_max` keys the one that was asked longest ago is forgotten. What is asked often is never that.
"""

from collections.abc import Callable
from typing import Final

from server.core.limiting import Count, Decision, Rule, decide

KEYS_MAX: Final = 100_000


class MemoryLimiter:
    """Counts for each rule and key."""

    __slots__ = ("_counts", "_keys_max", "_micros")

    def __init__(self, micros: Callable[[], int], keys_max: int = KEYS_MAX) -> None:
        self._micros = micros
        self._keys_max = keys_max
        self._counts: dict[tuple[str, str], Count] = {}

    def __len__(self) -> int:
        return len(self._counts)

    async def take(self, key: str, rule: Rule, cost: int = 1) -> Decision:
        """Count a request of `cost` and decide on it."""
        place = (rule.name, key)
        count, decision = decide(rule, self._counts.pop(place, None), self._micros(), cost)
        self._counts[place] = count
        if len(self._counts) > self._keys_max:
            del self._counts[next(iter(self._counts))]
        return decision
