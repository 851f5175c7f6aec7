"""ICE servers of a provider (Twilio, Cloudflare), kept per user so that a call does not wait for it.

Guarantees: answers within `limit_s` and a moment; one question per user at a time, whoever asks meanwhile shares its answer;
a provider that fails is not asked again for a while; what it gave before is used while it may be, else STUN alone, told as
degraded. Nothing of an answer reaches the log.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Final

from msgspec import Struct

from protocol.ids import Micros, UserId
from server.adapters.guard import Guard
from server.adapters.http_post import post
from server.core.breaker import BreakerPolicy
from server.telemetry import event
from turn.credentials import US_PER_S
from turn.grants import GrantBook
from turn.managed import Account, ProviderRefused, grant_of, request_for
from turn.servers import IceList, IceServer

LIMIT_S: Final = 3.0
THREADS: Final = 4
DEGRADED_TTL_S: Final = 60
# Soon enough asked again for calls that begin when the provider is back.
BREAKER: Final = BreakerPolicy(failures=3, pause_s=5.0, pause_max_s=60.0)

_log = logging.getLogger(__name__)


class Provider(Struct, frozen=True):
    """Who is asked, and what is handed out when nobody answers."""

    account: Account
    fallback: tuple[IceServer, ...] = ()
    api_url: str = ""
    limit_s: float = LIMIT_S


class ManagedSource:
    """An `IceSource`; `close` when the node ends."""

    __slots__ = ("_asked", "_book", "_now", "_provider", "_threads", "guard")

    def __init__(self, provider: Provider, now: Callable[[], float], breaker: BreakerPolicy = BREAKER) -> None:
        """`now` reads monotonic seconds."""
        self._provider = provider
        self._now = now
        self._book = GrantBook()
        self._asked: dict[UserId, asyncio.Future[IceList]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ice")
        self.guard = Guard("turn_provider", now, breaker)

    @property
    def has_relay(self) -> bool:
        """Providers have relays."""
        return True

    async def servers(self, user: UserId, now: Micros) -> IceList:
        """Return the user's list, asking the provider when there is none that is fresh."""
        fresh = self._book.fresh(user, now)
        if fresh is not None:
            return fresh
        asked = self._asked.get(user)
        if asked is not None:
            # Whoever goes away takes the answer from nobody else.
            return await asyncio.shield(asked)
        return await self._lead(user, now)

    async def close(self) -> None:
        """Ask nothing more; what is under way ends by its time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _lead(self, user: UserId, now: Micros) -> IceList:
        answer: asyncio.Future[IceList] = asyncio.get_running_loop().create_future()
        self._asked[user] = answer
        found = self._without(user, now)
        try:
            found = await self._ask(user, now, found)
            return found
        finally:
            del self._asked[user]
            answer.set_result(found)

    async def _ask(self, user: UserId, now: Micros, without: IceList) -> IceList:
        if not self.guard.allows():
            return without
        account, limit_s = self._provider.account, self._provider.limit_s
        request = request_for(account, self._provider.api_url)
        loop = asyncio.get_running_loop()
        try:
            with self.guard.asking(ProviderRefused, OSError, HTTPException, ValueError):
                async with asyncio.timeout(limit_s):
                    answer = await loop.run_in_executor(self._threads, post, request, limit_s, self._now)
                grant = grant_of(account, answer)
        except (ProviderRefused, OSError, HTTPException, ValueError) as error:
            _log.warning(
                "turn.provider_failed", extra=event(reason=_reason(error, limit_s), degraded=without.is_degraded)
            )
            return without
        return self._book.keep(user, grant, now)

    def _without(self, user: UserId, now: Micros) -> IceList:
        usable = self._book.usable(user, now)
        if usable is not None:
            return usable
        return IceList(self._provider.fallback, Micros(now + DEGRADED_TTL_S * US_PER_S), is_degraded=True)


def _reason(error: Exception, limit_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {limit_s:g} s"
    return str(error) if isinstance(error, ProviderRefused | OSError) else type(error).__name__
