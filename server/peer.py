"""One connection as the router sees it: its socket, its session, its outbox, and the deadline of the session.

Everything that arrives (a message, a deadline, the end) becomes actions of the session, and those go to the carrier.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from protocol.close_codes import CloseCode
from protocol.codec import Malformed, decode
from protocol.from_server import Error, ServerMessage
from protocol.ids import RequestId, SessionId, UserId
from server.core.log import Refused
from server.core.presence import Departure, Shown
from server.core.session import Actions, Session
from server.core.sessions import SessionInfo
from server.core.tokens import Claims
from server.hub import frame
from server.outbox import Outbox
from server.telemetry import Telemetry, event

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


def error_of(refused: Refused, request_id: RequestId | None, *, stored: bool = False) -> Error:
    """Return the answer that a refusal of journal or store makes; `stored` for messages, whose fate matters."""
    return Error(
        code=refused.code,
        message=refused.message,
        id=request_id,
        retry_after_ms=refused.retry_after_ms,
        stored=refused.stored if stored else None,
    )


class LookupQueue:
    """One connection's questions to the store, as long as there are any."""

    __slots__ = ("under_way", "waiting")

    def __init__(self) -> None:
        self.under_way = 0
        self.waiting: deque[Callable[[], None]] = deque()


class Socket(Protocol):
    """The gateway's connection."""

    outbox: Outbox

    def close(self, code: int, reason: str = "") -> None:
        """Send what waits and a close frame, then end."""


class Expiring(Protocol):
    """Something with a deadline."""

    def expired(self, now: float) -> None:
        """Act on the deadline that has passed."""


class Deadline(Protocol):
    """An armed timer."""

    def disarm(self, target: Expiring) -> None:
        """Forget it; harmless afterwards."""


class Wheel(Protocol):
    """Coarse timers; `target.expired(now)` is called once, at the deadline or a little later."""

    def arm(self, deadline: float, target: Expiring) -> Deadline:
        """Have `target` expire at `deadline` (monotonic seconds)."""

    def now(self) -> float:
        """Read the monotonic clock, in seconds."""


class Carrier(Protocol):
    """Carries out what sessions decide: the router."""

    wheel: Wheel
    telemetry: Telemetry

    def carry_out(self, peer: "Peer", actions: Actions) -> None:
        """Do all of `actions` in order, without awaiting."""

    def lost(self, peer: "Peer", departure: Departure) -> None:
        """The connection is gone; harmless when that was said before."""


class Absence:
    """The time in which nobody looks at a connection. `grown_idle` is called when it has lasted, unless it has ended."""

    __slots__ = ("_deadline", "_grown_idle", "_peer", "is_idle")

    def __init__(self, peer: "Peer", grown_idle: Callable[["Peer"], None], *, is_idle: bool = False) -> None:
        self._peer = peer
        self._grown_idle = grown_idle
        self._deadline: Deadline | None = None
        self.is_idle = is_idle

    def begin(self, wheel: Wheel, away_s: float) -> None:
        """Be idle in `away_s`."""
        self._deadline = wheel.arm(wheel.now() + away_s, self)

    def expired(self, now: float) -> None:
        """It has lasted."""
        del now
        self.is_idle = True
        self._peer.shield(self._grown_idle)(self._peer)

    def end(self) -> None:
        """Somebody looks, or the connection is gone."""
        if self._deadline is not None:
            self._deadline.disarm(self)


class Peer:
    """A receiver to the gateway, a recipient to the hub. `is_live` from its registration until it is closed or lost."""

    __slots__ = (
        "_carrier",
        "_deadline",
        "_socket",
        "absence",
        "address",
        "conversation",
        "info",
        "instead_of",
        "is_live",
        "is_sent_away",
        "lookups",
        "outbox",
        "session",
        "shown",
        "unseen",
        "user",
        "watch",
        "watch_asked",
    )

    def __init__(self, socket: Socket, conversation: Session, carrier: Carrier, address: str = "") -> None:
        """`address` is the client's, by which failed authentications are counted; "" when nobody knows it."""
        self.address = address
        self._socket = socket
        self._carrier = carrier
        self.conversation = conversation
        self.outbox = socket.outbox
        self.user = UserId("")
        self.session = SessionId("")
        self.is_live = False
        # The session that its hello says it takes over.
        self.instead_of: SessionId | None = None
        # What the list of sessions has of it, from its registration on.
        self.info: SessionInfo | None = None
        # Its reads of the store, while there are any.
        self.lookups: LookupQueue | None = None
        # Which `presence.watch` of all the node's holds, and which one that the client asked for is under way (0: none).
        self.watch = 0
        self.watch_asked = 0
        # Whom that names and a block hides: they are watched when it is taken back.
        self.unseen: tuple[UserId, ...] = ()
        # What the directory was told of it; nothing before it is known how its user wants to be shown.
        self.shown: Shown | None = None
        # While nobody looks at it.
        self.absence: Absence | None = None
        # It was asked to connect elsewhere.
        self.is_sent_away = False
        self._deadline: Deadline | None = None
        self.watch_deadline()

    @property
    def claims(self) -> Claims | None:
        """What the token says that it is connected by; None before hello."""
        return self.conversation.claims

    @property
    def is_idle(self) -> bool:
        """Whether nobody has looked at it for so long that it does not make its user present."""
        return self.absence is not None and self.absence.is_idle

    def received(self, payload: bytes) -> None:
        """Take one text message from the client."""
        now = self._carrier.wheel.now()
        try:
            message = decode(payload)
        except Malformed as problem:
            self._carrier.telemetry.malformed_frames += 1
            actions = self.conversation.malformed(problem, now)
        else:
            actions = self.conversation.receive(message, now)
        if actions:
            self._carrier.carry_out(self, actions)

    def expired(self, now: float) -> None:
        """The session's deadline has passed."""
        self.shield(self._tick)(now)
        self.watch_deadline()

    def shield(self, do: Callable[[Result], None]) -> Callable[[Result], None]:
        """Return `do` for journal, store or timer to call back: its fault ends this connection, and no other."""

        def shielded(result: Result) -> None:
            try:
                do(result)
            except Exception as fault:  # noqa: BLE001 - logged here, once, with its traceback
                self._carrier.telemetry.internal_errors += 1
                _log.error("peer.fault", exc_info=fault, extra=event(session=self.session))
                self.close(CloseCode.INTERNAL_ERROR, "a fault of the server")

        return shielded

    def _tick(self, now: float) -> None:
        self._carrier.carry_out(self, self.conversation.tick(now))

    def lost(self, code: int, reason: str) -> None:  # noqa: ARG002 - nobody has to know why
        """The connection has ended, however; a client that closes it with 1000 says goodbye."""
        self._end(Departure.GOODBYE if code == CloseCode.NORMAL else Departure.LOST)

    def say(self, message: ServerMessage) -> None:
        """Send to this connection alone."""
        self.send(frame(message))

    def send(self, framed: bytes) -> None:
        """Send a framed message; a reader who is too slow for it is ended."""
        if not self.outbox.send(framed):
            self.close(CloseCode.SLOW_READER, "slow reader: connect again and resume")

    def close(self, code: CloseCode, reason: str) -> None:
        """End the connection after what waits.

        It counts as lost at once, for the hub, its user's presence and the number of connections: nothing comes of it
        any more, however long the socket takes to close.
        """
        self.conversation.closed()
        self._socket.close(code, reason)
        self._end(Departure.LOST)

    def _end(self, departure: Departure) -> None:
        self.conversation.closed()
        self._unwatch_deadline()
        if self.absence is not None:
            self.absence.end()
        # Whoever was sent away has time to come back elsewhere, however the old connection ends.
        self._carrier.lost(self, Departure.HANDOFF if self.is_sent_away else departure)

    def give_back(self) -> None:
        """Send what was held back while nobody looked."""
        if not self.outbox.give_back():
            self.close(CloseCode.SLOW_READER, "slow reader: connect again and resume")

    def watch_deadline(self) -> None:
        """Have `expired` called at the session's deadline as it is now."""
        self._unwatch_deadline()
        if self.conversation.is_closed:
            return
        self._deadline = self._carrier.wheel.arm(self.conversation.deadline, self)

    def _unwatch_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.disarm(self)
            self._deadline = None
