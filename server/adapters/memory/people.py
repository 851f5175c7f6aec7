"""Who blocked whom, and how users want to be shown, in dictionaries: a part of the memory store."""

from collections.abc import Collection

from protocol.from_server import OwnPresence
from protocol.ids import Micros, UserId
from protocol.limits import BLOCKS_MAX
from server.core.people import NOBODY, Pair, Person, PresenceWish


class PeopleBook:
    """Everybody who blocked, was blocked, or wished to be shown otherwise than others."""

    __slots__ = ("_people",)

    def __init__(self) -> None:
        self._people: dict[UserId, Person] = {}

    def person(self, user: UserId) -> Person:
        """Return what is kept of `user`."""
        return self._people.get(user, NOBODY)

    def is_full(self, user: UserId, other: UserId) -> bool:
        """Tell whether `user` cannot block `other`, having blocked as many as may be."""
        blocked = self.person(user).blocked
        return len(blocked) >= BLOCKS_MAX and other not in blocked

    def set_block(self, user: UserId, other: UserId, *, is_on: bool) -> bool:
        """Block, or take it back; tell whether that is news."""
        person = self.person(user)
        if (other in person.blocked) is is_on:
            return False
        self._people[user] = person.with_block(other, is_on=is_on)
        self._people[other] = self.person(other).with_block_by(user, is_on=is_on)
        return True

    def pairs(self, among: Collection[UserId]) -> tuple[Pair, ...]:
        """Return who among these has blocked whom among these."""
        return tuple(
            (user, other)
            for user in among
            if user in self._people
            for other in among
            if other in self.person(user).blocked
        )

    def set_presence(self, user: UserId, wish: PresenceWish, now: Micros) -> Person:
        """Change how `user` is shown; return what holds."""
        person = self.person(user)
        presence: OwnPresence = wish.applied(person.presence)
        self._people[user] = Person(person.blocked, person.blocked_by, presence, max(now, person.version + 1))
        return self._people[user]
