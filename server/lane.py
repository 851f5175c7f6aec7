"""One lane of group commit: a queue, and one call to the store at a time.

Whatever came while the last call was under way goes with the next one. A batch of which it is not known whether it was
stored is tried again as it was. What is over a lane's bounds, or comes when it has ended, is refused as `unavailable`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from msgspec import Struct, structs

from protocol.errors import CATALOGUE, ErrorCode
from protocol.ids import MatchId, UserId
from server.core.calls import CallChange, CallChanged, CallStale
from server.core.log import Append, Appended, Mark, Marked, MembersSet, Refused, Stored
from server.core.people import Person, summary_for
from server.ports import Calls, RouteLog, Store, StoreUnavailable
from server.telemetry import CommitWatch

RETRY_AFTER_MS: Final = 1_000
# What an entry of the queue costs beside its body.
WAITING_BYTES: Final = 1_000
_log: Final = logging.getLogger(__name__)

_FAULT: Final = Refused(ErrorCode.INTERNAL, CATALOGUE[ErrorCode.INTERNAL].what_to_do, "unknown", RETRY_AFTER_MS)

R = TypeVar("R")
AppendDone = Callable[[Appended | Refused], None]
MarkDone = Callable[[Marked | Refused | None], None]
MembersDone = Callable[[MembersSet | Refused], None]
CallDone = Callable[[CallChanged | CallStale | Refused], None]


class LaneLimits(Struct, frozen=True):
    """Bounds of one lane."""

    # Messages in one commit: enough to share its cost, few enough that none waits long.
    batch: int = 300
    # Messages, changes and receipts that wait.
    queue: int = 10_000
    queue_bytes: int = 64 * 1024 * 1024
    # Receipts are written so often at most while messages wait, and at once when none does.
    marks_every_s: float = 0.1
    # Calls for one batch while its fate is unknown, and the pause before the next one, which doubles.
    attempts: int = 4
    retry_s: float = 0.1


class Record(Store, Calls, Protocol):
    """A store as the journal writes it."""


class Routing(Struct, frozen=True):
    """How commits are told to other nodes: `ended` is called with a route's id after the callbacks of its commit."""

    log: RouteLog
    node: Callable[[], str]
    ended: Callable[[int], None]


class Post(Struct):
    """A message that waits."""

    append: Append
    done: AppendDone

    def size_bytes(self) -> int:
        return WAITING_BYTES + len(memoryview(self.append.body))


class MembersWork(Struct):
    """A change of members that waits."""

    match: MatchId
    members: tuple[UserId, ...]
    done: MembersDone

    def size_bytes(self) -> int:
        return WAITING_BYTES * (1 + len(self.members))


class CallWork(Struct):
    """A change of a call that waits."""

    change: CallChange
    done: CallDone

    def size_bytes(self) -> int:
        return WAITING_BYTES + len(self.change.value)


Work = Post | MembersWork | CallWork


class _Waiting(Struct):
    """The newest of a member's marks, and all who asked."""

    mark: Mark
    done: list[MarkDone]

    def join(self, mark: Mark, done: MarkDone) -> None:
        delivered, read = max(self.mark.delivered, mark.delivered), max(self.mark.read, mark.read)
        self.mark = Mark(mark.match, mark.user, delivered, read)
        self.done.append(done)


class Lane:
    """One queue and one call to the store at a time."""

    __slots__ = (
        "_away_ms",
        "_is_away",
        "_is_over",
        "_limits",
        "_marked_at",
        "_marks",
        "_marks_waiting",
        "_queue_bytes",
        "_routing",
        "_store",
        "_wake",
        "_was_retried",
        "_watch",
        "batched",
        "batches",
        "idle",
        "mark_batches",
        "queue",
        "refused",
    )

    def __init__(
        self,
        store: Record,
        limits: LaneLimits,
        routing: Routing | None,
        watch: CommitWatch | None,
        away_ms: Callable[[], int],
    ) -> None:
        self._watch = watch
        self._away_ms = away_ms
        self._store = store
        self._limits = limits
        self._routing = routing
        self.queue: deque[Work] = deque()
        self._queue_bytes = 0
        self._marks: dict[tuple[MatchId, UserId], _Waiting] = {}
        self._marks_waiting = 0
        self._marked_at = float("-inf")
        self._wake = asyncio.Event()
        self._is_over = False
        self._is_away = False
        self._was_retried = False
        self.idle = asyncio.Event()
        self.idle.set()
        self.batches = self.batched = self.mark_batches = self.refused = 0

    @property
    def is_full(self) -> bool:
        return len(self.queue) >= self._limits.queue or self._queue_bytes >= self._limits.queue_bytes

    def append(self, work: Work) -> None:
        if self.is_full or self._is_over:
            self._tell(work.done, _unavailable("no"))
            return
        if away_ms := self._away_ms():
            self._tell(work.done, _unavailable("no", away_ms))
            return
        self.queue.append(work)
        self._queue_bytes += work.size_bytes()
        self._awake()

    def mark(self, mark: Mark, done: MarkDone) -> None:
        if self._marks_waiting >= self._limits.queue or self._is_over:
            self._tell(done, _unavailable("no"))
            return
        waiting = self._marks.get((mark.match, mark.user))
        if waiting is None:
            self._marks[mark.match, mark.user] = _Waiting(mark, [done])
        else:
            waiting.join(mark, done)
        self._marks_waiting += 1
        self._awake()

    def _awake(self) -> None:
        self.idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled; then answer what still waits."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self.queue or self._marks:
                    await self._write_next()
                self.idle.set()
        finally:
            self._end()

    async def _write_next(self) -> None:
        if self.queue:
            posts = self._take_posts()
            if posts:
                await self._write_posts(posts)
            else:
                await self._write_one()
        now = asyncio.get_running_loop().time()
        if self._marks and (not self.queue or now - self._marked_at >= self._limits.marks_every_s):
            self._marked_at = now
            await self._write_marks()

    def _take_posts(self) -> list[Post]:
        """Take the messages up to the next change of members or of a call."""
        posts: list[Post] = []
        while self.queue and len(posts) < self._limits.batch:
            first = self.queue[0]
            if not isinstance(first, Post):
                break
            posts.append(first)
            self.queue.popleft()
            self._queue_bytes -= first.size_bytes()
        return posts

    async def _write_posts(self, posts: list[Post]) -> None:
        batch = [post.append for post in posts]
        watch = self._watch
        began = committed = watch.now() if watch else 0.0
        outcomes: Iterable[Appended | Refused] = [_unavailable("unknown")] * len(posts)
        routes: Sequence[int] = ()
        try:
            answer = await self._insist(lambda: self._append(batch))
            outcomes, routes = ([answer] * len(posts), ()) if isinstance(answer, Refused) else answer
            if self._was_retried:  # The first call may have stored them, and nobody was told.
                outcomes = [_as_new(outcome) for outcome in outcomes]
            self.batches += 1
            self.batched += len(posts)
            if watch:
                committed = watch.committed(began, len(posts))
        finally:  # Cancelled, too, each of them is answered.
            for post, outcome in zip(posts, outcomes, strict=True):
                self._tell(post.done, outcome)
            self._ended(routes)
        if watch:
            # Behind the flush that the first of these pushes has asked for.
            asyncio.get_running_loop().call_soon(watch.written, committed)

    async def _write_one(self) -> None:
        work = self.queue.popleft()
        self._queue_bytes -= work.size_bytes()
        if isinstance(work, CallWork):
            await self._write_alone(lambda: self._change_call(work.change), work.done)
        elif isinstance(work, MembersWork):
            await self._write_alone(lambda: self._set_members(work), work.done)

    async def _write_alone(
        self, write: Callable[[], Awaitable[tuple[R, Sequence[int]]]], done: Callable[[R | Refused], None]
    ) -> None:
        outcome: R | Refused = _unavailable("unknown")
        routes: Sequence[int] = ()
        try:
            answer = await self._insist(write)
            outcome, routes = (answer, ()) if isinstance(answer, Refused) else answer
        finally:
            self._tell(done, outcome)
            self._ended(routes)

    async def _append(self, batch: list[Append]) -> tuple[Iterable[Appended | Refused], Sequence[int]]:
        if self._routing is None:
            return await self._store.append(batch), ()
        return await self._routing.log.append_routed(batch, self._routing.node())

    async def _set_members(self, change: MembersWork) -> tuple[MembersSet | Refused, Sequence[int]]:
        if self._routing is None:
            return await self._as_seen(await self._store.set_members(change.match, change.members)), ()
        log, node = self._routing.log, self._routing.node()
        changed, routes = await log.set_members_routed(change.match, change.members, node)
        return await self._as_seen(changed), routes

    async def _as_seen(self, change: MembersSet | Refused) -> MembersSet | Refused:
        """Have everybody who joined see the match as blocks let them; it is stored by now, and has to be told."""
        if isinstance(change, Refused) or not change.joined:
            return change
        joined = [user for user, _ in change.joined]
        try:
            people = await self._store.people(joined)
        except StoreUnavailable:  # The cursors of the others come with the next receipts.
            people = [Person(blocked_by=frozenset(change.members) - {user}) for user in joined]
        seen = zip(people, change.joined, strict=True)
        return structs.replace(
            change, joined=tuple((user, summary_for(person, summary, {})) for person, (user, summary) in seen)
        )

    async def _change_call(self, change: CallChange) -> tuple[CallChanged | CallStale, Sequence[int]]:
        if self._routing is None:
            return await self._store.change_call(change), ()
        return await self._routing.log.change_call_routed(change, self._routing.node())

    def _ended(self, routes: Sequence[int]) -> None:
        if self._routing is not None:
            for route in routes:
                self._routing.ended(route)

    async def _write_marks(self) -> None:
        marks, self._marks, self._marks_waiting = list(self._marks.values()), {}, 0
        batch = [waiting.mark for waiting in marks]
        outcomes: Iterable[Marked | Refused | None] = [_unavailable("unknown")] * len(marks)
        try:
            answer = await self._insist(lambda: self._store.mark(batch))
            outcomes = [answer] * len(marks) if isinstance(answer, Refused) else answer
            self.mark_batches += 1
        finally:
            for waiting, outcome in zip(marks, outcomes, strict=True):
                for done in waiting.done:
                    self._tell(done, outcome)

    async def _insist(self, write: Callable[[], Awaitable[R]]) -> R | Refused:
        """Have something written; try again, a bounded number of times, while it is not known whether it was."""
        attempt = 1
        self._was_retried = maybe_stored = False
        while True:
            try:
                return self._is_back(await write())
            except StoreUnavailable as error:
                # A later attempt that certainly stored nothing says nothing of an earlier one.
                maybe_stored = maybe_stored or error.maybe_stored
                if not maybe_stored or attempt == self._limits.attempts:
                    return self._is_lost(error, maybe_stored=maybe_stored)
            except Exception:  # noqa: BLE001 - the port rules it out; a fault of ours in one call must not end all later ones.
                _log.exception("journal.store_failed")
                return _FAULT
            await asyncio.sleep(self._limits.retry_s * 2 ** (attempt - 1))
            attempt += 1
            self._was_retried = True

    def _is_back(self, answer: R) -> R:
        if self._is_away:
            self._is_away = False
            _log.info("journal.available")
        return answer

    def _is_lost(self, error: StoreUnavailable, *, maybe_stored: bool) -> Refused:
        """Refuse; say so in the log when it begins, not for every batch."""
        if not self._is_away:
            self._is_away = True
            _log.warning("journal.unavailable", extra={"fields": {"reason": error.reason}})
        return _unavailable("unknown" if maybe_stored else "no", error.retry_after_ms)

    def _end(self) -> None:
        self._is_over = True
        while self.queue:
            self._tell(self.queue.popleft().done, _unavailable("no"))
        for waiting in self._marks.values():
            for done in waiting.done:
                self._tell(done, _unavailable("no"))
        self._marks.clear()
        self._queue_bytes = self._marks_waiting = 0
        self.idle.set()

    def _tell(self, done: Callable[[R], None], outcome: R) -> None:
        if isinstance(outcome, Refused) and outcome.code in (ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL):
            self.refused += 1
        try:
            done(outcome)
        except Exception:  # noqa: BLE001 - one connection's fault must not keep the others from their answers.
            _log.exception("journal.callback_failed")


def _as_new(outcome: Appended | Refused) -> Appended | Refused:
    """Have a message told that the same call stored at its first try; clients drop what they have."""
    return outcome if isinstance(outcome, Refused) else structs.replace(outcome, duplicate=False)


def _unavailable(stored: Stored, retry_after_ms: int = RETRY_AFTER_MS) -> Refused:
    message = CATALOGUE[ErrorCode.UNAVAILABLE].what_to_do
    return Refused(ErrorCode.UNAVAILABLE, message, stored, retry_after_ms)
