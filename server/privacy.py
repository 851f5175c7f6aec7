"""What users decide about who sees them: whom they block, and where they read in private.

Guarantees: a request is answered when it is stored and holds on this node; the other nodes are told at once, over the
counted channel. Requests of one user take effect in the order in which they came here. Asked again, each says the same
again, everywhere: whoever has no answer asks again, and so what did not get through does.
"""

import asyncio
from typing import Final, Protocol

from msgspec import Struct

from protocol.errors import ErrorCode
from protocol.ids import MatchId, UserId
from server.core.limiting import SlidingWindow
from server.core.log import NOT_MEMBER, Refused
from server.core.notices import Blocked
from server.delivery import Delivery
from server.hub import Recipient
from server.people import People
from server.ports import Bus, Limiter, Store

LOCKS: Final = 64
CHANGES: Final = SlidingWindow("privacy", 60, 60_000)
# Each of them locks the matches that two share and makes every node read.
ONESELF: Final = Refused(ErrorCode.BAD_REQUEST, "nobody blocks themselves")


class EndsCalls(Protocol):
    """The node's calls, as far as blocks matter to them."""

    def blocked(self, blocker: UserId, blocked: UserId) -> None:
        """One does not want to hear from the other any more."""


class PrivacyParts(Struct, frozen=True):
    """What these requests work with."""

    store: Store
    people: People
    delivery: Delivery
    bus: Bus
    calls: EndsCalls
    limiter: Limiter


class Privacy:
    """One for each node."""

    __slots__ = ("_locks", "_parts")

    def __init__(self, parts: PrivacyParts) -> None:
        self._parts = parts
        self._locks = tuple(asyncio.Lock() for _ in range(LOCKS))

    async def block(
        self, user: UserId, other: UserId, *, is_on: bool, sender: Recipient | None = None, is_counted: bool = True
    ) -> Refused | None:
        """Have `user` block `other`, or take it back; raise `StoreUnavailable`, and then it may hold all the same."""
        if user == other:
            return ONESELF
        async with self._lock(user):
            return await self._refusal(user, is_counted=is_counted) or await self._block(user, other, is_on, sender)

    async def _block(self, user: UserId, other: UserId, is_on: bool, sender: Recipient | None) -> Refused | None:
        parts, news = self._parts, Blocked(user, other, is_on)
        stored: bool | Refused = True
        try:
            stored = await parts.store.set_block(user, other, is_on=is_on)
        finally:  # Who knows whether it was stored: every node reads it again.
            if not isinstance(stored, Refused):
                parts.people.heard(news)
                parts.bus.announce(news)
        if isinstance(stored, Refused):
            return stored
        if is_on:
            parts.calls.blocked(user, other)
        # What ended is believed when it was read.
        await parts.people.refresh((user, other))
        parts.delivery.block_changed(user, other, is_on=is_on, sender=sender)
        return None

    async def read_in_private(
        self, user: UserId, match: MatchId, *, is_on: bool, sender: Recipient | None = None
    ) -> Refused | None:
        """Have the others not see how far `user` reads in `match`, or again; raise `StoreUnavailable`."""
        async with self._lock(user):
            refused = await self._refusal(user, is_counted=True)
            if refused is not None:
                return refused
            change = await self._parts.store.set_private_read(match, user, is_on=is_on)
            if change is None:
                return NOT_MEMBER
            self._parts.delivery.reads_in_private(user, change, is_on=is_on, sender=sender)
            return None

    async def _refusal(self, user: UserId, *, is_counted: bool) -> Refused | None:
        return (await self._parts.limiter.take(user, CHANGES)).refusal if is_counted else None

    def _lock(self, user: UserId) -> asyncio.Lock:
        return self._locks[hash(user) % LOCKS]
