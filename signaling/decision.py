"""What a decision is made of: the rules and surroundings that go in, the outcome and the actions that come out."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from protocol.calls import CallId, CallOutcome, CallPush, CallReason, Kind, PeerId
from protocol.errors import ErrorCode
from protocol.ids import Micros, SessionId, UserId
from signaling.call import Call, Seat


class Rules(Struct, frozen=True):
    """What every call of this installation keeps to; times in microseconds."""

    ring_us: int = 45_000_000
    unreachable_us: int = 10_000_000
    connect_us: int = 30_000_000
    grace_us: int = 30_000_000
    caller_grace_us: int = 10_000_000
    reconnect_us: int = 30_000_000
    alone_us: int = 300_000_000
    max_us: int = 14_400_000_000
    feedback_us: int = 86_400_000_000
    participants: int = 6
    unanswered: int = 3
    relay_only: bool = False
    # Without one nobody who is to be relayed only can be connected with anybody.
    has_relay: bool = True


class UserSettings(Struct, frozen=True):
    """What a user wants of calls."""

    when_busy: Literal["ring", "busy"] = "ring"
    relay_only: bool = False


class Context(Struct, frozen=True):
    """What the store knows around the call, read in the same transaction."""

    # Of the match, now.
    members: frozenset[UserId]
    # Those who have blocked the event's user, or whom that user has blocked.
    blocked: frozenset[UserId] = frozenset()
    # Of members; who is not in it has the defaults.
    settings: Mapping[UserId, UserSettings] = {}
    # Members who have a seat in another live call.
    in_call: Mapping[UserId, CallId] = {}
    # Calls that the event's user started in this match lately and that nobody answered.
    unanswered: int = 0

    def settings_of(self, user: UserId) -> UserSettings:
        """Return what `user` wants."""
        return self.settings.get(user) or UserSettings()


class ToSeat(Struct, frozen=True):
    """Tell one connection."""

    user: UserId
    session: SessionId
    node: str
    message: CallPush


class ToUser(Struct, frozen=True):
    """Tell every connection of a user but one."""

    user: UserId
    message: CallPush
    but: SessionId | None = None


Action = ToSeat | ToUser


class Refusal(Struct, frozen=True):
    """Nothing changes. `call` names the call that stands in the way; `leave_first`: leave that one and decide again."""

    code: ErrorCode
    call: CallId | None = None
    leave_first: bool = False
    # In place of the catalogue's words.
    message: str = ""
    # Of what is refused for now only.
    retry_after_ms: int | None = None


class EntryDraft(Struct, frozen=True):
    """What the match's log is to say; the store gives it its place. Missed calls count as unread for all but `caller`."""

    call: CallId
    state: CallOutcome
    caller: UserId
    media: Kind
    started_at: Micros
    participants: tuple[UserId, ...]
    reason: CallReason | None
    by: UserId | None
    duration_ms: int | None

    @property
    def is_missed(self) -> bool:
        """Whether it gets an `n`."""
        return self.state is CallOutcome.MISSED


class Decision(Struct, frozen=True):
    """What came of an event. `call` None: there is nothing to write; actions are to be carried out all the same."""

    call: Call | None = None
    entry: EntryDraft | None = None
    actions: tuple[Action, ...] = ()
    refusal: Refusal | None = None
    # Of the requests that ask for a seat: the one that they got.
    peer: PeerId | None = None


def to_seat(seat: Seat, message: CallPush) -> ToSeat:
    """Address `message` to the connection that has `seat` now."""
    return ToSeat(seat.user, seat.session, seat.node, message)
