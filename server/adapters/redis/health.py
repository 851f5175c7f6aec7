"""Whether a bus is in order, and who has been told: out of order for a while is deaf, and that is told once."""

import asyncio
import logging
from typing import Final

from server.ports import BusEvents, Clock
from server.telemetry import event

_log: Final = logging.getLogger(__name__)


class Health:
    """Begins deaf: a bus that was never whole hears nothing. `start` begins the wait after which that is told."""

    def __init__(self, clock: Clock, deaf_after_s: float, reason: str) -> None:
        self._clock = clock
        self._deaf_after_s = deaf_after_s
        self._reason = reason
        self._is_deaf = True
        self._was_told: bool | None = None
        self._events: BusEvents | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def trouble(self) -> str:
        """Why the bus is deaf; empty when it is not."""
        return self._reason if self._is_deaf else ""

    @property
    def was_told(self) -> bool:
        """Whether anything was told yet, good or bad."""
        return self._was_told is not None

    def start(self, events: BusEvents) -> None:
        """Tell `events` from now on."""
        self._events = events
        self._wait(self._clock.now())

    def ill(self, reason: str, since: float) -> None:
        """Something is out of order since then (monotonic seconds); what was said before holds no more."""
        if reason != self._reason:
            _log.warning("bus.trouble", extra=event(reason=reason))
        self._reason = reason
        self._wait(since)

    def well(self) -> None:
        """All is in order."""
        self.stop()
        self._is_deaf, self._reason = False, ""
        if self._was_told is not True and self._events is not None:
            self._was_told = True
            self._events.bus_is(alive=True)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, since: float) -> None:
        if self._timer is None:
            left_s = self._deaf_after_s - (self._clock.now() - since)
            self._timer = asyncio.get_running_loop().call_later(max(left_s, 0), self._became_deaf)

    def _became_deaf(self) -> None:
        self._is_deaf = True
        if self._was_told is not False and self._events is not None:
            self._was_told = False
            self._events.bus_is(alive=False)
