"""Whether this node should get new connections: everything that it needs is asked, and what is wrong is said.

The store is asked to read and to write: a full disk, or a primary that became a standby, still reads. Asking often costs
no more than asking now and then: an answer holds for `HOLDS_S`, and who comes meanwhile is told the same.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from protocol.ids import MatchId
from server.core.readiness import Ready
from server.journal import Journal
from server.ports import Bus, Store, StoreUnavailable
from server.upkeep import Upkeep

WITHIN_S: Final = 1.0
HOLDS_S: Final = 0.5
OK: Final = "ok"


class HealthParts(Struct, frozen=True):
    """What is asked; `now` reads monotonic seconds."""

    store: Store
    journal: Journal
    bus: Bus
    upkeep: Upkeep | None
    now: Callable[[], float]


class Health:
    """Answers `/readyz`."""

    def __init__(self, parts: HealthParts) -> None:
        self._parts = parts
        self._store_said = OK
        self._said_at = float("-inf")
        self._asking = asyncio.Lock()
        self.is_draining = False

    async def check(self) -> Ready:
        """Ask everything that the node needs."""
        parts = self._parts
        checks = {
            "accepting": "draining" if self.is_draining else OK,
            "bus": parts.bus.trouble or OK,
            "journal": "full" if parts.journal.is_full else OK,
            "store": await self._of_store(),
        }
        if parts.upkeep is not None:
            checks["partitions"] = parts.upkeep.trouble or OK
        return Ready(all(said == OK for said in checks.values()), checks)

    async def _of_store(self) -> str:
        async with self._asking:
            if self._parts.now() - self._said_at >= HOLDS_S:
                self._store_said = await self._ask_store()
                self._said_at = self._parts.now()
            return self._store_said

    async def _ask_store(self) -> str:
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._parts.store.match(MatchId("readyz"))
                await self._parts.store.check()
        except StoreUnavailable as unavailable:
            return unavailable.reason
        except TimeoutError:
            return f"no answer within {WITHIN_S:g} s"
        return OK
