"""Tells devices, on whatever node they are, what came of a decision; always on the durable lane."""

from collections.abc import Iterable

from protocol.calls import CallPush
from protocol.ids import SessionId, UserId
from server.core.sealed import Sealed, seal
from server.hub import Hub, frame
from server.ports import Bus
from signaling.decision import Action, ToSeat


class Teller:
    """Frames for one connection, or for a user's."""

    __slots__ = ("_bus", "_hub")

    def __init__(self, hub: Hub, bus: Bus) -> None:
        self._hub = hub
        self._bus = bus

    def carry_out(self, actions: Iterable[Action]) -> None:
        """Tell everybody, in order."""
        for action in actions:
            if isinstance(action, ToSeat):
                self.tell_session(action.user, action.session, frame(action.message))
            else:
                self.tell_user(action.user, action.message, but=action.but)

    def tell_session(self, user: UserId, session: SessionId, framed: bytes) -> None:
        """Send to one connection of `user`, here or elsewhere."""
        here = self._hub.session(session)
        if here is not None:
            here.send(framed)
        else:
            self._bus.route((user,), seal(Sealed(session, framed, only=True)))

    def tell_user(self, user: UserId, message: CallPush, *, but: SessionId | None = None) -> None:
        """Send to every connection of `user` but one."""
        framed = frame(message)
        skipped = self._hub.session(but) if but is not None else None
        self._hub.push((user,), framed, skip=skipped)
        is_elsewhere = but is not None and skipped is None
        self._bus.route((user,), seal(Sealed(but, framed, only=False)) if is_elsewhere and but else framed)
