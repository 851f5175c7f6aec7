"""How often a caller may ask the API, and the headers that tell callers how much is left.

`X-RateLimit-Limit`, `-Remaining` and `-Reset` (Unix seconds) are of the limit that is nearest; `RateLimit-Policy` and
`RateLimit` are those of draft-ietf-httpapi-ratelimit-headers, with every limit that was asked. `Retry-After` comes with 429.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from protocol.errors import ErrorCode
from protocol.ids import UserId
from server.core.limiting import Bucket, Decision, Rule, SlidingWindow, quota_of
from server.gateway.api.answers import Problem
from server.ports import Limiter

_STATE: Final = "limits"
_Asked = list[tuple[Rule, Decision]]


class ApiRules(Struct, frozen=True):
    """What is granted to each user, to each API key, and of tokens and tickets to each user and key."""

    user: Bucket
    key: Bucket
    user_mints: SlidingWindow
    key_mints: SlidingWindow


class ApiLimits:
    """Asks the limiter for one caller and remembers on the request what it said."""

    __slots__ = ("_limiter", "_rules", "_wall_s")

    def __init__(self, limiter: Limiter, rules: ApiRules, wall_s: Callable[[], float]) -> None:
        self._limiter = limiter
        self._rules = rules
        self._wall_s = wall_s

    async def by_user(self, request: Request, user: UserId, *, mints: bool) -> None:
        """Count a user's request, and what it mints; raise `Problem` for one too many."""
        await self._take(request, user, self._rules.user)
        if mints:
            await self._take(request, user, self._rules.user_mints)

    async def by_key(self, request: Request, name: str, *, mints: bool) -> None:
        """Count a request with the API key of that name, and what it mints; raise `Problem` for one too many."""
        await self._take(request, name, self._rules.key)
        if mints:
            await self._take(request, name, self._rules.key_mints)

    async def _take(self, request: Request, key: str, rule: Rule) -> None:
        decision = await self._limiter.take(key, rule)
        asked: _Asked = getattr(request.state, _STATE, [])
        asked.append((rule, decision))
        setattr(request.state, _STATE, asked)
        request.state.wall_s = self._wall_s()
        if not decision.allowed:
            raise Problem(ErrorCode.RATE_LIMITED, retry_after_ms=max(1, decision.retry_after_ms))


def tell_limits(request: Request, response: Response) -> Response:
    """Put the headers on the answer of a request whose limits were asked."""
    asked: _Asked = getattr(request.state, _STATE, [])
    if asked:
        nearest = min((decision for _, decision in asked), key=lambda decision: (decision.allowed, decision.remaining))
        headers = response.headers
        headers["X-RateLimit-Limit"] = str(nearest.limit)
        headers["X-RateLimit-Remaining"] = str(nearest.remaining)
        headers["X-RateLimit-Reset"] = str(int(request.state.wall_s) + nearest.reset_s)
        headers["RateLimit-Policy"] = ", ".join(_policy(rule) for rule, _ in asked)
        headers["RateLimit"] = ", ".join(_left(rule, decision) for rule, decision in asked)
    return response


def _policy(rule: Rule) -> str:
    quota, window_s = quota_of(rule)
    return f'"{rule.name}";q={quota};w={window_s}'


def _left(rule: Rule, decision: Decision) -> str:
    return f'"{rule.name}";r={decision.remaining};t={decision.reset_s}'
