"""A call while it is being changed: small steps that keep it whole, and the end of every change, where its state follows.

Handlers of events use the steps; `finish` then looks at what is there (who sits, who is connected, who is still rung),
moves the call by its table, ends it when nothing keeps it alive, and writes the entry when its outcome is another one.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import structs

from protocol.calls import (
    CallCancelled,
    CallEnded,
    CallJoined,
    CallPeerJoined,
    CallPeerLeft,
    CallPeerState,
    CallPush,
    CallRang,
    CallReason,
    CallState,
    MediaState,
    PeerId,
)
from protocol.ids import Micros, SessionId, UserId
from signaling.call import Call, Left, Leg, LegState, LegTurn, Seat, Turn, leg_moved, moved
from signaling.decision import Action, Context, Decision, Rules, ToUser, to_seat
from signaling.entries import duration_ms, entry_of, outcome_of
from signaling.events import Sitter
from signaling.views import incoming_of, peer_of

_ENDS_OF_LEGS: Final = (
    (LegState.EXPIRED, CallReason.NO_ANSWER),
    (LegState.DECLINED, CallReason.DECLINED),
    (LegState.BUSY, CallReason.BUSY),
    (LegState.CANCELLED, CallReason.REMOVED),
)


class Draft:
    """`reason` and `by` are those of the call's end, should what happened end it."""

    __slots__ = ("_before", "_have", "_legs_ended", "actions", "by", "call", "context", "now", "reason", "rules")

    def __init__(self, call: Call, context: Context, rules: Rules, now: Micros) -> None:
        self._before = call
        self.call = call
        self.context = context
        self.rules = rules
        self.now = now
        self.actions: list[Action] = []
        self.reason = CallReason.HANGUP
        self.by: UserId | None = None
        self._have: dict[PeerId, dict[PeerId, int]] = {}
        self._legs_ended: list[CallRang] = []

    # ---- telling

    def tell_others(self, seat: Seat, message: CallPush) -> None:
        """Tell every seat but `seat`."""
        self.actions.extend(to_seat(other, message) for other in self.call.others(seat))

    def tell_seats(self, message: CallPush) -> None:
        """Tell every seat."""
        self.actions.extend(to_seat(seat, message) for seat in self.call.seats)

    def tell_user(self, user: UserId, message: CallPush, but: SessionId | None = None) -> None:
        """Tell every connection of a user, or every other one."""
        self.actions.append(ToUser(user, message, but))

    # ---- legs

    def ring(self, users: Iterable[UserId]) -> None:
        """Begin to ring for `users`; who talks with others and does not want to be rung is busy at once."""
        for user in users:
            leg = Leg(user, LegState.NOTIFIED, self.now)
            in_call = user in self.context.in_call
            if in_call and self.context.settings_of(user).when_busy == "busy":
                self.put_leg(leg)
                self.end_leg(leg, LegTurn.BUSY, CallReason.BUSY, told=False)
                continue
            self.put_leg(leg)
            self.tell_user(user, incoming_of(self.call, leg, self.rules, self.now, in_call=in_call))

    def put_leg(self, leg: Leg) -> None:
        """Have `leg` in place of the user's former one."""
        others = tuple(other for other in self.call.legs if other.user != leg.user)
        self.call = structs.replace(self.call, legs=(*others, leg))

    def end_leg(
        self, leg: Leg, turn: LegTurn, reason: CallReason, *, but: SessionId | None = None, told: bool = True
    ) -> None:
        """Stop ringing for a user, and tell them why."""
        self.put_leg(leg_moved(leg, turn, self.now))
        if turn is not LegTurn.ACCEPTED:
            self._legs_ended.append(CallRang(self.call.call, leg.user, _seen_by_others(reason)))
        if told:
            self.tell_user(leg.user, CallCancelled(self.call.call, reason), but)

    # ---- seats

    def take(self, sitter: Sitter, *, glare: bool = False) -> None:
        """Give `sitter` a new seat; what rang for its user stops."""
        leg = self.call.open_leg_of(sitter.user)
        if leg is not None:
            self.end_leg(leg, LegTurn.ACCEPTED, CallReason.ANSWERED_ELSEWHERE, but=sitter.session)
        seat = Seat(
            peer=sitter.peer,
            user=sitter.user,
            session=sitter.session,
            node=sitter.node,
            key=sitter.key,
            joined_at=self.now,
            media=MediaState(audio=True, video=sitter.media == "video", screen=False),
            relay_only=is_relayed(sitter, self.context, self.rules),
            glare=glare,
        )
        self.call = structs.replace(self.call, seats=(*self.call.seats, seat))
        self.tell_user(seat.user, CallJoined(self.call.call, self.call.match), seat.session)
        for other in self.call.others(seat):
            self.actions.append(to_seat(other, CallPeerJoined(self.call.call, peer_of(self.call, seat, other))))

    def put_seat(self, seat: Seat) -> None:
        """Have `seat` as it is now in the place where it was."""
        seats = tuple(seat if other.peer == seat.peer else other for other in self.call.seats)
        self.call = structs.replace(self.call, seats=seats)

    def move(self, seat: Seat, session: SessionId, node: str, have: dict[PeerId, int]) -> Decision:
        """Have `seat` belong to the connection `session`, which holds the signals `have` from the other seats."""
        if seat.session != session and seat.lost_at is None:
            self.actions.append(to_seat(seat, CallEnded(self.call.call, CallReason.REPLACED)))
        self._have[seat.peer] = have
        self.put_seat(structs.replace(seat, session=session, node=node, lost_at=None))
        return self.finish(seat.peer)

    def leave(self, seat: Seat, reason: CallReason) -> None:
        """Give up `seat`; its user is told that it is over for them, the other seats that it is gone."""
        self.reason = reason
        self._remove(seat, reason)
        ended = CallEnded(self.call.call, reason, self.by, duration_ms(self.call, self.now))
        if reason is CallReason.REPLACED:
            self.actions.append(to_seat(seat, ended))
        else:
            self.tell_user(seat.user, ended)
        self.tell_seats(CallPeerLeft(self.call.call, seat.peer, seat.user, reason))

    def _remove(self, seat: Seat, reason: CallReason) -> None:
        gone = Left(
            peer=seat.peer,
            user=seat.user,
            key=seat.key,
            joined_at=seat.joined_at,
            left_at=self.now,
            reason=reason,
            connected_at=seat.connected_at,
            route=seat.route,
            level=seat.level,
        )
        seats = tuple(
            structs.replace(other, hears=tuple(peer for peer in other.hears if peer != seat.peer))
            for other in self.call.others(seat)
        )
        self.call = structs.replace(self.call, seats=seats, left=(*self.call.left, gone))

    # ---- the end of a change

    def end(self, reason: CallReason) -> None:
        """End the call for everybody who sits or is rung."""
        now, seats = self.now, self.call.seats
        for leg in self.call.legs:
            if leg.is_open:
                self.end_leg(leg, LegTurn.CANCELLED, reason)
        for seat in seats:
            self._remove(seat, reason)
        self.call = structs.replace(
            moved(self.call, Turn.OVER), ended_at=now, reason=reason, by=self.by, alone_since=None
        )
        message = CallEnded(self.call.call, reason, self.by, duration_ms(self.call, now))
        for seat in seats:
            self.tell_user(seat.user, message)

    def finish(self, peer: PeerId | None = None, *, write: bool = False) -> Decision:
        """Settle what follows and return it all; `write` also when nothing changed."""
        if not self.call.is_over:
            self._settle_seats()
            verdict = self._verdict()
            if verdict is None:
                self._settle_state()
                self._tell_states()
                for news in self._legs_ended:
                    self.tell_seats(news)
            else:
                self.end(verdict)
        changed = self.call != self._before
        return Decision(
            call=self.call if changed or write else None,
            entry=entry_of(self.call) if outcome_of(self.call) is not outcome_of(self._before) else None,
            actions=tuple(self.actions),
            peer=peer,
        )

    def _settle_seats(self) -> None:
        is_alone = len(self.call.seats) == 1
        for seat in self.call.seats:
            self.put_seat(self._alone(seat) if is_alone else self._among_others(seat))
        awaits_nobody = is_alone and not any(leg.is_open for leg in self.call.legs)
        if not awaits_nobody:
            self.call = structs.replace(self.call, alone_since=None)
        elif self.call.alone_since is None:
            self.call = structs.replace(self.call, alone_since=self.now)

    def _alone(self, seat: Seat) -> Seat:
        return structs.replace(seat, waits_since=None, apart_since=None)

    def _among_others(self, seat: Seat) -> Seat:
        if self.call.is_connected(seat):
            connected_at = seat.connected_at or self.now
            return structs.replace(seat, connected_at=connected_at, waits_since=None, apart_since=None)
        if seat.waits_since is not None or seat.apart_since is not None:
            return seat
        before = self._before.seat_named(seat.peer)
        if before is not None and self._before.is_connected(before):
            return structs.replace(seat, apart_since=self.now)
        return structs.replace(seat, waits_since=self.now)

    def _verdict(self) -> CallReason | None:
        """Tell why the call is over; None: it goes on."""
        call = self.call
        if not call.seats:
            return self.reason
        if len(call.seats) > 1:
            return None
        if call.answered_at is not None:
            return self.reason if len(call.people) <= 2 else None
        if not call.legs or any(leg.is_open for leg in call.legs):
            return None
        states = {leg.state for leg in call.legs}
        reason = next(reason for state, reason in _ENDS_OF_LEGS if state in states)
        has_rung = any(leg.rang_at is not None for leg in call.legs)
        return CallReason.UNAVAILABLE if reason is CallReason.NO_ANSWER and not has_rung else reason

    def _settle_state(self) -> None:
        call = self.call
        if call.state is CallState.RINGING and len(call.seats) > 1:
            call = structs.replace(moved(call, Turn.ANSWERED), answered_at=self.now)
        if call.is_paired():
            if call.state is not CallState.ACTIVE:
                call = structs.replace(moved(call, Turn.PAIRED), active_at=call.active_at or self.now)
        elif call.state is CallState.ACTIVE:
            call = moved(call, Turn.APART)
        self.call = call

    def _tell_states(self) -> None:
        """Tell the others of each seat that cannot be reached any more, or can again."""
        for seat in self.call.seats:
            before = self._before.seat_named(seat.peer)
            have = self._have.get(seat.peer)
            if before is None or (have is None and before.is_well == seat.is_well):
                continue
            for other in self.call.others(seat):
                held = None if have is None else have.get(other.peer, 0)
                state = CallPeerState(self.call.call, seat.peer, "ok" if seat.is_well else "reconnecting", held)
                self.actions.append(to_seat(other, state))


def is_relayed(sitter: Sitter, context: Context, rules: Rules) -> bool:
    """Tell whether the seat may be connected through a relay only: asked for, wanted by its user, or required by the server."""
    return sitter.relay_only or rules.relay_only or context.settings_of(sitter.user).relay_only


def _seen_by_others(reason: CallReason) -> CallReason:
    return CallReason.DECLINED if reason is CallReason.DECLINED_ELSEWHERE else reason
