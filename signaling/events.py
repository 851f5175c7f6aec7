"""What happens to calls: requests of clients, news of the node, and time. Sessions and fresh ids come from the server."""

from typing import Literal

from msgspec import Struct

from protocol.calls import CallId, CallReason, Kind, Level, MediaState, Mode, PeerId, Route
from protocol.ids import ClientId, MatchId, SessionId, UserId


class Sitter(Struct, frozen=True):
    """A connection that wants a seat: whose it is, where it is, and the name that its seat will have."""

    user: UserId
    session: SessionId
    node: str
    # Unguessable, made for this request; not used when the seat is there already.
    peer: PeerId
    key: ClientId
    media: Kind
    relay_only: bool = False
    replace: bool = False


class Start(Struct, frozen=True):
    """`call.start`. `call` is the name of the new call, if there will be one."""

    sitter: Sitter
    call: CallId
    match: MatchId
    mode: Mode = "ring"
    users: tuple[UserId, ...] | None = None


class Rang(Struct, frozen=True):
    """`call.ringing`: a device of `user` alerts."""

    user: UserId


class Accept(Struct, frozen=True):
    """`call.accept`."""

    sitter: Sitter


class Join(Struct, frozen=True):
    """`call.join`."""

    sitter: Sitter
    takeover: bool = False


class Decline(Struct, frozen=True):
    """`call.decline`, said on `session`."""

    user: UserId
    session: SessionId
    busy: bool = False


class Invite(Struct, frozen=True):
    """`call.invite`."""

    session: SessionId
    users: tuple[UserId, ...]


class Report(Struct, frozen=True):
    """`call.state`: how the seat of `session` is connected to `peer`."""

    session: SessionId
    peer: PeerId
    ice: Literal["connected", "disconnected", "failed"]
    route: Route | None = None


class SetMedia(Struct, frozen=True):
    """`call.media`."""

    session: SessionId
    media: MediaState


class Rated(Struct, frozen=True):
    """The statistics of a seat say that it receives so well; send it on change only."""

    session: SessionId
    level: Level


class Lost(Struct, frozen=True):
    """The connection `session` is gone."""

    session: SessionId


class Resume(Struct, frozen=True):
    """`call.resume`."""

    user: UserId
    session: SessionId
    node: str
    peer: PeerId
    have: dict[PeerId, int] = {}


class HangUp(Struct, frozen=True):
    """`call.hangup` on `session`; None: whichever seat the user has."""

    user: UserId
    session: SessionId | None
    reason: CallReason = CallReason.HANGUP


class Remove(Struct, frozen=True):
    """These users may not take part any more; None: nobody may, the call is ended by the app."""

    users: tuple[UserId, ...] | None


class Due(Struct, frozen=True):
    """The call's deadline has passed."""


class Feedback(Struct, frozen=True):
    """`call.feedback`."""

    user: UserId
    rating: int
    issues: tuple[str, ...] = ()


class Relayed(Struct, frozen=True):
    """A relay carried so much for a user, through one allocation, which has ended."""

    user: UserId
    allocation: str
    total_bytes: int


# What is about the ring, what is about seats, and all that happens to a call that is there.
RingEvent = Rang | Accept | Decline | Invite
SeatEvent = Join | Resume | Report | SetMedia | Rated | Lost | HangUp | Remove | Feedback | Relayed
Event = Start | RingEvent | SeatEvent | Due
