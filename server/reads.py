"""Reader lanes: a bounded number of reads of the store at once, for callers that do not wait.

Guarantees: every read is answered exactly once, by a callback in the event loop, with its result or a refusal. One
that takes longer than its time, or one too many, is refused as `unavailable`. Welcomes that wait are read in one call,
so that a thousand who connect at once cost a few calls.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import islice
from typing import Final, TypeVar

from protocol.errors import ErrorCode
from protocol.ids import UserId
from protocol.limits import MATCHES_PAGE_MAX
from server.core.log import Refused, refused
from server.ports import Store, StoreUnavailable
from server.telemetry import ReadWatch
from server.views import Arrival, arrivals

# Reads that wait; a closure of about 500 bytes each.
QUEUE_MAX: Final = 10_000
# Users whose welcome is read in one call: a reader thread is busy for a few milliseconds.
WELCOMES_MAX: Final = 100
TIMEOUT_S: Final = 5.0
RETRY_AFTER_MS: Final = 1_000
_log: Final = logging.getLogger(__name__)

_FAULT: Final = refused(ErrorCode.INTERNAL, retry_after_ms=RETRY_AFTER_MS)

_FAILED: Final = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL})

R = TypeVar("R")
Welcomed = Callable[[Arrival | Refused], None]
Lane = Callable[[], Coroutine[None, None, None]]


class Reads:
    """Reads for callers that do not wait. Run each of `lanes` in a task."""

    __slots__ = (
        "_is_away",
        "_is_welcoming",
        "_jobs",
        "_queue_max",
        "_running",
        "_store",
        "_timeout_s",
        "_wake",
        "_watch",
        "_welcomes",
        "lanes",
    )

    def __init__(
        self,
        store: Store,
        lanes: int,
        *,
        timeout_s: float = TIMEOUT_S,
        queue_max: int = QUEUE_MAX,
        watch: ReadWatch | None = None,
    ) -> None:
        """`watch` measures what is read."""
        self._store = store
        self._watch = watch
        self._timeout_s = timeout_s
        self._queue_max = queue_max
        self._jobs: deque[tuple[Callable[[], Awaitable[None]], Callable[[], None]]] = deque()
        self._welcomes: dict[UserId, list[Welcomed]] = {}
        # One for each job, and one for all the welcomes that wait. Those are read one call at a time: who comes meanwhile
        # shares the next one, as waking a thread of the store costs as much as reading for one user.
        self._wake = asyncio.Semaphore(0)
        self._is_away = self._is_welcoming = False
        self._running = lanes
        self.lanes: tuple[Lane, ...] = (self._run,) * lanes

    @property
    def queued(self) -> int:
        """Reads that wait; users who wait for a welcome count once."""
        return len(self._jobs) + len(self._welcomes)

    def submit(self, read: Callable[[], Awaitable[R]], done: Callable[[R | Refused], None]) -> None:
        """Have `read` awaited by a lane, and `done` called with what it returned."""
        if self._refuses_more():
            _tell(done, _unavailable())
            return

        async def run() -> None:
            answer: R | Refused = _unavailable()
            try:
                answer = await self._answer(read)
            finally:  # Cancelled, too, it is answered.
                _tell(done, answer)

        self._jobs.append((run, lambda: _tell(done, _unavailable())))
        self._wake.release()

    def welcome(self, user: UserId, done: Welcomed) -> None:
        """Read what `user` is welcomed with, together with that of others who come at the same time."""
        if self._refuses_more():
            _tell(done, _unavailable())
            return
        if not self._welcomes and not self._is_welcoming:
            self._wake.release()
        self._welcomes.setdefault(user, []).append(done)

    def _refuses_more(self) -> bool:
        return self.queued >= self._queue_max or self._running == 0

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.acquire()
                await self._next()
        finally:
            self._running -= 1
            if not self._running:
                self._refuse_all()

    async def _next(self) -> None:
        # First those who connect: what the others wait for they asked for themselves.
        if self._welcomes and not self._is_welcoming:
            self._is_welcoming = True
            try:
                await self._read_welcomes()
            finally:
                self._is_welcoming = False
                if self._welcomes:
                    self._wake.release()
        else:
            run, _ = self._jobs.popleft()
            await run()

    async def _read_welcomes(self) -> None:
        users = tuple(islice(self._welcomes, WELCOMES_MAX))
        waiting = [self._welcomes.pop(user) for user in users]
        found: Sequence[Arrival | Refused] = [_unavailable()] * len(users)
        try:
            answer = await self._answer(lambda: arrivals(self._store, users, MATCHES_PAGE_MAX))
            found = [answer] * len(users) if isinstance(answer, Refused) else answer
        finally:
            for arrival, everybody in zip(found, waiting, strict=True):
                for done in everybody:
                    _tell(done, arrival)

    async def _answer(self, read: Callable[[], Awaitable[R]]) -> R | Refused:
        began = self._watch.now() if self._watch else 0.0
        answer = await self._ask(read)
        if self._watch:
            self._watch.answered(began, refused=isinstance(answer, Refused) and answer.code in _FAILED)
        return answer

    async def _ask(self, read: Callable[[], Awaitable[R]]) -> R | Refused:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await read()
        except StoreUnavailable as error:
            return self._is_lost(error.reason, error.retry_after_ms)
        except TimeoutError:
            return self._is_lost("a read took too long", RETRY_AFTER_MS)
        except Exception:  # noqa: BLE001 - the port rules it out; a fault of ours in one read must not end all later ones.
            _log.exception("reads.store_failed")
            return _FAULT
        if self._is_away:
            self._is_away = False
            _log.info("reads.available")
        return answer

    def _is_lost(self, reason: str, retry_after_ms: int) -> Refused:
        """Refuse; say so in the log when it begins, not for every read."""
        if not self._is_away:
            self._is_away = True
            _log.warning("reads.unavailable", extra={"fields": {"reason": reason}})
        return _unavailable(retry_after_ms)

    def _refuse_all(self) -> None:
        while self._jobs:
            _, refuse = self._jobs.popleft()
            refuse()
        for everybody in self._welcomes.values():
            for done in everybody:
                _tell(done, _unavailable())
        self._welcomes.clear()


def _tell(done: Callable[[R], None], answer: R) -> None:
    try:
        done(answer)
    except Exception:  # noqa: BLE001 - one connection's fault must not keep the others from their answers.
        _log.exception("reads.callback_failed")


def _unavailable(retry_after_ms: int = RETRY_AFTER_MS) -> Refused:
    return refused(ErrorCode.UNAVAILABLE, retry_after_ms=retry_after_ms)
