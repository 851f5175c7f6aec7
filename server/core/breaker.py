"""A circuit breaker: after so many failures in a row nothing is asked for a while, then one call tries again. Pure.

Everything that changes its state is in this file:

    closed  -- failures in a row --> open  -- pause over --> trying: one call at a time
    trying  -- it succeeded --> closed;  -- it failed --> open, with a pause twice as long, up to a bound

What counts as a failure is the caller's to say: that nobody is there, or that no answer came. An answer that says no is an
answer, and closes it.
"""

from enum import IntEnum

from msgspec import Struct


class BreakerState(IntEnum):
    """As its number is exported."""

    CLOSED = 0
    TRYING = 1
    OPEN = 2


class BreakerPolicy(Struct, frozen=True):
    """When it opens, and for how long."""

    failures: int = 3
    pause_s: float = 0.5
    pause_max_s: float = 5.0


class Breaker:
    """One dependency's. Times are monotonic seconds."""

    __slots__ = ("_failures", "_pause_s", "_policy", "_try_at", "_trying_since", "opened", "state")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self._pause_s = policy.pause_s
        # When the next call may go; when the one that tries went.
        self._try_at = 0.0
        self._trying_since: float | None = None
        self.state = BreakerState.CLOSED
        # How often it opened, tries that failed not counted.
        self.opened = 0

    def refuses(self, now: float) -> bool:
        """Tell whether no call may go now."""
        if self.state is BreakerState.CLOSED:
            return False
        if now < self._try_at:
            return True
        # A call that tries and never tells is not waited for any longer than a pause may be.
        return self._trying_since is not None and now - self._trying_since < self._policy.pause_max_s

    def allows(self, now: float) -> bool:
        """Have a call go, if one may; it is followed by `succeeded`, `failed` or `gave_up`."""
        if self.refuses(now):
            return False
        if self.state is not BreakerState.CLOSED:
            self.state, self._trying_since = BreakerState.TRYING, now
        return True

    def succeeded(self) -> None:
        """A call was answered."""
        self.state, self._trying_since, self._failures, self._pause_s = (
            BreakerState.CLOSED,
            None,
            0,
            self._policy.pause_s,
        )

    def gave_up(self) -> None:
        """A call ended without telling anything; if it was the one that tries, another one may."""
        self._trying_since = None

    def failed(self, now: float) -> None:
        """A call was not answered. Those that were under way when it opened change nothing any more."""
        if self.state is BreakerState.CLOSED:
            self._failures += 1
            if self._failures >= self._policy.failures:
                self.trip(now)
        elif self.state is BreakerState.TRYING:
            self._pause_s = min(2 * self._pause_s, self._policy.pause_max_s)
            self._open(now)

    def trip(self, now: float) -> None:
        """Open, if it is closed: there is better evidence than calls that failed."""
        if self.state is BreakerState.CLOSED:
            self.opened += 1
            self._open(now)

    def retry_after_ms(self, now: float) -> int:
        """Tell how long a caller who was not allowed should wait at least."""
        return max(1, round((self._try_at - now) * 1000), round(self._policy.pause_s * 1000))

    def _open(self, now: float) -> None:
        self.state, self._trying_since, self._try_at = BreakerState.OPEN, None, now + self._pause_s
