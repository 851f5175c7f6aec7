"""How often one user may post over HTTP on this node: the same policy as a connection's, kept per user."""

from typing import Final

from protocol.errors import ErrorCode
from protocol.ids import UserId
from server.core.rate_limits import RatePolicy, TokenBucket
from server.gateway.api.answers import Problem

USERS_MAX: Final = 10_000
# The bucket that was asked longest ago is forgotten; by then it is full again, or ten thousand users post at once.


class UserRates:
    """A token bucket a user."""

    __slots__ = ("_buckets", "_policy")

    def __init__(self, policy: RatePolicy) -> None:
        self._policy = policy
        self._buckets: dict[UserId, TokenBucket] = {}

    def take(self, user: UserId, now: float) -> None:
        """Count one request of `user`, or raise `rate_limited`."""
        bucket = self._buckets.pop(user, None) or TokenBucket(self._policy, now)
        self._buckets[user] = bucket
        if len(self._buckets) > USERS_MAX:
            del self._buckets[next(iter(self._buckets))]
        if not bucket.take(now):
            raise Problem(ErrorCode.RATE_LIMITED, retry_after_ms=bucket.retry_after_ms(now))
