"""Reader lanes: a bounded number of reads of the store at once, for callers that do not wait.

Guarantees: every read that is accepted is answered by `done`, in the event loop, with its result or a refusal; a read
that takes longer than its time, or one too many, is refused as `unavailable`. Welcomes that wait are read in one call.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, TypeVar

from protocol.errors import CATALOGUE, ErrorCode
from protocol.ids import UserId
from protocol.limits import MATCHES_PAGE_MAX
from server.core.log import Refused, SummaryPage
from server.ports import Store, StoreUnavailable

_log = logging.getLogger(__name__)

QUEUE_MAX: Final = 10_000
# Reads that wait; a closure of about 500 bytes each.
WELCOMES_MAX: Final = 64
# Users whose welcome is read in one call: a reader thread is busy for a few milliseconds.
TIMEOUT_S: Final = 5.0
RETRY_MS: Final = 1000

Result = TypeVar("Result")
Welcomed = Callable[[SummaryPage | Refused], None]
Lane = Callable[[], Coroutine[None, None, None]]


class Reads:
    """Reads for callers that do not wait. Run each of `lanes` in a task."""

    def __init__(self, store: Store, lanes: int, *, timeout_s: float = TIMEOUT_S) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._jobs: deque[Callable[[], Awaitable[None]]] = deque()
        self._welcomes: deque[tuple[UserId, Welcomed]] = deque()
        self._wake = asyncio.Semaphore(0)
        self.lanes: tuple[Lane, ...] = (self._run,) * lanes

    @property
    def queued(self) -> int:
        """Reads that wait."""
        return len(self._jobs) + len(self._welcomes)

    def submit(self, read: Callable[[], Awaitable[Result]], done: Callable[[Result | Refused], None]) -> None:
        """Have `read` awaited by a lane and `done` called with what it returned."""
        if self.queued >= QUEUE_MAX:
            done(_unavailable("too many reads are waiting", RETRY_MS))
            return

        async def job() -> None:
            done(await self._answer(read))

        self._jobs.append(job)
        self._wake.release()

    def welcome(self, user: UserId, done: Welcomed) -> None:
        """Read the newest matches of `user`, together with those of others who come at the same time."""
        if self.queued >= QUEUE_MAX:
            done(_unavailable("too many reads are waiting", RETRY_MS))
            return
        self._welcomes.append((user, done))
        if len(self._welcomes) == 1:
            self._wake.release()

    async def _run(self) -> None:
        while True:
            await self._wake.acquire()
            try:
                await self._next()
            except Exception:  # noqa: BLE001 - one caller's fault must not stop the lane for all others
                _log.exception("reads.callback_failed")

    async def _next(self) -> None:
        if self._jobs:
            await self._jobs.popleft()()
        if self._welcomes:
            await self._read_welcomes()

    async def _read_welcomes(self) -> None:
        some = [self._welcomes.popleft() for _ in range(min(len(self._welcomes), WELCOMES_MAX))]
        if self._welcomes:
            self._wake.release()
        users = [user for user, _ in some]
        pages = await self._answer(lambda: self._store.welcome(users, MATCHES_PAGE_MAX))
        for number, (_, done) in enumerate(some):
            done(pages if isinstance(pages, Refused) else pages[number])

    async def _answer(self, read: Callable[[], Awaitable[Result]]) -> Result | Refused:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await read()
        except StoreUnavailable as unavailable:
            return _unavailable(unavailable.reason, unavailable.retry_after_ms)
        except TimeoutError:
            return _unavailable("the store took too long", RETRY_MS)


def _unavailable(reason: str, retry_after_ms: int) -> Refused:
    _log.warning("reads.unavailable", extra={"fields": {"reason": reason}})
    return Refused(ErrorCode.UNAVAILABLE, CATALOGUE[ErrorCode.UNAVAILABLE].what_to_do, "no", retry_after_ms)
