"""What is asked of a match's log, and what comes back: the values between router, journal and store."""

from typing import Final, Literal

from msgspec import Raw, Struct

from protocol.errors import CATALOGUE, ErrorCode
from protocol.from_server import Entry, MatchSummary, MembersChanged, Message, ReceiptMoved, SyncedMatch
from protocol.ids import ClientId, Cursor, MatchId, Micros, Seq, UserId

Stored = Literal["no", "unknown"]


class Append(Struct, frozen=True):
    """A message to be stored. Its key is (match, sender, client_id)."""

    match: MatchId
    sender: UserId
    client_id: ClientId
    body: Raw
    reply_to: Seq | None = None


class Appended(Struct, frozen=True):
    """The message is in the log. `members` (the sender too) are those to tell; a duplicate is told to nobody.

    Of the members those in `hidden` get a `skip`: they have blocked the sender.
    """

    message: Message
    members: tuple[UserId, ...]
    duplicate: bool
    hidden: tuple[UserId, ...] = ()


class Refused(Struct, frozen=True):
    """The request changed nothing (`stored` "no") or its fate is not known ("unknown")."""

    code: ErrorCode
    message: str
    stored: Stored = "no"
    retry_after_ms: int | None = None


def refused(code: ErrorCode, *, retry_after_ms: int | None = None) -> Refused:
    """Return the catalogue's refusal."""
    return Refused(code, CATALOGUE[code].what_to_do, retry_after_ms=retry_after_ms)


class MembersSet(Struct, frozen=True):
    """A match has `members` now. `entry` is None when it had just these before; `made` when it was new or had ended."""

    match: MatchId
    members: tuple[UserId, ...]
    entry: MembersChanged | None
    made: bool
    # One summary for each user that joined, as that user sees the match.
    joined: tuple[tuple[UserId, MatchSummary], ...]


class Mark(Struct, frozen=True):
    """How far `user` says to be in `match`. Clamped to what exists; the maximum wins."""

    match: MatchId
    user: UserId
    delivered: Seq
    read: Seq


class Marked(Struct, frozen=True):
    """A member's cursors moved to this; `members` are those to tell, but for the `hidden`, who are told nothing.

    `shown` is what the others are told, where it is less: a member may read in private.
    """

    receipt: ReceiptMoved
    members: tuple[UserId, ...]
    hidden: tuple[UserId, ...] = ()
    shown: ReceiptMoved | None = None


class MatchState(Struct, frozen=True):
    """A match as the app's backend sees it."""

    match: MatchId
    members: tuple[UserId, ...]
    last_seq: Seq
    last_at: Micros
    messages: int


class SummaryPage(Struct, frozen=True):
    """Matches of one user, newest entry first."""

    matches: tuple[MatchSummary, ...]
    complete: bool


class EntryPage(Struct, frozen=True):
    """Entries of one match in the order asked for; `complete` when nothing lies beyond."""

    entries: tuple[Entry, ...]
    complete: bool


class SyncResult(Struct, frozen=True):
    """What came after each cursor, and every member's receipts in those matches."""

    matches: dict[MatchId, SyncedMatch]
    receipts: tuple[ReceiptMoved, ...]


Cursors = dict[MatchId, Cursor]

NOT_MEMBER: Final = refused(ErrorCode.NOT_MEMBER)
CONFLICT: Final = refused(ErrorCode.CLIENT_ID_CONFLICT)
NO_SUCH_REPLY: Final = refused(ErrorCode.NO_SUCH_REPLY)
UNSTORABLE: Final = Refused(ErrorCode.BAD_REQUEST, "an id or the body cannot be stored")
NOT_FOUND: Final = Refused(ErrorCode.NOT_FOUND, "there is no such match")
