"""One-use tickets in Redis: issued by one node, redeemed by any. The guarantees are those of `tickets_memory`.

`GETDEL` lets one caller have a ticket, whoever asks at the same time; its life ends in Redis by itself. Without Redis
nothing is issued or redeemed: `StoreUnavailable`, which callers are told as `unavailable`; tokens go on working.
"""

import base64
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from redis.asyncio import Redis

from server.adapters.guard import Guard
from server.adapters.memory.tickets import TICKET_BYTES, TICKET_CHARS, TICKET_TTL_S
from server.adapters.redis.client import ERRORS
from server.core.tokens import Claims
from server.ports import StoreUnavailable
from server.telemetry import event

_log: Final = logging.getLogger(__name__)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Claims).decode


class RedisTickets:
    """Tickets of all nodes of one `prefix`."""

    __slots__ = ("_guard", "_prefix", "_random_bytes", "_redis")

    def __init__(self, redis: Redis, prefix: str, random_bytes: Callable[[int], bytes], guard: Guard) -> None:
        """`guard` is Redis's."""
        self._redis = redis
        self._guard = guard
        self._prefix = prefix
        self._random_bytes = random_bytes

    async def issue(self, claims: Claims) -> str:
        """Return a new ticket for `claims`."""
        ticket = base64.urlsafe_b64encode(self._random_bytes(TICKET_BYTES)).rstrip(b"=").decode()
        await self._ask(lambda: self._redis.set(self._key(ticket), _encode(claims), px=round(TICKET_TTL_S * 1000)))
        return ticket

    async def redeem(self, ticket: str) -> Claims | None:
        """Return the claims and end the ticket; None for one that is unknown, used or too old."""
        if len(ticket) != TICKET_CHARS:
            return None
        kept = await self._ask(lambda: self._redis.getdel(self._key(ticket)))
        try:
            # Not text: the client that is given decodes nothing.
            return _decode(kept) if isinstance(kept, bytes) else None
        except msgspec.MsgspecError:  # Another version's: as good as unknown.
            return None

    async def _ask(self, ask: Callable[[], Awaitable[object]]) -> object:
        self._guard.check()
        try:
            with self._guard.asking(*ERRORS):
                return await ask()
        except ERRORS as error:
            raise _away(error) from error

    def _key(self, ticket: str) -> str:
        return f"{self._prefix}tk:{hashlib.sha256(ticket.encode('utf-8', 'replace')).hexdigest()}"


def _away(error: Exception) -> StoreUnavailable:
    _log.warning("tickets.unavailable", extra=event(reason=type(error).__name__))
    return StoreUnavailable("Redis, which keeps the tickets, does not answer")
