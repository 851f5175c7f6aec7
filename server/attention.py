"""Whether somebody looks at each connection, and what follows from it.

A connection at which nobody looks is spared typing and presence at once, and counts as idle when that has lasted for
`away_s`: the user whose connections are all idle is away. One that says `inactive` in its hello is idle from the start, as
nobody has looked at it yet. An active connection costs nothing here, an inactive one an entry in the wheel.

This is the one place that tells the directory what a connection says of its user.
"""

from typing import assert_never

from msgspec import structs

from protocol.from_client import ClientState
from protocol.from_server import OwnPresence, PresenceOwn
from server.core.people import Person, PresenceWish
from server.core.presence import Shown
from server.hub import frame
from server.peer import Absence, Peer, Wheel
from server.ports import Bus


def own(presence: OwnPresence) -> bytes:
    """Return the push that tells a device how its user wants to be shown."""
    return frame(PresenceOwn(presence.status, presence.text, presence.last_seen))


class Attention:
    """One for all peers."""

    __slots__ = ("_away_s", "_bus", "_wheel")

    def __init__(self, bus: Bus, wheel: Wheel, away_s: float) -> None:
        self._bus = bus
        self._wheel = wheel
        self._away_s = away_s

    def begin(self, peer: Peer, state: ClientState) -> None:
        """The peer is here, and has said this in its hello: frames for its user come from now on.

        Presence counts it when it is known how the user wants to be shown (`arrived`): who is invisible never looks online.
        """
        if state is ClientState.INACTIVE:
            peer.absence = Absence(peer, self._idle_changed, is_idle=True)
            peer.outbox.hold_back()
        self._bus.register(peer.user, peer.session, None)

    def arrived(self, peer: Peer, person: Person) -> None:
        """The peer is about to be welcomed: from now on it counts."""
        self._show(peer, Shown(peer.is_idle, person.presence, person.version))

    def person_changed(self, peer: Peer, person: Person) -> None:
        """Something else is known of the peer's user: how they want to be shown, perhaps."""
        if peer.shown is not None and peer.shown.version < person.version:
            peer.send(own(person.presence))
            self.arrived(peer, person)

    def wished(self, peer: Peer, wish: PresenceWish, person: Person) -> OwnPresence | None:
        """The peer itself has asked for `wish`, and `person` is what was stored: it gets an answer, and no news.

        Returns what it has to be told behind the answer: how its user is shown, when another device's wish made that
        something else than the peer must believe.
        """
        if not peer.is_live or peer.shown is None:
            return None
        believed = wish.applied(peer.shown.presence)
        if peer.shown.version < person.version:
            self.arrived(peer, person)
        holds = peer.shown.presence
        return None if holds == believed else holds

    def turn(self, peer: Peer, state: ClientState) -> None:
        """Somebody looks from now on, or nobody does."""
        match state:
            case ClientState.ACTIVE:
                self._look(peer)
            case ClientState.INACTIVE:
                self._look_away(peer)
            case _:
                assert_never(state)

    def _look_away(self, peer: Peer) -> None:
        if peer.absence is None:
            peer.outbox.hold_back()
            peer.absence = Absence(peer, self._idle_changed)
            peer.absence.begin(self._wheel, self._away_s)

    def _look(self, peer: Peer) -> None:
        if peer.absence is not None:
            peer.absence.end()
            peer.absence = None
            self._idle_changed(peer)
            peer.give_back()

    def _idle_changed(self, peer: Peer) -> None:
        if peer.shown is not None:
            self._show(peer, structs.replace(peer.shown, is_idle=peer.is_idle))

    def _show(self, peer: Peer, shown: Shown) -> None:
        if peer.is_live and shown != peer.shown:
            peer.shown = shown
            self._bus.register(peer.user, peer.session, shown)
