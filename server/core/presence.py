"""Who is here: counts each user's devices, waits before saying offline, tells only those who watch. Pure.

A user comes online with the first device at once and goes offline `debounce_s` after the last one left; `last_seen` is
the time of that loss. `v` grows with every change of a user, also across a restart of the book, because it is never
lower than the time in microseconds: of a user it has not seen a book says offline as of its own beginning, so that those
who remember an older book's "online" believe it. Cost is proportional to watched changes; memory to online users, watched
users and the last `REMEMBERED_MAX` that left.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from msgspec import Struct

from protocol.from_server import Presence, Status
from protocol.ids import Micros, UserId

REMEMBERED_MAX: Final = 100_000

Watcher = TypeVar("Watcher")


class Change(Struct, Generic[Watcher], frozen=True):
    """News of one user for those who watch them."""

    presence: Presence
    watchers: tuple[Watcher, ...]


class PresenceBook(Generic[Watcher]):
    """Times: `now` in monotonic seconds, `micros` on the wall clock."""

    __slots__ = ("_debounce_s", "_devices", "_floor_v", "_leaving", "_left", "_versions", "_watched_by", "_watches")

    def __init__(self, debounce_s: float, micros: Micros) -> None:
        self._debounce_s = debounce_s
        # The `v` of everybody who is not in `_versions`: no lower than any that they were shown with.
        self._floor_v: int = micros
        self._devices: dict[UserId, int] = {}
        # Users without a device who still count as online: when that ends, and when the loss was.
        self._leaving: dict[UserId, tuple[float, Micros]] = {}
        self._left: dict[UserId, Micros] = {}
        self._versions: dict[UserId, int] = {}
        self._watched_by: dict[UserId, dict[Watcher, None]] = {}
        self._watches: dict[Watcher, tuple[UserId, ...]] = {}

    @property
    def online(self) -> int:
        """Users that count as online now."""
        return len(self._devices) + len(self._leaving)

    @property
    def watching(self) -> int:
        """Connections that watch somebody."""
        return len(self._watches)

    def arrive(self, user: UserId, micros: Micros) -> Change[Watcher] | None:
        """One more device of `user` is here."""
        devices = self._devices.get(user, 0)
        self._devices[user] = devices + 1
        if devices or self._leaving.pop(user, None) is not None:
            return None
        self._left.pop(user, None)
        return self._changed(user, micros)

    def leave(self, user: UserId, now: float, micros: Micros) -> None:
        """One device of `user` is gone; `settle` tells when that makes the user offline."""
        devices = self._devices[user] - 1
        if devices:
            self._devices[user] = devices
            return
        del self._devices[user]
        self._leaving[user] = (now + self._debounce_s, micros)

    def settle(self, now: float, micros: Micros) -> tuple[Change[Watcher], ...]:
        """Return the changes that are due."""
        due = []
        for user, (at, _) in self._leaving.items():
            if at > now:  # The debounce is the same for all, so the rest is later.
                break
            due.append(user)
        changes = [self._goes_offline(user, micros) for user in due]
        return tuple(change for change in changes if change is not None)

    def watch(self, watcher: Watcher, users: Sequence[UserId]) -> None:
        """Let `watcher` be told of `users` instead of those named before."""
        self.unwatch(watcher)
        if users:
            self._watches[watcher] = tuple(dict.fromkeys(users))
        for user in self._watches.get(watcher, ()):
            self._watched_by.setdefault(user, {})[watcher] = None

    def states(self, users: Sequence[UserId]) -> tuple[Presence, ...]:
        """Return how `users` are now, each once."""
        return tuple(self._presence(user) for user in dict.fromkeys(users))

    def unwatch(self, watcher: Watcher) -> None:
        """Forget what `watcher` watches."""
        for user in self._watches.pop(watcher, ()):
            watchers = self._watched_by[user]
            del watchers[watcher]
            if not watchers:
                del self._watched_by[user]

    def _goes_offline(self, user: UserId, micros: Micros) -> Change[Watcher] | None:
        _, lost_at = self._leaving.pop(user)
        self._left[user] = lost_at
        change = self._changed(user, micros)
        if len(self._left) > REMEMBERED_MAX:
            self._forget_some()
        return change

    def _forget_some(self) -> None:
        """Forget those who left first; an eighth at once, as each look for the oldest passes those forgotten before."""
        for user in list(islice(self._left, REMEMBERED_MAX // 8 + 1)):
            del self._left[user]
            self._floor_v = max(self._floor_v, self._versions.pop(user))

    def _changed(self, user: UserId, micros: Micros) -> Change[Watcher] | None:
        self._versions[user] = max(self._versions.get(user, self._floor_v) + 1, micros)
        watchers = self._watched_by.get(user)
        return Change(self._presence(user), tuple(watchers)) if watchers else None

    def _presence(self, user: UserId) -> Presence:
        online = user in self._devices or user in self._leaving
        return Presence(
            user=user,
            status=Status.ONLINE if online else Status.OFFLINE,
            v=self._versions.get(user, self._floor_v),
            last_seen=self._left.get(user),
        )
