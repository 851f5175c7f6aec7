"""Writes of the PostgreSQL store: each is one call of a function there, one round trip, one transaction.

Guarantees: a row that the database will not hold refuses itself alone; a missing month is made; a deadlock is tried
again; whatever may have been stored is said to be, so that the caller repeats the same batch.
"""

from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from protocol.from_server import MatchSummary, Member, MembersChanged, Message, ReceiptMoved
from protocol.ids import MatchId, Micros, Ordinal, Seq, UserId
from protocol.limits import BLOCKS_MAX
from server.adapters.postgres.connections import Connections, Rows
from server.adapters.postgres.people import OwnShown, own_shown
from server.adapters.postgres.statements import PARTITIONS, RowRefused, write
from server.core.log import (
    CONFLICT,
    NO_SUCH_REPLY,
    NOT_MEMBER,
    UNSTORABLE,
    Append,
    Appended,
    Mark,
    Marked,
    MembersSet,
    Refused,
)
from server.core.pages import DEDUP_US, END, can_be_stored, is_storable
from server.core.people import (
    BLOCKED,
    TOO_MANY_BLOCKS,
    Pair,
    PresenceWish,
    PrivateReadSet,
    apart_from,
    not_shown_to,
)
from server.ports import StoreUnavailable

APPEND: Final = "SELECT * FROM duologue.append($1, $2, $3, $4, $5, $6, $7, $8)"
SET_MEMBERS: Final = "SELECT * FROM duologue.set_members($1, $2, $3, $4)"
MARK: Final = "SELECT * FROM duologue.mark($1, $2, $3, $4)"
PRIVATE_READ: Final = "SELECT * FROM duologue.set_private_read($1, $2, $3)"
BLOCK: Final = "SELECT duologue.block($1, $2, $3, $4)"
SET_PRESENCE: Final = "SELECT * FROM duologue.set_presence($1, $2, $3, $4, $5)"

_DUPLICATE: Final = 1
# By the codes of duologue.append; the first two are no refusals.
_REFUSALS: Final = (UNSTORABLE, UNSTORABLE, CONFLICT, NOT_MEMBER, NO_SUCH_REPLY, BLOCKED)

Outcome = Appended | Refused


class Timeline:
    """The timeline of the cluster that last answered; another one after a replica was promoted."""

    __slots__ = ("name",)
    statement: Final = "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE duologue.timeline_now() END"

    def __init__(self) -> None:
        self.name = ""

    def told(self, rows: Rows) -> None:
        """Learn it from a connection made anew, perhaps to another server than before."""
        self.name = rows[0][0] or self.name


class Writer:
    """Writes over connections of its own. `now` stands for the database's clock, in tests; None is the real one."""

    __slots__ = ("_connections", "_now", "_timeline")

    def __init__(self, connections: Connections, timeline: Timeline, now: Callable[[], Micros] | None) -> None:
        self._connections = connections
        self._timeline = timeline
        self._now = now

    async def append(self, batch: Sequence[Append], node: str | None) -> tuple[list[Outcome], tuple[int, ...]]:
        """Store `batch`; return the outcomes and the outbox rows (one, unless a row had to be set aside)."""
        if all(map(can_be_stored, batch)):
            return await self._append(batch, node) if batch else ([], ())
        stored, routes = await self.append([append for append in batch if can_be_stored(append)], node)
        following = iter(stored)
        return [next(following) if can_be_stored(append) else UNSTORABLE for append in batch], routes

    async def _append(self, batch: Sequence[Append], node: str | None) -> tuple[list[Outcome], tuple[int, ...]]:
        try:
            (row,) = await write(self._connections, APPEND, node, self._time(), DEDUP_US, *_columns(batch))
        except RowRefused:
            if len(batch) == 1:
                return [UNSTORABLE], ()
            return await self._append_halves(batch, node)
        self._timeline.name = row["timeline"]
        route = row["route_id"]
        return _outcomes(batch, row), () if route is None else (route,)

    async def _append_halves(self, batch: Sequence[Append], node: str | None) -> tuple[list[Outcome], tuple[int, ...]]:
        middle = len(batch) // 2
        first, routes = await self._append(batch[:middle], node)
        try:
            second, more = await self._append(batch[middle:], node)
        except StoreUnavailable as error:
            raise StoreUnavailable(error.reason, maybe_stored=True, retry_after_ms=error.retry_after_ms) from error
        return first + second, routes + more

    async def set_members(
        self, match: MatchId, members: tuple[UserId, ...], node: str | None
    ) -> tuple[MembersSet | Refused, tuple[int, ...]]:
        """Make, change or end a match."""
        if not all(map(is_storable, (match, *members))):
            return UNSTORABLE, ()
        wanted = tuple(sorted(set(members)))
        try:
            (row,) = await write(self._connections, SET_MEMBERS, node, self._time(), match, wanted)
        except RowRefused:
            return UNSTORABLE, ()
        if row["entry_seq"] is None:
            return MembersSet(match, wanted, None, made=False, joined=()), ()
        entry = MembersChanged(
            match, row["entry_seq"], row["entry_at"], wanted, tuple(row["joined"]), tuple(row["gone"])
        )
        route = row["route_id"]
        return _members_set(match, entry, row), () if route is None else (route,)

    async def mark(self, batch: Sequence[Mark]) -> list[Marked | None]:
        """Move cursors; a member who is named twice is moved in turn, by calls of their own."""
        outcomes: list[Marked | None] = [None] * len(batch)
        waiting = [place for place, mark in enumerate(batch) if is_storable(mark.match) and is_storable(mark.user)]
        while waiting:
            turn: dict[tuple[MatchId, UserId], int] = {}
            for place in waiting:
                turn.setdefault((batch[place].match, batch[place].user), place)
            chosen = list(turn.values())
            for place, marked in zip(chosen, await self._mark([batch[place] for place in chosen]), strict=True):
                outcomes[place] = marked
            waiting = [place for place in waiting if turn[batch[place].match, batch[place].user] != place]
        return outcomes

    async def _mark(self, batch: Sequence[Mark]) -> list[Marked | None]:
        (row,) = await write(
            self._connections,
            MARK,
            [mark.match for mark in batch],
            [mark.user for mark in batch],
            [min(mark.delivered, END) for mark in batch],
            [min(mark.read, END) for mark in batch],
        )
        members, pairs = _members(row), _pairs(row)
        return [
            None
            if delivered is None
            else Marked(
                ReceiptMoved(mark.match, mark.user, delivered, read),
                members[mark.match],
                apart_from(pairs.get(mark.match, ()), mark.user),
                None if shown is None else ReceiptMoved(mark.match, mark.user, delivered, shown),
            )
            for mark, delivered, read, shown in zip(
                batch, row["delivered"], row["reads"], row["shown_reads"], strict=True
            )
        ]

    async def set_private_read(self, match: MatchId, user: UserId, *, is_on: bool) -> PrivateReadSet | None:
        """Show the others no more, or again, how far the member reads."""
        if not (is_storable(match) and is_storable(user)):
            return None
        (row,) = await write(self._connections, PRIVATE_READ, match, user, is_on)
        if row["users"] is None:
            return None
        pairs = tuple(zip(row["blockers"] or (), row["blocked"] or (), strict=True))
        receipt = ReceiptMoved(match, user, row["delivered"], row["shown_read"])
        return PrivateReadSet(receipt, tuple(row["users"]), apart_from(pairs, user))

    # ---- people

    async def set_block(self, user: UserId, other: UserId, *, is_on: bool) -> bool | Refused:
        """Block, or take it back."""
        if not (is_storable(user) and is_storable(other)):
            return UNSTORABLE
        ((is_news,),) = await write(self._connections, BLOCK, user, other, is_on, BLOCKS_MAX)
        return TOO_MANY_BLOCKS if is_news is None else bool(is_news)

    async def set_presence(self, user: UserId, wish: PresenceWish) -> OwnShown | Refused:
        """Change how the user is shown; return it and its version."""
        if not (is_storable(user) and is_storable(wish.text or "")):
            return UNSTORABLE
        (row,) = await write(
            self._connections, SET_PRESENCE, user, wish.status, wish.text, wish.last_seen, self._time()
        )
        return own_shown(row)

    async def make_partitions(self, at: Micros | None, months: int) -> Micros:
        """Make the months from `at` (None: now) on where they are missing; return up to where there are some."""
        ((end,),) = await write(self._connections, PARTITIONS, at, months)
        return Micros(end)

    def _time(self) -> Micros | None:
        return self._now() if self._now else None


def _columns(batch: Sequence[Append]) -> tuple[Sequence[object], ...]:
    return (
        [append.match for append in batch],
        [append.sender for append in batch],
        [append.client_id for append in batch],
        # A seq beyond any other names no message, as -1 does.
        [r if (r := append.reply_to) is None or 0 <= r < END else -1 for append in batch],
        [append.body for append in batch],
    )


def _outcomes(batch: Sequence[Append], row: asyncpg.Record) -> list[Outcome]:
    members, pairs = _members(row), _pairs(row)
    outcomes: list[Outcome] = []
    for append, code, seq, at, n in zip(batch, row["codes"], row["seqs"], row["times"], row["counts"], strict=True):
        if code > _DUPLICATE:
            outcomes.append(_REFUSALS[code])
            continue
        message, present = _message(append, seq, at, n), members.get(append.match, ())
        hidden = not_shown_to(present, pairs[append.match], append.sender) if append.match in pairs else ()
        outcomes.append(Appended(message, present, code == _DUPLICATE, hidden))
    return outcomes


def _pairs(row: asyncpg.Record) -> dict[MatchId, list[Pair]]:
    """Gather who blocked whom in each match."""
    found: dict[MatchId, list[Pair]] = {}
    if row["block_matches"] is not None:
        for match, *pair in zip(row["block_matches"], row["blockers"], row["blocked"], strict=True):
            found.setdefault(match, []).append((pair[0], pair[1]))
    return found


def _message(append: Append, seq: Seq, at: Micros, n: Ordinal) -> Message:
    return Message(append.match, seq, at, n, append.sender, append.client_id, append.body, append.reply_to)


def _members(row: asyncpg.Record) -> dict[MatchId, tuple[UserId, ...]]:
    """Gather the members of each match, which come as pairs of a match and a user, in any order."""
    found: dict[MatchId, list[UserId]] = {}
    for match, user in zip(row["matches"] or (), row["users"] or (), strict=True):
        if match in found:
            found[match].append(user)
        else:
            found[match] = [user]
    return {match: tuple(sorted(users)) for match, users in found.items()}


def _members_set(match: MatchId, entry: MembersChanged, row: asyncpg.Record) -> MembersSet:
    """Show the match as those who joined see it: all of them alike, with nothing unread."""
    receipts = zip(row["users"] or (), row["delivered"] or (), row["reads"] or (), strict=True)
    members = tuple(Member(*receipt) for receipt in receipts)
    summary = MatchSummary(match, members, entry.seq, entry.created_at, 0, entry)
    return MembersSet(match, entry.members, entry, row["made"], tuple((user, summary) for user in entry.joined))
