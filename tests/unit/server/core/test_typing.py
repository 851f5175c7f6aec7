"""Which signals of writing are worth forwarding."""

from collections.abc import Iterator
from typing import Final

import pytest
from msgspec import Struct

from protocol.from_client import TypingKind
from protocol.ids import MatchId, UserId
from server.core.latest import typing_key
from server.core.typing import TypingBook
from tests.support.transcript import Transcript

ALICE, BOB = UserId("alice"), UserId("bob")
M1, M2 = MatchId("m1"), MatchId("m2")
TEXT, RECORDING = TypingKind.TEXT, TypingKind.RECORDING


class Writes(Struct, frozen=True):
    """A device says that its user writes; the outcome is whether that is forwarded."""

    user: UserId = ALICE
    match: MatchId = M1
    kind: TypingKind = TEXT


class Stops(Struct, frozen=True):
    """A device says that its user stopped."""

    user: UserId = ALICE
    match: MatchId = M1
    kind: TypingKind = TEXT


class Posts(Struct, frozen=True):
    """A message of the user is stored; the outcome is as what they were shown."""

    user: UserId = ALICE
    match: MatchId = M1


class Leaves(Struct, frozen=True):
    """The user's last device is gone; the outcome is who must hear of it."""

    user: UserId = ALICE


class Later(Struct, frozen=True):
    """Time passes."""

    seconds: float


Input = Writes | Stops | Posts | Leaves | Later
Outcome = bool | TypingKind | tuple[MatchId, TypingKind]
Play = Transcript[Input, Outcome]
FORWARDED: Final = True
KEPT: Final = False


class Stage:
    """A book and its clock."""

    def __init__(self) -> None:
        self.book = TypingBook(interval_s=3, expires_s=8)
        self.now = 1_000.0

    def perform(self, given: Input) -> tuple[Outcome, ...]:
        """Hand `given` to the book."""
        match given:
            case Writes():
                return (self.book.should_forward(given.user, given.match, given.kind, on=True, now=self.now),)
            case Stops():
                return (self.book.should_forward(given.user, given.match, given.kind, on=False, now=self.now),)
            case Posts():
                return self.book.stopped(given.user, given.match)
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


def test_each_user_match_and_kind_has_its_own_interval(play: Play) -> None:
    """One who writes here holds nobody back there, and may record meanwhile."""
    play >> Writes() << FORWARDED
    play >> Writes(match=M2) << FORWARDED
    play >> Writes(BOB) << FORWARDED
    play >> Writes(kind=RECORDING) << FORWARDED
    play >> Writes() << KEPT >> Writes(match=M2) << KEPT >> Writes(BOB) << KEPT >> Writes(kind=RECORDING) << KEPT


def test_stopping_is_forwarded_only_after_writing_was(play: Play) -> None:
    """And only once; one who stops writing may go on recording."""
    play >> Stops() << KEPT
    play >> Writes() << FORWARDED >> Stops() << FORWARDED >> Stops() << KEPT
    play >> Stops(BOB) << KEPT >> Stops(match=M2) << KEPT
    play >> Writes(kind=RECORDING) << FORWARDED >> Stops() << KEPT >> Stops(kind=RECORDING) << FORWARDED


def test_going_on_after_a_stop_waits_for_half_a_second(play: Play) -> None:
    """So a flickering field is four signals a second at most, and a stop of what was kept is kept."""
    play >> Writes() << FORWARDED >> Stops() << FORWARDED
    play >> Later(0.25) << () >> Writes() << KEPT >> Stops() << KEPT
    play >> Later(0.25) << () >> Writes() << FORWARDED >> Writes() << KEPT >> Stops() << FORWARDED


def test_an_interval_shorter_than_half_a_second_holds_then_too() -> None:
    """And none at all holds nothing back."""
    hasty = TypingBook(interval_s=0.25, expires_s=8)
    assert hasty.should_forward(ALICE, M1, TEXT, on=True, now=0)
    assert hasty.stopped(ALICE, M1) == (TEXT,)
    assert hasty.should_forward(ALICE, M1, TEXT, on=True, now=0.25)
    boundless = TypingBook(interval_s=0, expires_s=8)
    assert all(boundless.should_forward(ALICE, M1, TEXT, on=True, now=0) for _ in range(3))


def test_a_message_stops_the_writing_by_itself(play: Play) -> None:
    """Of every kind; no stop need be forwarded after it, and what is written next is told soon."""
    play >> Writes() << FORWARDED >> Writes(kind=RECORDING) << FORWARDED >> Posts() << (TEXT, RECORDING)
    play >> Stops() << KEPT >> Stops(kind=RECORDING) << KEPT >> Posts() << ()
    play >> Posts(BOB) << ()
    play >> Later(0.5) << () >> Writes() << FORWARDED >> Posts() << TEXT
    play >> Writes(match=M2) << FORWARDED >> Posts() << ()


def test_a_user_who_leaves_stops_everywhere(stage: Stage, play: Play) -> None:
    """Where they were shown, and only there."""
    play >> Writes() << FORWARDED >> Writes(match=M2, kind=RECORDING) << FORWARDED >> Writes(BOB) << FORWARDED
    assert stage.book.shown(ALICE) == ((M1, TEXT), (M2, RECORDING))
    play >> Leaves() << ((M1, TEXT), (M2, RECORDING))
    play >> Leaves() << ()
    assert stage.book.shown(ALICE) == ()
    play >> Stops() << KEPT >> Stops(BOB) << FORWARDED


def test_coming_back_counts_as_going_on_after_a_stop(play: Play) -> None:
    """A connection that flaps signals no more often than a field that does."""
    play >> Writes() << FORWARDED >> Leaves() << ((M1, TEXT),) >> Writes() << KEPT
    play >> Later(0.5) << () >> Writes() << FORWARDED


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
    play >> Leaves() << ((M1, TEXT),) >> Leaves(BOB) << ()


def test_a_signal_that_waits_for_the_members_is_ended_by_a_message(stage: Stage) -> None:
    """One that comes after it has a question of its own; another user's or match's is not touched."""
    book = stage.book
    asked = book.ask(ALICE, M1, stage.now)
    assert book.ask(ALICE, M1, stage.now) is asked
    others = book.ask(ALICE, M2, stage.now), book.ask(BOB, M1, stage.now)
    assert book.stopped(ALICE, M1) == ()
    assert asked.is_over
    assert book.stopped(BOB, M2) == ()  # Nothing of his waits there.
    assert not any(other.is_over for other in others)
    assert not book.ask(ALICE, M1, stage.now).is_over


def test_a_signal_that_waits_too_long_is_forgotten(stage: Stage, play: Play) -> None:
    """After so long its receivers would have cleared it."""
    book = stage.book
    asked = book.ask(ALICE, M1, stage.now)
    play >> Later(4) << ()
    later = book.ask(BOB, M1, stage.now)
    play >> Later(4) << ()
    assert (asked.is_over, later.is_over, len(book)) == (True, False, 1)
    play >> Later(4) << ()
    assert (later.is_over, len(book)) == (True, 0)


def test_only_messages_of_who_writes_here_concern_the_book(stage: Stage, play: Play) -> None:
    """So that of others nobody need look at their contents; while a signal waits all do."""
    assert not stage.book.concerns((ALICE, BOB))
    play >> Writes() << FORWARDED
    assert stage.book.concerns((BOB, ALICE))
    assert not stage.book.concerns((BOB,))
    play >> Posts() << TEXT
    stage.book.ask(ALICE, M1, stage.now)
    assert stage.book.concerns((BOB,))


def test_of_a_user_match_and_kind_the_latest_signal_counts() -> None:
    """Their key differs from any other's, whatever their names are."""
    keys = {typing_key(user, match, kind) for user in (ALICE, BOB) for match in (M1, M2) for kind in TypingKind}
    assert len(keys) == 8
