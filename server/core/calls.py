"""What the store keeps of calls, and what is asked of it: the values between the call desk and the store.

The store knows no rule of a call. It hands out what a decision needs, of one moment, and takes the outcome only while
that still holds.
"""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from protocol.calls import CallEntry, CallId, CallOutcome, CallReason, Kind
from protocol.ids import MatchId, Micros, Ordinal, Seq, UserId

WhenBusy = Literal["ring", "busy"]


class CallSettings(Struct, frozen=True):
    """How a user wants to be called."""

    when_busy: WhenBusy = "ring"
    relay_only: bool = False


DEFAULT_SETTINGS: Final = CallSettings()


class CallRow(Struct, frozen=True):
    """A call as it is kept: `value` is its state as JSON, `version` counts its changes from 1."""

    call: CallId
    match: MatchId
    version: int
    value: bytes


class CallView(Struct, frozen=True):
    """Everything that a decision about a call needs, of one moment, `now` by the store's clock.

    `match` is None when there is no such match or call. `blocks` are (blocker, blocked) among the members; `in_call`
    says in which live call each member has a seat; `unanswered` counts the caller's recent calls that nobody took.
    """

    now: Micros
    match: MatchId | None
    row: CallRow | None
    members: tuple[UserId, ...]
    blocks: tuple[tuple[UserId, UserId], ...]
    settings: dict[UserId, CallSettings]
    in_call: dict[UserId, CallId]
    unanswered: int


class CallRows(Struct, frozen=True):
    """Rows, and if there are any the time by which their deadlines go."""

    now: Micros
    rows: tuple[CallRow, ...]


class OrphanedCall(Struct, frozen=True):
    """A live call with seats on nodes that do not live any more."""

    row: CallRow
    dead: tuple[str, ...]


class OrphanedCalls(Struct, frozen=True):
    """Such calls, and if there are any the time."""

    now: Micros
    calls: tuple[OrphanedCall, ...]


class CallsPage(Struct, frozen=True):
    """Calls, newest start first; `complete` when there are none before them."""

    rows: tuple[CallRow, ...]
    complete: bool


class CallNote(Struct, frozen=True, omit_defaults=True):
    """What an entry says of a call, beside its place in the log."""

    call: CallId
    state: CallOutcome
    caller: UserId
    media: Kind
    started_at: Micros
    participants: tuple[UserId, ...]
    reason: CallReason | None = None
    by: UserId | None = None
    duration_ms: int | None = None


class CallChange(Struct, frozen=True):
    """The next state of a call, as it was decided from `version` (0: there was none).

    `change` is unguessable and names the change, so that the same one sent twice happens once. `members` and `blocks`
    (how many) are those that the decision was made from; None where it did not depend on them. `users` are all who were
    ever called or in it; `seated` of them, in it now, can be in no other call; `nodes` are where their seats are.
    """

    change: str
    call: CallId
    match: MatchId
    version: int
    value: bytes
    caller: UserId
    started_at: Micros
    ended_at: Micros | None
    deadline_at: Micros | None
    users: tuple[UserId, ...]
    seated: tuple[UserId, ...]
    nodes: tuple[str, ...]
    note: CallNote | None = None
    members: tuple[UserId, ...] | None = None
    blocks: int | None = None

    @property
    def is_missed(self) -> bool:
        """Whether its entry counts as unread."""
        return self.note is not None and self.note.state is CallOutcome.MISSED


class CallChanged(Struct, frozen=True):
    """The change is made. `members` are those to tell of `entry`."""

    row: CallRow
    entry: CallEntry | None
    members: tuple[UserId, ...]


class CallStale(Struct, frozen=True):
    """What the change was decided from is not so any more: read again, decide again."""


STALE: Final = CallStale()

_encode: Final = msgspec.json.Encoder().encode
_decode_note: Final = msgspec.json.Decoder(CallNote).decode


def note_body(note: CallNote) -> bytes:
    """Encode what an entry says, as the store keeps it."""
    return _encode(note)


def entry_of_note(match: MatchId, seq: Seq, created_at: Micros, n: Ordinal, body: bytes) -> CallEntry:
    """Make the entry that a row holds."""
    note = _decode_note(body)
    return entry_of(match, (seq, created_at, n), note)


def entry_of(match: MatchId, place: tuple[Seq, Micros, Ordinal], note: CallNote) -> CallEntry:
    """Make an entry out of its place in the log (seq, created_at, n) and what it says."""
    seq, created_at, n = place
    return CallEntry(
        match=match,
        seq=seq,
        created_at=created_at,
        call=note.call,
        state=note.state,
        caller=note.caller,
        media=note.media,
        started_at=note.started_at,
        participants=note.participants,
        n=n if note.state is CallOutcome.MISSED else None,
        reason=note.reason,
        by=note.by,
        duration_ms=note.duration_ms,
    )


def row_changed(change: CallChange) -> CallRow:
    """Return the row as `change` leaves it."""
    return CallRow(change.call, change.match, change.version + 1, change.value)
