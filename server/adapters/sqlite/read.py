"""What a reader thread of the embedded store does: each answer from one snapshot."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeVar

from protocol.calls import CallId
from protocol.from_server import Entry, MatchSummary, Member, ReceiptMoved, SyncedMatch
from protocol.ids import Cursor, MatchId, Micros, Seq, UserId
from protocol.limits import PAGE_MAX_BYTES
from server.adapters.sqlite import people
from server.adapters.sqlite.calls import CallReader
from server.adapters.sqlite.rows import entry_of_row, json_list
from server.adapters.sqlite.statements import SQL
from server.core.calls import CallRow, CallSettings, CallsPage, CallView
from server.core.log import (
    NOT_FOUND,
    NOT_MEMBER,
    Cursors,
    EntryPage,
    MatchState,
    Refused,
    SummaryPage,
    SyncResult,
)
from server.core.pages import Budget, bounded, cut_page, is_cursor, is_storable
from server.core.people import Person, Unread
from server.core.revocations import Revocation, RevocationPage

R = TypeVar("R")
# last_at, match_id, match_no, last_seq, unread, user, and how far this user has read, of one who reads in private
_MatchRow = tuple[Micros, MatchId, int, Seq, int, UserId, Seq | None]
_first: Final = itemgetter(0)


class _Span:
    """What a viewer may see of a match: the entries from `first_at` to `last_at`, both included."""

    __slots__ = ("first_at", "last_at", "left", "match", "match_no", "own_read")

    def __init__(self, match: MatchId, row: tuple[int, int, Micros, Micros, Seq | None]) -> None:
        self.match = match
        self.match_no, left, self.first_at, self.last_at, self.own_read = row
        self.left = bool(left)


class Reader:
    """Reads on one connection; lives in one thread."""

    __slots__ = ("_calls", "_connection", "_execute")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # Each call has a cursor of its own: pages are read while others are open.
        self._execute = connection.execute
        self._calls = CallReader(connection.execute)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def match(self, name: MatchId) -> MatchState | None:
        """Read a match as the backend sees it."""
        return self._in_snapshot(lambda: self._state(name))

    def _state(self, name: MatchId) -> MatchState | None:
        row = self._execute(SQL["find_match"], (name,)).fetchone() if is_storable(name) else None
        if row is None:
            return None
        _, last_seq, last_at, messages = row
        return MatchState(name, self._members(name), last_seq, last_at, messages)

    def members(self, matches: Sequence[MatchId]) -> list[tuple[UserId, ...]]:
        """Read the present members of each match."""
        return self._in_snapshot(lambda: [self._members(match) for match in matches])

    def _members(self, match: MatchId) -> tuple[UserId, ...]:
        if not is_storable(match):
            return ()
        return tuple(sorted(user for (user,) in self._execute(SQL["members_of_match"], (match,))))

    def partners(self, user: UserId, among: Sequence[UserId]) -> frozenset[UserId]:
        """Tell who of `among` shares a present match with `user`."""
        if not is_storable(user):
            return frozenset()
        known = json_list([other for other in among if is_storable(other)])
        rows = self._execute(SQL["partners"], {"user": user, "among": known})
        return frozenset(other for (other,) in rows)

    # ---- summaries

    def summaries(self, users: Sequence[UserId], before: Micros, limit: int) -> list[SummaryPage]:
        """Read one page of matches for each of `users`."""
        return self._in_snapshot(lambda: self._summaries(users, before, limit))

    def _summaries(self, users: Sequence[UserId], before: Micros, limit: int) -> list[SummaryPage]:
        wanted = json_list([user if is_storable(user) else "" for user in users])
        rows = self._execute(SQL["matches_of_users"], {"users": wanted, "before": bounded(before)})
        pages = {place: _cut_matches(group, limit) for place, group in groupby(rows, _first)}
        numbers = json_list(list({row[2]: None for chosen, _ in pages.values() for row in chosen}))
        members, last = self._members_of(numbers), self._last_of(numbers)
        empty: tuple[list[_MatchRow], bool] = ([], True)
        return [
            SummaryPage(tuple(_summary(row, members, last) for row in chosen), complete)
            for chosen, complete in (pages.get(place, empty) for place in range(len(users)))
        ]

    def _members_of(self, numbers: str) -> dict[int, tuple[Member, ...]]:
        rows = self._execute(SQL["members_of_matches"], (numbers,)).fetchall()
        rows.sort()
        return {
            match_no: tuple(Member(user, delivered, read) for _, user, delivered, read in group)
            for match_no, group in groupby(rows, _first)
        }

    def _last_of(self, numbers: str) -> dict[int, Entry]:
        rows = self._execute(SQL["last_entries"], (numbers,))
        return {match_no: entry_of_row(match, row) for match_no, match, *row in rows}

    # ---- entries

    def history(
        self,
        match: MatchId,
        viewer: UserId | None,
        between: tuple[Micros | None, Micros | None],
        limit: int,
        *,
        folded: bool,
    ) -> EntryPage | Refused:
        """Read a page of entries."""
        return self._in_snapshot(lambda: self._history(match, viewer, between, limit, "_folded" if folded else ""))

    def _history(
        self,
        match: MatchId,
        viewer: UserId | None,
        between: tuple[Micros | None, Micros | None],
        limit: int,
        form: str,
    ) -> EntryPage | Refused:
        span = self._span(match, viewer)
        if span is None:
            return NOT_FOUND if viewer is None else NOT_MEMBER
        before, after = between
        if before is not None:
            span.last_at = Micros(min(span.last_at, bounded(before) - 1))
        if after is not None:
            span.first_at = Micros(max(span.first_at, bounded(after) + 1))
        entries = self._entries(span, limit, SQL[f"entries_{'down' if after is None else 'up'}{form}"])
        return cut_page(entries, limit, Budget(PAGE_MAX_BYTES))

    def sync(self, user: UserId, cursors: Cursors, entries: int, budget_bytes: int) -> SyncResult:
        """Read what came after each cursor."""
        return self._in_snapshot(lambda: self._sync(user, cursors, entries, Budget(budget_bytes)))

    def _sync(self, user: UserId, cursors: Cursors, limit: int, budget: Budget) -> SyncResult:
        matches: dict[MatchId, SyncedMatch] = {}
        receipts: list[ReceiptMoved] = []
        for match, cursor in cursors.items():
            span = self._span(match, user)
            if span is None:
                continue
            matches[match] = self._synced(span, cursor, limit, budget)
            if not span.left:
                rows = self._execute(SQL["receipts_of_match"], (span.match_no,))
                for other, delivered, read in rows:
                    own_read = span.own_read if other == user else None
                    receipts.append(ReceiptMoved(match, other, delivered, max(read, own_read or 0)))
        return SyncResult(matches, tuple(receipts))

    def _synced(self, span: _Span, cursor: Cursor, limit: int, budget: Budget) -> SyncedMatch:
        seq, at = cursor
        if (seq, at) != (0, 0):
            if not self._is_visible(span, seq, at):
                return SyncedMatch((), complete=True, reset=True, left=span.left)
            span.first_at = Micros(at + 1)
        page = cut_page(self._entries(span, limit, SQL["entries_up"]), limit, budget)
        return SyncedMatch(page.entries, page.complete, left=span.left)

    def _is_visible(self, span: _Span, seq: Seq, at: Micros) -> bool:
        if not (is_cursor(seq, at) and span.first_at <= at <= span.last_at):
            return False
        return bool(self._execute(SQL["seq_at"], (span.match_no, at)).fetchone() == (seq,))

    def _entries(self, span: _Span, limit: int, statement: str) -> Iterator[Entry]:
        """Read one entry more than `limit`, so that the page knows whether it is complete."""
        rows = self._execute(statement, (span.match_no, span.first_at, span.last_at, limit + 1))
        return (entry_of_row(span.match, row) for row in rows)

    def _span(self, match: MatchId, viewer: UserId | None) -> _Span | None:
        if not is_storable(match) or (viewer is not None and not is_storable(viewer)):
            return None
        if viewer is None:
            row = self._execute(SQL["span_of_match"], (match,)).fetchone()
        else:
            row = self._execute(SQL["span_of_member"], {"match": match, "user": viewer}).fetchone()
        return _Span(match, row) if row else None

    # ---- calls

    def call_view(
        self, call: CallId | None, match: MatchId | None, caller: UserId | None, now: Micros, since_us: int
    ) -> CallView:
        """Read a call and what a decision about it needs."""
        return self._in_snapshot(lambda: self._calls.view(call, match, caller, now, since_us))

    def live_calls(self, users: Sequence[UserId]) -> list[tuple[CallRow, ...]]:
        """Read the live calls of the users' matches."""
        return self._in_snapshot(lambda: self._calls.live(users))

    def list_calls(self, user: UserId | None, match: MatchId | None, before: CallId | None, limit: int) -> CallsPage:
        """Read a page of calls."""
        return self._calls.page(user, match, before, limit)

    def call_settings(self, user: UserId) -> CallSettings:
        """Read how the user wants to be called."""
        return self._calls.settings(user)

    # ---- people

    def people(self, users: Sequence[UserId]) -> list[Person]:
        """Read what is kept of each user."""
        return self._in_snapshot(lambda: people.people(self._execute, users))

    def hidden_unread(self, user: UserId, among: Sequence[Unread]) -> Mapping[MatchId, int]:
        """Count unread messages and missed calls of those whom the user blocked."""
        return people.hidden_unread(self._execute, user, among) if is_storable(user) else {}

    # ---- revocations

    def revocations(self, position: int) -> RevocationPage:
        """Read what was kept after `position`."""
        rows = self._execute(SQL["revocations"], (position,)).fetchall()
        found = tuple(Revocation(user, token_id or None, before, until) for _, user, token_id, before, until in rows)
        return RevocationPage(found, rows[-1][0] if rows else position)

    def _in_snapshot(self, read: Callable[[], R]) -> R:
        """Let every statement of `read` see the same commits."""
        self._execute("BEGIN")
        try:
            return read()
        finally:
            self._execute("ROLLBACK")


def _cut_matches(group: Iterator[tuple[int, *_MatchRow]], limit: int) -> tuple[list[_MatchRow], bool]:
    """Take the newest `limit` matches, and those of the same microsecond as the last of them."""
    chosen: list[_MatchRow] = []
    for _, last_at, match, match_no, last_seq, unread, user, own_read in group:
        if len(chosen) >= limit and not (chosen and chosen[-1][0] == last_at):
            return chosen, False
        chosen.append((last_at, match, match_no, last_seq, unread, user, own_read))
    return chosen, True


def _summary(row: _MatchRow, members: dict[int, tuple[Member, ...]], last: dict[int, Entry]) -> MatchSummary:
    last_at, match, match_no, last_seq, unread, user, own_read = row
    seen = members[match_no]
    if own_read is not None:  # The others are shown less than the member's own devices.
        seen = tuple(Member(m.user, m.delivered, max(m.read, own_read)) if m.user == user else m for m in seen)
    return MatchSummary(match, seen, last_seq, last_at, unread, last[match_no], own_read is not None)
