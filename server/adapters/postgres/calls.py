"""The calls of the PostgreSQL store: each method is one call of a function there, one round trip, one transaction."""

from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from protocol.calls import CallId
from protocol.ids import MatchId, Micros, UserId
from server.adapters.postgres.connections import Connections
from server.adapters.postgres.statements import read, write
from server.core.calls import (
    STALE,
    CallChange,
    CallChanged,
    CallRow,
    CallRows,
    CallSettings,
    CallsPage,
    CallStale,
    CallView,
    OrphanedCall,
    OrphanedCalls,
    entry_of,
    note_body,
    row_changed,
)
from server.core.pages import is_storable

CHANGE: Final = (
    "SELECT * FROM duologue.change_call"
    "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
)
VIEW: Final = "SELECT * FROM duologue.call_view($1, $2, $3, $4, $5)"
LIVE: Final = "SELECT * FROM duologue.live_calls($1)"
CLAIM: Final = "SELECT * FROM duologue.claim_due_calls($1, $2, $3)"
ORPHANED: Final = "SELECT * FROM duologue.orphaned_calls($1, $2, $3, $4)"
PAGE: Final = "SELECT * FROM duologue.calls_page($1, $2, $3, $4)"
SET_SETTINGS: Final = "SELECT duologue.set_call_settings($1, $2, $3)"
SETTINGS: Final = "SELECT when_busy, relay_only FROM duologue.call_settings WHERE user_id = $1"
TIME: Final = "SELECT coalesce($1, duologue.now_us())"

_CHANGED: Final = 0


class CallTable:
    """The tables of calls. `now` stands for the database's clock, in tests."""

    __slots__ = ("_now", "_readers", "_writers")

    def __init__(self, writers: Connections, readers: Connections, now: Callable[[], Micros] | None) -> None:
        self._writers = writers
        self._readers = readers
        self._now = now

    async def change(self, change: CallChange, node: str | None) -> tuple[CallChanged | CallStale, tuple[int, ...]]:
        """Make or change a call; return the outbox row, too."""
        if not all(map(is_storable, (change.match, change.call, *change.users))):
            return STALE, ()
        (row,) = await write(self._writers, CHANGE, *self._columns(change, node))
        if row["code"] != _CHANGED:
            return STALE, ()
        place, route = (row["seq"], row["created_at"], row["n"]), row["route_id"]
        entry = None if change.note is None or place[0] is None else entry_of(change.match, place, change.note)
        return CallChanged(row_changed(change), entry, tuple(row["users"])), () if route is None else (route,)

    def _columns(self, change: CallChange, node: str | None) -> Sequence[object]:
        return (
            node,
            self._time(),
            change.call,
            change.match,
            change.version,
            change.change,
            change.value,
            change.caller,
            change.started_at,
            change.ended_at,
            change.deadline_at,
            change.nodes,
            change.users,
            change.seated,
            change.members,
            change.blocks,
            None if change.note is None else note_body(change.note),
            change.is_missed,
        )

    async def view(self, call: CallId | None, match: MatchId | None, caller: UserId | None, since_us: int) -> CallView:
        """Read a call and what a decision about it needs."""
        known = [name if name is not None and is_storable(name) else None for name in (call, match)]
        if not any(known):
            ((now,),) = await read(self._readers, TIME, self._time())
            return CallView(now, None, None, (), (), {}, {}, 0)
        (row,) = await read(self._readers, VIEW, *known, caller, since_us, self._time())
        return _view(row)

    async def live(self, users: Sequence[UserId]) -> list[tuple[CallRow, ...]]:
        """Read the live calls of the users' matches."""
        found: list[list[CallRow]] = [[] for _ in users]
        for row in await read(self._readers, LIVE, [user if is_storable(user) else "" for user in users]):
            found[row["place"] - 1].append(_row(row))
        return [tuple(rows) for rows in found]

    async def claim_due(self, claim_us: int, limit: int) -> CallRows:
        """Take over calls whose deadline has passed."""
        rows = await write(self._writers, CLAIM, claim_us, limit, self._time())
        return CallRows(rows[0]["asked_at"] if rows else Micros(0), tuple(map(_row, rows)))

    async def orphaned(self, node: str, silent_us: int, limit: int) -> OrphanedCalls:
        """Note that `node` lives; read calls with seats on others that do not."""
        rows = await write(self._writers, ORPHANED, node, silent_us, limit, self._time())
        found = tuple(OrphanedCall(_row(row), tuple(row["dead"])) for row in rows)
        return OrphanedCalls(rows[0]["asked_at"] if rows else Micros(0), found)

    async def page(self, user: UserId | None, match: MatchId | None, before: CallId | None, limit: int) -> CallsPage:
        """Read a page, newest first."""
        if not all(is_storable(name) for name in (user, match, before) if name is not None):
            return CallsPage((), complete=True)
        rows = tuple(map(_row, await read(self._readers, PAGE, user, match, before, limit)))
        return CallsPage(rows[:limit], complete=len(rows) <= limit)

    async def set_settings(self, user: UserId, settings: CallSettings) -> None:
        """Keep how the user wants to be called."""
        await write(self._writers, SET_SETTINGS, user, settings.when_busy, settings.relay_only)

    async def settings(self, user: UserId) -> CallSettings:
        """Read how the user wants to be called."""
        rows = await read(self._readers, SETTINGS, user) if is_storable(user) else ()
        return CallSettings(*rows[0]) if rows else CallSettings()

    def _time(self) -> Micros | None:
        return self._now() if self._now else None


def _row(row: asyncpg.Record) -> CallRow:
    return CallRow(row["call_id"], row["match_id"], row["version"], row["value"])


def _view(row: asyncpg.Record) -> CallView:
    settled = zip(row["settled"] or (), row["when_busy"] or (), row["relay_only"] or (), strict=True)
    return CallView(
        now=row["asked_at"],
        match=row["match_id"],
        row=None if row["call_id"] is None else _row(row),
        members=tuple(row["users"]),
        blocks=tuple(zip(row["blockers"] or (), row["blocked"] or (), strict=True)),
        settings={user: CallSettings(when_busy, relay_only) for user, when_busy, relay_only in settled},
        in_call=dict(zip(row["seated"] or (), row["seats"] or (), strict=True)),
        unanswered=row["unanswered"],
    )
