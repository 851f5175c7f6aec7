"""The daily upkeep of a PostgreSQL store: the coming months' partitions are made long before they are needed.

Guarantees: `trouble` tells when the months that are there end too soon, so that readiness is true. A store that is away
is asked again a minute later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from protocol.ids import Micros
from server.ports import StoreUnavailable
from server.telemetry import event

_log = logging.getLogger(__name__)

EVERY_S: Final = 86_400.0
AGAIN_S: Final = 60.0
DAY_US: Final = 86_400_000_000
# Opening the store has made three months beyond the present one, which are 89 days or more.
AHEAD_AT_START_US: Final = 89 * DAY_US
AHEAD_MIN_US: Final = 35 * DAY_US
# Fewer than that means that a month of daily attempts has failed.


class Upkeep:
    """Calls `make_partitions`, which returns up to when there are some. `run` for as long as the node lives."""

    def __init__(self, make_partitions: Callable[[], Awaitable[Micros]], now: Callable[[], Micros]) -> None:
        self._make_partitions = make_partitions
        self._now = now
        self._until = now() + AHEAD_AT_START_US

    @property
    def trouble(self) -> str:
        """What is wrong, empty when nothing is."""
        ahead_us = self._until - self._now()
        return f"partitions for {max(0, ahead_us // DAY_US)} more days only" if ahead_us < AHEAD_MIN_US else ""

    @property
    def left_s(self) -> float:
        """How long until the last of them ends."""
        return max(0, self._until - self._now()) / 1_000_000

    async def run(self) -> None:
        """Make what is missing, every day, until cancelled."""
        while True:
            pause_s = await self.round()
            await asyncio.sleep(pause_s)

    async def round(self) -> float:
        """Make what is missing now; return after how many seconds to do it again."""
        try:
            self._until = await self._make_partitions()
        except StoreUnavailable as unavailable:
            _log.warning("upkeep.store_unavailable", extra=event(reason=unavailable.reason))
            return AGAIN_S
        return EVERY_S
