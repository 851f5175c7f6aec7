"""What a node does for calls without being asked: time-outs, seats of dead nodes, what is still to be written.

Guarantees: a deadline is taken up by some node within ROUND_S of its time while the store answers; seats of a node that
died count as lost within SILENT_S + LOOK_S, so that the call's own times decide what follows. After an outage of the store
the nodes' own news come first, then the deadlines, STORE_BACK_S later.
"""

import asyncio
import logging
import math
from typing import Final

from msgspec import Struct

from server.calls.desk import Desk
from server.calls.jobs import Job, silently
from server.calls.room import CallRoom
from server.ports import Calls, StoreUnavailable
from server.telemetry import Telemetry, event
from signaling.events import Due

_log = logging.getLogger(__name__)

ROUND_S: Final = 0.5
CLAIM_US: Final = 5_000_000
CLAIMED_MAX: Final = 100
LOOK_S: Final = 10.0
SILENT_S: Final = 30.0
STORE_BACK_S: Final = 5.0


class RoundsParts(Struct, frozen=True):
    """What the rounds work with. `is_alone`: no other node shares the store, so that any other's seats are the past's."""

    store: Calls
    room: CallRoom
    desk: Desk
    node: str
    is_alone: bool
    telemetry: Telemetry


class CallRounds:
    """Run `run` for as long as the node lives."""

    __slots__ = ("_held_until_s", "_is_away", "_look_at_s", "_parts", "_passed_s")

    def __init__(self, parts: RoundsParts) -> None:
        self._parts = parts
        self._passed_s = 0.0
        self._look_at_s = 0.0
        self._held_until_s = 0.0
        self._is_away = False

    async def run(self) -> None:
        """Do a round, again and again, until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(ROUND_S)

    async def round(self, passed_s: float = ROUND_S) -> None:
        """Do what is due; `passed_s` since the last round."""
        self._passed_s += passed_s
        try:
            self._parts.room.write_soft()
            self._parts.desk.try_again()
            if self._is_away or self._passed_s >= self._look_at_s:
                await self._orphans()
                # Alone, the seats of the past are found at the start and never again.
                self._look_at_s = math.inf if self._parts.is_alone else self._passed_s + LOOK_S
                self._is_back()
            if self._passed_s >= self._held_until_s:
                await self._time_outs()
        except StoreUnavailable as unavailable:
            self._is_lost(unavailable)

    def _is_lost(self, unavailable: StoreUnavailable) -> None:
        if not self._is_away:
            _log.warning("calls.store_unavailable", extra=event(reason=unavailable.reason))
        self._is_away = True

    def _is_back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._held_until_s = self._passed_s + STORE_BACK_S

    async def _time_outs(self) -> None:
        due = await self._parts.store.claim_due_calls(CLAIM_US, CLAIMED_MAX)
        for row in due.rows:
            self._parts.telemetry.call_time_outs += 1
            # Refused it is not owed: another node claims it.
            self._parts.desk.submit(Job(Due(), silently, call=row.call))

    async def _orphans(self) -> None:
        silent_us = 0 if self._parts.is_alone else round(SILENT_S * 1_000_000)
        found = await self._parts.store.orphaned_calls(self._parts.node, silent_us, CLAIMED_MAX)
        for orphan in found.calls:
            self._parts.room.seats_lost(orphan)
