"""What the HTTP API takes and gives, as types; the OpenAPI document is made from them."""

from typing import Annotated

from msgspec import Meta, Struct

from protocol.errors import ErrorCode
from protocol.from_client import Body, JsonObject
from protocol.from_server import Entry, MatchSummary
from protocol.ids import MatchId, Micros, Seq, SessionId, UserId, WireClientId, WireSeq, WireUserId
from protocol.limits import EVENT_NAME_MAX_CHARS

TTL_DEFAULT_S = 3600


class TokenRequest(Struct, frozen=True):
    """Ask for an access token that speaks for `user`."""

    user: WireUserId
    ttl_s: Annotated[int, Meta(ge=1)] = TTL_DEFAULT_S


class TokenAnswer(Struct, frozen=True):
    """The token, and when it expires (microseconds since the Unix epoch)."""

    token: str
    user: UserId
    expires_at: Micros


class TicketRequest(Struct, frozen=True):
    """Ask for a ticket; a backend names the user, a user's own token stands for its user."""

    user: WireUserId | None = None


class TicketAnswer(Struct, frozen=True):
    """Connect to `/ws?ticket=…` once within `expires_in_s`."""

    ticket: str
    expires_in_s: int


class MembersRequest(Struct, frozen=True):
    """The members that the match shall have, from 2 to the node's limit."""

    members: tuple[WireUserId, ...]


class MatchAnswer(Struct, frozen=True):
    """A match as the backend sees it; one that has ended has no members."""

    match: MatchId
    members: tuple[UserId, ...]
    last_seq: Seq
    last_at: Micros
    messages: int


class MatchesAnswer(Struct, frozen=True):
    """A page of a user's matches; `before` of the next page is the last one's `last_at`."""

    matches: tuple[MatchSummary, ...]
    complete: bool


class MessageRequest(Struct, frozen=True):
    """Post a message; a backend names the sender, a user's own token is the sender."""

    client_id: WireClientId
    body: Body
    sender: WireUserId | None = None
    reply_to: WireSeq | None = None


class MessageAnswer(Struct, frozen=True):
    """Where the message is in the log."""

    match: MatchId
    seq: Seq
    created_at: Micros
    duplicate: bool


class MessagesAnswer(Struct, frozen=True):
    """A page of a match's log."""

    messages: tuple[Entry, ...]
    complete: bool


class SessionAnswer(Struct, frozen=True):
    """A connected session: what its hello called the device, since when it is connected, on which node."""

    session: SessionId
    device: str | None
    connected_at: Micros
    node: str


class SessionsAnswer(Struct, frozen=True):
    """The user's connected sessions on all nodes, oldest first."""

    sessions: tuple[SessionAnswer, ...]


class EventRequest(Struct, frozen=True):
    """Tell all devices of a user something that is not stored."""

    name: Annotated[str, Meta(min_length=1, max_length=EVENT_NAME_MAX_CHARS)]
    data: JsonObject = {}


class EventAnswer(Struct, frozen=True):
    """How many connections the event was handed to."""

    connections: int


class ErrorDetail(Struct, frozen=True, omit_defaults=True):
    """A code of the catalogue and what to do."""

    code: ErrorCode
    message: str
    retry_after_ms: int | None = None


class ErrorAnswer(Struct, frozen=True):
    """Every answer that is not 2xx."""

    error: ErrorDetail
