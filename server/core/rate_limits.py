"""Token buckets: how often something may happen, with room for bursts.

Guarantees: never more than `burst + rate * t` in any `t` seconds; after `retry_after_ms` the same request passes; a clock
that steps back gives nothing away. One float a bucket; buckets share their policy.
"""

import math
from typing import Final

from protocol.ids import UserId

# Times are floats of up to 2e9 s, exact to 0.24 µs: their rounding must not turn a full token into 0.999999.
_ROUNDING_S: Final = 2e-6
RECENT_MAX: Final = 10_000
# Users without a connection whose bucket is remembered. Of more the one that was used longest ago is forgotten: it is full
# again by then, or ten thousand users come and go within seconds.


class RatePolicy:
    """`rate_per_s` tokens come back each second, at most `burst` (at least 1) are held."""

    __slots__ = ("_span_s", "_token_s", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._token_s = 1.0 / rate_per_s
        self._span_s = burst / rate_per_s + _ROUNDING_S

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return f"RatePolicy(rate_per_s={self.rate_per_s}, burst={self.burst})"


class TokenBucket:
    """One actor's allowance; full when made.

    Kept as the moment when the bucket will be full again (the generic cell rate algorithm, ITU-T I.371): the tokens
    that are missing are those that come back until then. It costs one comparison and one float where a level and the time
    of its last refill cost two of each, on every frame of every connection.
    """

    __slots__ = ("_full_at", "_policy")

    def __init__(self, policy: RatePolicy, now: float) -> None:
        self._policy = policy
        self._full_at = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens if they are there; a refusal costs nothing."""
        policy, full_at = self._policy, self._full_at
        full_at = (max(now, full_at)) + cost * policy._token_s
        if full_at - now > policy._span_s:
            return False
        self._full_at = full_at
        return True

    def retry_after_ms(self, now: float, cost: float = 1.0) -> int:
        """Say in how many milliseconds `take` will pass; 0 when it would now."""
        policy = self._policy
        missing_s = max(self._full_at, now) + cost * policy._token_s - now - policy._span_s
        if missing_s <= 0:
            return 0
        return math.ceil(missing_s * 1000)


class UserBuckets:
    """One bucket for each user, whatever connections and requests it is emptied through.

    It is kept while the user is connected and a while after, so that coming back is no way to a full one.
    """

    __slots__ = ("_connected", "_policy", "_recent", "_recent_max")

    def __init__(self, policy: RatePolicy, recent_max: int = RECENT_MAX) -> None:
        self._policy = policy
        self._recent_max = recent_max
        self._connected: dict[UserId, TokenBucket] = {}
        self._recent: dict[UserId, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._connected) + len(self._recent)

    def join(self, user: UserId, now: float) -> TokenBucket:
        """Return the user's bucket, and keep it until `leave`."""
        bucket = self._connected.get(user)
        if bucket is None:
            bucket = self._connected[user] = self._recall(user, now)
        return bucket

    def leave(self, user: UserId) -> None:
        """The user's last connection has gone."""
        bucket = self._connected.pop(user, None)
        if bucket is not None:
            self._remember(user, bucket)

    def bucket(self, user: UserId, now: float) -> TokenBucket:
        """Return the user's bucket for one request."""
        bucket = self._connected.get(user)
        if bucket is None:
            bucket = self._recall(user, now)
            self._remember(user, bucket)
        return bucket

    def _recall(self, user: UserId, now: float) -> TokenBucket:
        return self._recent.pop(user) if user in self._recent else TokenBucket(self._policy, now)

    def _remember(self, user: UserId, bucket: TokenBucket) -> None:
        self._recent[user] = bucket
        if len(self._recent) > self._recent_max:
            del self._recent[next(iter(self._recent))]
