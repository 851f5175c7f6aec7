"""Who is who on this node: what is kept of every user with a connection here, so that no signal has to ask the store.

Guarantees: what is told of a user (`person`) is as the store had it when it was read, and every news of a change that was
heard since. A block is believed as soon as it is heard, its end only when the store was read again. As long as other nodes
are not heard, and after news may have been missed until the store was read, nothing is believed: `person` is None, and
whoever needs to know reads (`read`) or withholds.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import Final, Protocol

from msgspec import structs

from protocol.ids import UserId
from server.core.notices import Blocked, PeopleNews, PersonNews
from server.core.people import NOBODY, Person
from server.ports import StoreUnavailable
from server.telemetry import event

_log = logging.getLogger(__name__)

TOGETHER_MAX: Final = 100
# Users who are read in one call.
AGAIN_S: Final = 1.0

Changed = Callable[[UserId, Person | None, Person], None]
# A user, what was believed of them until now (None: nothing), and what is.


class PeopleRecord(Protocol):
    """The store, as far as it keeps people."""

    async def people(self, users: Sequence[UserId]) -> Sequence[Person]:
        """Read what is kept of each user."""


class People:
    """One for each node. Run `run` for as long as it lives."""

    __slots__ = ("_changed", "_doubts", "_hears_others", "_numbers", "_people", "_store", "_wake")

    def __init__(self, store: PeopleRecord) -> None:
        self._store = store
        # Everybody with a connection here; None: not read yet, or not to be believed any more.
        self._people: dict[UserId, Person | None] = {}
        # Who has to be read again, and which news was the last that was heard of them.
        self._doubts: dict[UserId, int] = {}
        self._numbers = count()
        self._hears_others = True
        self._changed: Changed = _nobody_asked
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._people)

    @property
    def is_reading(self) -> bool:
        """Whether somebody has to be read again."""
        return bool(self._doubts) and self._hears_others

    def start(self, changed: Changed) -> None:
        """Tell `changed` from now on whenever something else is believed of a user."""
        self._changed = changed

    # ---- who is here

    def come(self, user: UserId) -> None:
        """The user has a connection here, and `learn` will say what the store has of them."""
        self._people.setdefault(user, None)

    def go(self, user: UserId) -> None:
        """The user has no connection here any more."""
        self._people.pop(user, None)
        self._doubts.pop(user, None)

    def learn(self, user: UserId, person: Person) -> Person | None:
        """Take in what was read for a user who has come; return what holds.

        None: something was heard of them meanwhile, so that it may be outdated. Read again.
        """
        if not self._hears_others or user not in self._people:
            return person
        if self._people[user] is not None:
            self._heard_wish(PersonNews(user, person.presence, person.version))
            return self._people[user]
        if user in self._doubts:
            return None
        self._set(user, person)
        return person

    # ---- what is known

    def person(self, user: UserId) -> Person | None:
        """Return what is believed of a user who has a connection here; None: ask the store."""
        return self._people.get(user) if self._hears_others else None

    async def read(self, user: UserId) -> Person:
        """Return what is believed of any user, or what the store has; raise `StoreUnavailable`."""
        known = self.person(user)
        if known is None:
            (known,) = await self._store.people((user,))
        return self.person(user) or known

    # ---- news

    def heard(self, news: PeopleNews) -> None:
        """Something has been changed, here or on another node."""
        match news:
            case Blocked():
                self._heard_block(news.user, news.on, lambda person: person.with_block(news.other, is_on=True))
                self._heard_block(news.other, news.on, lambda person: person.with_block_by(news.user, is_on=True))
            case PersonNews():
                self._heard_wish(news)

    def _heard_block(self, user: UserId, is_on: bool, change: Callable[[Person], Person]) -> None:
        if user not in self._people:
            return
        person = self._people[user]
        if person is not None and is_on:
            self._set(user, change(person))
        self._doubt(user)

    def _heard_wish(self, news: PersonNews) -> None:
        if news.user not in self._people:
            return
        person = self._people[news.user]
        if person is None:
            self._doubt(news.user)
        elif news.version > person.version:
            self._set(news.user, structs.replace(person, presence=news.presence, version=news.version))

    def hears_others(self, *, hears: bool) -> None:
        """News of other nodes come, or do not."""
        self._hears_others = hears
        self.forget()

    def forget(self) -> None:
        """Some news may have been missed: believe nothing until it was read again."""
        for user in self._people:
            self._people[user] = None
            self._doubt(user)

    async def refresh(self, users: Sequence[UserId]) -> None:
        """Read again those of `users` who have a connection here; raise `StoreUnavailable`."""
        for user in users:
            if user in self._people:
                self._doubts.setdefault(user, next(self._numbers))
        here = {user: self._doubts[user] for user in users if user in self._people}
        if here:
            self._believe(here, await self._store.people(tuple(here)))

    async def run(self) -> None:
        """Read again whoever has to be, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._doubts and self._hears_others:
                users = tuple(islice(self._doubts, TOGETHER_MAX))
                try:
                    await self.refresh(users)
                except StoreUnavailable as unavailable:
                    _log.debug("people.unavailable", extra=event(reason=unavailable.reason))
                    await asyncio.sleep(AGAIN_S)

    def _believe(self, asked: dict[UserId, int], found: Sequence[Person]) -> None:
        """Take in what was read, but for those of whom something was heard meanwhile."""
        for (user, number), person in zip(asked.items(), found, strict=True):
            if self._doubts.get(user) == number:
                del self._doubts[user]
                self._set(user, person)

    def _doubt(self, user: UserId) -> None:
        self._doubts[user] = next(self._numbers)
        self._wake.set()

    def _set(self, user: UserId, person: Person) -> None:
        before = self._people[user]
        # Most have blocked nobody and wish nothing: they share one.
        person = NOBODY if person == NOBODY else person
        self._people[user] = person
        if before != person:
            self._changed(user, before, person)


def _nobody_asked(user: UserId, before: Person | None, after: Person) -> None:
    del user, before, after
