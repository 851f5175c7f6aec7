"""One-use tickets for `?ticket=`, kept in memory: a leaked address is worth nothing after 30 seconds or one use.

Guarantees of every adapter: a ticket is 256 random bits, redeemed at most once, dead after `TICKET_TTL_S`, and only its
hash is kept. This one forgets the oldest ticket when `max_tickets` wait, so that its size is bounded.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Final

from server.core.tokens import Claims

TICKET_TTL_S: Final = 30.0
TICKET_BYTES: Final = 32
TICKET_CHARS: Final = 43
TICKETS_MAX: Final = 100_000


class MemoryTickets:
    """Tickets of a single node."""

    __slots__ = ("_max_tickets", "_now", "_random_bytes", "_waiting")

    def __init__(
        self, now: Callable[[], float], random_bytes: Callable[[int], bytes], max_tickets: int = TICKETS_MAX
    ) -> None:
        self._now = now
        self._random_bytes = random_bytes
        self._max_tickets = max_tickets
        # In order of issue, and so in order of death: all live equally long.
        self._waiting: dict[bytes, tuple[float, Claims]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def issue(self, claims: Claims) -> str:
        """Return a new ticket for `claims`; the oldest is forgotten when too many wait."""
        now = self._now()
        self._forget(now)
        ticket = base64.urlsafe_b64encode(self._random_bytes(TICKET_BYTES)).rstrip(b"=")
        self._waiting[_digest(ticket)] = (now + TICKET_TTL_S, claims)
        return ticket.decode()

    async def redeem(self, ticket: str) -> Claims | None:
        """Return the claims and end the ticket; None for one that is unknown, used, forgotten or too old."""
        if len(ticket) != TICKET_CHARS:
            return None
        dies_at, claims = self._waiting.pop(_digest(ticket.encode("utf-8", "replace")), (0.0, None))
        return claims if self._now() < dies_at else None

    def _forget(self, now: float) -> None:
        """Drop the dead, and the oldest when there is no room."""
        while self._waiting:
            oldest = next(iter(self._waiting))
            if self._waiting[oldest][0] > now and len(self._waiting) < self._max_tickets:
                return
            del self._waiting[oldest]


def _digest(ticket: bytes) -> bytes:
    return hashlib.sha256(ticket).digest()
