"""Which signals of writing are worth forwarding."""

from collections.abc import Iterator
from typing import Final

import pytest
from msgspec import Struct

from protocol.ids import MatchId, UserId
from server.core.typing import TypingBook
from tests.support.transcript import Transcript

ALICE, BOB = UserId("alice"), UserId("bob")
M1, M2 = MatchId("m1"), MatchId("m2")


class Writes(Struct, frozen=True):
    """A device says that its user writes; the outcome is whether that is forwarded."""

    user: UserId = ALICE
    match: MatchId = M1


class Stops(Struct, frozen=True):
    """A device says that its user stopped."""

    user: UserId = ALICE
    match: MatchId = M1


class Posts(Struct, frozen=True):
    """A message of the user is stored; the outcome is whether they were shown as writing."""

    user: UserId = ALICE
    match: MatchId = M1


class Leaves(Struct, frozen=True):
    """The user's last device is gone; the outcome is who must hear of it."""

    user: UserId = ALICE


class Later(Struct, frozen=True):
    """Time passes."""

    seconds: float


Input = Writes | Stops | Posts | Leaves | Later
Play = Transcript[Input, bool | MatchId]
FORWARDED: Final = True
KEPT: Final = False
WAS_SHOWN: Final = True
WAS_NOT_SHOWN: Final = False


class Stage:
    """A book and its clock."""

    def __init__(self) -> None:
        self.book = TypingBook(interval_s=3, expires_s=8)
        self.now = 1_000.0

    def perform(self, given: Input) -> tuple[bool | MatchId, ...]:
        """Hand `given` to the book."""
        match given:
            case Writes():
                return (self.book.should_forward(given.user, given.match, on=True, now=self.now),)
            case Stops():
                return (self.book.should_forward(given.user, given.match, on=False, now=self.now),)
            case Posts():
                return (self.book.stopped(given.user, given.match),)
            case Leaves():
                return self.book.user_left(given.user)
            case Later():
                self.now += given.seconds
                self.book.settle(self.now)
                return ()


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def play(stage: Stage) -> Iterator[Play]:
    play: Play = Transcript(stage.perform)
    yield play
    play.end()


def test_writing_is_forwarded_at_most_once_an_interval(play: Play) -> None:
    """However many devices say so; the interval counts from what was forwarded."""
    play >> Writes() << FORWARDED >> Writes() << KEPT
    play >> Later(2.75) << () >> Writes() << KEPT
    play >> Later(0.25) << () >> Writes() << FORWARDED >> Writes() << KEPT


def test_each_user_and_match_has_its_own_interval(play: Play) -> None:
    """One who writes here holds nobody back there."""
    play >> Writes() << FORWARDED
    play >> Writes(match=M2) << FORWARDED
    play >> Writes(BOB) << FORWARDED
    play >> Writes() << KEPT >> Writes(match=M2) << KEPT >> Writes(BOB) << KEPT


def test_stopping_is_forwarded_only_after_writing_was(play: Play) -> None:
    """And only once."""
    play >> Stops() << KEPT
    play >> Writes() << FORWARDED >> Stops() << FORWARDED >> Stops() << KEPT
    play >> Stops(BOB) << KEPT >> Stops(match=M2) << KEPT


def test_going_on_after_a_stop_waits_for_the_interval(play: Play) -> None:
    """So a flickering field is two signals an interval at most, and a stop of what was kept is kept."""
    play >> Writes() << FORWARDED >> Stops() << FORWARDED
    play >> Writes() << KEPT >> Stops() << KEPT
    play >> Later(3) << () >> Writes() << FORWARDED >> Stops() << FORWARDED


def test_a_message_stops_the_writing_by_itself(play: Play) -> None:
    """No stop need be forwarded after it."""
    play >> Writes() << FORWARDED >> Posts() << WAS_SHOWN
    play >> Stops() << KEPT >> Posts() << WAS_NOT_SHOWN
    play >> Posts(BOB) << WAS_NOT_SHOWN


def test_a_user_who_leaves_stops_everywhere(play: Play) -> None:
    """Where they were shown as writing, and only there."""
    play >> Writes() << FORWARDED >> Writes(match=M2) << FORWARDED >> Writes(BOB) << FORWARDED
    play >> Leaves() << (M1, M2)
    play >> Leaves() << ()
    play >> Stops() << KEPT >> Stops(BOB) << FORWARDED


def test_coming_back_gives_no_new_interval(play: Play) -> None:
    """A connection that flaps signals no more often than one that stays."""
    play >> Writes() << FORWARDED >> Leaves() << M1 >> Writes() << KEPT
    play >> Later(3) << () >> Writes() << FORWARDED


def test_writing_expires_here_as_it_does_at_the_receivers(stage: Stage, play: Play) -> None:
    """Afterwards there is nothing to stop, and nothing is remembered."""
    play >> Writes() << FORWARDED >> Later(1) << () >> Writes(match=M2) << FORWARDED
    assert len(stage.book) == 2
    play >> Later(7) << ()
    assert len(stage.book) == 1
    play >> Stops() << KEPT >> Stops(match=M2) << FORWARDED
    play >> Later(8) << ()
    assert len(stage.book) == 0
    play >> Leaves() << ()


def test_writing_that_goes_on_does_not_expire(stage: Stage, play: Play) -> None:
    """The last signal counts, and one that does not expire holds nobody's expiry up."""
    play >> Writes() << FORWARDED >> Writes(BOB) << FORWARDED
    play >> Later(6) << () >> Writes() << FORWARDED
    play >> Later(6) << ()
    assert len(stage.book) == 1
    play >> Leaves() << M1 >> Leaves(BOB) << ()
