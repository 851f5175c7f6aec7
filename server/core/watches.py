"""Which connections of this node want to know how which users are, and what was said of them last. Pure.

A change that is not newer than what was said, or older than what was read (by its version `v`), is dropped, so that news
that took different ways cannot turn back time. Memory is proportional to what is watched.
"""

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from protocol.from_server import Presence, Status
from protocol.ids import UserId

Watcher = TypeVar("Watcher")


class Watches(Generic[Watcher]):
    """Who watches whom."""

    __slots__ = ("_told", "_watched_by", "_watches")

    def __init__(self) -> None:
        self._watched_by: dict[UserId, dict[Watcher, None]] = {}
        self._watches: dict[Watcher, tuple[UserId, ...]] = {}
        # The newest version of each user, and whether it is news all the same: somebody read it, or was told of no state.
        self._told: dict[UserId, tuple[int, bool]] = {}

    def __len__(self) -> int:
        """Count the connections that watch somebody."""
        return len(self._watches)

    @property
    def users(self) -> tuple[UserId, ...]:
        """Everybody who is watched."""
        return tuple(self._watched_by)

    def watched(self, watcher: Watcher) -> tuple[UserId, ...]:
        """Return whom `watcher` watches."""
        return self._watches.get(watcher, ())

    def watch(self, watcher: Watcher, users: Sequence[UserId]) -> tuple[UserId, ...]:
        """Let `watcher` be told of `users` instead of those named before; return whom nobody watches any more."""
        before = self._watches.pop(watcher, ())
        if users:
            self._watches[watcher] = tuple(dict.fromkeys(users))
        now = self._watches.get(watcher, ())
        for user in now:
            self._watched_by.setdefault(user, {})[watcher] = None
        return tuple(user for user in before if user not in now and self._forget(user, watcher))

    def unwatch(self, watcher: Watcher) -> tuple[UserId, ...]:
        """Forget what `watcher` watches; return whom nobody watches any more."""
        return self.watch(watcher, ())

    def news(self, presence: Presence) -> tuple[Watcher, ...]:
        """Return who is to be told of `presence`: nobody, when something newer was told before."""
        watchers = self._watched_by.get(presence.user)
        if watchers is None:
            return ()
        told, is_news = self._told.get(presence.user, _NOTHING)
        if presence.status is Status.UNKNOWN:  # It has no version, and what was known before is news after it.
            self._told[presence.user] = (told, True)
        elif presence.v < told or (presence.v == told and not is_news):
            return ()
        else:
            self._told[presence.user] = (presence.v, False)
        return tuple(watchers)

    def is_outdated(self, state: Presence) -> bool:
        """Tell whether something newer than this state, which was read, has been told meanwhile."""
        return state.status is not Status.UNKNOWN and state.v < self._told.get(state.user, _NOTHING)[0]

    def read(self, states: Sequence[Presence]) -> None:
        """These states were read for somebody who watches: news that are older are outdated.

        The very same state is news all the same, to the others who watch that user; and to who was answered `unknown`.
        """
        for presence in states:
            if presence.user in self._watched_by:
                told, _ = self._told.get(presence.user, _NOTHING)
                self._told[presence.user] = (max(told, presence.v), True)

    def _forget(self, user: UserId, watcher: Watcher) -> bool:
        watchers = self._watched_by[user]
        del watchers[watcher]
        if watchers:
            return False
        del self._watched_by[user]
        self._told.pop(user, None)
        return True


_NOTHING: Final = (-1, True)
