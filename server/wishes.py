"""How users want to be shown: a wish is stored, then it holds on this node, then the others are told.

Guarantees: a request is answered when it is stored and in the directory's hands; wishes of one user that come here take
effect in the order in which they came, and of wishes that come to several nodes the one that was stored last. Refuses more
than so many a minute, on all nodes, whatever their number of devices: each is told to everybody who watches.
"""

import asyncio
from typing import Final

from msgspec import Struct

from protocol.from_server import OwnPresence
from server.attention import Attention
from server.core.limiting import SlidingWindow
from server.core.log import Refused
from server.core.notices import PersonNews
from server.core.people import PresenceWish
from server.peer import Peer
from server.people import People
from server.ports import Bus, Limiter, Store

LOCKS: Final = 64


class WishParts(Struct, frozen=True):
    """What wishes work with."""

    store: Store
    people: People
    attention: Attention
    bus: Bus
    limiter: Limiter
    per_min: int


class Wishes:
    """One for each node."""

    __slots__ = ("_locks", "_parts", "_rule")

    def __init__(self, parts: WishParts) -> None:
        self._parts = parts
        self._rule = SlidingWindow("presence", parts.per_min, 60_000)
        self._locks = tuple(asyncio.Lock() for _ in range(LOCKS))

    async def take(self, peer: Peer, wish: PresenceWish) -> OwnPresence | Refused | None:
        """Have the peer's user shown so, and the user's other devices told; raise `StoreUnavailable`.

        Returns what the peer has to be told behind the answer, if anything (`Attention.wished`).
        """
        user = peer.user
        async with self._locks[hash(user) % LOCKS]:
            decision = await self._parts.limiter.take(user, self._rule)
            return decision.refusal or await self._store(peer, wish)

    async def _store(self, peer: Peer, wish: PresenceWish) -> OwnPresence | Refused | None:
        person = await self._parts.store.set_presence(peer.user, wish)
        if isinstance(person, Refused):
            return person
        # Who asked gets the answer, the user's other connections the news.
        correction = self._parts.attention.wished(peer, wish, person)
        news = PersonNews(peer.user, person.presence, person.version)
        self._parts.people.heard(news)
        self._parts.bus.announce(news)
        return correction
