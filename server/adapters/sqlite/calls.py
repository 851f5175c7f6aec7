"""Calls in the embedded store: what its writer and its readers do with the tables of schema 3."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from protocol.calls import CallId
from protocol.ids import MatchId, Micros, Seq, UserId
from server.adapters.sqlite import people
from server.adapters.sqlite.rows import json_list
from server.adapters.sqlite.statements import SQL
from server.core.calls import (
    CallChange,
    CallRow,
    CallRows,
    CallSettings,
    CallsPage,
    CallView,
    OrphanedCall,
    OrphanedCalls,
)
from server.core.pages import is_storable

# match_id, match_no, call_id, version, value
_Row = tuple[MatchId, int, CallId, int, bytes]
_NODES_KEPT_US: Final = 86_400_000_000
_decode_nodes: Final = msgspec.json.Decoder(tuple[str, ...]).decode


class Execute(Protocol):
    """Runs one statement on a connection."""

    def __call__(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ..., /) -> sqlite3.Cursor:
        """Run it; the cursor has the rows."""


class Found(msgspec.Struct, frozen=True):
    """What the table has of a call."""

    call_no: int
    version: int
    change: str
    entry_seq: Seq | None
    is_entry_new: bool


class CallTable:
    """The writer's side; every method within a transaction of the writer's."""

    __slots__ = ("_execute",)

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def find(self, call: CallId) -> Found | None:
        """Look a call up."""
        row = self._execute(SQL["find_call"], (call,)).fetchone()
        if row is None:
            return None
        call_no, version, change, entry_seq, is_entry_new = row
        return Found(call_no, version, change, entry_seq, bool(is_entry_new))

    def keep(
        self,
        found: Found | None,
        change: CallChange,
        match_no: int,
        entry_seq: Seq | None,
        user_no: Callable[[UserId], int],
    ) -> int:
        """Write the change and return the call's number; IntegrityError when another call has the match or a seat."""
        facts = {
            "call": change.call,
            "match_no": match_no,
            "change": change.change,
            "value": change.value,
            "caller_no": user_no(change.caller),
            "started_at": change.started_at,
            "ended_at": change.ended_at,
            "is_missed": int(change.is_missed),
            "deadline_at": change.deadline_at,
            "nodes": json_list(change.nodes),
            "entry_seq": entry_seq,
            "is_entry_new": int(change.note is not None),
        }
        if found is None:
            call_no = self._execute(SQL["add_call"], facts).lastrowid
            assert call_no is not None
        else:
            call_no = found.call_no
            self._execute(SQL["change_call"], facts | {"call_no": call_no})
        self._execute(SQL["leave_seats"], (call_no,))
        for user in change.users:
            self._execute(SQL["add_call_user"], (user_no(user), call_no, int(user in change.seated)))
        return call_no

    def claim_due(self, now: Micros, claim_us: int, limit: int) -> CallRows:
        """Take over what is due."""
        rows = _rows(self._execute(SQL["due_calls"], (now, limit)).fetchall())
        for row in rows:
            self._execute(SQL["claim_call"], (now + claim_us, row.call))
        return CallRows(now, rows)

    def orphaned(self, node: str, now: Micros, silent_us: int, limit: int) -> OrphanedCalls:
        """Note that `node` lives; find calls with seats on others that do not."""
        self._execute(SQL["node_lives"], (node, now))
        self._execute(SQL["forget_nodes"], (now - max(silent_us, _NODES_KEPT_US),))
        alive = {node, *(name for (name,) in self._execute(SQL["nodes_alive"], (now - silent_us,)))}
        found: list[OrphanedCall] = []
        for *row, nodes in self._execute(SQL["seated_calls"]).fetchall():
            dead = tuple(name for name in _decode_nodes(nodes) if name not in alive)
            if dead:
                found += (OrphanedCall(each, dead) for each in _rows([row]))
        return OrphanedCalls(now, tuple(found[:limit]))


class CallReader:
    """The readers' side; each method within a snapshot."""

    __slots__ = ("_execute",)

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def view(
        self, call: CallId | None, match: MatchId | None, caller: UserId | None, now: Micros, since_us: int
    ) -> CallView:
        """Read a call and what a decision about it needs."""
        name = match if call is None else call
        statement = SQL["newest_call" if call is None else "call_by_id"]
        found = self._execute(statement, (name,)).fetchone() if name is not None and is_storable(name) else None
        if found is None:
            return CallView(now, None, None, (), (), {}, {}, 0)
        match_id, match_no, call_id, version, value = found
        of_match = (match_no,)
        members = self._execute(SQL["present_members"], of_match).fetchall()
        settings = self._execute(SQL["settings_of_members"], of_match)
        counted = (match_no, caller, now - since_us)
        return CallView(
            now=now,
            match=match_id,
            row=None if call_id is None else CallRow(call_id, match_id, version, value),
            members=(present := tuple(user for user, _, _ in members)),
            blocks=people.pairs(self._execute, match_no, present),
            settings={user: CallSettings(when_busy, bool(relay)) for user, when_busy, relay in settings},
            in_call=dict(self._execute(SQL["seats_of_members"], of_match).fetchall()),
            unanswered=int(self._execute(SQL["unanswered"], counted).fetchone()[0]),
        )

    def live(self, users: Sequence[UserId]) -> list[tuple[CallRow, ...]]:
        """Read the live calls of the users' matches."""
        found: list[list[CallRow]] = [[] for _ in users]
        if self._execute(SQL["is_any_call_live"]).fetchone() == (1,):
            wanted = json_list([user if is_storable(user) else "" for user in users])
            for place, *row in self._execute(SQL["live_calls"], (wanted,)):
                found[place] += _rows([row])
        return [tuple(rows) for rows in found]

    def page(self, user: UserId | None, match: MatchId | None, before: CallId | None, limit: int) -> CallsPage:
        """Read a page, newest first."""
        if not all(is_storable(name) for name in (user, match, before) if name is not None):
            return CallsPage((), complete=True)
        facts = {"user": user, "match": match, "before": before, "limit": limit + 1}
        rows = _rows(self._execute(SQL["calls_of_match" if user is None else "calls_of_user"], facts).fetchall())
        return CallsPage(rows[:limit], complete=len(rows) <= limit)

    def settings(self, user: UserId) -> CallSettings:
        """Read how the user wants to be called."""
        row = self._execute(SQL["call_settings"], (user,)).fetchone() if is_storable(user) else None
        return CallSettings(row[0], bool(row[1])) if row else CallSettings()


def _rows(rows: Sequence[_Row]) -> tuple[CallRow, ...]:
    return tuple(CallRow(call, match, version, value) for match, _, call, version, value in rows)
