"""What this node wants the directory in Redis to say: who is connected here, and whom it watches.

Changes wait until they are confirmed; of one session only the latest counts. They may be sent twice: the script takes
them as they are meant.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from protocol.from_client import LastSeen
from protocol.from_server import Presence, PresenceChange, Status
from protocol.ids import Micros, SessionId, UserId
from server.adapters.redis.wire import Changed, pack_session
from server.core.presence import Shown

CHUNK: Final = 200
# Changes a call: 500 stop Redis for 10 ms.

# As the scripts number them.
STATUSES: Final = (Status.OFFLINE, Status.ONLINE, Status.AWAY, Status.DND)
CHANGES: Final = (PresenceChange.CAME, PresenceChange.LEFT, PresenceChange.STATUS)

_Session = tuple[UserId, SessionId]


class Sessions:
    """The sessions of this node, and what each says of its user (None: it is not counted yet)."""

    def __init__(self) -> None:
        self._here: dict[_Session, Shown | None] = {}
        # A session's newest change: what it says, or that it is gone and how long its user counts as here, in ms.
        self._waiting: dict[_Session, _Change] = {}
        self._sent: dict[_Session, _Change] = {}
        # Whom to tell when Redis has a session, or cannot be told of it.
        self._then: dict[_Session, Callable[[], None]] = {}
        # Nothing of this incarnation has been sent: Redis knows none of its sessions.
        self._is_unknown = True

    def __len__(self) -> int:
        return len(self._here)

    @property
    def is_settled(self) -> bool:
        """Whether Redis has all of it."""
        return not self._waiting and not self._sent

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._waiting)

    def add(self, user: UserId, session: SessionId, shown: Shown | None) -> None:
        """The session is here, or says something else."""
        shown = shown or self._here.get((user, session))
        self._here[user, session] = shown
        self._set(user, session, shown)

    def when_there(self, user: UserId, session: SessionId, then: Callable[[], None]) -> None:
        """Call `then` when what is known of the session has been confirmed, or taken back."""
        if (user, session) in self._waiting or (user, session) in self._sent:
            self._then[user, session] = then
        else:
            then()

    def remove(self, user: UserId, session: SessionId, grace_ms: int) -> None:
        """The session is gone."""
        if self._here.pop((user, session), _NOWHERE) is _NOWHERE:
            return
        self._then.pop((user, session), None)
        if self._is_unknown:
            self._waiting.pop((user, session), None)
        else:
            self._set(user, session, grace_ms)

    def remove_all(self, grace_ms: int) -> None:
        """Every session is gone."""
        for user, session in tuple(self._here):
            self.remove(user, session, grace_ms)

    def _set(self, user: UserId, session: SessionId, change: "_Change") -> None:
        # At the end, not in its old place: the order of changes is the order of calls.
        self._waiting.pop((user, session), None)
        self._waiting[user, session] = change

    def register_all(self) -> None:
        """Send everything again; the directory may have lost some of it."""
        self._waiting = {**self._here, **self._waiting}

    def begin_anew(self) -> None:
        """The node has a new name, under which Redis knows nothing."""
        self._waiting, self._sent, self._is_unknown = {**self._here}, {}, True
        self._tell(tuple(self._then))

    def take(self) -> list[bytes | str | int]:
        """Take a chunk of changes as the arguments of the script; then `confirm` or `take_back`."""
        arguments: list[bytes | str | int] = []
        for user, session in [place for place, _ in zip(self._waiting, range(CHUNK), strict=False)]:
            change = self._sent[user, session] = self._waiting.pop((user, session))
            arguments += (user, session, pack_session(user, session), *_told(change))
        self._is_unknown = False
        return arguments

    def confirm(self) -> None:
        """What was taken is in Redis."""
        sent, self._sent = self._sent, {}
        if self._then:
            self._tell([place for place in sent if place in self._then])

    def take_back(self) -> None:
        """What was taken may not be in Redis."""
        self._waiting, self._sent = self._sent | self._waiting, {}
        self._tell(tuple(self._then))

    def _tell(self, places: Sequence[_Session]) -> None:
        for place in places:
            self._then.pop(place)()


_Change = Shown | int | None
_NOWHERE: Final = 0


def _told(change: _Change) -> tuple[bytes | str | int, ...]:
    """Write a change as `register.lua` reads it: a sign or the grace in ms, and the user's wish."""
    if isinstance(change, int):
        return (change, 0, b"", b"", b"")
    if change is None:
        return (b"?", 0, b"", b"", b"")
    wish = change.presence
    rounded = b"1" if wish.last_seen is LastSeen.ROUNDED else b"0"
    return (b"-" if change.is_idle else b"+", change.version, wish.status.value, wish.text, rounded)


Told = Callable[[Sequence[Presence]], None]


class _Request(Struct, frozen=True, eq=False):
    how: bytes  # as the script reads it
    users: tuple[UserId, ...]
    told: Told | None = None


_WATCH: Final = b"1"
_UNWATCH: Final = b"0"
_LOOK: Final = b"?"


class Watches:
    """Whom this node watches."""

    def __init__(self) -> None:
        self._watched: dict[UserId, None] = {}
        self._waiting: list[_Request] = []
        self._sent: list[_Request] = []

    @property
    def is_settled(self) -> bool:
        """Whether Redis has all of it."""
        return not self._waiting and not self._sent

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._waiting)

    def watch(self, users: Sequence[UserId], told: Told) -> None:
        """Watch these users, too; `told` gets the state of each, a chunk at a time."""
        for chunk in _chunks(users):
            self._watched.update(dict.fromkeys(chunk))
            self._waiting.append(_Request(_WATCH, chunk, told))

    def look(self, users: Sequence[UserId], told: Told) -> None:
        """Ask how these users are, and watch nobody; `told` gets the state of each, a chunk at a time."""
        self._waiting += [_Request(_LOOK, chunk, told) for chunk in _chunks(users)]

    def unwatch(self, users: Sequence[UserId]) -> None:
        """Watch these users no more."""
        watched = [user for user in users if self._watched.pop(user, 0) is None]
        self._waiting += [_Request(_UNWATCH, chunk) for chunk in _chunks(watched)]

    def note(self, users: Sequence[UserId]) -> None:
        """Watch these users as soon as there is a Redis to tell."""
        self._watched.update(dict.fromkeys(users))

    def watch_all(self, told: Told) -> None:
        """Ask for everybody again, after what waits."""
        self._waiting += [_Request(_WATCH, chunk, told) for chunk in _chunks(tuple(self._watched))]

    def begin_anew(self) -> None:
        """Forget what waits: nobody answers it. Who asked is told that nothing is known."""
        requests, self._waiting, self._sent = self._sent + self._waiting, [], []
        for request in requests:
            if request.told is not None:
                request.told([unknown(user) for user in request.users])

    def take(self) -> list[bytes | str | int]:
        """Take a chunk of requests as the arguments of the script; then `confirm`, or `begin_anew`."""
        arguments: list[bytes | str | int] = []
        while self._waiting and len(arguments) + 2 * len(self._waiting[0].users) <= 2 * CHUNK:
            request = self._waiting.pop(0)
            self._sent.append(request)
            for user in request.users:
                arguments += (request.how, user)
        return arguments

    def confirm(self, states: Sequence[int | bytes]) -> None:
        """Hand out what the script answered: four values for each user watched."""
        requests, self._sent = self._sent, []
        place = 0
        for request in requests:
            if request.told is None:
                continue
            end = place + 4 * len(request.users)
            quadruples = zip(*(iter(states[place:end]),) * 4, strict=True)
            request.told([_state(user, *four) for user, four in zip(request.users, quadruples, strict=True)])
            place = end

    def known(self, changes: Sequence[Changed]) -> list[Presence]:
        """Return the changes that concern users who are still watched."""
        return [_presence(change) for change in changes if change.user in self._watched]


def unknown(user: UserId) -> Presence:
    """Say that nobody knows how `user` is; anything that is known later is newer."""
    return Presence(user, Status.UNKNOWN, 0)


def _state(user: UserId, status: int | bytes, v: int | bytes, seen_us: int | bytes, text: int | bytes) -> Presence:
    seen = Micros(int(seen_us)) if int(seen_us) and not int(status) else None
    said = text.decode() if isinstance(text, bytes) else ""
    return Presence(user, STATUSES[int(status)], int(v), seen, said)


def _presence(changed: Changed) -> Presence:
    seen = Micros(changed.seen_us) if changed.seen_us and not changed.status else None
    return Presence(changed.user, STATUSES[changed.status], changed.v, seen, changed.text, CHANGES[changed.change])


def _chunks(users: Sequence[UserId]) -> list[tuple[UserId, ...]]:
    distinct = tuple(dict.fromkeys(users))
    return [distinct[start : start + CHUNK] for start in range(0, len(distinct), CHUNK)]
