"""Connections that have just come are told of the live calls of their matches: to ring, to go on with, to join.

Whoever comes while others are read shares the next read, so that a thousand who come at once cost a few. A connection is
registered before, so what changes meanwhile reaches it, too; and the book keeps what is older from being told later.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from protocol.calls import CallId
from server.core.calls import CallRow
from server.peer import Peer
from server.ports import Calls, StoreUnavailable

_log = logging.getLogger(__name__)

TOGETHER_MAX: Final = 100
AGAIN_S: Final = 1.0


class CallArrivals:
    """Run `run` for as long as the node lives."""

    __slots__ = ("_store", "_tell", "_waiting", "_wake", "is_held")

    def __init__(self, store: Calls, tell: Callable[[Peer, Sequence[CallRow]], None]) -> None:
        self._store = store
        self._tell = tell
        # And of which calls alone they are to be told; None: all.
        self._waiting: dict[Peer, frozenset[CallId] | None] = {}
        self._wake = asyncio.Event()
        # The store is away.
        self.is_held = False

    def __len__(self) -> int:
        return len(self._waiting)

    def came(self, peer: Peer, only: frozenset[CallId] | None = None) -> None:
        """Tell `peer` as soon as the store has been read, perhaps of these calls alone."""
        self._waiting[peer] = None if only is None else self._waiting.get(peer, only)
        self._wake.set()

    def went(self, peer: Peer) -> None:
        """Forget `peer`."""
        self._waiting.pop(peer, None)

    async def run(self) -> None:
        """Read and tell until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self.is_held = not await self.read()
                if self.is_held:
                    await asyncio.sleep(AGAIN_S)

    async def read(self) -> bool:
        """Read for those who wait; False when the store is away, and they wait on."""
        peers = tuple(islice(self._waiting, TOGETHER_MAX))
        try:
            found = await self._store.live_calls([peer.user for peer in peers])
        except StoreUnavailable:
            return False
        for peer, rows in zip(peers, found, strict=True):
            if peer not in self._waiting:
                continue
            only = self._waiting.pop(peer)
            told = rows if only is None else [row for row in rows if row.call in only]
            if told:
                self._tell(peer, told)
        return True
