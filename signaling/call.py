"""A call as a row of the store holds it, and the two tables by which it and its rings move.

Everything that changes the state of a call or of a leg is in this file: `moved` and `leg_moved` look it up here and
refuse what the tables do not have.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec import Struct, structs

from protocol.calls import CallId, CallReason, CallState, Kind, Level, MediaState, Mode, PeerId, Route
from protocol.ids import ClientId, MatchId, Micros, SessionId, UserId


class LegState(Enum):
    """Where the ring for one user is; all of the user's devices ring together."""

    NOTIFIED = "notified"
    RINGING = "ringing"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    BUSY = "busy"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Turn(Enum):
    """What moves a call."""

    ANSWERED = "there is a second seat"
    PAIRED = "two seats that are well are connected with each other"
    APART = "no two such seats are left"
    OVER = "nothing keeps it alive"


class LegTurn(Enum):
    """What moves a leg."""

    RANG = "a device rings"
    ACCEPTED = "a device took a seat"
    DECLINED = "a device refused"
    BUSY = "the user talks with somebody else"
    EXPIRED = "nobody answered in time"
    CANCELLED = "there is nothing to answer any more"


_OVER: Final = {Turn.OVER: CallState.ENDED}
TURNS: Final[Mapping[CallState, Mapping[Turn, CallState]]] = {
    CallState.RINGING: {Turn.ANSWERED: CallState.CONNECTING, **_OVER},
    CallState.CONNECTING: {Turn.PAIRED: CallState.ACTIVE, **_OVER},
    CallState.ACTIVE: {Turn.APART: CallState.RECONNECTING, **_OVER},
    CallState.RECONNECTING: {Turn.PAIRED: CallState.ACTIVE, **_OVER},
    CallState.ENDED: {},
}

_ENDS: Final = {
    LegTurn.ACCEPTED: LegState.ACCEPTED,
    LegTurn.DECLINED: LegState.DECLINED,
    LegTurn.BUSY: LegState.BUSY,
    LegTurn.EXPIRED: LegState.EXPIRED,
    LegTurn.CANCELLED: LegState.CANCELLED,
}
LEG_TURNS: Final[Mapping[LegState, Mapping[LegTurn, LegState]]] = {
    LegState.NOTIFIED: {LegTurn.RANG: LegState.RINGING, **_ENDS},
    LegState.RINGING: _ENDS,
    LegState.ACCEPTED: {},
    LegState.DECLINED: {},
    LegState.BUSY: {},
    LegState.EXPIRED: {},
    LegState.CANCELLED: {},
}
OPEN_LEGS: Final = frozenset({LegState.NOTIFIED, LegState.RINGING})


class Leg(Struct, frozen=True, omit_defaults=True):
    """The ring for one user. Asked anew, the user gets a new leg in place of the old one."""

    user: UserId
    state: LegState
    invited_at: Micros
    rang_at: Micros | None = None
    ended_at: Micros | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still be answered."""
        return self.state in OPEN_LEGS


class Seat(Struct, frozen=True, omit_defaults=True):
    """One connection's place. `key` is the `client_id` by which it was taken, so that it is taken once."""

    peer: PeerId
    user: UserId
    session: SessionId
    node: str
    key: ClientId
    joined_at: Micros
    media: MediaState
    relay_only: bool = False
    glare: bool = False
    # Peers that this seat says it is connected to; a pair is connected when both say so.
    hears: tuple[PeerId, ...] = ()
    # Since when it waits for the first connection to anybody, and when that came.
    waits_since: Micros | None = None
    connected_at: Micros | None = None
    # Since when it has no connection to anybody, after it had one.
    apart_since: Micros | None = None
    # Since when its socket is gone.
    lost_at: Micros | None = None
    route: Route | None = None
    level: Level | None = None

    @property
    def is_well(self) -> bool:
        """Whether it can be reached, over its socket and over its media if it had any."""
        return self.lost_at is None and self.apart_since is None


class Left(Struct, frozen=True, omit_defaults=True):
    """A seat that is no more."""

    peer: PeerId
    user: UserId
    key: ClientId
    joined_at: Micros
    left_at: Micros
    reason: CallReason
    connected_at: Micros | None = None
    route: Route | None = None
    level: Level | None = None


class Opinion(Struct, frozen=True, omit_defaults=True):
    """What a user said of the call afterwards."""

    user: UserId
    rating: int
    issues: tuple[str, ...] = ()


class RelayUse(Struct, frozen=True, omit_defaults=True):
    """What one allocation at a relay carried for a user, both ways."""

    user: UserId
    allocation: str
    total_bytes: int


class Call(Struct, frozen=True, omit_defaults=True):
    """One call, from its start to what is remembered of it. No SDP, no address, no secret."""

    call: CallId
    match: MatchId
    caller: UserId
    key: ClientId
    media: Kind
    mode: Mode
    state: CallState
    started_at: Micros
    legs: tuple[Leg, ...] = ()
    # In the order in which they were taken: who sits before another makes it the first offer.
    seats: tuple[Seat, ...] = ()
    left: tuple[Left, ...] = ()
    answered_at: Micros | None = None
    active_at: Micros | None = None
    # Since when one seat is alone with nobody to wait for.
    alone_since: Micros | None = None
    ended_at: Micros | None = None
    reason: CallReason | None = None
    by: UserId | None = None
    opinions: tuple[Opinion, ...] = ()
    # The latest, one for each allocation.
    relayed: tuple[RelayUse, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state is CallState.ENDED

    @property
    def people(self) -> frozenset[UserId]:
        """Everybody who was ever called or took part."""
        return frozenset(
            {self.caller}.union(
                (leg.user for leg in self.legs), (seat.user for seat in self.seats), (gone.user for gone in self.left)
            )
        )

    def leg_of(self, user: UserId) -> Leg | None:
        """Return the ring for `user`, if there ever was one."""
        return next((leg for leg in self.legs if leg.user == user), None)

    def open_leg_of(self, user: UserId) -> Leg | None:
        """Return the ring for `user` if it can be answered."""
        return next((leg for leg in self.legs if leg.user == user and leg.is_open), None)

    def seat_of(self, user: UserId) -> Seat | None:
        """Return the seat that `user` has, on whatever device."""
        return next((seat for seat in self.seats if seat.user == user), None)

    def seat_at(self, session: SessionId) -> Seat | None:
        """Return the seat of that connection."""
        return next((seat for seat in self.seats if seat.session == session), None)

    def seat_named(self, peer: PeerId) -> Seat | None:
        """Return the seat with that name."""
        return next((seat for seat in self.seats if seat.peer == peer), None)

    def others(self, seat: Seat) -> tuple[Seat, ...]:
        """Return the seats but this one."""
        return tuple(other for other in self.seats if other.peer != seat.peer)

    def are_connected(self, one: Seat, other: Seat) -> bool:
        """Tell whether both say that they are connected with each other."""
        return other.peer in one.hears and one.peer in other.hears

    def is_connected(self, seat: Seat) -> bool:
        """Tell whether `seat` is connected with any other."""
        return any(self.are_connected(seat, other) for other in self.others(seat))

    def is_paired(self) -> bool:
        """Tell whether two seats that are well are connected with each other."""
        well = [seat for seat in self.seats if seat.is_well]
        return any(self.are_connected(one, other) for place, one in enumerate(well) for other in well[:place])


def moved(call: Call, turn: Turn) -> Call:
    """Return `call` after `turn`; KeyError where the table has no such turn."""
    return structs.replace(call, state=TURNS[call.state][turn])


def leg_moved(leg: Leg, turn: LegTurn, now: Micros) -> Leg:
    """Return `leg` after `turn`; KeyError where the table has no such turn."""
    state = LEG_TURNS[leg.state][turn]
    if turn is LegTurn.RANG:
        return structs.replace(leg, state=state, rang_at=now)
    return structs.replace(leg, state=state, ended_at=now)
