"""One coarse timer wheel for every deadline of every connection.

Guarantees: a target expires once, never before its deadline and at most one slot after it (plus the lag of the loop);
arming and disarming are O(1); an armed timer costs one dictionary entry (about 100 bytes), not a `call_later` handle
and its heap entry. After a stall of the loop it lets the sockets be read once before it judges anybody.

Refuses: precision. A slot is 250 ms.
"""

import logging
import math
from collections.abc import Callable, Iterable
from typing import Final, Protocol

logger = logging.getLogger(__name__)

# A loop that is this late was busy or frozen: what it should have read is still in the sockets.
STALL_S: Final = 1.0


class Handle(Protocol):
    """A call that can be taken back."""

    def cancel(self) -> None:
        """Do not call."""


class Clockwork(Protocol):
    """The part of an event loop that turns a wheel."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Handle:
        """Call after `delay` seconds."""


class Expiring(Protocol):
    """Something with a deadline; hashed by identity."""

    def expired(self, now: float) -> None:
        """Act on the deadline that has passed; may arm again."""


class Slot:
    """The targets whose deadlines fall in the same moment. Keep it to disarm."""

    __slots__ = ("targets",)

    def __init__(self) -> None:
        """Start empty."""
        self.targets: dict[Expiring, None] = {}

    def disarm(self, target: Expiring) -> None:
        """Forget `target`; harmless when it has expired already."""
        self.targets.pop(target, None)


class TimerWheel:
    """Deadlines by slot; `time` is the moment of the last turn, for those who need no finer clock."""

    __slots__ = ("_excused", "_handle", "_loop", "_next", "_slots", "now", "slot_s", "time")

    def __init__(self, now: Callable[[], float], *, slot_s: float = 0.25) -> None:
        """Take time from `now` (monotonic seconds)."""
        # Reads the exact clock; an attribute, because it is asked for every frame.
        self.now = now
        self.slot_s = slot_s
        self.time = now()
        self._next = math.floor(self.time / slot_s) + 1
        self._slots: dict[int, Slot] = {}
        self._loop: Clockwork | None = None
        self._handle: Handle | None = None
        self._excused = False

    def __len__(self) -> int:
        """Count the armed targets."""
        return sum(len(slot.targets) for slot in self._slots.values())

    def arm(self, deadline: float, target: Expiring) -> Slot:
        """Have `target` expire at `deadline`; a target is in a slot once, so two meanings need two objects."""
        tick = max(math.ceil(deadline / self.slot_s), self._next)
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = Slot()
        slot.targets[target] = None
        return slot

    def advance(self, now: float) -> None:
        """Expire everything that is due at `now`; the fault of one target stops no other."""
        self.time = now
        last = math.floor(now / self.slot_s)
        due = self._due(last)
        self._next = max(self._next, last + 1)
        for tick in due:
            slot = self._slots.pop(tick, None)
            if slot is not None:
                _expire(slot, now)

    def start(self, loop: Clockwork) -> None:
        """Turn by the clock of `loop` until `stop`."""
        self._loop = loop
        self._schedule()

    def stop(self) -> None:
        """Turn no more; what is armed stays armed."""
        self._loop = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _due(self, last: int) -> Iterable[int]:
        if last - self._next < len(self._slots) + 8:
            return range(self._next, last + 1)
        return sorted(tick for tick in self._slots if tick <= last)

    def _schedule(self) -> None:
        if self._loop is not None:
            delay_s = max(0.001, self._next * self.slot_s - self.now())
            self._handle = self._loop.call_later(delay_s, self._turn)

    def _turn(self) -> None:
        now = self.now()
        # Answers to our pings may wait unread in the sockets: read first, judge at the next turn.
        if now - self._next * self.slot_s > STALL_S and not self._excused and self._loop is not None:
            self._excused = True
            self.time = now
            self._handle = self._loop.call_later(self.slot_s, self._turn)
            return
        self._excused = False
        self.advance(now)
        self._schedule()


def _expire(slot: Slot, now: float) -> None:
    absent = ()
    for target in tuple(slot.targets):
        if slot.targets.pop(target, absent) is absent:
            continue  # disarmed by another target of this slot
        try:
            target.expired(now)
        except Exception:  # one target's fault is logged here once; the wheel must go on turning for all others
            logger.exception("a deadline of %s failed", type(target).__name__)
