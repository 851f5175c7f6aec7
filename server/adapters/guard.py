"""What stands before a dependency: its breaker, the clock that it goes by, and the log line when it opens or closes."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from server.core.breaker import Breaker, BreakerPolicy, BreakerState
from server.ports import StoreUnavailable
from server.telemetry import event

PATIENCE_S: Final = 2.0
# When one call waits for so long and no other one was answered meanwhile, nobody is there.
_log: Final = logging.getLogger(__name__)


class Guard:
    """One for each dependency, shared by all who ask it. `now` reads monotonic seconds."""

    __slots__ = ("_answered_at", "_breaker", "_now", "_numbers", "_under_way", "name")

    def __init__(self, name: str, now: Callable[[], float], policy: BreakerPolicy | None = None) -> None:
        self.name = name
        self._now = now
        self._breaker = Breaker(policy or BreakerPolicy())
        # Calls by when they began, oldest first.
        self._under_way: dict[int, float] = {}
        self._numbers = count()
        self._answered_at = now()

    @property
    def state(self) -> BreakerState:
        """How the breaker is."""
        return self._breaker.state

    @property
    def opened(self) -> int:
        """How often it opened."""
        return self._breaker.opened

    def allows(self) -> bool:
        """Tell whether the dependency may be asked; then tell what came of it."""
        return self._breaker.allows(self._now())

    def check(self) -> None:
        """Raise `StoreUnavailable`, with the time after which to ask again, when it may not be asked now."""
        now = self._now()
        self._look(now)
        if not self._breaker.allows(now):
            raise StoreUnavailable(f"{self.name} does not answer", retry_after_ms=self._breaker.retry_after_ms(now))

    def retry_after_ms(self) -> int:
        """Tell after what time to ask again; 0 while it answers. Whoever can be told to wait need not be the one who tries."""
        now = self._now()
        self._look(now)
        return 0 if self.state is BreakerState.CLOSED else self._breaker.retry_after_ms(now)

    def began(self) -> int:
        """A call is on its way; return its number for `ended`."""
        number = next(self._numbers)
        self._under_way[number] = self._now()
        return number

    def ended(self, number: int) -> None:
        """That call is over, however."""
        del self._under_way[number]

    def _look(self, now: float) -> None:
        """Open when calls only wait."""
        oldest = next(iter(self._under_way.values()), now)
        if now - oldest >= PATIENCE_S and self._answered_at < oldest and self.state is BreakerState.CLOSED:
            self._breaker.trip(now)
            _log.warning("breaker.opened", extra=event(dependency=self.name))

    def succeeded(self) -> None:
        """It answered."""
        if self._breaker.state is not BreakerState.CLOSED:
            _log.info("breaker.closed", extra=event(dependency=self.name))
        self._breaker.succeeded()
        self._answered_at = self._now()

    def failed(self) -> None:
        """Nobody was there, or no answer came."""
        opened = self._breaker.opened
        self._breaker.failed(self._now())
        if self._breaker.opened > opened:
            _log.warning("breaker.opened", extra=event(dependency=self.name))

    @contextmanager
    def asking(self, *errors: type[Exception]) -> Iterator[None]:
        """Tell what came of the block: one of `errors` means that nobody answered."""
        try:
            yield
        except errors:
            self.failed()
            raise
        except BaseException:
            self.gave_up()
            raise
        self.succeeded()

    def gave_up(self) -> None:
        """It was not asked after all, or it is not known why no answer came."""
        self._breaker.gave_up()
