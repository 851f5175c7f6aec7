"""An event loop in which nothing takes time: when nobody has anything to do it is at once when somebody has.

What waits for a socket inside it would be overtaken by its own time limit: use it where all that is awaited is in the process.
"""

import asyncio
import selectors
from typing import Final

from typing_extensions import override

from protocol.ids import Micros
from tests.support.clock import START_US, FakeClock

_ENOUGH_S: Final = 1e9


class _Jumping(selectors.DefaultSelector):
    """Does not wait for the next timer, but makes it that time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits, and for nothing that will ever be")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0 and goes on only when everybody waits."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    @override
    def time(self) -> float:
        return self._jumping.now_s


class VirtualClock(FakeClock):
    """The clock of those who live in a `VirtualLoop`, which moves it; ids are counted."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    @override
    def now(self) -> float:
        return self._loop.time()

    @override
    def micros(self) -> Micros:
        return Micros(START_US + round(self._loop.time() * 1_000_000))
