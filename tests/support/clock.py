"""A clock that a test moves by hand; random ids are counted."""

from itertools import count

from protocol.ids import Micros

START_US = 1_795_000_000_000_000
DAY_US = 86_400_000_000


class FakeClock:
    """Stands still until moved. Wall time and monotonic time move alone or together."""

    def __init__(self, micros: int = START_US) -> None:
        self.wall_us = micros
        self.now_s = 1_000.0
        self._ids = count(1)

    def now(self) -> float:
        return self.now_s

    def micros(self) -> Micros:
        return Micros(self.wall_us)

    def random_id(self) -> str:
        return f"{next(self._ids):022d}"

    def random_bytes(self, count: int) -> bytes:
        return bytes(count)

    def jitter(self, most: float) -> float:
        return most / 2

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.now_s += seconds
        self.wall_us += round(seconds * 1_000_000)
