"""The way into the store: lanes of group commit.

Guarantees: what is given is answered exactly once, by a callback, in commit order and without awaiting between two of
them, so that what is pushed from it reaches every connection in the order of the log. One match has one lane: its
messages and changes of members are stored in the order given. A lane takes whatever came while its last call was under
way, without a timer: alone a message waits for nobody, under load the batches grow. When it is not known whether a
batch was stored it is tried again as it was, which the store answers alike.

Refuses: growth. Beyond its bounds, and once it has ended, a lane answers `unavailable` at once.
"""

from collections.abc import Callable, Coroutine, Sequence
from zlib import crc32

from protocol.ids import MatchId, UserId
from server.core.calls import CallChange
from server.core.log import Append, Mark
from server.lane import (
    AppendDone,
    CallDone,
    CallWork,
    Lane,
    LaneLimits,
    MarkDone,
    MembersDone,
    MembersWork,
    Post,
    Record,
    Routing,
)
from server.telemetry import CommitWatch


class Journal:
    """Hands writes to the store. Run each of `lanes` in a task; cancel them only after `drain`."""

    __slots__ = ("_lanes", "lanes")

    def __init__(
        self,
        store: Record,
        *,
        lanes: int = 1,
        limits: LaneLimits | None = None,
        routing: Routing | None = None,
        watch: CommitWatch | None = None,
        away_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        """With `routing`, for a store that several nodes share; `watch` measures the commits of messages.

        While `away_ms` is not 0 nothing more is accepted: the store is away, and that is when to try again.
        """
        limits = limits or LaneLimits()
        self._lanes = tuple(Lane(store, limits, routing, watch, away_ms) for _ in range(lanes))
        self.lanes: tuple[Callable[[], Coroutine[None, None, None]], ...] = tuple(lane.run for lane in self._lanes)

    def append(self, append: Append, done: AppendDone) -> None:
        """Store a message."""
        self._lane(append.match).append(Post(append, done))

    def set_members(self, match: MatchId, members: tuple[UserId, ...], done: MembersDone) -> None:
        """Make, change or end a match, in order with its messages."""
        self._lane(match).append(MembersWork(match, members, done))

    def change_call(self, change: CallChange, done: CallDone) -> None:
        """Make or change a call, in order with its match's messages."""
        self._lane(change.match).append(CallWork(change, done))

    def mark(self, mark: Mark, done: MarkDone) -> None:
        """Move a member's cursors. Marks of one member that wait become one, whose outcome all of them are told."""
        self._lane(mark.match).mark(mark, done)

    async def drain(self) -> None:
        """Wait until everything that was accepted is answered."""
        for lane in self._lanes:
            await lane.idle.wait()

    @property
    def queued(self) -> int:
        """Messages and changes that wait for the store."""
        return sum(len(lane.queue) for lane in self._lanes)

    @property
    def depths(self) -> Sequence[int]:
        """Likewise, of each lane."""
        return [len(lane.queue) for lane in self._lanes]

    @property
    def is_full(self) -> bool:
        """Whether a lane refuses messages now."""
        return any(lane.is_full for lane in self._lanes)

    @property
    def batches(self) -> int:
        """Commits of messages, so far."""
        return sum(lane.batches for lane in self._lanes)

    @property
    def batched(self) -> int:
        """Messages in those commits; by `batches`, the mean size."""
        return sum(lane.batched for lane in self._lanes)

    @property
    def mark_batches(self) -> int:
        """Commits of receipts, so far."""
        return sum(lane.mark_batches for lane in self._lanes)

    @property
    def refused(self) -> int:
        """What was answered `unavailable` or `internal`, so far."""
        return sum(lane.refused for lane in self._lanes)

    def _lane(self, match: MatchId) -> Lane:
        return self._lanes[crc32(match.encode("utf-8", "replace")) % len(self._lanes)]
