"""Token buckets: how often something may happen, with room for bursts.

Guarantees: never more than `burst + rate * t` in any `t` seconds; after `retry_after_ms` the same request passes; a clock
that steps back gives nothing away. Two floats a bucket; buckets share their policy.
"""

import math

from msgspec import Struct

# Times are floats of up to 2e9 s: their rounding must not turn a full token into 0.999999.
_ROUNDING = 1e-6


class RatePolicy(Struct, frozen=True):
    """`rate_per_s` tokens come back each second, at most `burst` (at least 1) are held."""

    rate_per_s: float
    burst: float


class TokenBucket:
    """One actor's allowance; full when made."""

    __slots__ = ("_level", "_policy", "_updated_at")

    def __init__(self, policy: RatePolicy, now: float) -> None:
        self._policy = policy
        self._level = policy.burst
        self._updated_at = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens if they are there; a refusal costs nothing."""
        level = self._refill(now)
        if level + _ROUNDING < cost:
            return False
        self._level = level - cost
        return True

    def retry_after_ms(self, now: float, cost: float = 1.0) -> int:
        """Say in how many milliseconds `take` will pass; 0 when it would now."""
        missing = cost - self._refill(now)
        if missing <= _ROUNDING:
            return 0
        return math.ceil(missing / self._policy.rate_per_s * 1000)

    def _refill(self, now: float) -> float:
        elapsed_s = now - self._updated_at
        if elapsed_s > 0:
            self._level = min(self._policy.burst, self._level + elapsed_s * self._policy.rate_per_s)
            self._updated_at = now
        return self._level
