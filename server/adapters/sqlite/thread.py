"""A thread that owns one SQLite connection, and the way to it and back.

Guarantees: jobs run one at a time in the order given; each answer costs one wake of the loop; a job that nobody waits
for any more is not begun; `stop` finishes what was given before, ends the thread, and may be called again. Refuses jobs
when `JOBS_MAX` wait.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Final, Generic, Protocol, TypeVar

from server.ports import StoreUnavailable

JOBS_MAX: Final = 10_000
_log: Final = logging.getLogger(__name__)


class Worker(Protocol):
    """What lives in the thread."""

    def close(self) -> None:
        """Give up the connection."""


W = TypeVar("W", bound=Worker)
R = TypeVar("R")
V = TypeVar("V")
_Job = Callable[[W], None]


class SqliteThread(Generic[W]):
    """Runs jobs on a worker that it makes, uses and closes in a thread of its own."""

    __slots__ = ("_is_stopping", "_jobs", "_loop", "_make", "_name", "_stopped")

    def __init__(self, name: str, make: Callable[[], W]) -> None:
        self._name = name
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job[W] | None] = SimpleQueue()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._is_stopping = False

    async def start(self) -> None:
        """Start the thread; raise what making the worker raised."""
        started: asyncio.Future[None] = self._loop.create_future()
        Thread(target=self._main, args=(started,), name=self._name, daemon=True).start()
        await started

    async def run(self, job: Callable[[W], R]) -> R:
        """Run `job` in the thread; whatever SQLite raises there comes back as `StoreUnavailable`."""
        if self._is_stopping:
            raise StoreUnavailable("the store is closed")
        if self._jobs.qsize() >= JOBS_MAX:
            raise StoreUnavailable("too much waits for the store")
        answer: asyncio.Future[R] = self._loop.create_future()

        def work(worker: W) -> None:
            if not answer.cancelled():
                self._answer(answer, worker, job)

        self._jobs.put(work)
        return await answer

    async def stop(self) -> None:
        """Finish the jobs given so far and end the thread."""
        self.give_up()
        # Shielded: one who gives up waiting must not end it for the others.
        await asyncio.shield(self._stopped)

    def give_up(self) -> None:
        """Take no more jobs and end after those given so far, without waiting for that."""
        if not self._is_stopping:
            self._is_stopping = True
            self._jobs.put(None)

    # ---- in the thread

    def _main(self, started: asyncio.Future[None]) -> None:
        try:
            worker = self._make()
        except Exception as error:  # noqa: BLE001 - carried to the loop, where it is raised
            self._tell(_fail, started, error)
            self._tell(_settle, self._stopped, None)
            return
        self._tell(_settle, started, None)
        while (job := self._jobs.get()) is not None:
            job(worker)
        try:
            worker.close()
        except sqlite3.Error:
            _log.exception("closing the store failed; nothing that was answered is lost")
        self._tell(_settle, self._stopped, None)

    def _answer(self, answer: asyncio.Future[R], worker: W, job: Callable[[W], R]) -> None:
        try:
            result = job(worker)
        except sqlite3.Error as error:
            self._tell(_fail, answer, unavailable(error))
        except Exception as error:  # noqa: BLE001 - carried to the loop, where it is raised
            self._tell(_fail, answer, error)
        else:
            self._tell(_settle, answer, result)

    def _tell(self, settle: Callable[[asyncio.Future[R], V], None], future: asyncio.Future[R], value: V) -> None:
        try:
            self._loop.call_soon_threadsafe(settle, future, value)
        except RuntimeError:
            return  # The loop is closed: nobody is left to be told.


def unavailable(error: sqlite3.Error, *, maybe_stored: bool = False) -> StoreUnavailable:
    """Say without data what SQLite could not do."""
    return StoreUnavailable(f"{sqlite_name(error)}: {error}", maybe_stored=maybe_stored)


def sqlite_name(error: sqlite3.Error) -> str:
    """Name the result code of `error`, as in https://www.sqlite.org/rescode.html."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def _settle(future: asyncio.Future[R], result: R) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[R], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
