"""What this node wants the directory in Redis to say: who is connected here, and whom it watches.

Changes wait until they are confirmed; of one session only the latest counts. They may be sent twice: the script takes
them as they are meant.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from protocol.from_server import Presence, Status
from protocol.ids import Micros, SessionId, UserId
from server.adapters.redis_wire import Changed, pack_session

CHUNK: Final = 200
# Changes a call: 500 stop Redis for 10 ms.

_Session = tuple[UserId, SessionId]


class Sessions:
    """The sessions of this node."""

    def __init__(self) -> None:
        self._here: dict[_Session, None] = {}
        self._waiting: dict[_Session, bool] = {}
        self._sent: dict[_Session, bool] = {}
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

    def add(self, user: UserId, session: SessionId) -> None:
        """The session is here."""
        self._here[user, session] = None
        self._set(user, session, is_here=True)

    def remove(self, user: UserId, session: SessionId) -> None:
        """The session is gone."""
        if self._here.pop((user, session), 0) == 0:
            return
        if self._is_unknown:
            self._waiting.pop((user, session), None)
        else:
            self._set(user, session, is_here=False)

    def remove_all(self) -> None:
        """Every session is gone."""
        for user, session in tuple(self._here):
            self.remove(user, session)

    def _set(self, user: UserId, session: SessionId, *, is_here: bool) -> None:
        # At the end, not in its old place: the order of changes is the order of calls.
        self._waiting.pop((user, session), None)
        self._waiting[user, session] = is_here

    def register_all(self) -> None:
        """Send everything again; the directory may have lost some of it."""
        self._waiting = dict.fromkeys(self._here, True) | self._waiting

    def begin_anew(self) -> None:
        """The node has a new name, under which Redis knows nothing."""
        self._waiting, self._sent, self._is_unknown = dict.fromkeys(self._here, True), {}, True

    def take(self) -> list[bytes | str | int]:
        """Take a chunk of changes as the arguments of the script; then `confirm` or `take_back`."""
        arguments: list[bytes | str | int] = []
        for user, session in [place for place, _ in zip(self._waiting, range(CHUNK), strict=False)]:
            is_here = self._sent[user, session] = self._waiting.pop((user, session))
            arguments += (b"1" if is_here else b"0", user, session, pack_session(user, session))
        self._is_unknown = False
        return arguments

    def confirm(self) -> None:
        """What was taken is in Redis."""
        self._sent = {}

    def take_back(self) -> None:
        """What was taken may not be in Redis."""
        self._waiting, self._sent = self._sent | self._waiting, {}


Told = Callable[[Sequence[Presence]], None]


class _Request(Struct, frozen=True, eq=False):
    users: tuple[UserId, ...]
    told: Told | None  # None: watch them no more


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
            self._waiting.append(_Request(chunk, told))

    def unwatch(self, users: Sequence[UserId]) -> None:
        """Watch these users no more."""
        watched = [user for user in users if self._watched.pop(user, 0) is None]
        self._waiting += [_Request(chunk, None) for chunk in _chunks(watched)]

    def note(self, users: Sequence[UserId]) -> None:
        """Watch these users as soon as there is a Redis to tell."""
        self._watched.update(dict.fromkeys(users))

    def watch_all(self, told: Told) -> None:
        """Ask for everybody again, after what waits."""
        self._waiting += [_Request(chunk, told) for chunk in _chunks(tuple(self._watched))]

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
                arguments += (b"0" if request.told is None else b"1", user)
        return arguments

    def confirm(self, states: Sequence[int]) -> None:
        """Hand out what the script answered: three numbers for each user watched."""
        requests, self._sent = self._sent, []
        place = 0
        for request in requests:
            if request.told is None:
                continue
            end = place + 3 * len(request.users)
            triples = zip(*(iter(states[place:end]),) * 3, strict=True)
            request.told([_presence(user, *triple) for user, triple in zip(request.users, triples, strict=True)])
            place = end

    def known(self, changes: Sequence[Changed]) -> list[Presence]:
        """Return the changes that concern users who are still watched."""
        return [
            _presence(change.user, int(change.is_online), change.v, change.seen_us or 0)
            for change in changes
            if change.user in self._watched
        ]


def unknown(user: UserId) -> Presence:
    """Say that nobody knows how `user` is; anything that is known later is newer."""
    return Presence(user, Status.UNKNOWN, 0)


def _presence(user: UserId, is_online: int, v: int, seen_us: int) -> Presence:
    if is_online:
        return Presence(user, Status.ONLINE, v)
    return Presence(user, Status.OFFLINE, v, Micros(seen_us) if seen_us else None)


def _chunks(users: Sequence[UserId]) -> list[tuple[UserId, ...]]:
    distinct = tuple(dict.fromkeys(users))
    return [distinct[start : start + CHUNK] for start in range(0, len(distinct), CHUNK)]
