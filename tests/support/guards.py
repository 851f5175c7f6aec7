"""Guards for adapters under test."""

from server.adapters.clock import SystemClock
from server.adapters.guard import Guard
from server.core.breaker import BreakerPolicy
from server.ports import Clock

POLICY = BreakerPolicy(failures=3, pause_s=1.0, pause_max_s=4.0)


def redis_guard(clock: Clock | None = None) -> Guard:
    """Make one of a Redis."""
    return Guard("redis", (clock or SystemClock()).now, POLICY)
