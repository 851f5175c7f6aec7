"""Who is here: counts each user's devices, waits before saying offline, tells only those who watch. Pure.

A user comes online with the first device at once and goes offline `debounce_s` after the last one was lost (at once after
a goodbye, later when their node is being stopped); `last_seen` is the time of that loss. Away is whose devices are all idle,
and everybody may wish to be shown otherwise (`OwnPresence`). Three things are told: came, left, and a status that changed.
`v` grows with every change of a user, also across a restart of the book, because it is never
lower than the time in microseconds: of a user it has not seen a book says offline as of its own beginning, so that those
who remember an older book's "online" believe it. Cost is proportional to watched changes; memory to online users, watched
users and the last `REMEMBERED_MAX` that left.
"""

from collections.abc import Sequence
from enum import Enum
from itertools import islice
from typing import Final, Generic, TypeVar

from msgspec import Struct

from protocol.from_client import LastSeen, OwnStatus
from protocol.from_server import OwnPresence, Presence, PresenceChange, Status
from protocol.ids import Micros, UserId

REMEMBERED_MAX: Final = 100_000
HANDOFF_S: Final = 10.0
# For those whose node is being stopped: they come back through another one.
HOUR_US: Final = 3_600_000_000
# What `last_seen` is rounded down to, for those who want that.

Watcher = TypeVar("Watcher")


class Departure(Enum):
    """How a device left."""

    LOST = "lost"
    GOODBYE = "goodbye"
    HANDOFF = "handoff"

    def grace_s(self, debounce_s: float) -> float:
        """Return how long the user counts as here after the last device left so."""
        match self:
            case Departure.GOODBYE:
                return 0.0
            case Departure.HANDOFF:
                return max(debounce_s, HANDOFF_S)
            case _:
                return debounce_s


class Shown(Struct, frozen=True):
    """What one device says of its user; of several wishes the one with the highest `version` holds."""

    is_idle: bool = False
    presence: OwnPresence = OwnPresence()
    version: int = 0


ACTIVE: Final = Shown()


def status_of(here: Status, wish: OwnStatus) -> Status:
    """Return as what a user who is `here` (online, away, offline) is shown, by their wish."""
    if here is Status.OFFLINE:
        return here
    return _SHOWN_AS.get(wish, here)


def seen_at(at: Micros | None, how: LastSeen) -> Micros | None:
    """Return when the others are told that a user was last seen."""
    return Micros(at - at % HOUR_US) if at is not None and how is LastSeen.ROUNDED else at


def change_of(before: Status, after: Status) -> PresenceChange:
    """Name what happened between two states that differ."""
    if before is Status.OFFLINE:
        return PresenceChange.CAME
    return PresenceChange.LEFT if after is Status.OFFLINE else PresenceChange.STATUS


_SHOWN_AS: Final = {OwnStatus.AWAY: Status.AWAY, OwnStatus.DND: Status.DND, OwnStatus.INVISIBLE: Status.OFFLINE}
_NO_WISH: Final = (OwnPresence(), 0)
_GONE: Final = (Status.OFFLINE, "")


class Change(Struct, Generic[Watcher], frozen=True):
    """News of one user for those who watch them."""

    presence: Presence
    watchers: tuple[Watcher, ...]


class _Leaving(Struct, frozen=True):
    """A user without a device who still counts as here."""

    until: float
    lost_at: Micros
    here: Status


class PresenceBook(Generic[Watcher]):
    """Times: `now` in monotonic seconds, `micros` on the wall clock."""

    __slots__ = (
        "_debounce_s",
        "_devices",
        "_floor_v",
        "_idle",
        "_leaving",
        "_left",
        "_shown",
        "_versions",
        "_watched_by",
        "_watches",
        "_wishes",
    )

    def __init__(self, debounce_s: float, micros: Micros) -> None:
        self._debounce_s = debounce_s
        # The `v` of everybody who is not in `_versions`: no lower than any that they were shown with.
        self._floor_v: int = micros
        self._devices: dict[UserId, int] = {}
        self._idle: dict[UserId, int] = {}
        self._leaving: dict[UserId, _Leaving] = {}
        self._wishes: dict[UserId, tuple[OwnPresence, int]] = {}
        # As what everybody who is not offline is shown, and their text.
        self._shown: dict[UserId, tuple[Status, str]] = {}
        self._left: dict[UserId, Micros] = {}
        self._versions: dict[UserId, int] = {}
        self._watched_by: dict[UserId, dict[Watcher, None]] = {}
        self._watches: dict[Watcher, tuple[UserId, ...]] = {}

    @property
    def online(self) -> int:
        """Users that count as here now, however they are shown."""
        return len(self._devices) + len(self._leaving)

    @property
    def watching(self) -> int:
        """Connections that watch somebody."""
        return len(self._watches)

    def arrive(self, user: UserId, micros: Micros, shown: Shown = ACTIVE) -> Change[Watcher] | None:
        """One more device of `user` is here."""
        self._devices[user] = self._devices.get(user, 0) + 1
        self._count_idle(user, int(shown.is_idle))
        self._leaving.pop(user, None)
        self._wish(user, shown)
        return self._update(user, micros)

    def turn(self, user: UserId, micros: Micros, before: Shown, shown: Shown) -> Change[Watcher] | None:
        """A device of `user` that is here says something else than `before`."""
        self._count_idle(user, shown.is_idle - before.is_idle)
        self._wish(user, shown)
        return self._update(user, micros)

    def leave(
        self,
        user: UserId,
        now: float,
        micros: Micros,
        shown: Shown = ACTIVE,
        departure: Departure = Departure.LOST,
    ) -> Change[Watcher] | None:
        """One device of `user`, which said `shown`, is gone; `settle` tells when that makes the user offline."""
        here = self._here(user)
        devices = self._devices[user] - 1
        self._count_idle(user, -int(shown.is_idle))
        if devices:
            self._devices[user] = devices
            return self._update(user, micros)
        del self._devices[user]
        grace_s = departure.grace_s(self._debounce_s)
        if not grace_s:
            return self._update(user, micros)
        self._leaving[user] = _Leaving(now + grace_s, micros, here)
        return None

    def settle(self, now: float, micros: Micros) -> tuple[Change[Watcher], ...]:
        """Return the changes that are due."""
        due = [(user, leaving.lost_at) for user, leaving in self._leaving.items() if leaving.until <= now]
        changes = []
        for user, lost_at in due:
            del self._leaving[user]
            changes.append(self._update(user, micros, lost_at))
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

    def _count_idle(self, user: UserId, more: int) -> None:
        if more:
            idle = self._idle.get(user, 0) + more
            if idle:
                self._idle[user] = idle
            else:
                del self._idle[user]

    def _wish(self, user: UserId, shown: Shown) -> None:
        if shown.version > self._wishes.get(user, _NO_WISH)[1]:
            self._wishes[user] = (shown.presence, shown.version)

    def _here(self, user: UserId) -> Status:
        devices = self._devices.get(user)
        if devices:
            return Status.AWAY if self._idle.get(user) == devices else Status.ONLINE
        leaving = self._leaving.get(user)
        return leaving.here if leaving else Status.OFFLINE

    def _update(self, user: UserId, micros: Micros, lost_at: Micros | None = None) -> Change[Watcher] | None:
        wish, _ = self._wishes.get(user, _NO_WISH)
        status = status_of(self._here(user), wish.status)
        before, after = self._shown.get(user, _GONE), (status, "" if status is Status.OFFLINE else wish.text)
        if before == after:
            if user not in self._devices and user not in self._leaving and user not in self._left:
                self._wishes.pop(user, None)  # Who was never shown; the next device brings it along.
            return None
        if status is Status.OFFLINE:
            del self._shown[user]
            self._left[user] = micros if lost_at is None else lost_at
        else:
            self._shown[user] = after
            self._left.pop(user, None)
        change = self._changed(user, micros, change_of(before[0], status))
        if len(self._left) > REMEMBERED_MAX:
            self._forget_some()
        return change

    def _forget_some(self) -> None:
        """Forget those who left first; an eighth at once, as each look for the oldest passes those forgotten before."""
        for user in list(islice(self._left, REMEMBERED_MAX // 8 + 1)):
            del self._left[user]
            if user not in self._devices and user not in self._leaving:
                self._wishes.pop(user, None)
            self._floor_v = max(self._floor_v, self._versions.pop(user))

    def _changed(self, user: UserId, micros: Micros, what: PresenceChange) -> Change[Watcher] | None:
        self._versions[user] = max(self._versions.get(user, self._floor_v) + 1, micros)
        watchers = self._watched_by.get(user)
        return Change(self._presence(user, what), tuple(watchers)) if watchers else None

    def _presence(self, user: UserId, what: PresenceChange | None = None) -> Presence:
        status, text = self._shown.get(user, _GONE)
        return Presence(
            user=user,
            status=status,
            v=self._versions.get(user, self._floor_v),
            last_seen=seen_at(self._left.get(user), self._wishes.get(user, _NO_WISH)[0].last_seen),
            text=text,
            change=what,
        )
