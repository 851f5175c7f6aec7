"""What a node knows of calls: the newest, for as long as others are heard, and not more than it can hold."""

import pytest
from msgspec import structs

from protocol.calls import CallId, CallState, MediaState, PeerId
from protocol.ids import ClientId, MatchId, Micros, SessionId, UserId
from server.calls.book import RECENT_MAX, STALE_AFTER_S, CallBook, encode_call
from server.core.calls import CallRow
from signaling.call import Call, Seat
from tests.support.clock import FakeClock

C = CallId("c")


def call_with(*sessions: str, name: str = C, node: str = "here") -> Call:
    """Make a call with a seat for each session."""
    seats = tuple(
        Seat(
            peer=PeerId(f"p-{session}"),
            user=UserId(f"u-{session}"),
            session=SessionId(session),
            node=node,
            key=ClientId("k"),
            joined_at=Micros(1),
            media=MediaState(audio=True, video=False, screen=False),
        )
        for session in sessions
    )
    return Call(
        call=CallId(name),
        match=MatchId("m"),
        caller=UserId("u-1"),
        key=ClientId("k"),
        media="audio",
        mode="ring",
        state=CallState.RINGING,
        started_at=Micros(1),
        seats=seats,
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def book(clock: FakeClock) -> CallBook:
    return CallBook("here", clock.now)


def test_a_later_version_is_never_replaced_by_an_earlier_one(book: CallBook) -> None:
    book.hear(C, 3, call_with("1"))
    assert book.hear(C, 2, call_with()).version == 3
    assert book.learn(CallRow(C, MatchId("m"), 2, encode_call(call_with()))).version == 3
    assert book.learn(CallRow(C, MatchId("m"), 4, encode_call(call_with()))).version == 4
    assert (book.is_news(C, 4), book.is_news(C, 5), book.is_news(CallId("other"), 1)) == (False, True, True)


def test_seats_of_this_node_are_found_by_their_connection(book: CallBook) -> None:
    book.hear(C, 1, call_with("1", "2"))
    book.hear(CallId("d"), 1, call_with("3", name="d", node="there"))
    assert (book.call_at(SessionId("1")), book.call_at(SessionId("3")), book.seats) == (C, None, 2)
    assert book.calls_here() == (C,)
    assert book.is_seated(UserId("u-3"))
    assert not book.is_seated(UserId("u-9"))
    book.hear(C, 2, call_with("2"))
    assert (book.call_at(SessionId("1")), book.seats) == (None, 1)
    lost = call_with("2")
    book.hear(C, 3, structs.replace(lost, seats=(structs.replace(lost.seats[0], lost_at=Micros(5)),)))
    assert book.seats == 0


def test_a_connection_that_goes_has_no_seat(book: CallBook) -> None:
    book.hear(C, 1, call_with("1"))
    book.leave(SessionId("1"))
    book.leave(SessionId("nobody"))
    assert book.seats == 0


def test_what_may_have_gone_unheard_is_not_believed(book: CallBook, clock: FakeClock) -> None:
    book.hear(C, 1, call_with("1"))
    book.hears_others(hears=False)
    assert (book.get(C), book.seats) == (None, 1)
    book.hear(C, 2, call_with("1"))
    assert book.get(C) is not None
    clock.advance(STALE_AFTER_S + 0.1)
    assert book.get(C) is None
    book.hears_others(hears=True)
    book.hear(C, 2, call_with("1"))
    clock.advance(1_000)
    assert book.get(C) is not None


def test_calls_without_a_seat_here_are_forgotten_when_there_are_too_many(book: CallBook) -> None:
    book.hear(C, 1, call_with("1"))
    for number in range(RECENT_MAX + 1):
        name = f"other-{number}"
        book.hear(CallId(name), 1, call_with(name=name))
    assert book.get(C) is not None
    assert len(book) < RECENT_MAX
    assert book.get(CallId(f"other-{RECENT_MAX}")) is not None
