"""The connections of this node, by user, and the members of the matches that they talk in.

Encode once, deliver many: every push is one frame for all its recipients. Members are cached so that ephemeral signals
(typing) can be authorised without the store; whoever changes a match's members says so here at once (`set_members`).
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol

from protocol.close_codes import CloseCode
from protocol.codec import encode
from protocol.from_server import ServerMessage
from protocol.ids import MatchId, Seq, SessionId, UserId
from server.core.latest import Key
from server.core.tokens import Claims
from server.outbox import Flusher, Outbox, frame_text
from server.telemetry import Telemetry

MEMBERS_CACHED_MAX: Final = 100_000
# Matches; one of two people takes about 300 bytes.

Members = tuple[UserId, ...]


def frame(message: ServerMessage) -> bytes:
    """Encode and frame a message once, for any number of connections."""
    return frame_text(encode(message))


class Recipient(Protocol):
    """One authenticated connection."""

    user: UserId
    session: SessionId
    outbox: Outbox

    @property
    def claims(self) -> Claims | None:
        """What the token says that it is connected by."""

    def send(self, framed: bytes) -> None:
        """Send a frame to this connection alone."""

    def close(self, code: CloseCode, reason: str) -> None:
        """End the connection."""


class Hub:
    """Who is connected here. Registries are dictionaries, so that the order of delivery can be replayed."""

    __slots__ = ("_connections", "_flusher", "_members", "_sessions", "_telemetry", "is_degraded")

    def __init__(self, flusher: Flusher, telemetry: Telemetry) -> None:
        self._flusher = flusher
        self._telemetry = telemetry
        # Most users have one connection: the tuple of several is made only for those who do.
        self._connections: dict[UserId, Recipient | tuple[Recipient, ...]] = {}
        self._sessions: dict[SessionId, Recipient] = {}
        # With the place in the log as of which they hold; None: only what the store says as of that place or later does.
        self._members: dict[MatchId, tuple[Seq, Members | None]] = {}
        # Other nodes are not heard, so that nothing about members is worth keeping.
        self.is_degraded = False

    # ---- connections

    def add(self, recipient: Recipient) -> None:
        """Deliver to this connection from now on."""
        present = self.connections(recipient.user)
        self._connections[recipient.user] = (*present, recipient) if present else recipient
        self._sessions[recipient.session] = recipient

    def remove(self, recipient: Recipient) -> None:
        """Deliver nothing more to this connection."""
        rest = tuple(other for other in self.connections(recipient.user) if other is not recipient)
        if not rest:
            self._connections.pop(recipient.user, None)
        else:
            self._connections[recipient.user] = rest[0] if len(rest) == 1 else rest
        self._sessions.pop(recipient.session, None)

    def connections(self, user: UserId) -> tuple[Recipient, ...]:
        """Return the user's connections here, oldest first."""
        present = self._connections.get(user, ())
        return present if isinstance(present, tuple) else (present,)

    def session(self, session: SessionId) -> Recipient | None:
        """Return the live connection of that session."""
        return self._sessions.get(session)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Recipient]:
        return iter(tuple(self._sessions.values()))

    @property
    def users(self) -> int:
        """Users with a connection here."""
        return len(self._connections)

    # ---- members

    def members(self, match: MatchId) -> Members | None:
        """Return the match's members as far as known here; None: ask the store and `learn` its answer."""
        known = self._members.get(match)
        return None if known is None else known[1]

    def learn(self, match: MatchId, members: Members, seq: Seq) -> Members:
        """Keep what the store answered, as of the entry `seq`, unless more is known already; return what holds."""
        self._note(match, members, seq)
        known = self.members(match)
        return members if known is None else known

    def set_members(self, match: MatchId, members: Members, seq: Seq) -> None:
        """This node has changed the match: it has these members as of its entry `seq`, if that is the newest known."""
        self._note(match, members, seq)

    def heard_members(self, match: MatchId, members: Members, seq: Seq) -> None:
        """Another node has changed the match, perhaps long ago.

        Who knows the members knows whether that is news. Else they are still unknown, but no older ones will be learnt.
        """
        self._note(match, None if self.members(match) is None else members, seq)

    def _note(self, match: MatchId, members: Members | None, seq: Seq) -> None:
        """Keep what is not older than what is known; without room the matches that were learnt first are forgotten."""
        known = self._members.get(match)
        if self.is_degraded or (known is not None and known[0] > seq):
            return
        if match not in self._members and len(self._members) >= MEMBERS_CACHED_MAX:
            # An eighth at once, because each look for the oldest passes the places of those forgotten before.
            for oldest in list(islice(self._members, MEMBERS_CACHED_MAX // 8 + 1)):
                del self._members[oldest]
        self._members[match] = (seq, members)

    def forget_members(self) -> None:
        """Believe nothing about members: changes elsewhere may have gone unheard."""
        self._members.clear()

    def hears_others(self, *, hears: bool) -> None:
        """Keep what is learnt of members only while changes made on other nodes are heard."""
        self.is_degraded = not hears
        self.forget_members()

    # ---- delivery

    def push(self, users: Collection[UserId], frame: bytes, *, skip: Recipient | None = None) -> None:
        """Send a durable frame to every connection of `users` but `skip`; those too slow for it are closed."""
        outboxes = self._outboxes(users, skip)
        self._telemetry.deliveries += len(outboxes)
        self._send(users, outboxes, frame)

    def push_latest(self, users: Collection[UserId], key: Key, frame: bytes, *, skip: Recipient | None = None) -> None:
        """Send an ephemeral frame: of those with the same `key` that wait in an outbox the latest wins.

        Where too many keys wait it goes as a durable one, which takes them along: no receipt is lost.
        """
        full = [outbox for outbox in self._outboxes(users, skip) if not outbox.send_latest(key, frame)]
        if full:
            self._send(users, full, frame)

    def push_passing(self, users: Collection[UserId], key: Key, frame: bytes) -> None:
        """Send an ephemeral frame that is worth nothing later; whoever is behind with reading does not get it."""
        for outbox in self._outboxes(users, None):
            outbox.send_passing(key, frame)

    def _send(self, users: Collection[UserId], outboxes: Sequence[Outbox], frame: bytes) -> None:
        slow = self._flusher.send_all(outboxes, frame)
        if slow:
            self._close_slow(users, slow)

    def drop_latest(self, users: Collection[UserId], key: Key) -> None:
        """Take back an ephemeral frame where it still waits."""
        for outbox in self._outboxes(users, None):
            outbox.drop_latest(key)

    def _outboxes(self, users: Collection[UserId], skip: Recipient | None) -> list[Outbox]:
        connections = self._connections
        outboxes: list[Outbox] = []
        for user in users:
            present = connections.get(user)
            if present is None:
                continue
            if not isinstance(present, tuple):
                if present is not skip:
                    outboxes.append(present.outbox)
                continue
            outboxes.extend(recipient.outbox for recipient in present if recipient is not skip)
        return outboxes

    def _close_slow(self, users: Collection[UserId], slow: Sequence[Outbox]) -> None:
        for user in users:
            for recipient in self.connections(user):
                if recipient.outbox in slow:
                    self._telemetry.slow_readers_closed += 1
                    recipient.close(CloseCode.SLOW_READER, "slow reader: connect again and resume")
