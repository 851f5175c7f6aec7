"""How a call is, for those who may not know: who has just come, who missed news of other nodes, and this node itself."""

import logging
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from protocol.calls import CallCancelled, CallEnded, CallId, CallReason
from protocol.ids import UserId
from server.calls.book import CallBook
from server.calls.signals import Signals
from server.core.calls import CallRow, CallView
from server.hub import Hub, frame
from server.peer import Peer
from server.people import People
from server.ports import Clock
from signaling.call import Call, Leg
from signaling.decision import Rules
from signaling.entries import duration_ms
from signaling.views import incoming_of, snapshot_of

_log = logging.getLogger(__name__)


class CallUpdates(Struct, frozen=True):
    """Takes in what others changed, and puts into words what holds now."""

    book: CallBook
    hub: Hub
    people: People
    signals: Signals
    clock: Clock
    rules: Rules
    # Who has not been told of these calls, because it was not known whom a block parts them from.
    withheld: dict[Peer, frozenset[CallId]]

    def greet(self, peer: Peer, rows: Sequence[CallRow]) -> None:
        """Have a connection that has just come ring, resume or offer to join; it is registered, so that news reach it, too."""
        for row in rows:
            try:
                known = self.book.learn(row)
            except msgspec.MsgspecError:  # A newer version's, perhaps; who connects is welcome all the same.
                _log.warning("calls.row_not_understood")
                continue
            if not peer.is_live or known.call.is_over:
                continue
            if self._may_know(peer.user, known.call):
                peer.send(self._offered(known.call, peer.user))
            elif self.people.person(peer.user) is None:
                self.withheld[peer] = self.withheld.get(peer, frozenset()) | {known.call.call}

    def _offered(self, call: Call, user: UserId) -> bytes:
        """Return what one who has just come can do with a live call: answer, go on, join, also after having left it."""
        leg = call.open_leg_of(user)
        if leg is None:
            return frame(snapshot_of(call, call.seat_of(user)))
        return self._ring(call, leg, in_call=self.book.is_seated(user))

    def _ring(self, call: Call, leg: Leg, *, in_call: bool) -> bytes:
        return frame(incoming_of(call, leg, self.rules, self.clock.micros(), in_call=in_call))

    def _may_know(self, user: UserId, call: Call) -> bool:
        """Tell whether a call that is not the user's own may be shown to them: not if they could not join it."""
        if call.seat_of(user) is not None or call.open_leg_of(user) is not None:
            return True
        person = self.people.person(user)
        return person is not None and person.apart.isdisjoint({call.caller, *(seat.user for seat in call.seats)})

    # ---- news from elsewhere

    def heard(self, name: CallId, version: int, call: Call) -> None:
        """Another node changed a call."""
        book = self.book
        concerns = name in book.calls_here() or any(self.hub.connections(user) for user in call.people)
        if concerns and book.is_news(name, version):
            book.hear(name, version, call)
            if call.is_over:
                self.signals.forget(call)

    def states(self, view: CallView) -> list[tuple[UserId, bytes]]:
        """Return for everybody whom a call concerns how it is, for those who may have missed news of it."""
        if view.row is None:
            return []
        call = self.book.learn(view.row).call
        return [
            (user, self._state_of(call, user, in_call=view.in_call.get(user, call.call) != call.call))
            for user in sorted(call.people)
        ]

    def _state_of(self, call: Call, user: UserId, *, in_call: bool) -> bytes:
        leg, seat = call.open_leg_of(user), call.seat_of(user)
        had_seat = [gone for gone in call.left if gone.user == user]
        if leg is not None:
            return self._ring(call, leg, in_call=in_call)
        if seat is None and had_seat:
            reason = call.reason or had_seat[-1].reason
            return frame(
                CallEnded(call.call, reason, call.by, duration_ms(call, call.ended_at or had_seat[-1].left_at))
            )
        if seat is None and (call.is_over or call.leg_of(user) is not None):
            return frame(CallCancelled(call.call, call.reason or CallReason.CANCELLED))
        return frame(snapshot_of(call, seat))
