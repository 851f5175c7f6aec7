"""What a node does with what comes through its channel: counts it, and hands it to the bus's events. Never waits."""

from collections.abc import Callable
from typing import Final, assert_never

import msgspec
from msgspec import Struct, field

from server.adapters.redis.directory import Watches
from server.adapters.redis.lease import Lease
from server.adapters.redis.wire import Beat, Frames, Item, News, decode
from server.core.notices import decode_notice
from server.ports import BusEvents, Clock
from server.telemetry.histograms import Histogram, seconds


class BusCounters(Struct, gc=False):
    """What happened to the bus of this node."""

    frames_received: int = 0
    # How long beats took through Redis and back.
    lag: Histogram = field(default_factory=seconds)
    routes_called: int = 0
    gaps: int = 0
    repairs: int = 0
    reconnects: int = 0
    incarnations: int = 0
    reaped: int = 0
    not_understood: int = 0
    script_errors: int = 0


class Ear:
    """`on_gap` is told what is missing, in words; a counter that went back shows as a flaw of the lease."""

    def __init__(self, lease: Lease, watches: Watches, clock: Clock, on_gap: Callable[[str], None]) -> None:
        self._lease = lease
        self._watches = watches
        self._clock = clock
        self._on_gap = on_gap
        self._events: BusEvents | None = None
        self.counters: Final = BusCounters()

    def start(self, events: BusEvents) -> None:
        """Tell `events` from now on."""
        self._events = events

    def hear(self, payload: bytes, *, is_whole: bool) -> None:
        """Take a message; `is_whole` while nothing is known to be missing."""
        try:
            message = decode(payload)
        except msgspec.MsgspecError:
            self.counters.not_understood += 1
            return
        events = self._events
        assert events is not None
        match message:
            case Frames():
                if message.counter is not None:
                    self._count(message.counter, is_new=True)
                self._hand_over(message.items, events)
            case News():
                if changes := self._watches.known(message.changes):
                    events.presence(changes)
            case Beat():
                self._count(message.counter, is_new=False)
                now = self._clock.now()
                self.counters.lag.observe(now - message.asked_us / 1_000_000)
                self._lease.beat(message.asked_us, now, is_whole=is_whole)
            case _:
                assert_never(message)

    def _hand_over(self, items: tuple[Item, ...], events: BusEvents) -> None:
        self.counters.frames_received += len(items)
        for item in items:
            if item.users is not None:
                events.deliver(item.users, item.frame, item.key)
                continue
            try:
                events.notice(decode_notice(item.frame))
            except msgspec.MsgspecError:
                self.counters.not_understood += 1

    def _count(self, counter: int, *, is_new: bool) -> None:
        if missing := self._lease.count(counter, is_new=is_new):
            self.counters.gaps += 1
            self._on_gap(missing)
