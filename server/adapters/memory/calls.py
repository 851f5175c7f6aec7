"""The calls of the memory store: rows, who is in which, what is due. The log is the store's."""

from collections.abc import Collection, Iterator
from itertools import islice, takewhile

from msgspec import Struct

from protocol.calls import CallEntry, CallId
from protocol.ids import MatchId, Micros, Seq, UserId
from server.core.calls import (
    CallChange,
    CallRow,
    CallSettings,
    CallsPage,
    OrphanedCall,
    row_changed,
)


class _Kept(Struct):
    """A call: its last change, when it is due (or its claim ends), its newest entry, and what the last change wrote."""

    change: CallChange
    row: CallRow
    deadline_at: Micros | None
    is_missed: bool
    newest: Seq | None
    entry: CallEntry | None


class CallBook:
    """Every call there was, in the order of their starts."""

    __slots__ = ("_alive", "_calls", "_live", "_newest", "_seats", "_settings")

    def __init__(self) -> None:
        self._calls: dict[CallId, _Kept] = {}
        self._live: dict[MatchId, _Kept] = {}
        self._newest: dict[MatchId, CallId] = {}
        # In which call each user has a seat.
        self._seats: dict[UserId, CallId] = {}
        self._settings: dict[UserId, CallSettings] = {}
        self._alive: dict[str, Micros] = {}

    # ---- changes

    def made_before(self, change: CallChange) -> CallEntry | bool:
        """Return the entry of `change` if that was the last one made, True if it had none; False if it was not."""
        kept = self._calls.get(change.call)
        if kept is None or kept.change.change != change.change:
            return False
        return kept.entry or True

    def is_stale(self, change: CallChange) -> bool:
        """Tell whether another change has come between, or a seat or the match is taken."""
        kept = self._calls.get(change.call)
        if (kept.row.version if kept else 0) != change.version:
            return True
        live = self._live.get(change.match)
        if change.ended_at is None and live is not None and live.row.call != change.call:
            return True
        return any(self._seats.get(user, change.call) != change.call for user in change.seated)

    def make(self, change: CallChange, entry: CallEntry | None) -> None:
        """Keep what `change` leaves."""
        before = self._calls.get(change.call)
        kept = _Kept(
            change,
            row_changed(change),
            change.deadline_at,
            change.is_missed or (before is not None and before.is_missed),
            entry.seq if entry else before.newest if before else None,
            entry,
        )
        self._calls[change.call] = kept
        if before is None:
            self._newest[change.match] = change.call
        if change.ended_at is None:  # In the place that it has, so that the oldest stays the first.
            self._live[change.match] = kept
        elif before is not None:
            self._live.pop(change.match, None)
        for user in before.change.seated if before else ():
            self._seats.pop(user, None)
        for user in change.seated:
            self._seats[user] = change.call

    # ---- reads

    def row(self, call: CallId) -> CallRow | None:
        """Return a call."""
        kept = self._calls.get(call)
        return kept.row if kept else None

    def newest(self, match: MatchId) -> CallRow | None:
        """Return the newest call of a match, live or over."""
        return self.row(self._newest[match]) if match in self._newest else None

    def live_of(self, matches: Collection[MatchId]) -> tuple[CallRow, ...]:
        """Return the live calls of `matches`, oldest first."""
        return tuple(kept.row for match, kept in self._live.items() if match in matches)

    def is_newest(self, entry: CallEntry) -> bool:
        """Tell whether no later entry tells of the same call."""
        return self._calls[entry.call].newest == entry.seq

    def seat(self, user: UserId) -> CallId | None:
        """Tell in which call the user is."""
        return self._seats.get(user)

    def unanswered(self, match: MatchId, caller: UserId | None, since: int) -> int:
        """Count the caller's calls of the match, begun after `since`, that nobody took."""
        recent = takewhile(lambda kept: kept.change.started_at > since, self._newest_first())
        mine = (kept for kept in recent if (kept.change.match, kept.change.caller) == (match, caller))
        return sum(kept.is_missed for kept in mine)

    def claim_due(self, now: Micros, claim_us: int, limit: int) -> tuple[CallRow, ...]:
        """Take over what is due."""
        # Whatever has a deadline is live.
        due = [kept for kept in self._live.values() if kept.deadline_at is not None and kept.deadline_at <= now]
        due.sort(key=lambda kept: kept.deadline_at or 0)
        for kept in due[:limit]:
            kept.deadline_at = Micros(now + claim_us)
        return tuple(kept.row for kept in due[:limit])

    def orphaned(self, node: str, now: Micros, silent_us: int, limit: int) -> tuple[OrphanedCall, ...]:
        """Note that `node` lives; return calls with seats on others that do not."""
        self._alive[node] = now
        alive = {name for name, at in self._alive.items() if at > now - silent_us} | {node}
        found = ((kept.row, tuple(n for n in kept.change.nodes if n not in alive)) for kept in self._live.values())
        return tuple(islice((OrphanedCall(row, dead) for row, dead in found if dead), limit))

    def page(self, user: UserId | None, match: MatchId | None, before: CallId | None, limit: int) -> CallsPage:
        """Read a page, newest first."""
        chosen = (
            kept.row
            for kept in self._older_than(before)
            if (user is None or user in kept.change.users) and (match is None or match == kept.change.match)
        )
        rows = tuple(islice(chosen, limit + 1))
        return CallsPage(rows[:limit], complete=len(rows) <= limit)

    def _newest_first(self) -> Iterator[_Kept]:
        return reversed(self._calls.values())

    def _older_than(self, before: CallId | None) -> Iterator[_Kept]:
        kept = self._newest_first()
        if before not in self._calls:
            return kept
        return islice(kept, list(reversed(self._calls)).index(before) + 1, None)

    # ---- settings

    def set_settings(self, user: UserId, settings: CallSettings) -> None:
        """Keep them."""
        self._settings[user] = settings

    def settings(self, user: UserId) -> CallSettings | None:
        """Return them, if they ever were set."""
        return self._settings.get(user)
