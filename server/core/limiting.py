"""How often something may happen, as rules, and what each rule answers. Pure; the Redis script counts just alike.

All numbers are integers (microseconds in the bucket, milliseconds in the windows), so that Python and Lua, which counts
in doubles, agree to the last one. A refusal costs nothing. After `retry_after_ms` the same request passes, if nobody
else asked meanwhile. A clock that steps back gives nothing away and locks nobody out for longer than the rule's time.
"""

import math
from typing import Final, assert_never

from msgspec import Struct

from protocol.errors import ErrorCode
from server.core.log import Refused, refused

US_PER_S: Final = 1_000_000


class Bucket(Struct, frozen=True):
    """Token bucket: `rate_per_s` come back each second (at most a million), at most `burst` are held."""

    name: str
    rate_per_s: float
    burst: int

    @property
    def token_us(self) -> int:
        """How long one token takes to come back; rounded up, so that never more are given than the rate says."""
        return max(1, math.ceil(US_PER_S / self.rate_per_s))


class SlidingWindow(Struct, frozen=True):
    """`limit` in any window of that length, on the assumption that the window before was filled evenly."""

    name: str
    limit: int
    window_ms: int


class FixedWindow(Struct, frozen=True):
    """`limit` in a window that begins with the first attempt."""

    name: str
    limit: int
    window_ms: int


Rule = Bucket | SlidingWindow | FixedWindow


class Decision(Struct, frozen=True):
    """What a rule says: `remaining` of `limit` after this request; in `reset_s` seconds all of it is there again."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_after_ms: int = 0

    @property
    def refusal(self) -> Refused | None:
        """What whoever asked is told; None: it may be."""
        if self.allowed:
            return None
        return refused(ErrorCode.RATE_LIMITED, retry_after_ms=max(1, self.retry_after_ms))


class Count(Struct, gc=False):
    """What is kept of one key. Of a bucket: `at` is when it will be full (µs).

    Of a window: `at` is where it began (ms) and `current` how much it holds, `previous` what the one before held.
    """

    at: int
    current: int = 0
    previous: int = 0


def quota_of(rule: Rule) -> tuple[int, int]:
    """Return how many a rule grants, and in how many seconds, as `RateLimit-Policy` has it."""
    match rule:
        case Bucket():
            return rule.burst, seconds(rule.burst * rule.token_us, US_PER_S)
        case SlidingWindow() | FixedWindow():
            return rule.limit, seconds(rule.window_ms, 1000)
        case _:
            assert_never(rule)


def lifetime_ms(rule: Rule) -> int:
    """Say for how long a count means anything after it changed last."""
    match rule:
        case Bucket():
            return rule.burst * rule.token_us // 1000 + 1000
        case SlidingWindow():
            return 2 * rule.window_ms
        case FixedWindow():
            return rule.window_ms
        case _:
            assert_never(rule)


def seconds(amount: int, per_second: int) -> int:
    """Round up to whole seconds, at least one."""
    return max(1, -(-amount // per_second))


def decide(rule: Rule, count: Count | None, now_us: int, cost: int = 1) -> tuple[Count, Decision]:
    """Return the count after a request of `cost` (1 to the rule's limit) at `now_us`, and what is answered."""
    if not 1 <= cost <= quota_of(rule)[0]:
        raise ValueError("a cost is from 1 to the limit")
    match rule:
        case Bucket():
            return _bucket(rule, count, now_us, cost)
        case SlidingWindow():
            return _sliding(rule, count, now_us // 1000, cost)
        case FixedWindow():
            return _fixed(rule, count, now_us // 1000, cost)
        case _:
            assert_never(rule)


def _bucket(rule: Bucket, count: Count | None, now: int, cost: int) -> tuple[Count, Decision]:
    token, span = rule.token_us, rule.burst * rule.token_us
    # Never further away than a whole bucket: so much is missing at most, whatever the clock did.
    full_at = min(max(now, count.at if count else now), now + span)
    missing = full_at - now + cost * token
    allowed = missing <= span
    if allowed:
        full_at = now + missing
    remaining = (span - (full_at - now)) // token
    reset_s = -(-(full_at - now) // US_PER_S)
    retry_after_ms = 0 if allowed else -(-(missing - span) // 1000)
    return Count(full_at), Decision(allowed, rule.burst, remaining, reset_s, retry_after_ms)


def _sliding(rule: SlidingWindow, count: Count | None, now: int, cost: int) -> tuple[Count, Decision]:
    window, limit = rule.window_ms, rule.limit
    began, current, previous = now - now % window, 0, 0
    if count is not None and count.at >= began:  # Later than now: the clock stepped back, what was counted counts on.
        current, previous = count.current, count.previous
    elif count is not None and count.at == began - window:
        previous = count.current
    passed = now - began
    room = limit * window - previous * (window - passed) - current * window
    allowed = cost * window <= room
    if allowed:
        current += cost
        room -= cost * window
    remaining = max(0, room // window)
    retry_after_ms = 0 if allowed else _sliding_retry_ms(rule, (current, previous, passed), cost)
    reset_ms = 2 * window - passed if current else window - passed
    decision = Decision(allowed, limit, remaining, seconds(reset_ms, 1000), retry_after_ms)
    return Count(began, current, previous), decision


def _sliding_retry_ms(rule: SlidingWindow, state: tuple[int, int, int], cost: int) -> int:
    current, previous, passed = state
    window, limit = rule.window_ms, rule.limit
    if current + cost <= limit:  # It waits for the window before to fade…
        return window - (limit - current - cost) * window // previous - passed
    # …or for this one to end, and then to fade itself.
    return window - passed + window - (limit - cost) * window // current


def _fixed(rule: FixedWindow, count: Count | None, now: int, cost: int) -> tuple[Count, Decision]:
    began, current = now, 0
    if count is not None and now < count.at + rule.window_ms:
        began, current = min(count.at, now), count.current
    allowed = current + cost <= rule.limit
    if allowed:
        current += cost
    left_ms = began + rule.window_ms - now
    retry_after_ms = 0 if allowed else left_ms
    return Count(began, current), Decision(
        allowed, rule.limit, rule.limit - current, seconds(left_ms, 1000), retry_after_ms
    )
