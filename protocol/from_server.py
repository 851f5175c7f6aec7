"""Messages from server to client. A push with `match` and `seq` is an entry of that match's log.

Bodies are `Raw`: JSON that the server encoded itself when the message came in, so they are copied, not rebuilt.
"""

from enum import StrEnum
from typing import Literal

from msgspec import Raw, Struct

from protocol.calls import (
    CallCancelled,
    CallEnded,
    CallEntry,
    CallIceServers,
    CallId,
    CallIncoming,
    CallJoined,
    CallMediaChanged,
    CallPeerJoined,
    CallPeerLeft,
    CallPeerState,
    CallQuality,
    CallRang,
    CallSeat,
    CallSignalled,
    CallSnapshot,
)
from protocol.errors import ErrorCode
from protocol.from_client import JsonObject, LastSeen, OwnStatus, TypingKind
from protocol.ids import ClientId, MatchId, Micros, Ordinal, RequestId, Seq, SessionId, UserId
from protocol.limits import TYPING_MEMBERS_MAX

# ---- entries: the log of a match


class Message(Struct, tag_field="type", tag="message", frozen=True, omit_defaults=True):
    """A message, as live push, in a resume and in history alike."""

    match: MatchId
    seq: Seq
    created_at: Micros
    n: Ordinal
    sender: UserId
    client_id: ClientId
    body: Raw
    reply_to: Seq | None = None


class MembersChanged(Struct, tag_field="type", tag="members", frozen=True):
    """The match has these members from here on; the first entry of every match is one of these."""

    match: MatchId
    seq: Seq
    created_at: Micros
    members: tuple[UserId, ...]
    joined: tuple[UserId, ...]
    left: tuple[UserId, ...]


class Skip(Struct, tag_field="type", tag="skip", frozen=True):
    """An entry that this user does not get to see; it keeps the cursor moving."""

    match: MatchId
    seq: Seq
    created_at: Micros


Entry = Message | MembersChanged | CallEntry | Skip

# ---- values inside other messages


class Member(Struct, frozen=True):
    """A member and how far they are: the seq of the last entry that reached a device, and of the last one read."""

    user: UserId
    delivered: Seq
    read: Seq


class MatchSummary(Struct, frozen=True, omit_defaults=True):
    """A match as one of its members sees it. `[last_seq, last_at]` is the cursor of its newest entry.

    `private_read`: the others are not shown how far this member has read.
    """

    match: MatchId
    members: tuple[Member, ...]
    last_seq: Seq
    last_at: Micros
    unread: int
    last: Entry | None
    private_read: bool = False


class Timers(Struct, frozen=True):
    """Times that the server keeps and clients should keep to."""

    ping_after_ms: int
    ping_timeout_ms: int
    typing_interval_ms: int
    typing_expires_ms: int
    presence_debounce_ms: int
    token_warning_ms: int
    sync_delay_ms: int
    call_ring_ms: int
    call_connect_ms: int
    call_grace_ms: int
    call_reconnect_ms: int
    call_max_ms: int
    call_negotiation_ms: int
    call_ice_restart_ms: int
    call_candidates_ms: int
    call_stats_ms: int
    presence_away_ms: int = 30_000


class Limits(Struct, frozen=True):
    """Sizes and rates beyond which requests are refused."""

    frame_bytes: int
    text_chars: int
    data_bytes: int
    page: int
    hello_cursors: int
    sync_cursors: int
    watched: int
    members: int
    call_participants: int
    messages_per_s: float
    message_burst: int
    typing_members: int = TYPING_MEMBERS_MAX


class Status(StrEnum):
    """Whether a user can be reached now; `unknown` while the directory cannot tell."""

    ONLINE = "online"
    AWAY = "away"
    DND = "dnd"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class PresenceChange(StrEnum):
    """What happened last: the user came, left, or is shown otherwise than before."""

    CAME = "came"
    LEFT = "left"
    STATUS = "status"


class Presence(Struct, frozen=True, omit_defaults=True):
    """One user's state; of two with the same user the higher `v` is the newer. `change` tells what led to it."""

    user: UserId
    status: Status
    v: int
    last_seen: Micros | None = None
    text: str = ""
    change: PresenceChange | None = None


class OwnPresence(Struct, frozen=True):
    """How this user wants to be shown to others."""

    status: OwnStatus = OwnStatus.ONLINE
    text: str = ""
    last_seen: LastSeen = LastSeen.EXACT


class SyncedMatch(Struct, frozen=True, omit_defaults=True):
    """What came after one cursor, oldest first. Not `complete`: ask again from the last entry.

    `reset`: the cursor is not of this log, drop it and read history. `left`: the user is no member any more.
    """

    entries: tuple[Entry, ...]
    complete: bool
    reset: bool = False
    left: bool = False


# ---- answers


class Ok(Struct, tag_field="type", tag="ok", frozen=True):
    """Done."""

    id: RequestId


class Sent(Struct, tag_field="type", tag="ok", frozen=True):
    """The answer to `message.send`: the message is stored."""

    id: RequestId
    match: MatchId
    seq: Seq
    created_at: Micros
    duplicate: bool


class HistoryPage(Struct, tag_field="type", tag="ok", frozen=True):
    """The answer to `history`. `complete`: nothing lies beyond this page in its direction."""

    id: RequestId
    match: MatchId
    messages: tuple[Entry, ...]
    complete: bool


class Synced(Struct, tag_field="type", tag="ok", frozen=True):
    """The answer to `sync`."""

    id: RequestId
    matches: dict[MatchId, SyncedMatch]
    receipts: tuple["ReceiptMoved", ...]


class MatchesPage(Struct, tag_field="type", tag="ok", frozen=True):
    """The answer to `matches`: `before` of the next page is the last one's `last_at`."""

    id: RequestId
    matches: tuple[MatchSummary, ...]
    complete: bool


class Watching(Struct, tag_field="type", tag="ok", frozen=True):
    """The answer to `presence.watch`: the state now of those who may be seen."""

    id: RequestId
    presence: tuple[Presence, ...]


class Welcome(Struct, tag_field="type", tag="welcome", frozen=True):
    """The answer to `hello`."""

    id: RequestId
    user: UserId
    session: SessionId
    store_epoch: str
    timers: Timers
    limits: Limits
    matches: tuple[MatchSummary, ...]
    complete: bool
    presence: OwnPresence = OwnPresence()
    blocked: tuple[UserId, ...] = ()


class Error(Struct, tag_field="type", tag="error", frozen=True, omit_defaults=True):
    """A request was refused. `stored` tells of a message whether it may be in the log all the same.

    `call` names the call that stands in the way, where there is one.
    """

    code: ErrorCode
    message: str
    id: RequestId | None = None
    retry_after_ms: int | None = None
    stored: Literal["no", "unknown"] | None = None
    call: CallId | None = None


# ---- pushes


class MatchMade(Struct, tag_field="type", tag="match", frozen=True, omit_defaults=True):
    """The user is a member of this match from now on. The fields are those of a summary in `welcome`."""

    match: MatchId
    members: tuple[Member, ...]
    last_seq: Seq
    last_at: Micros
    unread: int
    last: Entry | None
    private_read: bool = False


class MatchSettings(Struct, tag_field="type", tag="match.settings", frozen=True):
    """Another device of this user changed the user's own settings of `match`."""

    match: MatchId
    private_read: bool


class MatchLeft(Struct, tag_field="type", tag="match.left", frozen=True):
    """The user is no member of this match any more."""

    match: MatchId


class ReceiptMoved(Struct, tag_field="type", tag="receipt", frozen=True):
    """How far `user` is in `match`; both numbers only grow."""

    match: MatchId
    user: UserId
    delivered: Seq
    read: Seq


class TypingSeen(Struct, tag_field="type", tag="typing", frozen=True, omit_defaults=True):
    """`user` is writing in `match`, or has stopped. Expires by itself after `typing_expires_ms`."""

    match: MatchId
    user: UserId
    on: bool
    kind: TypingKind = TypingKind.TEXT


class PresenceChanged(Struct, tag_field="type", tag="presence", frozen=True):
    """News of watched users."""

    changes: tuple[Presence, ...]


class PresenceOwn(Struct, tag_field="type", tag="presence.own", frozen=True):
    """Another device of this user changed how the user is shown."""

    status: OwnStatus
    text: str
    last_seen: LastSeen


class BlockChanged(Struct, tag_field="type", tag="blocked", frozen=True):
    """Another device of this user, or the app's backend, blocked `user` or took that back."""

    user: UserId
    on: bool


class AppEvent(Struct, tag_field="type", tag="event", frozen=True):
    """Something the app's backend tells a user's devices; not stored, at most once."""

    name: str
    data: JsonObject


class Gap(Struct, tag_field="type", tag="gap", frozen=True):
    """More was missed in `match` than is pushed: `sync` from the cursor, or read history."""

    match: MatchId


class Reset(Struct, tag_field="type", tag="reset", frozen=True):
    """The cursor given for `match` is not of this log: drop what is held and read history."""

    match: MatchId


class Degraded(Struct, tag_field="type", tag="degraded", frozen=True):
    """While `active`, what happens on other nodes may come late; nothing is lost, and the rest goes on as usual."""

    active: bool


class TokenExpiring(Struct, tag_field="type", tag="token_expiring", frozen=True):
    """Send `auth.refresh` within `in_ms`, or the connection closes with 4001."""

    in_ms: int


class GoingAway(Struct, tag_field="type", tag="going_away", frozen=True):
    """This node stops: connect again after `after_ms`."""

    after_ms: int


Answer = Ok | Sent | HistoryPage | Synced | MatchesPage | Watching | CallSeat | CallIceServers | Welcome | Error
Push = (
    Entry
    | MatchMade
    | MatchLeft
    | MatchSettings
    | ReceiptMoved
    | TypingSeen
    | PresenceChanged
    | CallIncoming
    | CallRang
    | CallJoined
    | CallPeerJoined
    | CallPeerLeft
    | CallPeerState
    | CallSignalled
    | CallMediaChanged
    | CallQuality
    | CallCancelled
    | CallEnded
    | CallSnapshot
    | PresenceOwn
    | BlockChanged
    | AppEvent
    | Gap
    | Reset
    | Degraded
    | TokenExpiring
    | GoingAway
)
ServerMessage = Answer | Push
