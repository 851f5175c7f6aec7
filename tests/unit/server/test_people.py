"""What a node believes of the users that are connected to it, and when it does not."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from typing_extensions import override

from protocol.from_client import OwnStatus
from protocol.from_server import OwnPresence
from protocol.ids import UserId
from server.adapters.memory.store import MemoryStore
from server.core.notices import Blocked, PersonNews
from server.core.people import NOBODY, Person, PresenceWish
from server.people import TOGETHER_MAX, People
from server.ports import StoreUnavailable
from tests.support.clock import FakeClock
from tests.support.stores import ALICE, BOB, CAROL

BY_ALICE = Person(blocked_by=frozenset({ALICE}))
BLOCKS_BOB = Person(blocked=frozenset({BOB}))
AWAY = OwnPresence(OwnStatus.AWAY)


class HeldStore(MemoryStore):
    """A store that answers `people` when it is told to, with what it has by then."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.asked: list[int] = []
        self.failures = 0
        self.door = asyncio.Event()
        self.door.set()
        self.was_asked = asyncio.Semaphore(0)

    @override
    async def people(self, users: Sequence[UserId]) -> Sequence[Person]:
        self.asked.append(len(users))
        found = await super().people(users)
        self.was_asked.release()
        await self.door.wait()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("gone")
        return found


class Node:
    """A book of people, and what it told of changes."""

    def __init__(self) -> None:
        self.store = HeldStore()
        self.people = People(self.store)
        self.told: list[tuple[UserId, Person | None, Person]] = []
        self.people.start(lambda user, before, after: self.told.append((user, before, after)))

    async def quiet(self) -> None:
        while self.people.is_reading:  # noqa: ASYNC110 - it is over within a few turns, and no event tells
            await asyncio.sleep(0)

    async def block(self, user: UserId, other: UserId, *, on: bool = True) -> None:
        await self.store.set_block(user, other, is_on=on)
        self.people.heard(Blocked(user, other, on))


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    running = asyncio.create_task(node.people.run())
    yield node
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_came_is_known_when_they_were_read_and_forgotten_when_they_went(node: Node) -> None:
    people = node.people
    assert people.learn(ALICE, NOBODY) is NOBODY  # Not here: nothing is kept.
    assert people.person(ALICE) is None
    people.come(ALICE)
    assert people.person(ALICE) is None
    assert people.learn(ALICE, Person()) == NOBODY
    assert people.person(ALICE) is NOBODY
    people.come(ALICE)  # A second connection, whose read is the older one.
    assert people.learn(ALICE, BLOCKS_BOB) is NOBODY
    assert node.told == [(ALICE, None, NOBODY)]
    people.go(ALICE)
    assert (people.person(ALICE), len(people)) == (None, 0)
    assert node.store.asked == []


async def test_a_block_is_believed_at_once_and_its_end_when_it_was_read(node: Node) -> None:
    for user in (ALICE, BOB):
        node.people.come(user)
        node.people.learn(user, NOBODY)
    node.store.door.clear()
    await node.block(ALICE, BOB)
    assert (node.people.person(ALICE), node.people.person(BOB)) == (BLOCKS_BOB, BY_ALICE)
    node.store.door.set()
    await node.quiet()
    node.store.door.clear()
    await node.block(ALICE, BOB, on=False)
    await node.store.was_asked.acquire()
    assert (node.people.person(ALICE), node.people.person(BOB)) == (BLOCKS_BOB, BY_ALICE)
    node.store.door.set()
    await node.quiet()
    assert (node.people.person(ALICE), node.people.person(BOB)) == (NOBODY, NOBODY)


async def test_news_in_the_wrong_order_end_in_what_the_store_has(node: Node) -> None:
    """Two nodes tell of a block and of its end; whichever comes last, the store decides."""
    node.people.come(ALICE)
    node.people.learn(ALICE, NOBODY)
    node.people.heard(Blocked(ALICE, BOB, on=False))
    node.people.heard(Blocked(ALICE, BOB, on=True))
    assert node.people.person(ALICE) == BLOCKS_BOB
    await node.quiet()
    assert node.people.person(ALICE) == NOBODY


async def test_what_is_read_while_news_come_is_not_believed(node: Node) -> None:
    """Neither the welcome's read nor the book's own, which is done again."""
    node.people.come(ALICE)
    node.store.door.clear()
    await node.block(ALICE, BOB)
    assert node.people.learn(ALICE, NOBODY) is None
    await node.store.was_asked.acquire()
    await node.block(ALICE, CAROL)
    node.store.door.set()
    await node.quiet()
    assert node.people.person(ALICE) == Person(blocked=frozenset({BOB, CAROL}))
    assert len(node.store.asked) == 2
    assert node.told == [(ALICE, None, Person(blocked=frozenset({BOB, CAROL})))]


async def test_who_goes_while_they_are_read_is_not_kept(node: Node) -> None:
    node.people.come(ALICE)
    node.store.door.clear()
    node.people.forget()
    await node.store.was_asked.acquire()
    node.people.go(ALICE)
    node.store.door.set()
    await node.quiet()
    assert (len(node.people), node.told) == (0, [])


async def test_of_two_wishes_the_one_with_the_higher_version_holds(node: Node) -> None:
    node.people.come(ALICE)
    node.people.heard(PersonNews(ALICE, AWAY, 0))  # Not read yet: it has to be read anew.
    await node.quiet()
    assert node.people.person(ALICE) is NOBODY
    node.people.heard(PersonNews(ALICE, AWAY, 5))
    node.people.heard(PersonNews(ALICE, OwnPresence(), 4))
    node.people.heard(PersonNews(BOB, AWAY, 9))
    assert node.people.person(ALICE) == Person(presence=AWAY, version=5)
    assert len(node.store.asked) == 1


async def test_what_was_read_of_a_wish_holds_when_it_is_newer(node: Node) -> None:
    """News of it were lost, perhaps; blocks are believed as they were heard."""
    node.people.come(ALICE)
    node.people.learn(ALICE, Person(presence=AWAY, version=5))
    assert node.people.learn(ALICE, Person(presence=OwnPresence(), version=4)) == Person(presence=AWAY, version=5)
    newer = Person(blocked=frozenset({BOB}), presence=OwnPresence(), version=6)
    assert node.people.learn(ALICE, newer) == Person(presence=OwnPresence(), version=6)


async def test_while_others_are_not_heard_nothing_is_believed(node: Node) -> None:
    """Whoever needs to know asks the store, also for those who come meanwhile; afterwards everybody is read again."""
    users = [UserId(f"user {number}") for number in range(TOGETHER_MAX + 1)]
    for user in users:
        node.people.come(user)
        node.people.learn(user, NOBODY)
    node.people.hears_others(hears=False)
    await node.store.set_block(users[0], BOB, is_on=True)
    node.people.come(CAROL)
    assert node.people.learn(CAROL, BY_ALICE) == BY_ALICE
    assert [node.people.person(user) for user in (users[0], CAROL)] == [None, None]
    assert await node.people.read(users[0]) == BLOCKS_BOB
    assert (node.people.is_reading, node.store.asked) == (False, [1])
    node.people.hears_others(hears=True)
    assert node.people.person(users[1]) is None
    await node.quiet()
    assert node.store.asked[1:] == [TOGETHER_MAX, 2]
    assert [node.people.person(user) for user in (users[0], users[1], CAROL)] == [BLOCKS_BOB, NOBODY, NOBODY]
    assert await node.people.read(users[0]) == BLOCKS_BOB
    assert len(node.store.asked) == 3


async def test_as_long_as_the_store_is_away_nothing_is_believed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.people.AGAIN_S", 0.0)
    await node.store.set_presence(ALICE, PresenceWish(OwnStatus.AWAY))
    node.people.come(ALICE)
    node.store.failures = 3
    node.people.forget()
    with pytest.raises(StoreUnavailable):
        await node.people.refresh((ALICE, BOB))
    await node.quiet()
    person = node.people.person(ALICE)
    assert person is not None
    assert person.presence == AWAY
    asked = len(node.store.asked)
    await node.people.refresh((BOB,))
    assert len(node.store.asked) == asked
