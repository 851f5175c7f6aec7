"""The `Limiter` port on Redis: one count for all nodes, one EVALSHA a decision, by Redis's clock.

While Redis is away each node decides by itself, by the same rules (`fallback`), so that limits loosen to so many per node
and never open; after some failures its guard lets nobody wait for it, until one who tries again is answered.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, assert_never

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from server.adapters.guard import Guard
from server.adapters.redis.client import ERRORS
from server.core.limiting import Bucket, Decision, FixedWindow, Rule, SlidingWindow, lifetime_ms, quota_of
from server.ports import Limiter
from server.telemetry import event

_SCRIPT: Final = Path(__file__).with_name("limit.lua").read_text("utf-8")
_log: Final = logging.getLogger(__name__)


class RedisLimiter:
    """Counts that all nodes of one `prefix` share. `redis` must neither retry nor wait long."""

    __slots__ = ("_digest", "_fallback", "_guard", "_is_alone", "_micros", "_prefix", "_redis")

    def __init__(
        self,
        redis: Redis,
        prefix: str,
        *,
        fallback: Limiter,
        guard: Guard,
        micros: Callable[[], int] | None = None,
    ) -> None:
        """`guard` is Redis's; `micros` stands for Redis's clock in tests."""
        self._redis = redis
        self._prefix = prefix
        self._fallback = fallback
        self._guard = guard
        self._micros = micros
        self._digest = ""
        self._is_alone = False

    async def take(self, key: str, rule: Rule, cost: int = 1) -> Decision:
        """Count a request of `cost` and decide on it, with Redis or without."""
        limit, _ = quota_of(rule)
        if not 1 <= cost <= limit:
            raise ValueError("a cost is from 1 to the limit")
        if not self._guard.allows():
            return await self._fallback.take(key, rule, cost)
        try:
            with self._guard.asking(*ERRORS):
                decision = await self._ask(key, rule, cost)
        except ERRORS as error:
            self._lost(error)
            return await self._fallback.take(key, rule, cost)
        if self._is_alone:
            self._is_alone = False
            _log.info("limits.shared_again")
        return decision

    async def _ask(self, key: str, rule: Rule, cost: int) -> Decision:
        limit, _ = quota_of(rule)
        kind, span = _parameters(rule)
        time = "" if self._micros is None else str(self._micros())
        arguments = (f"{self._prefix}rl:{rule.name}:{key}", kind, limit, span, cost, lifetime_ms(rule), time)
        allowed, remaining, reset_s, retry_after_ms = await self._call(arguments)
        return Decision(allowed == 1, limit, remaining, reset_s, retry_after_ms)

    async def _call(self, arguments: tuple[str | int, ...]) -> list[int]:
        if not self._digest:
            self._digest = await self._redis.script_load(_SCRIPT)
        try:
            said: list[int] = await self._redis.evalsha(self._digest, 1, *arguments)
        except NoScriptError:  # Redis was restarted or emptied; EVAL makes it know the script again.
            said = await self._redis.eval(_SCRIPT, 1, *arguments)
        return said

    def _lost(self, error: Exception) -> None:
        if not self._is_alone:
            _log.warning("limits.by_this_node_alone", extra=event(reason=type(error).__name__))
        self._is_alone = True


def _parameters(rule: Rule) -> tuple[str, int]:
    match rule:
        case Bucket():
            return "bucket", rule.token_us
        case SlidingWindow():
            return "sliding", rule.window_ms
        case FixedWindow():
            return "fixed", rule.window_ms
        case _:
            assert_never(rule)
