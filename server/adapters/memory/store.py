"""The store in plain dictionaries: for development, tests, and whoever needs nothing kept. Bounded by memory only.

Every method runs from start to end without awaiting, so that what runs in one event loop sees all or nothing of it.
"""

from collections.abc import Mapping, Sequence

from protocol.calls import CallEntry, CallId
from protocol.from_server import Entry, ReceiptMoved, SyncedMatch
from protocol.ids import MatchId, Micros, Ordinal, Seq, UserId
from protocol.limits import PAGE_MAX_BYTES
from server.adapters.memory.calls import CallBook
from server.adapters.memory.match import MatchLog
from server.adapters.memory.people import PeopleBook
from server.core.calls import (
    DEFAULT_SETTINGS,
    STALE,
    CallChange,
    CallChanged,
    CallNote,
    CallRow,
    CallRows,
    CallSettings,
    CallsPage,
    CallStale,
    CallView,
    OrphanedCalls,
    entry_of,
    row_changed,
)
from server.core.log import (
    CONFLICT,
    NO_SUCH_REPLY,
    NOT_FOUND,
    NOT_MEMBER,
    UNSTORABLE,
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
from server.core.pages import DEDUP_US, END, Budget, can_be_stored, cut_page, is_storable
from server.core.people import (
    BLOCKED,
    TOO_MANY_BLOCKS,
    Arrivals,
    Person,
    PresenceWish,
    PrivateReadSet,
    Unread,
    apart_from,
    author_of,
    is_counted,
    is_cut,
    not_shown_to,
)
from server.core.revocations import Revocation, RevocationPage, joined
from server.ports import Clock, StoreUnavailable


class MemoryStore:
    """The `Store`, `Calls` and `Revocations` ports in memory."""

    __slots__ = (
        "_calls",
        "_clock",
        "_epoch",
        "_is_closed",
        "_matches",
        "_matches_of",
        "_people",
        "_revocations",
        "_revoked",
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch = clock.random_id()
        self._is_closed = False
        self._calls = CallBook()
        self._matches: dict[MatchId, MatchLog] = {}
        # The matches that a user is in now.
        self._matches_of: dict[UserId, dict[MatchId, MatchLog]] = {}
        self._people = PeopleBook()
        # By what they name, in the order in which they were kept last; each with its place in it.
        self._revocations: dict[tuple[UserId, str | None], tuple[int, Revocation]] = {}
        self._revoked = 0

    @property
    def epoch(self) -> str:
        """Another one for each process: nothing outlives it."""
        return self._epoch

    # ---- writes

    async def append(self, batch: Sequence[Append]) -> Sequence[Appended | Refused]:
        """Store messages in this order."""
        self._check_open()
        now = self._clock.micros()
        return [self._append(append, now) for append in batch]

    def _append(self, append: Append, now: Micros) -> Appended | Refused:
        match = self._matches.get(append.match)
        if not can_be_stored(append):
            return UNSTORABLE
        if match is None:
            return NOT_MEMBER
        membership = match.present(append.sender)
        first = match.sent.get((append.sender, append.client_id))
        if first is not None and first.created_at >= now - DEDUP_US:
            if first.body == append.body and first.reply_to == append.reply_to:
                return Appended(first, match.members, duplicate=True)
            return CONFLICT if membership else NOT_MEMBER
        if membership is None:
            return NOT_MEMBER
        pairs = self._people.pairs(match.members)
        if is_cut(match.members, pairs):
            return BLOCKED
        if append.reply_to is not None and not match.can_reply(membership, append.reply_to):
            return NO_SUCH_REPLY
        message = match.add_message(append, membership, now)
        return Appended(message, match.members, False, not_shown_to(match.members, pairs, append.sender))

    async def set_members(self, match: MatchId, members: tuple[UserId, ...]) -> MembersSet | Refused:
        """Make, change or end a match."""
        self._check_open()
        if not all(map(is_storable, (match, *members))):
            return UNSTORABLE
        wanted = tuple(sorted(set(members)))
        log = self._matches.get(match)
        if wanted == (log.members if log else ()):
            return MembersSet(match, wanted, None, made=False, joined=())
        if log is None:
            log = self._matches[match] = MatchLog(match)
        made = not log.members
        entry = log.change_members(wanted, self._clock.micros())
        for user in entry.joined:
            self._matches_of.setdefault(user, {})[match] = log
        for user in entry.left:
            self._forget(user, match)
        return MembersSet(match, wanted, entry, made, tuple((user, log.summary(user)) for user in entry.joined))

    def _forget(self, user: UserId, match: MatchId) -> None:
        matches = self._matches_of[user]
        del matches[match]
        if not matches:
            del self._matches_of[user]

    async def mark(self, batch: Sequence[Mark]) -> Sequence[Marked | None]:
        """Move members' cursors forward."""
        self._check_open()
        return [self._mark(mark) for mark in batch]

    def _mark(self, mark: Mark) -> Marked | None:
        match = self._matches.get(mark.match)
        membership = match.present(mark.user) if match else None
        if match is None or membership is None:
            return None
        read = Seq(max(membership.read, min(mark.read, match.last_seq)))
        delivered = Seq(max(membership.delivered, min(mark.delivered, match.last_seq), read))
        if (delivered, read) == (membership.delivered, membership.read):
            return None
        membership.delivered, membership.read = delivered, read
        shown = None if membership.private_from is None else match.shown(mark.user)
        return Marked(match.receipt(mark.user), match.members, self._apart(match, mark.user), shown)

    def _apart(self, match: MatchLog, user: UserId) -> tuple[UserId, ...]:
        return apart_from(self._people.pairs(match.members), user)

    async def set_private_read(self, match: MatchId, user: UserId, *, is_on: bool) -> PrivateReadSet | None:
        """Show the others no more, or again, how far the member reads."""
        self._check_open()
        log = self._matches.get(match)
        membership = log.present(user) if log else None
        if log is None or membership is None:
            return None
        membership.private_from = membership.shown_read if is_on else None
        return PrivateReadSet(log.shown(user), log.members, self._apart(log, user))

    # ---- people

    async def people(self, users: Sequence[UserId]) -> Sequence[Person]:
        """Read what is kept of each user."""
        self._check_open()
        return [self._people.person(user) for user in users]

    async def arriving(self, users: Sequence[UserId], limit: int) -> Arrivals:
        """Read what users who connect are told."""
        return Arrivals(await self.welcome(users, limit), await self.people(users), await self.live_calls(users))

    async def set_block(self, user: UserId, other: UserId, *, is_on: bool) -> bool | Refused:
        """Block, or take it back."""
        self._check_open()
        if not (is_storable(user) and is_storable(other)):
            return UNSTORABLE
        if is_on and self._people.is_full(user, other):
            return TOO_MANY_BLOCKS
        return self._people.set_block(user, other, is_on=is_on)

    async def hidden_unread(self, user: UserId, among: Sequence[Unread]) -> Mapping[MatchId, int]:
        """Count unread messages and missed calls of those whom the user blocked."""
        self._check_open()
        blocked = self._people.person(user).blocked
        counts: dict[MatchId, int] = {}
        for each in among:
            log = self._matches.get(each.match)
            unread = log.entries[each.read : each.last] if log else ()
            counts[each.match] = sum(is_counted(entry) and author_of(entry) in blocked for entry in unread)
        return {name: count for name, count in counts.items() if count}

    async def set_presence(self, user: UserId, wish: PresenceWish) -> Person | Refused:
        """Change how the user is shown."""
        self._check_open()
        if not (is_storable(user) and is_storable(wish.text or "")):
            return UNSTORABLE
        return self._people.set_presence(user, wish, self._clock.micros())

    # ---- reads

    async def match(self, match: MatchId) -> MatchState | None:
        """Read a match as the backend sees it."""
        self._check_open()
        log = self._matches.get(match)
        return log.state() if log else None

    async def members(self, matches: Sequence[MatchId]) -> Sequence[tuple[UserId, ...]]:
        """Read the present members of each match."""
        self._check_open()
        logs = (self._matches.get(match) for match in matches)
        return [log.members if log else () for log in logs]

    async def partners(self, user: UserId, among: Sequence[UserId]) -> frozenset[UserId]:
        """Tell who of `among` shares a present match with `user`."""
        self._check_open()
        mine = self._matches_of.get(user, {})
        return frozenset(other for other in among if not mine.keys().isdisjoint(self._matches_of.get(other, ())))

    async def welcome(self, users: Sequence[UserId], limit: int) -> Sequence[SummaryPage]:
        """Read the newest `limit` matches of each user."""
        self._check_open()
        return [self._summaries(user, END, limit) for user in users]

    async def summaries(self, user: UserId, before: Micros | None, limit: int) -> SummaryPage:
        """Read one page of the user's matches."""
        self._check_open()
        return self._summaries(user, END if before is None else before, limit)

    def _summaries(self, user: UserId, before: Micros, limit: int) -> SummaryPage:
        older = [log for log in self._matches_of.get(user, {}).values() if log.last_at < before]
        older.sort(key=lambda log: (-log.last_at, log.match))
        end = limit
        while 0 < end < len(older) and older[end].last_at == older[end - 1].last_at:
            end += 1
        return SummaryPage(tuple(log.summary(user) for log in older[:end]), complete=end >= len(older))

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
        """Read a page of entries."""
        self._check_open()
        log = self._matches.get(match)
        membership = log.memberships.get(viewer) if log and viewer is not None else None
        if log is None or (viewer is not None and membership is None):
            return NOT_FOUND if viewer is None else NOT_MEMBER
        found = log.between(membership, before, after)
        return cut_page(filter(self._is_shown, found) if folded else found, limit, Budget(PAGE_MAX_BYTES))

    def _is_shown(self, entry: Entry) -> bool:
        return not isinstance(entry, CallEntry) or self._calls.is_newest(entry)

    async def sync(self, user: UserId, cursors: Cursors, *, entries: int, budget_bytes: int) -> SyncResult:
        """Read what came after each cursor."""
        self._check_open()
        budget = Budget(budget_bytes)
        matches: dict[MatchId, SyncedMatch] = {}
        receipts: list[ReceiptMoved] = []
        for match, cursor in cursors.items():
            log = self._matches.get(match)
            if log is None or user not in log.memberships:
                continue
            matches[match] = synced = log.synced(log.memberships[user], cursor, entries, budget)
            if not synced.left:
                receipts.extend(log.receipts(user))
        return SyncResult(matches, tuple(receipts))

    # ---- calls

    async def change_call(self, change: CallChange) -> CallChanged | CallStale:
        """Make or change a call, and tell of it in the log."""
        self._check_open()
        log = self._matches.get(change.match)
        repeated = self._calls.made_before(change)
        if log is not None and repeated:
            return CallChanged(row_changed(change), None if repeated is True else repeated, log.members)
        if log is None or change.members not in (None, log.members):
            return STALE
        if change.blocks not in (None, len(self._people.pairs(log.members))):
            return STALE
        if self._calls.is_stale(change):
            return STALE
        entry = self._add_call_entry(log, change.note, change) if change.note else None
        self._calls.make(change, entry)
        return CallChanged(row_changed(change), entry, log.members)

    def _add_call_entry(self, log: MatchLog, note: CallNote, change: CallChange) -> CallEntry:
        before = log.messages
        n = Ordinal(before + change.is_missed)
        seq, at = Seq(log.last_seq + 1), log.time_after(self._clock.micros())
        entry = entry_of(log.match, (seq, at, n), note)
        caller = log.present(change.caller)
        log.add(entry, n)
        if change.is_missed and caller is not None and log.counts[caller.read - 1] == before:
            caller.delivered = caller.read = seq
        return entry

    async def call_view(
        self, *, call: CallId | None = None, match: MatchId | None = None, caller: UserId | None, since_us: int
    ) -> CallView:
        """Read a call and what a decision about it needs."""
        self._check_open()
        now = self._clock.micros()
        row = self._calls.row(call) if call is not None else self._calls.newest(match) if match is not None else None
        name = row.match if row is not None else match if call is None else None
        log = self._matches.get(name) if name is not None else None
        if log is None:
            return CallView(now, None, None, (), (), {}, {}, 0)
        seats = {user: self._calls.seat(user) for user in log.members}
        return CallView(
            now=now,
            match=log.match,
            row=row,
            members=log.members,
            blocks=self._people.pairs(log.members),
            settings={user: set_ for user in log.members if (set_ := self._calls.settings(user))},
            in_call={user: seat for user, seat in seats.items() if seat is not None},
            unanswered=self._calls.unanswered(log.match, caller, now - since_us),
        )

    async def live_calls(self, users: Sequence[UserId]) -> Sequence[tuple[CallRow, ...]]:
        """Read the live calls of the users' matches."""
        self._check_open()
        return [self._calls.live_of(self._matches_of.get(user, ())) for user in users]

    async def claim_due_calls(self, claim_us: int, limit: int) -> CallRows:
        """Take over calls whose deadline has passed."""
        self._check_open()
        now = self._clock.micros()
        return CallRows(now, self._calls.claim_due(now, claim_us, limit))

    async def orphaned_calls(self, node: str, silent_us: int, limit: int) -> OrphanedCalls:
        """Read calls with seats on dead nodes."""
        self._check_open()
        now = self._clock.micros()
        return OrphanedCalls(now, self._calls.orphaned(node, now, silent_us, limit))

    async def list_calls(
        self, *, user: UserId | None, match: MatchId | None, before: CallId | None, limit: int
    ) -> CallsPage:
        """Read a page of calls."""
        self._check_open()
        return self._calls.page(user, match, before, limit)

    async def set_call_settings(self, user: UserId, settings: CallSettings) -> None:
        """Keep how the user wants to be called."""
        self._check_open()
        self._calls.set_settings(user, settings)

    async def call_settings(self, user: UserId) -> CallSettings:
        """Read how the user wants to be called."""
        self._check_open()
        return self._calls.settings(user) or DEFAULT_SETTINGS

    # ---- revocations

    async def revoke(self, revocation: Revocation) -> None:
        """Keep a revocation; those that hold no longer are dropped."""
        self._check_open()
        now, name = self._clock.micros(), (revocation.user, revocation.token_id)
        _, known = self._revocations.pop(name, (0, None))
        self._revocations = {key: kept for key, kept in self._revocations.items() if kept[1].until > now}
        self._revoked += 1
        self._revocations[name] = (self._revoked, joined(known, revocation))

    async def revocations(self, position: int) -> RevocationPage:
        """Read what was kept after `position`."""
        self._check_open()
        found = tuple(kept for place, kept in self._revocations.values() if place > position)
        return RevocationPage(found, self._revoked)

    async def check(self) -> None:
        """There is nothing that could fail while it is open."""
        self._check_open()

    async def close(self) -> None:
        """Refuse later calls."""
        self._is_closed = True

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
