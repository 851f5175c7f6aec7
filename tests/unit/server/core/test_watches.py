"""Who watches whom, and which news are new."""

import pytest

from protocol.from_server import Presence, Status
from protocol.ids import UserId
from server.core.watches import Watches

ALICE, BOB, CAROL = (UserId(name) for name in ("alice", "bob", "carol"))
UNKNOWN = Presence(ALICE, Status.UNKNOWN, 0)


def online(user: UserId, v: int) -> Presence:
    return Presence(user, Status.ONLINE, v)


@pytest.fixture
def watches() -> Watches[str]:
    return Watches()


def test_nobody_watches_at_first(watches: Watches[str]) -> None:
    assert (len(watches), watches.users, watches.watched("phone")) == (0, (), ())
    assert watches.news(online(ALICE, 1)) == ()
    assert watches.unwatch("phone") == ()


def test_news_go_to_all_who_watch_in_the_order_in_which_they_began(watches: Watches[str]) -> None:
    watches.watch("phone", (ALICE, BOB, ALICE))
    watches.watch("laptop", (ALICE,))
    assert watches.watched("phone") == (ALICE, BOB)
    assert (len(watches), watches.users) == (2, (ALICE, BOB))
    assert watches.news(online(ALICE, 1)) == ("phone", "laptop")
    assert watches.news(online(BOB, 1)) == ("phone",)
    assert watches.news(online(CAROL, 1)) == ()


def test_what_is_not_newer_is_told_to_nobody(watches: Watches[str]) -> None:
    """Of each user alone."""
    watches.watch("phone", (ALICE, BOB))
    assert [bool(watches.news(online(ALICE, v))) for v in (5, 5, 4, 6)] == [True, False, False, True]
    assert watches.news(online(BOB, 1)) == ("phone",)


def test_that_nothing_is_known_is_always_news(watches: Watches[str]) -> None:
    """It outdates nothing, but what was known before is news again."""
    watches.watch("phone", (ALICE,))
    assert watches.news(online(ALICE, 5)) == ("phone",)
    assert watches.news(UNKNOWN) == watches.news(UNKNOWN) == ("phone",)
    assert watches.news(online(ALICE, 4)) == ()
    assert watches.news(online(ALICE, 5)) == ("phone",)
    assert watches.news(online(ALICE, 5)) == ()
    assert watches.news(online(ALICE, 6)) == ("phone",)


def test_what_is_older_than_what_was_read_is_told_to_nobody(watches: Watches[str]) -> None:
    """The same is told: others who watch have not read it."""
    watches.watch("phone", (ALICE,))
    assert watches.news(online(ALICE, 3)) == ("phone",)
    watches.watch("laptop", (ALICE,))
    watches.read((online(ALICE, 5), online(BOB, 5)))
    assert watches.news(online(ALICE, 4)) == ()
    assert watches.news(online(ALICE, 5)) == ("phone", "laptop")
    assert watches.news(online(ALICE, 5)) == ()
    watches.read((online(ALICE, 4),))
    assert watches.news(online(ALICE, 4)) == ()
    watches.watch("phone", (BOB,))
    assert watches.news(online(BOB, 1)) == ("phone",)


def test_who_was_answered_that_nothing_is_known_is_told_when_it_is(watches: Watches[str]) -> None:
    """Also when nothing has changed meanwhile."""
    watches.watch("phone", (ALICE,))
    assert watches.news(online(ALICE, 5)) == ("phone",)
    watches.watch("laptop", (ALICE,))
    watches.read((UNKNOWN,))
    assert watches.news(online(ALICE, 5)) == ("phone", "laptop")
    watches.unwatch("phone")
    watches.unwatch("laptop")
    watches.watch("phone", (ALICE,))
    watches.read((UNKNOWN,))
    assert watches.news(online(ALICE, 1)) == ("phone",)


def test_a_watch_replaces_the_one_before(watches: Watches[str]) -> None:
    """What is returned is watched by nobody now: not whom the same or another connection still watches."""
    watches.watch("phone", (ALICE, BOB, CAROL))
    watches.watch("laptop", (BOB,))
    assert watches.watch("phone", (CAROL,)) == (ALICE,)
    assert watches.users == (BOB, CAROL)
    assert watches.news(online(BOB, 1)) == ("laptop",)
    assert watches.unwatch("laptop") == (BOB,)
    assert watches.watch("phone", ()) == (CAROL,)
    assert len(watches) == len(watches.users) == 0


def test_what_was_told_is_forgotten_with_the_last_who_watched(watches: Watches[str]) -> None:
    """A directory that was emptied meanwhile counts anew."""
    watches.watch("phone", (ALICE, BOB))
    assert watches.news(online(ALICE, 9)) == ("phone",)
    watches.unwatch("phone")
    watches.watch("phone", (ALICE, BOB))
    assert watches.news(online(ALICE, 1)) == ("phone",)
