"""Reads of the PostgreSQL store: each is one call of a function there, one round trip, one snapshot.

A lost connection is tried again once, because nothing can have happened. The replica answers pages and summaries that
are certainly not older than what this node and the asking client know; everything else is the primary's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

import asyncpg

from protocol.from_server import Entry, MatchSummary, Member, ReceiptMoved, SyncedMatch
from protocol.ids import MatchId, Micros, Seq, UserId
from protocol.limits import PAGE_MAX_BYTES
from server.adapters.postgres.connections import Connections, Rows
from server.adapters.postgres.errors import ERRORS
from server.adapters.postgres.known import Known
from server.adapters.postgres.people import HIDDEN_UNREAD, PEOPLE, person_of
from server.adapters.postgres.statements import read
from server.adapters.sqlite.rows import entry_of_row
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
from server.ports import StoreUnavailable

MATCH: Final = "SELECT * FROM duologue.match_state($1)"
MEMBERS: Final = "SELECT * FROM duologue.members_of($1)"
PARTNERS: Final = "SELECT * FROM duologue.partners($1, $2)"
HISTORY: Final = "SELECT * FROM duologue.history($1, $2, $3, $4, $5, $6, $7, $8, $9)"
SYNC: Final = "SELECT * FROM duologue.sync($1, $2, $3, $4, $5, $6)"
SUMMARIES: Final = "SELECT * FROM duologue.summaries($1, $2, $3, $4, $5)"

_BEHIND: Final = 1
_MISSING: Final = 2
_NO_CURSOR: Final = -1
# Who wrote an entry that nobody wrote.
_NOBODY: Final = UserId("")
_place: Final = itemgetter("place")


class Reader:
    """Reads from the primary and, where that is safe, from a replica."""

    __slots__ = ("_known", "_primary", "_replica", "from_replica")

    def __init__(self, primary: Connections, replica: Connections | None, known: Known | None) -> None:
        self._primary = primary
        self._replica = replica
        self._known = known
        # Answers that came from the replica, so far.
        self.from_replica = 0

    async def match(self, match: MatchId) -> MatchState | None:
        """Read a match as the backend sees it."""
        rows = await read(self._primary, MATCH, match) if is_storable(match) else ()
        for last_seq, last_at, messages, users in rows:
            self._saw(match, last_seq)
            return MatchState(match, tuple(users), last_seq, last_at, messages)
        return None

    async def members(self, matches: Sequence[MatchId]) -> list[tuple[UserId, ...]]:
        """Read the present members of each match."""
        rows = await read(self._primary, MEMBERS, [match if is_storable(match) else "" for match in matches])
        found = {place: tuple(users) for place, users in rows}
        return [found.get(place, ()) for place in range(1, len(matches) + 1)]

    async def partners(self, user: UserId, among: Sequence[UserId]) -> frozenset[UserId]:
        """Tell who of `among` shares a present match with `user`."""
        known = [other for other in among if is_storable(other)]
        if not known or not is_storable(user):
            return frozenset()
        return frozenset(other for (other,) in await read(self._primary, PARTNERS, user, known))

    async def people(self, users: Sequence[UserId]) -> list[Person]:
        """Read what is kept of each user."""
        rows = await read(self._primary, PEOPLE, [user if is_storable(user) else "" for user in users])
        return list(map(person_of, rows))

    async def hidden_unread(self, user: UserId, among: Sequence[Unread]) -> Mapping[MatchId, int]:
        """Count unread messages and missed calls of those whom the user blocked."""
        known = [each for each in among if is_storable(each.match)]
        if not known or not is_storable(user):
            return {}
        places = zip(*((each.match, each.read, each.last) for each in known), strict=True)
        counts = await read(self._primary, HIDDEN_UNREAD, user, *map(list, places))
        return {MatchId(match): amount for match, amount in counts}

    # ---- summaries

    async def summaries(self, users: Sequence[UserId], before: Micros, limit: int) -> list[SummaryPage]:
        """Read one page of matches for each of `users`."""
        wanted = [user if is_storable(user) else "" for user in users]
        rows = await self._summaries_of_replica(wanted, bounded(before), limit)
        if rows is None:
            rows = await read(self._primary, SUMMARIES, wanted, bounded(before), limit, [], [])
            self._learn(users, rows)
        pages = {place: _summary_page(group, users[place - 1]) for place, group in groupby(rows, _place)}
        nothing = SummaryPage((), complete=True)
        return [pages.get(place, nothing) for place in range(1, len(users) + 1)]

    async def _summaries_of_replica(self, users: Sequence[str], before: Micros, limit: int) -> Rows | None:
        """Ask the replica, when all the matches of all the users are known; None when its answer may be too old."""
        if self._replica is None or self._known is None:
            return None
        changes: dict[MatchId, Seq] = {}
        for user in users:
            changed = self._known.changes_of(UserId(user))
            if changed is None:
                return None
            changes |= changed
        rows = await self._ask_replica(SUMMARIES, users, before, limit, list(changes), list(changes.values()))
        if rows is None or not all(self._is_new_enough(row) for row in rows):
            return None
        self.from_replica += 1
        return rows

    def _is_new_enough(self, row: asyncpg.Record) -> bool:
        known = self._known.seq(row["match_id"]) if self._known and row["place"] else None
        return known is not None and bool(row["last_seq"] >= known)

    def _learn(self, users: Iterable[UserId], rows: Rows) -> None:
        if self._known is None:
            return
        for row in rows:
            self._known.saw(row["match_id"], row["last_seq"])
        for user in users:
            self._known.read_matches_of(user)

    # ---- entries

    async def history(
        self,
        match: MatchId,
        viewer: UserId | None,
        between: tuple[Micros | None, Micros | None],
        limit: int,
        *,
        folded: bool,
    ) -> EntryPage | Refused:
        """Read a page of entries."""
        missing = NOT_FOUND if viewer is None else NOT_MEMBER
        if not is_storable(match) or (viewer is not None and not is_storable(viewer)):
            return missing
        before, after = (None if at is None else bounded(at) for at in between)
        arguments = (match, viewer, before, after, limit, PAGE_MAX_BYTES)
        row = await self._page_of_replica(arguments, match, max(before or 0, after or 0), folded=folded)
        if row is None:
            (row,) = await read(self._primary, HISTORY, *arguments, 0, 0, folded)
            self._saw(match, row["last_seq"])
        if row["status"] == _MISSING:
            return missing
        return cut_page(_entries(match, row), limit, Budget(PAGE_MAX_BYTES))

    async def _page_of_replica(
        self, arguments: tuple[object, ...], match: MatchId, known_at: int, *, folded: bool
    ) -> asyncpg.Record | None:
        """Ask the replica for a page that has what this node knows and what the client's cursor names."""
        known_seq = self._known.seq(match) if self._known else None
        if known_seq is None:
            return None
        rows = await self._ask_replica(HISTORY, *arguments, known_seq, known_at, folded)
        if rows is None or rows[0]["status"] == _BEHIND:
            return None
        self.from_replica += 1
        return rows[0]

    async def sync(self, user: UserId, cursors: Cursors, entries: int, budget_bytes: int) -> SyncResult:
        """Read what came after each cursor; from the primary, because live pushes follow on it."""
        asked = [match for match in cursors if is_storable(match)] if is_storable(user) else []
        if not asked:
            return SyncResult({}, ())
        places = [cursors[match] for match in asked]
        known = [cursor == (0, 0) or is_cursor(*cursor) for cursor in places]
        seqs = [seq if is_known else _NO_CURSOR for (seq, _), is_known in zip(places, known, strict=True)]
        times = [at if is_known else _NO_CURSOR for (_, at), is_known in zip(places, known, strict=True)]
        rows = await read(self._primary, SYNC, user, asked, seqs, times, entries, budget_bytes)
        budget = Budget(budget_bytes)
        matches: dict[MatchId, SyncedMatch] = {}
        receipts: list[ReceiptMoved] = []
        for row in rows:
            match = asked[row["place"] - 1]
            self._saw(match, row["last_seq"])
            matches[match] = _synced(match, row, entries, budget)
            receipts.extend(ReceiptMoved(match, m.user, m.delivered, m.read) for m in _members(row, user))
        return SyncResult(matches, tuple(receipts))

    # ---- ways to read

    def _saw(self, match: MatchId, seq: Seq) -> None:
        if self._known is not None:
            self._known.saw(match, seq)

    async def _ask_replica(self, statement: str, *arguments: object) -> Rows | None:
        """Ask the replica; None when there is none or it does not answer, which is no reason to refuse."""
        if self._replica is None:
            return None
        try:
            return await self._replica.fetch(statement, *arguments)
        except (*ERRORS, StoreUnavailable):
            return None


def _entries(match: MatchId, page: asyncpg.Record) -> Iterator[Entry]:
    if page["seqs"] is None:
        return
    names: dict[int, UserId] = dict(zip(page["slots"] or (), page["names"] or (), strict=True))
    for seq, at, n, kind, sender, client_id, reply_to, body in zip(
        *(page[name] for name in ("seqs", "times", "counts", "kinds", "senders", "client_ids", "reply_tos", "bodies")),
        strict=True,
    ):
        yield entry_of_row(match, (seq, at, n, kind, names.get(sender, _NOBODY), client_id, reply_to, body))


def _synced(match: MatchId, row: asyncpg.Record, limit: int, budget: Budget) -> SyncedMatch:
    if row["is_reset"]:
        return SyncedMatch((), complete=True, reset=True, left=row["is_left"])
    page = cut_page(_entries(match, row), limit, budget)
    return SyncedMatch(page.entries, page.complete, left=row["is_left"])


def _summary_page(group: Iterator[asyncpg.Record], user: UserId) -> SummaryPage:
    rows = list(group)
    return SummaryPage(tuple(_summary(row, user) for row in rows), complete=len(rows) == rows[0]["total"])


def _members(row: asyncpg.Record, viewer: UserId) -> Iterator[Member]:
    """Read the members' cursors; who reads in private has more than the others are shown."""
    for user, delivered, shown in zip(row["users"] or (), row["delivered"] or (), row["reads"] or (), strict=True):
        yield Member(user, delivered, max(shown, row["own_read"] or 0) if user == viewer else shown)


def _summary(row: asyncpg.Record, user: UserId) -> MatchSummary:
    match, seq, at = row["match_id"], row["last_seq"], row["last_at"]
    members = tuple(_members(row, user))
    columns = (row[name] for name in ("n", "kind", "sender", "client_id", "reply_to", "body"))
    n, kind, sender, client_id, reply_to, body = columns
    last = entry_of_row(match, (seq, at, n, kind, sender, client_id, reply_to, body))
    return MatchSummary(match, members, seq, at, row["unread"], last, row["own_read"] is not None)
