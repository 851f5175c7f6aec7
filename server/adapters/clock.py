"""Time and chance: the only file where they enter. Everything else is handed `now` or a `Clock`."""

import base64
import os
import random
import time

from protocol.ids import Micros

RANDOM_ID_BYTES = 16


class SystemClock:
    """The machine's clocks and its random numbers."""

    __slots__ = ()

    # Seconds of a clock that never steps back; its zero means nothing. The builtin itself: it is asked for every frame.
    now = staticmethod(time.monotonic)

    def micros(self) -> Micros:
        """Microseconds since the Unix epoch, as the machine believes; may step back."""
        return Micros(time.time_ns() // 1000)

    def random_id(self) -> str:
        """Return 22 characters that nobody guesses (128 random bits) and that need no escaping in a URL."""
        return base64.urlsafe_b64encode(os.urandom(RANDOM_ID_BYTES)).rstrip(b"=").decode()

    def random_bytes(self, count: int) -> bytes:
        """Return bytes that nobody guesses."""
        return os.urandom(count)

    def jitter(self, most: float) -> float:
        """Return a number between 0 and `most`, evenly spread; not for secrets."""
        return random.random() * most  # noqa: S311 - spreads load
