"""What the server needs of the world, as guarantees. Each port has adapters, and one contract suite that all of them pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from protocol.calls import CallId
from protocol.from_server import Presence
from protocol.ids import MatchId, Micros, Seq, SessionId, UserId
from server.core.calls import (
    CallChange,
    CallChanged,
    CallRow,
    CallRows,
    CallSettings,
    CallsPage,
    CallStale,
    CallView,
    OrphanedCalls,
)
from server.core.latest import Key
from server.core.limiting import Decision, Rule
from server.core.log import (
    Append,
    Appended,
    Cursors,
    EntryPage,
    Mark,
    Marked,
    MatchState,
    MembersSet,
    Refused,
    SummaryPage,
    SyncResult,
)
from server.core.notices import Notice
from server.core.people import Arrivals, Person, PresenceWish, PrivateReadSet, Unread
from server.core.presence import ACTIVE, Departure, Shown
from server.core.revocations import Revocation, RevocationPage
from server.core.routes import Route
from server.core.sessions import SessionInfo
from server.core.tokens import Claims
from turn.accounts import RelayUse


class Clock(Protocol):
    """Time and chance, the only place where they enter."""

    def now(self) -> float:
        """Seconds of a clock that never steps back; its zero means nothing."""

    def micros(self) -> Micros:
        """Microseconds since the Unix epoch, as the machine believes; may step back."""

    def random_id(self) -> str:
        """Return 22 characters that nobody guesses (128 random bits) and that need no escaping in a URL."""

    def random_bytes(self, count: int) -> bytes:
        """Return bytes that nobody guesses."""

    def jitter(self, most: float) -> float:
        """Return a number between 0 and `most`, evenly spread, so that many who wait do not come back at once."""


class StoreUnusable(Exception):
    """A store cannot be opened; the text is one line that tells the operator which and why."""


class StoreUnavailable(Exception):
    """The store cannot answer now (disk full, closed, away). `maybe_stored`: the write may have happened all the same."""

    def __init__(self, reason: str, *, maybe_stored: bool = False, retry_after_ms: int = 1000) -> None:
        super().__init__(reason)
        self.reason = reason
        self.maybe_stored = maybe_stored
        self.retry_after_ms = retry_after_ms


class Store(Protocol):
    """The record: every match's log, members and cursors. What it has answered survives kill -9 and power loss.

    Each match has one log: `seq` gap-free from 1, `created_at` strictly increasing with it, both assigned at commit.
    Every method is all or nothing per item, may be called concurrently, and raises `StoreUnavailable` and nothing else.
    A call that was cancelled may have happened. Reads see every write that was answered before they began.
    """

    @property
    def epoch(self) -> str:
        """Opaque; another value means that the history may be another one (a restored backup, a lost tail)."""

    async def append(self, batch: Sequence[Append]) -> Sequence[Appended | Refused]:
        """Store messages in this order, one commit; answers in the same order.

        The same (match, sender, client_id) within 35 days, also inside the batch, returns the first one with `duplicate`,
        or CONFLICT when body or reply_to differ. Sender must be a member, but for a duplicate: that is in the log, whoever
        left since. BLOCKED in a match of two of whom one has blocked the other; in others `hidden` tells who blocked the sender. `reply_to` must be a message that the sender may read. Moves the sender's own cursors to the new
        message. A row that cannot be stored refuses only itself.
        """

    async def set_members(self, match: MatchId, members: tuple[UserId, ...]) -> MembersSet | Refused:
        """Make the match, change its members or (with none) end it; appends one `members` entry when anything changed.

        Those who joined read from that entry on and start with nothing unread, their cursors on it; those who left read
        up to it. The order of `members` and repeated names do not matter; the answer is sorted. Ending a match that
        there never was makes none. An id that cannot be stored is refused.
        """

    async def mark(self, batch: Sequence[Mark]) -> Sequence[Marked | None]:
        """Move members' cursors: to the maximum, never past the last entry, `delivered` at least `read`.

        None where nothing moved or the user is no member. `hidden` has whom a block stands between, `shown` what a member
        who reads in private lets the others know.
        """

    async def match(self, match: MatchId) -> MatchState | None:
        """Read a match as the backend sees it; None when there never was one. One that ended has no members."""

    async def members(self, matches: Sequence[MatchId]) -> Sequence[tuple[UserId, ...]]:
        """Read the present members of each match, sorted; none for a match that does not exist."""

    async def partners(self, user: UserId, among: Sequence[UserId]) -> frozenset[UserId]:
        """Tell who of `among` shares a present match with `user` (a user with matches is also their own partner)."""

    async def welcome(self, users: Sequence[UserId], limit: int) -> Sequence[SummaryPage]:
        """Read the newest `limit` matches of each user (the first page of `summaries`), many users at once."""

    async def summaries(self, user: UserId, before: Micros | None, limit: int) -> SummaryPage:
        """Read one page of the user's present matches whose newest entry is older than `before`, newest first.

        Matches of the same microsecond stay together (by name), so that a page may be longer than `limit`. `last` is
        the newest entry of any kind.
        """

    async def history(
        self,
        match: MatchId,
        viewer: UserId | None,
        *,
        before: Micros | None,
        after: Micros | None,
        limit: int,
        folded: bool = True,
    ) -> EntryPage | Refused:
        """Read entries: newest first below `before` (or the end), or, with `after`, oldest first above it.

        With both, oldest first between them. `folded`: of a call only the newest entry, as the others are outdated. `viewer` bounds the page to what that user may see (NOT_MEMBER for one who
        never was); None, the backend, sees all (NOT_FOUND for no such match). Ends early at PAGE_MAX_BYTES.
        """

    async def sync(self, user: UserId, cursors: Cursors, *, entries: int, budget_bytes: int) -> SyncResult:
        """Read what came after each cursor, oldest first, at most `entries` a match and about `budget_bytes` in all.

        `complete` is False where more is left. A cursor whose entry is missing or another one is answered `reset`
        (with no entries), and so is one whose entry the user may not see, as after leaving and coming back; [0, 0] is the
        cursor before the first entry that the user may see. A user who was a member once gets what lies before the end
        and `left`, but no receipts; matches that the user never was in are left out. At least one entry comes back when
        any is left, so that asking again ends.
        """

    async def check(self) -> None:
        """Write something that nobody will see; raise `StoreUnavailable` when nothing can be stored now."""

    async def set_private_read(self, match: MatchId, user: UserId, *, is_on: bool) -> PrivateReadSet | None:
        """Show the others no more how far the member reads, or again all of it; None for no member.

        What others read of the member stands still meanwhile, but for messages that the member sends.
        """

    # ---- people

    async def people(self, users: Sequence[UserId]) -> Sequence[Person]:
        """Read what is kept of each user."""

    async def arriving(self, users: Sequence[UserId], limit: int) -> Arrivals:
        """`welcome`, and not older than that `people` and `live_calls`: what users who connect are told, in one call."""

    async def set_block(self, user: UserId, other: UserId, *, is_on: bool) -> bool | Refused:
        """Have `user` block `other`, or take it back; tell whether that is news.

        No message slips through: of those that are stored later each is refused or hidden, of both users. Refuses more than
        BLOCKS_MAX, and ids that cannot be stored.
        """

    async def hidden_unread(self, user: UserId, among: Sequence[Unread]) -> Mapping[MatchId, int]:
        """Count among these entries the messages and missed calls of those whom `user` has blocked; no match with none.

        They are named by their places, so that the count is of the same moment as what named them.
        """

    async def set_presence(self, user: UserId, wish: PresenceWish) -> Person | Refused:
        """Change how `user` wants to be shown; returns what holds, with a version above every earlier one."""

    async def close(self) -> None:
        """Finish what is under way and give up the store. Later calls raise `StoreUnavailable`."""


class RouteLog(Protocol):
    """A store shared by several nodes: each commit notes, in itself, that its entries have to be told to the others.

    What was committed is so found again when its node died, lost the bus or could not tell: routed rows live for
    `ROUTES_KEPT_S`, the others until they are routed. Ages are by the log's own clock, so that it does not matter how
    far a node's is off. Raises `StoreUnavailable` and nothing else.
    """

    async def append_routed(
        self, batch: Sequence[Append], node: str
    ) -> tuple[Sequence[Appended | Refused], Sequence[int]]:
        """`Store.append`, and in the same commit that `node` has to route it; returns the routes' ids too."""

    async def set_members_routed(
        self, match: MatchId, members: tuple[UserId, ...], node: str
    ) -> tuple[MembersSet | Refused, Sequence[int]]:
        """`Store.set_members`, likewise."""

    async def mark_routed(self, ids: Sequence[int]) -> None:
        """Note that these batches are on their way to every node."""

    async def claim_unrouted(self, node: str, older_than_s: float, limit: int) -> Sequence[Route]:
        """Take over batches that nobody routed for so long; no other node gets them until they are as old again."""

    async def routes_within(self, age_s: float) -> Sequence[Route]:
        """Read the batches that were stored, claimed or routed within the last `age_s` seconds."""

    async def expire_routed(self) -> int:
        """Forget what was routed more than `ROUTES_KEPT_S` ago; return how many batches that were."""

    async def change_call_routed(self, change: CallChange, node: str) -> tuple[CallChanged | CallStale, Sequence[int]]:
        """`Calls.change_call`, likewise."""

    def saw(self, match: MatchId, seq: Seq, changed: Sequence[UserId] = ()) -> None:
        """Learn of an entry that another node stored, and who came or went by it: no older page is shown from now on."""

    def forget(self) -> None:
        """News of other nodes may have been missed: show nothing that could be older, until it was read anew."""


class Revocations(Protocol):
    """The record of tokens that are refused before they expire; every store keeps it. Raises `StoreUnavailable` only."""

    async def revoke(self, revocation: Revocation) -> None:
        """Keep it until its `until` at least, with the later moment and end of two that name the same."""

    async def revocations(self, position: int) -> RevocationPage:
        """Read what was kept after `position` (0: everything) and, it may be, some of what was kept before."""


class Calls(Protocol):
    """The record of calls, beside the logs that tell of them; every store keeps it. Raises `StoreUnavailable` only.

    A change and its entry are one commit. A match has one live call, a user a seat in one live call: a change that would
    break this is as stale as one that was decided from an older state. The same change sent again is answered like the
    first time, as long as no other one followed.
    """

    async def change_call(self, change: CallChange) -> CallChanged | CallStale:
        """Make a call, or change it, and append its entry; STALE when what it was decided from is not so any more.

        A missed call counts as unread, for its caller only if something before it does.
        """

    async def call_view(
        self, *, call: CallId | None = None, match: MatchId | None = None, caller: UserId | None, since_us: int
    ) -> CallView:
        """Read `call`, or the newest call of `match`, live or over, and what a decision about it needs.

        `unanswered` counts calls of `caller` in that match which nobody took and that began at most `since_us` ago.
        """

    async def live_calls(self, users: Sequence[UserId]) -> Sequence[tuple[CallRow, ...]]:
        """Read for each of `users` the live calls of their present matches, oldest first."""

    async def claim_due_calls(self, claim_us: int, limit: int) -> CallRows:
        """Take over calls whose deadline has passed; nobody else gets them for `claim_us`, unless they are changed."""

    async def orphaned_calls(self, node: str, silent_us: int, limit: int) -> OrphanedCalls:
        """Tell that `node` lives; read live calls with a seat on other nodes which did not tell so for `silent_us`."""

    async def list_calls(
        self, *, user: UserId | None, match: MatchId | None, before: CallId | None, limit: int
    ) -> CallsPage:
        """Read calls, newest first: of whom `user` was called or in, of `match`, before the call `before`."""

    async def set_call_settings(self, user: UserId, settings: CallSettings) -> None:
        """Keep how `user` wants to be called."""

    async def call_settings(self, user: UserId) -> CallSettings:
        """Read how `user` wants to be called; what was never set is as by default."""


class RelayReport(Protocol):
    """Is told what relays carried for whom, as they tell it; returns at once."""

    def relayed(self, use: RelayUse) -> None:
        """An allocation carried so much more, or has ended and carried so much in all."""


class Limiter(Protocol):
    """Decides whether something may happen again. Bounded in what it keeps; always answers, by itself if it must."""

    async def take(self, key: str, rule: Rule, cost: int = 1) -> Decision:
        """Count a request of `cost` (1 to the rule's limit, else ValueError) for `key`; a refusal costs nothing.

        Counts of rules with other names are apart. A key is any text.
        """


class Sessions(Protocol):
    """Who is connected where: every node's sessions, each with a lifetime, so that a dead node's are forgotten.

    `add` and `remove` return at once; others may see it a little later.
    """

    @property
    def node(self) -> str:
        """What this node's sessions are told to be on."""

    def add(self, session: SessionInfo) -> None:
        """The session is connected here, or is here and has another token now."""

    def remove(self, user: UserId, session: SessionId) -> None:
        """The session is connected here no more."""

    async def of(self, user: UserId) -> Sequence[SessionInfo]:
        """Read the user's sessions, on all nodes, oldest first; raise `StoreUnavailable`."""


class Tickets(Protocol):
    """Hands out tickets that stand for claims once: 256 random bits, dead after 30 s, kept only as a hash."""

    async def issue(self, claims: Claims) -> str:
        """Return a new ticket for `claims`: 43 characters that need no escaping in a URL."""

    async def redeem(self, ticket: str) -> Claims | None:
        """Return the claims and end the ticket; None for one that is unknown, used, forgotten or too old."""


class BusUnusable(Exception):
    """A bus cannot work with what it was given; the text is one line that tells the operator which and why."""


class BusEvents(Protocol):
    """What a bus tells its node: in the event loop, in order; none of these blocks or raises."""

    def deliver(self, users: Sequence[UserId], frame: bytes, key: Key | None) -> None:
        """Another node routed this frame to the users' connections here; `key` is None for the durable lane."""

    def notice(self, notice: Notice) -> None:
        """Another node (never this one) announced something."""

    def presence(self, changes: Sequence[Presence]) -> None:
        """Users whom this node watches have changed."""

    def repair(self, since: float) -> None:
        """Durable frames may have been missed since then (monotonic seconds): read the store and push what it has."""

    def routed(self, route_ids: Sequence[int]) -> None:
        """The frames of these commits have been handed to every node concerned."""

    def bus_is(self, *, alive: bool) -> None:
        """False: nothing comes or goes, caches of what others may change are worthless. True: all is well again."""


class Bus(Protocol):
    """Carries frames to users' connections on other nodes, and knows which users are connected where.

    At most once; in order per sending and target node. A loss is noticed (a counter with a gap, a reconnect, a heartbeat)
    and reported to `repair`. A node whose lease ran out takes a new incarnation and registers everybody again.
    Nothing but `run`, `watch` and `presence_of` waits; what is called in one turn of the loop travels together.
    """

    @property
    def trouble(self) -> str:
        """Why this node is deaf, in words for `/readyz`; empty when it is not."""

    def start(self, events: BusEvents) -> None:
        """Tell `events` from now on; call once, before `run`."""

    async def run(self) -> None:
        """Live until cancelled: connect, keep the lease, listen."""

    def register(self, user: UserId, session: SessionId, shown: Shown | None = ACTIVE) -> None:
        """The session is connected here: frames for the user come here from now on.

        Presence counts it, as `shown` says; None: not yet. Called again it says something else of the same session.
        """

    def when_registered(self, user: UserId, session: SessionId, then: Callable[[], None]) -> None:
        """Call `then` once: as soon as frames routed from then on reach the session, which has been registered before.

        At once where that cannot be had now; all is well again then only after a `repair`, which tells what was missed.
        """

    def unregister(self, user: UserId, session: SessionId, departure: Departure = Departure.LOST) -> None:
        """The session is gone; presence counts the user as gone when the departure's grace is over."""

    def route(self, users: Sequence[UserId], frame: bytes, key: Key | None = None) -> None:
        """Hand `frame` to the connections of `users` on other nodes."""

    def batch_ended(self, route_id: int) -> None:
        """The durable frames since the last call belong to the commit `route_id`; `routed` says when they are out."""

    def announce(self, notice: Notice) -> None:
        """Tell every other node; it travels with the durable frames, counted like them."""

    async def watch(self, users: Sequence[UserId]) -> Sequence[Presence]:
        """Be told of these users, too, and read how they are now (`unknown` while the directory is away)."""

    def unwatch(self, users: Sequence[UserId]) -> None:
        """Be told of these users no more."""

    async def presence_of(self, users: Sequence[UserId]) -> Sequence[Presence]:
        """Read how these users are, each once (`unknown` while the directory is away), and watch nobody."""

    async def close(self) -> None:
        """Leave in good order: unregister everybody, give up the lease."""
