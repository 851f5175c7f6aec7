"""Who is here: devices are counted, absence is waited for, only watchers hear."""

from collections.abc import Iterator
from typing import Final

import pytest
from msgspec import Struct, structs

from protocol.from_client import LastSeen, OwnStatus
from protocol.from_server import OwnPresence, Presence, PresenceChange, Status
from protocol.ids import Micros, UserId
from server.core import presence as presence_module
from server.core.presence import HANDOFF_S, HOUR_US, Change, Departure, PresenceBook, Shown
from tests.support.transcript import Transcript

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
START_US: Final = 1_795_000_000_000_000
SECOND_US: Final = 1_000_000


class Arrives(Struct, frozen=True):
    """One more device of the user is here."""

    user: UserId = ALICE


class Leaves(Struct, frozen=True):
    """One device of the user is gone."""

    user: UserId = ALICE


class Watches(Struct, frozen=True):
    """A connection asks for news; the outcome is how they are now."""

    watcher: str
    users: tuple[UserId, ...]


class Unwatches(Struct, frozen=True):
    """A connection is gone."""

    watcher: str


class Later(Struct, frozen=True):
    """Time passes; the outcome is what that changed."""

    seconds: float


Input = Arrives | Leaves | Watches | Unwatches | Later
Outcome = Change[str] | Presence
Play = Transcript[Input, Outcome]


class Stage:
    """A book and its clocks."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.micros = Micros(START_US)
        self.book: PresenceBook[str] = PresenceBook(2.0, self.micros)

    def perform(self, given: Input) -> tuple[Outcome, ...]:
        """Hand `given` to the book."""
        match given:
            case Arrives():
                change = self.book.arrive(given.user, self.micros)
                return () if change is None else (change,)
            case Leaves():
                self.book.leave(given.user, self.now, self.micros)
                return ()
            case Watches():
                self.book.watch(given.watcher, given.users)
                return self.book.states(given.users)
            case Unwatches():
                self.book.unwatch(given.watcher)
                return ()
            case Later():
                self.now += given.seconds
                self.micros = Micros(self.micros + round(given.seconds * SECOND_US))
                return self.book.settle(self.now, self.micros)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def play(stage: Stage) -> Iterator[Play]:
    play: Play = Transcript(stage.perform)
    yield play
    play.end()


def online(user: UserId, at_s: float = 0, *, step: int = 0) -> Presence:
    """`step`: changes before it in the same microsecond."""
    return Presence(user, Status.ONLINE, START_US + round(at_s * SECOND_US) + step)


def offline(user: UserId, at_s: float, last_seen_s: float | None = None) -> Presence:
    last_seen = None if last_seen_s is None else Micros(START_US + round(last_seen_s * SECOND_US))
    return Presence(user, Status.OFFLINE, START_US + round(at_s * SECOND_US), last_seen)


def news(presence: Presence, *watchers: str) -> Change[str]:
    what = PresenceChange.LEFT if presence.status is Status.OFFLINE else PresenceChange.CAME
    return Change(structs.replace(presence, change=what), watchers)


def test_a_watched_user_is_online_at_once_and_offline_after_the_debounce(play: Play) -> None:
    """The time they were last seen is that of the loss, not that of the news."""
    play >> Watches("w", (ALICE,)) << offline(ALICE, 0)
    play >> Later(5) << ()
    play >> Arrives() << news(online(ALICE, 5), "w")
    play >> Later(5) << ()
    play >> Leaves() << ()
    play >> Later(1.75) << ()
    play >> Later(0.25) << news(offline(ALICE, 12, last_seen_s=10), "w")
    play >> Later(100) << ()


def test_devices_are_counted(play: Play) -> None:
    """Only the first to come and the last to go are news."""
    play >> Watches("w", (ALICE,)) << offline(ALICE, 0)
    play >> Arrives() << news(online(ALICE, step=1), "w") >> Arrives() << ()
    play >> Leaves() << () >> Later(10) << ()
    play >> Leaves() << () >> Later(2) << news(offline(ALICE, 12, last_seen_s=10), "w")


def test_a_flap_within_the_debounce_shows_nothing(play: Play) -> None:
    """A reload of the page is no absence, however often it happens; the debounce begins again with each loss."""
    play >> Arrives() << () >> Watches("w", (ALICE,)) << online(ALICE, step=1)
    for _ in range(5):
        play >> Leaves() << () >> Later(1.5) << () >> Arrives() << () >> Later(1.5) << ()
    play >> Leaves() << () >> Later(1.75) << ()
    play >> Watches("late", (ALICE,)) << online(ALICE, step=1)
    play >> Later(0.25) << news(offline(ALICE, 17, last_seen_s=15), "w", "late")


def test_everybody_who_is_due_goes_offline_at_once(play: Play) -> None:
    """In the order of their losses; who came back meanwhile and left again is due later."""
    play >> Watches("w", (ALICE, BOB, CAROL)) << (offline(ALICE, 0), offline(BOB, 0), offline(CAROL, 0))
    for user in (ALICE, BOB, CAROL):
        play >> Arrives(user) << news(online(user, step=1), "w")
    play >> Leaves(ALICE) << () >> Leaves(BOB) << () >> Leaves(CAROL) << ()
    play >> Later(1) << () >> Arrives(ALICE) << () >> Leaves(ALICE) << ()
    play >> Later(1) << (news(offline(BOB, 2, 0), "w"), news(offline(CAROL, 2, 0), "w"))
    play >> Later(1) << news(offline(ALICE, 3, 1), "w")


def test_changes_that_nobody_watches_are_nobodys_news(stage: Stage, play: Play) -> None:
    """They are kept all the same: who asks later hears of them."""
    play >> Arrives() << () >> Later(1) << () >> Leaves() << () >> Later(2) << ()
    play >> Watches("w", (ALICE,)) << offline(ALICE, 3, last_seen_s=1)


def test_v_grows_though_the_clock_stands_still_or_steps_back(stage: Stage, play: Play) -> None:
    """By one where time does not do it."""
    play >> Watches("w", (ALICE,)) << offline(ALICE, 0)
    play >> Arrives() << news(online(ALICE, step=1), "w")
    stage.micros = Micros(START_US - 60 * SECOND_US)
    play >> Leaves() << ()
    left = Presence(ALICE, Status.OFFLINE, START_US + 2, Micros(START_US - 60 * SECOND_US))
    play >> Later(2) << news(left, "w")
    play >> Arrives() << news(online(ALICE, step=3), "w")


def test_a_new_book_is_believed_by_those_who_remember_an_older_one(stage: Stage) -> None:
    """A user whom it never saw is offline as of its beginning, so after everything that was said before a restart."""
    stage.book.arrive(ALICE, stage.micros)
    (remembered,) = stage.book.states((ALICE,))
    restarted: PresenceBook[str] = PresenceBook(2.0, Micros(START_US + SECOND_US))
    (now,) = restarted.states((ALICE,))
    assert (remembered.status, now.status) == (Status.ONLINE, Status.OFFLINE)
    assert now.v > remembered.v


def test_watching_again_replaces_who_is_watched(stage: Stage, play: Play) -> None:
    """A user named twice is told of once; nobody named ends it."""
    play >> Watches("w", (ALICE, BOB, ALICE)) << (offline(ALICE, 0), offline(BOB, 0))
    play >> Watches("w", (BOB, CAROL)) << (offline(BOB, 0), offline(CAROL, 0))
    assert stage.book.watching == 1
    play >> Arrives(ALICE) << ()
    play >> Arrives(BOB) << news(online(BOB, step=1), "w")
    play >> Watches("w", ()) << ()
    play >> Arrives(CAROL) << ()
    assert stage.book.watching == 0


def test_every_watcher_hears_and_those_who_left_do_not(stage: Stage, play: Play) -> None:
    """In the order in which they came to watch; forgetting one who watches nobody is harmless."""
    for watcher in ("w1", "w2", "w3"):
        play >> Watches(watcher, (ALICE,)) << offline(ALICE, 0)
    play >> Unwatches("w2") << () >> Unwatches("w2") << ()
    play >> Arrives() << news(online(ALICE, step=1), "w1", "w3")
    play >> Unwatches("w1") << () >> Unwatches("w3") << ()
    assert stage.book.watching == 0


def test_it_counts_who_is_online(stage: Stage, play: Play) -> None:
    """Users, not devices; those within the debounce too."""
    play >> Arrives() << () >> Arrives() << () >> Arrives(BOB) << ()
    assert stage.book.online == 2
    play >> Leaves(BOB) << ()
    assert stage.book.online == 2
    play >> Later(2) << ()
    assert stage.book.online == 1
    play >> Leaves() << () >> Leaves() << () >> Later(2) << ()
    assert stage.book.online == 0


def test_only_so_many_who_left_are_remembered(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the one forgotten nothing is known but that they are offline, and that is newer than what was said of them."""
    monkeypatch.setattr(presence_module, "REMEMBERED_MAX", 1)
    play >> Later(1) << () >> Arrives(ALICE) << () >> Leaves(ALICE) << () >> Later(2) << ()
    play >> Watches("w", (ALICE,)) << offline(ALICE, 3, last_seen_s=1)
    play >> Arrives(BOB) << () >> Leaves(BOB) << () >> Later(2) << ()
    play >> Watches("w", (ALICE, BOB)) << (offline(ALICE, 3), offline(BOB, 5, last_seen_s=3))
    play >> Arrives(ALICE) << news(online(ALICE, 5), "w")


@pytest.mark.parametrize("departure", Departure)
def test_nothing_is_kept_of_who_was_never_shown(stage: Stage, departure: Departure) -> None:
    """However many come and go invisible: they bring their wish along when they come again."""
    hidden = Shown(presence=OwnPresence(OwnStatus.INVISIBLE), version=3)
    for _ in range(2):
        stage.book.arrive(ALICE, stage.micros, hidden)
        assert stage.book.leave(ALICE, stage.now, stage.micros, hidden, departure) is None
        assert stage.book.settle(stage.now + HANDOFF_S, stage.micros) == ()
        assert stage.book._wishes == {}


def test_how_a_user_is_shown_follows_devices_and_wish(stage: Stage) -> None:
    """Away when all are idle; the newest wish stands above that; who is invisible is offline."""
    book, idle = stage.book, Shown(is_idle=True)
    dnd = Shown(presence=OwnPresence(OwnStatus.DND, "exam", LastSeen.ROUNDED), version=2)
    hidden = Shown(presence=OwnPresence(OwnStatus.INVISIBLE), version=3)
    book.watch("w", (ALICE,))
    book.arrive(ALICE, stage.micros, idle)
    assert book.states((ALICE,))[0].status is Status.AWAY
    book.turn(ALICE, stage.micros, idle, Shown())
    assert book.states((ALICE,))[0].status is Status.ONLINE
    changed = book.turn(ALICE, stage.micros, Shown(), dnd)
    assert changed is not None
    assert (changed.presence.status, changed.presence.text) == (Status.DND, "exam")
    assert changed.presence.change is PresenceChange.STATUS
    assert book.turn(ALICE, stage.micros, dnd, Shown(version=1)) is None
    book.turn(ALICE, stage.micros, Shown(version=1), hidden)
    assert book.states((ALICE,))[0].status is Status.OFFLINE
    assert book.leave(ALICE, stage.now, stage.micros, hidden, Departure.GOODBYE) is None
    assert book.online == 0


def test_a_goodbye_waits_for_nothing_and_a_handoff_for_long(stage: Stage) -> None:
    """`last_seen` is rounded for those who wish that."""
    book = stage.book
    rounded = Shown(presence=OwnPresence(last_seen=LastSeen.ROUNDED), version=1)
    book.watch("w", (ALICE, BOB))
    book.arrive(ALICE, stage.micros, rounded)
    gone = book.leave(ALICE, stage.now, stage.micros, rounded, Departure.GOODBYE)
    assert gone is not None
    assert gone.presence.last_seen == START_US - START_US % HOUR_US
    book.arrive(BOB, stage.micros)
    assert book.leave(BOB, stage.now, stage.micros, departure=Departure.HANDOFF) is None
    assert book.settle(stage.now + HANDOFF_S - 1, stage.micros) == ()
    assert len(book.settle(stage.now + HANDOFF_S, stage.micros)) == 1


def test_one_who_is_forgotten_while_hidden_stays_hidden(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten is when they left; that they do not want to be seen holds for as long as they are here."""
    monkeypatch.setattr(presence_module, "REMEMBERED_MAX", 1)
    book, hidden = stage.book, Shown(presence=OwnPresence(OwnStatus.INVISIBLE), version=3)
    for user in (ALICE, BOB):
        book.arrive(user, stage.micros, Shown())
        book.turn(user, stage.micros, Shown(), hidden)
    book.arrive(ALICE, stage.micros, Shown(version=1))
    assert book.states((ALICE,))[0].status is Status.OFFLINE
