"""The way into the store: lanes of group commit.

Guarantees: what is accepted is answered once, by a callback in commit order, so that what is pushed from it reaches
every connection in the order of the log; a sender's messages to a match are stored in the order given. A lane takes
whatever came while its last call was under way, without a timer: alone a message waits for nobody, under load the
batches grow. An unknown outcome is tried again with the same batch, which the store answers alike.

Refuses: growth. Beyond its bound a lane answers `unavailable` at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, TypeVar
from zlib import crc32

from protocol.errors import CATALOGUE, ErrorCode
from protocol.ids import MatchId, UserId
from server.core.log import Append, Appended, Mark, Marked, MembersSet, Refused, Stored
from server.ports import Store, StoreUnavailable

_log = logging.getLogger(__name__)

BATCH_MAX: Final = 300
QUEUE_MAX: Final = 10_000
# Messages that wait in one lane; with bodies of 300 bytes about 8 MB.
ATTEMPTS: Final = 3
RETRY_MS: Final = 1000
MARK_PAUSE_S: Final = 0.1
# Receipts are written at most so often.

AppendDone = Callable[[Appended | Refused], None]
Moved = Callable[[Marked | None], None]
MembersStored = Callable[[MembersSet | Refused], None]
Result = TypeVar("Result")


class Journal:
    """Hands writes to the store. Run each of `lanes` in a task."""

    def __init__(self, store: Store, *, lanes: int = 1) -> None:
        self._lanes = tuple(_Lane(store) for _ in range(lanes))
        self.lanes: tuple[Callable[[], Coroutine[None, None, None]], ...] = tuple(lane.run for lane in self._lanes)

    @property
    def queued(self) -> int:
        """Messages that wait for the store."""
        return sum(len(lane.appends) for lane in self._lanes)

    @property
    def batches(self) -> int:
        """Commits that stored messages."""
        return sum(lane.batches for lane in self._lanes)

    @property
    def is_full(self) -> bool:
        """Whether a lane refuses messages now."""
        return any(len(lane.appends) >= QUEUE_MAX for lane in self._lanes)

    def append(self, append: Append, done: AppendDone) -> None:
        """Store a message; `done` is called with the outcome."""
        self._lane(append.match).append(append, done)

    def mark(self, mark: Mark, done: Moved) -> None:
        """Move a member's cursors; marks of one member that wait become one."""
        self._lane(mark.match).mark(mark, done)

    def set_members(self, match: MatchId, members: tuple[UserId, ...], done: MembersStored) -> None:
        """Change a match's members, in order with its messages."""
        self._lane(match).set_members(match, members, done)

    async def drain(self) -> None:
        """Wait until everything that was accepted is answered."""
        for lane in self._lanes:
            await lane.idle.wait()

    def _lane(self, match: MatchId) -> "_Lane":
        return self._lanes[crc32(match.encode()) % len(self._lanes)]


class _Lane:
    """One queue, one call to the store at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.appends: list[tuple[Append, AppendDone]] = []
        self._changes: list[tuple[MatchId, tuple[UserId, ...], MembersStored]] = []
        self._marks: dict[tuple[MatchId, UserId], tuple[Mark, list[Moved]]] = {}
        self._marked_at = 0.0
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.batches = 0

    def append(self, append: Append, done: AppendDone) -> None:
        if len(self.appends) >= QUEUE_MAX:
            done(_unavailable("the journal is full", "no", RETRY_MS))
            return
        self.appends.append((append, done))
        self._awake()

    def set_members(self, match: MatchId, members: tuple[UserId, ...], done: MembersStored) -> None:
        self._changes.append((match, members, done))
        self._awake()

    def mark(self, mark: Mark, done: Moved) -> None:
        key = (mark.match, mark.user)
        waiting = self._marks.get(key)
        if waiting is None:
            self._marks[key] = (mark, [done])
        else:
            known, callbacks = waiting
            callbacks.append(done)
            delivered, read = max(known.delivered, mark.delivered), max(known.read, mark.read)
            self._marks[key] = (Mark(mark.match, mark.user, delivered, read), callbacks)
        self._awake()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.appends or self._changes:
                await self._write_changes()
                await self._write_appends()
            await self._write_marks()
            if not (self.appends or self._changes or self._marks):
                self.idle.set()

    def _awake(self) -> None:
        self.idle.clear()
        self._wake.set()

    async def _write_appends(self) -> None:
        some, self.appends = self.appends[:BATCH_MAX], self.appends[BATCH_MAX:]
        if not some:
            return
        self.batches += 1
        batch = [append for append, _ in some]
        outcomes = await self._insist(lambda: self._store.append(batch))
        for number, (_, done) in enumerate(some):
            _call(done, outcomes if isinstance(outcomes, Refused) else outcomes[number])

    async def _write_changes(self) -> None:
        changes, self._changes = self._changes, []
        for match, members, done in changes:
            _call(done, await self._insist(lambda: self._store.set_members(match, members)))  # noqa: B023 - awaited here

    async def _write_marks(self) -> None:
        marks, self._marks = self._marks, {}
        if not marks:
            return
        batch = [mark for mark, _ in marks.values()]
        outcomes = await self._insist(lambda: self._store.mark(batch))
        moved: Sequence[Marked | None] = [None] * len(batch) if isinstance(outcomes, Refused) else outcomes
        for outcome, (_, callbacks) in zip(moved, marks.values(), strict=True):
            for done in callbacks:
                _call(done, outcome)

    async def _insist(self, write: Callable[[], Awaitable[Result]]) -> Result | Refused:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await write()
            except StoreUnavailable as unavailable:
                if unavailable.maybe_stored and attempt < ATTEMPTS:
                    continue
                stored: Stored = "unknown" if unavailable.maybe_stored else "no"
                return _unavailable(unavailable.reason, stored, unavailable.retry_after_ms)
        raise AssertionError("unreachable")


def _call(done: Callable[[Result], None], outcome: Result) -> None:
    try:
        done(outcome)
    except Exception:  # noqa: BLE001 - one connection's fault must not keep the others from their answers
        _log.exception("journal.callback_failed")


def _unavailable(reason: str, stored: Stored, retry_after_ms: int) -> Refused:
    _log.warning("journal.unavailable", extra={"fields": {"reason": reason}})
    return Refused(ErrorCode.UNAVAILABLE, CATALOGUE[ErrorCode.UNAVAILABLE].what_to_do, stored, retry_after_ms)
