"""Messages from client to server: a tagged union, one struct per `type`. Unknown fields are ignored."""

from enum import StrEnum
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from protocol.calls import (
    CallAccept,
    CallDecline,
    CallFeedback,
    CallHangup,
    CallIce,
    CallInvite,
    CallJoin,
    CallMedia,
    CallReport,
    CallResume,
    CallRinging,
    CallSignal,
    CallStart,
    CallStats,
)
from protocol.ids import (
    Cursor,
    RequestId,
    WireClientId,
    WireDeviceId,
    WireMatchId,
    WireMicros,
    WireSeq,
    WireSessionId,
    WireUserId,
)
from protocol.limits import (
    HELLO_CURSORS_MAX,
    MATCHES_PAGE_MAX,
    PAGE_DEFAULT,
    PAGE_MAX,
    STATUS_TEXT_MAX_CHARS,
    SYNC_CURSORS_MAX,
    TEXT_MAX_CHARS,
    TOKEN_MAX_CHARS,
    WATCHED_MAX,
)

# Any text but control characters other than tab, line feed and carriage return (NUL breaks databases and terminals).
TEXT_PATTERN: Final = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]*$"

Text = Annotated[str, Meta(max_length=TEXT_MAX_CHARS, extra_json_schema={"pattern": TEXT_PATTERN})]
JsonObject = dict[str, object]
# An app's own JSON, carried and stored but never looked into.
Token = Annotated[str, Meta(min_length=1, max_length=TOKEN_MAX_CHARS)]
StatusText = Annotated[str, Meta(max_length=STATUS_TEXT_MAX_CHARS, extra_json_schema={"pattern": TEXT_PATTERN})]
PageLimit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]


class Body(Struct, frozen=True, omit_defaults=True):
    """What a message says: `text` for people, `data` for the app; at least one of them."""

    text: Text = ""
    data: JsonObject | None = None


class ClientState(StrEnum):
    """Whether somebody looks at this client: an inactive one is spared what only matters to those who look."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class OwnStatus(StrEnum):
    """What a user wants to be shown as: as they are (`online`), or always away, not to be disturbed, or not there."""

    ONLINE = "online"
    AWAY = "away"
    DND = "dnd"
    INVISIBLE = "invisible"


class LastSeen(StrEnum):
    """How exactly others are told when this user was last seen."""

    EXACT = "exact"
    ROUNDED = "rounded"


class TypingKind(StrEnum):
    """What somebody is making."""

    TEXT = "text"
    RECORDING = "recording"


class Hello(Struct, tag_field="type", tag="hello", frozen=True):
    """Authenticate and resume. `token` or `ticket` unless the upgrade request carried one."""

    id: RequestId
    token: Token | None = None
    ticket: Token | None = None
    device: WireDeviceId | None = None
    session: WireSessionId | None = None
    cursors: Annotated[dict[WireMatchId, Cursor], Meta(max_length=HELLO_CURSORS_MAX)] = {}
    client_state: ClientState = ClientState.ACTIVE


class AuthRefresh(Struct, tag_field="type", tag="auth.refresh", frozen=True):
    """Replace the connection's token by a newer one of the same user."""

    id: RequestId
    token: Token


class Ping(Struct, tag_field="type", tag="ping", frozen=True):
    """Ask for an `ok`, for clients that cannot see WebSocket control frames."""

    id: RequestId


class Matches(Struct, tag_field="type", tag="matches", frozen=True):
    """Read one page of the user's matches, those with the newest entry first."""

    id: RequestId
    before: WireMicros | None = None
    limit: Annotated[int, Meta(ge=1, le=MATCHES_PAGE_MAX)] = MATCHES_PAGE_MAX


class MessageSend(Struct, tag_field="type", tag="message.send", frozen=True):
    """Post `body` to `match`; `client_id` lets the client repeat it safely for 35 days."""

    id: RequestId
    match: WireMatchId
    client_id: WireClientId
    body: Body
    reply_to: WireSeq | None = None


class History(Struct, tag_field="type", tag="history", frozen=True):
    """Read one page of a match: newest first below `before`, or oldest first above `after`."""

    id: RequestId
    match: WireMatchId
    before: WireMicros | None = None
    after: WireMicros | None = None
    limit: PageLimit = PAGE_DEFAULT


class Sync(Struct, tag_field="type", tag="sync", frozen=True):
    """Read what came after each cursor."""

    id: RequestId
    cursors: Annotated[dict[WireMatchId, Cursor], Meta(min_length=1, max_length=SYNC_CURSORS_MAX)]


class Receipt(Struct, tag_field="type", tag="receipt", frozen=True):
    """Tell how far this user's devices hold (`delivered`) and the user has read (`read`) a match; the maximum wins."""

    match: WireMatchId
    delivered: WireSeq | None = None
    read: WireSeq | None = None
    id: RequestId | UnsetType = UNSET


class Typing(Struct, tag_field="type", tag="typing", frozen=True):
    """Tell the other members that this user is writing (or recording), or has stopped."""

    match: WireMatchId
    on: bool
    id: RequestId | UnsetType = UNSET
    kind: TypingKind = TypingKind.TEXT


class PresenceWatch(Struct, tag_field="type", tag="presence.watch", frozen=True):
    """Be told of the presence of these users from now on, instead of those named before. Only partners are shown."""

    id: RequestId
    users: Annotated[tuple[WireUserId, ...], Meta(max_length=WATCHED_MAX)]


class PresenceSet(Struct, tag_field="type", tag="presence.set", frozen=True):
    """Change how this user is shown to others, on all devices; what is left out stays."""

    status: OwnStatus | UnsetType = UNSET
    text: StatusText | UnsetType = UNSET
    last_seen: LastSeen | UnsetType = UNSET
    id: RequestId | UnsetType = UNSET


class ClientStateSet(Struct, tag_field="type", tag="client_state", frozen=True):
    """Tell whether somebody looks at this client; while nobody does, typing and presence are held back."""

    state: ClientState
    id: RequestId | UnsetType = UNSET


class Block(Struct, tag_field="type", tag="block", frozen=True):
    """Hear nothing of `user` any more, and let them hear nothing of this one."""

    id: RequestId
    user: WireUserId


class Unblock(Struct, tag_field="type", tag="unblock", frozen=True):
    """Take a `block` back."""

    id: RequestId
    user: WireUserId


class MatchSet(Struct, tag_field="type", tag="match.set", frozen=True):
    """Change this user's own settings of a match. `private_read`: do not show the others how far it was read."""

    id: RequestId
    match: WireMatchId
    private_read: bool


ClientMessage = (
    Hello
    | AuthRefresh
    | Ping
    | Matches
    | MessageSend
    | History
    | Sync
    | Receipt
    | Typing
    | PresenceWatch
    | CallStart
    | CallRinging
    | CallAccept
    | CallDecline
    | CallJoin
    | CallInvite
    | CallSignal
    | CallMedia
    | CallReport
    | CallIce
    | CallResume
    | CallHangup
    | CallStats
    | CallFeedback
    | PresenceSet
    | ClientStateSet
    | Block
    | Unblock
    | MatchSet
)
