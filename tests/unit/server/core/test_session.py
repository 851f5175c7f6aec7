"""Conversations of one connection, from the first frame to the close."""

from collections.abc import Iterator
from typing import Final

import pytest
from msgspec import Struct

from protocol.close_codes import CloseCode
from protocol.codec import Malformed
from protocol.errors import CATALOGUE, ErrorCode
from protocol.from_client import (
    AuthRefresh,
    Body,
    ClientMessage,
    Hello,
    History,
    Matches,
    MessageSend,
    Ping,
    PresenceWatch,
    Receipt,
    Sync,
    Typing,
)
from protocol.from_server import Error, Ok, TokenExpiring
from protocol.ids import ClientId, MatchId, Micros, RequestId, Seq, UserId
from server.core.rate_limits import RatePolicy, TokenBucket
from server.core.session import (
    ERRORS_IN_A_ROW_MAX,
    Action,
    Actions,
    Authenticate,
    Close,
    Open,
    Refresh,
    Request,
    Say,
    Session,
    SessionPolicy,
)
from server.core.tokens import Claims, TokenRefused
from tests.support.transcript import Transcript

START_S: Final = 1_000.0
POLICY: Final = SessionPolicy(
    auth_timeout_s=10,
    token_warning_s=60,
    token_grace_s=5,
    frames=RatePolicy(rate_per_s=10, burst=50),
    messages=RatePolicy(rate_per_s=5, burst=3),
)
HELLO: Final = Hello(id=1, token="good")
REFRESH: Final = AuthRefresh(id=7, token="newer")
MATCH: Final = MatchId("m1")
DAMAGED: Final = Malformed(ErrorCode.BAD_REQUEST, "no such field", 9)


class Later(Struct, frozen=True):
    """Time passes; then whatever is due is done."""

    seconds: float


class Verified(Struct, frozen=True):
    """The hello's credentials are `user`'s, for so long."""

    hello: Hello
    user: UserId = UserId("alice")
    seconds: float = 3_600


class Denied(Struct, frozen=True):
    """The hello's credentials are no good."""

    hello: Hello
    code: ErrorCode = ErrorCode.TOKEN_INVALID


class Renewed(Struct, frozen=True):
    """The refresh's token is `user`'s, for so long."""

    request: AuthRefresh
    user: UserId = UserId("alice")
    seconds: float = 3_600


class NotRenewed(Struct, frozen=True):
    """The refresh's token is no good."""

    request: AuthRefresh


class Gone(Struct, frozen=True):
    """The connection is lost."""


Input = ClientMessage | Malformed | Later | Verified | Denied | Renewed | NotRenewed | Gone
Play = Transcript[Input, Action]


class Stage:
    """A session and its clock."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.now = START_S

    def perform(self, given: Input) -> Actions:
        """Hand `given` to the session."""
        session = self.session
        match given:
            case Malformed():
                return session.malformed(given, self.now)
            case Later():
                self.now += given.seconds
                return session.tick(self.now)
            case Verified():
                return session.accept(given.hello, Claims(given.user, 0.0), self.now + given.seconds)
            case Denied():
                return session.refuse(given.hello, TokenRefused(given.code, "refused"))
            case Renewed():
                return session.renew(given.request, Claims(given.user, 0.0), self.now + given.seconds)
            case NotRenewed():
                return session.refuse_renewal(given.request, TokenRefused(ErrorCode.TOKEN_INVALID, "refused"))
            case Gone():
                session.closed()
                return ()
            case _:
                return session.receive(given, self.now)


@pytest.fixture
def stage() -> Stage:
    return Stage(Session(POLICY, START_S))


@pytest.fixture
def play(stage: Stage) -> Iterator[Play]:
    """A conversation from its beginning."""
    play: Play = Transcript(stage.perform)
    yield play
    play.end()


@pytest.fixture
def opened(play: Play) -> Play:
    """A conversation that was welcomed, with a token for an hour."""
    return play >> HELLO << Authenticate(HELLO, "good", None) >> Verified(HELLO) << Open(HELLO)


def said(code: ErrorCode, request_id: RequestId | None) -> Say:
    return Say(Error(code=code, message=CATALOGUE[code].what_to_do, id=request_id))


def post(number: int) -> MessageSend:
    return MessageSend(id=number, match=MATCH, client_id=ClientId(f"c{number}"), body=Body(text="hi"))


REQUESTS: Final[tuple[Request, ...]] = (
    Matches(id=0),
    post(3),
    History(id=4, match=MATCH),
    Sync(id=5, cursors={MATCH: (Seq(1), Micros(2))}),
    Receipt(id=6, match=MATCH, read=Seq(1)),
    Typing(id=7, match=MATCH, on=True),
    PresenceWatch(id=8, users=(UserId("bob"),)),
)
MALFORMED_END: Final = Close(CloseCode.TOO_MANY_ERRORS, "too many malformed messages")
FLOOD_END: Final = Close(CloseCode.TOO_MANY_FRAMES, "too many frames")


# ---- who it is


def test_a_token_in_hello_is_verified_and_opens_the_session(stage: Stage, play: Play) -> None:
    """Hello is authenticated, then the session is its user's and opens."""
    play >> HELLO << Authenticate(HELLO, "good", None)
    assert stage.session.user == ""
    play >> Verified(HELLO) << Open(HELLO)
    assert stage.session.user == "alice"
    assert not stage.session.is_closed


def test_a_ticket_in_hello_is_redeemed(play: Play) -> None:
    """A hello may carry a ticket instead."""
    hello = Hello(id=1, ticket="once")
    play >> hello << Authenticate(hello, None, "once")


@pytest.mark.parametrize("token, ticket", [("up", None), (None, "up")])
def test_the_credentials_of_the_upgrade_serve_a_hello_without(token: str | None, ticket: str | None) -> None:
    """A hello without credentials uses those of the upgrade request."""
    play: Play = Transcript(Stage(Session(POLICY, START_S, token=token, ticket=ticket)).perform)
    play >> Hello(id=1) << Authenticate(Hello(id=1), token, ticket)


def test_the_credentials_of_hello_win_over_those_of_the_upgrade() -> None:
    """Neither of the upgrade's is mixed into what hello says."""
    play: Play = Transcript(Stage(Session(POLICY, START_S, token="up")).perform)
    hello = Hello(id=1, ticket="own")
    play >> hello << Authenticate(hello, None, "own")


def test_a_hello_without_any_credentials_may_be_followed_by_a_better_one(play: Play) -> None:
    """It is refused, and the session waits for another until the deadline."""
    play >> Hello(id=0) << said(ErrorCode.UNAUTHENTICATED, 0)
    play >> HELLO << Authenticate(HELLO, "good", None)


def test_a_second_hello_while_the_first_is_checked_is_refused(play: Play) -> None:
    """The first goes on."""
    play >> HELLO << Authenticate(HELLO, "good", None)
    play >> Hello(id=2, token="other") << said(ErrorCode.ALREADY_AUTHENTICATED, 2)
    play >> Verified(HELLO) << Open(HELLO)


def test_a_second_hello_after_the_welcome_is_refused(opened: Play) -> None:
    """One hello a connection."""
    opened >> Hello(id=2, token="other") << said(ErrorCode.ALREADY_AUTHENTICATED, 2)


@pytest.mark.parametrize(
    "code, close",
    [
        (ErrorCode.TOKEN_INVALID, CloseCode.TOKEN_INVALID),
        (ErrorCode.TICKET_INVALID, CloseCode.TOKEN_INVALID),
        (ErrorCode.TOKEN_EXPIRED, CloseCode.TOKEN_EXPIRED),
    ],
)
def test_refused_credentials_are_told_and_end_the_session(play: Play, code: ErrorCode, close: CloseCode) -> None:
    """An expired token lets the client come back, any other fault does not."""
    play >> HELLO << Authenticate(HELLO, "good", None)
    play >> Denied(HELLO, code) << (Say(Error(code=code, message="refused", id=1)), Close(close, "not authenticated"))


@pytest.mark.parametrize("request_", REQUESTS)
def test_before_the_welcome_nothing_but_hello_and_ping_is_answered(play: Play, request_: Request) -> None:
    """Every request is refused, also while hello is checked; an id of 0 is an id."""
    play >> request_ << said(ErrorCode.UNAUTHENTICATED, request_.id)  # type: ignore[arg-type]  # all of them have one
    play >> HELLO << Authenticate(HELLO, "good", None)
    play >> request_ << said(ErrorCode.UNAUTHENTICATED, request_.id)  # type: ignore[arg-type]
    play >> Ping(id=0) << Say(Ok(0))
    play >> REFRESH << said(ErrorCode.UNAUTHENTICATED, 7)


def test_a_refusal_of_a_request_without_id_has_none(play: Play) -> None:
    """Typing may leave its id out."""
    play >> Typing(match=MATCH, on=True) << said(ErrorCode.UNAUTHENTICATED, None)


# ---- how long it may last


def test_no_hello_in_time_ends_the_session(stage: Stage, play: Play) -> None:
    """At the deadline, not before."""
    assert stage.session.deadline == START_S + 10
    play >> Later(9.75) << ()
    play >> Later(0.25) << Close(CloseCode.AUTH_TIMEOUT, "no valid hello in time")
    assert stage.session.is_closed
    play >> Later(100) << ()


def test_a_hello_whose_check_takes_too_long_ends_the_session(play: Play) -> None:
    """The deadline is for being authenticated, and the answer that comes afterwards opens nothing."""
    play >> Later(9) << () >> HELLO << Authenticate(HELLO, "good", None)
    play >> Later(1) << Close(CloseCode.AUTH_TIMEOUT, "no valid hello in time")
    play >> Verified(HELLO) << ()
    play >> Denied(HELLO) << ()


def test_the_client_is_warned_before_its_token_expires_and_ended_after_a_grace(stage: Stage, opened: Play) -> None:
    """The warning tells how long there is to refresh, with the grace."""
    assert stage.session.deadline == START_S + 3_540
    opened >> Later(3_539) << ()
    opened >> Later(1) << Say(TokenExpiring(in_ms=65_000))
    opened >> Ping(id=1) << Say(Ok(1))
    opened >> Later(64) << ()
    opened >> Later(1) << Close(CloseCode.TOKEN_EXPIRED, "the token expired")
    opened >> Ping(id=1) << ()


def test_a_token_that_is_short_is_warned_of_at_once(play: Play) -> None:
    """And a warning that is late never promises time that is not there."""
    play >> HELLO << Authenticate(HELLO, "good", None) >> Verified(HELLO, seconds=2) << Open(HELLO)
    play >> Later(0) << Say(TokenExpiring(in_ms=7_000))
    play >> Later(7) << Close(CloseCode.TOKEN_EXPIRED, "the token expired")


def test_a_warning_that_comes_after_the_grace_promises_nothing(play: Play) -> None:
    """A loop that stood still warns and ends in two turns."""
    play >> HELLO << Authenticate(HELLO, "good", None) >> Verified(HELLO, seconds=100) << Open(HELLO)
    play >> Later(500) << Say(TokenExpiring(in_ms=0))
    play >> Later(0) << Close(CloseCode.TOKEN_EXPIRED, "the token expired")


def test_a_refreshed_token_goes_on_as_if_it_had_been_the_first(stage: Stage, opened: Play) -> None:
    """The warning is taken back, and comes again before the new end."""
    opened >> Later(3_540) << Say(TokenExpiring(in_ms=65_000))
    opened >> REFRESH << Refresh(REFRESH)
    opened >> Renewed(REFRESH) << Say(Ok(7))
    assert stage.session.deadline == START_S + 3_540 + 3_540
    opened >> Later(3_540) << Say(TokenExpiring(in_ms=65_000))


def test_another_users_token_renews_nothing(stage: Stage, opened: Play) -> None:
    """It is refused, and the old token holds until its end."""
    deadline = stage.session.deadline
    refused = Error(code=ErrorCode.TOKEN_INVALID, message="the token is another user's", id=7)
    opened >> REFRESH << Refresh(REFRESH) >> Renewed(REFRESH, UserId("mallory")) << Say(refused)
    assert (stage.session.user, stage.session.deadline) == ("alice", deadline)


def test_a_bad_token_renews_nothing_and_ends_nothing(opened: Play) -> None:
    """The old token holds until its end."""
    opened >> REFRESH << Refresh(REFRESH)
    opened >> NotRenewed(REFRESH) << Say(Error(code=ErrorCode.TOKEN_INVALID, message="refused", id=7))
    opened >> Ping(id=1) << Say(Ok(1))


# ---- what it may ask


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests_of_an_open_session_are_passed_on(opened: Play, request_: Request) -> None:
    """Each as it came."""
    opened >> request_ << request_


def test_messages_above_their_rate_are_refused_and_told_when_to_try_again(opened: Play) -> None:
    """They are not stored; everything else still passes, and so do messages after the time that was told."""
    for number in range(3):
        opened >> post(number) << post(number)
    answer = Error(
        code=ErrorCode.RATE_LIMITED,
        message=CATALOGUE[ErrorCode.RATE_LIMITED].what_to_do,
        id=3,
        retry_after_ms=200,
        stored="no",
    )
    opened >> post(3) << Say(answer)
    opened >> Typing(match=MATCH, on=True) << Typing(match=MATCH, on=True)
    opened >> Later(0.2) << ()
    opened >> post(3) << post(3)


def test_a_flood_of_frames_ends_the_session(opened: Play) -> None:
    """Whatever the frames are: a client may come back, slower."""
    for _ in range(49):  # hello was the first
        opened >> Ping(id=1) << Say(Ok(1))
    opened >> Ping(id=1) << FLOOD_END
    opened >> Ping(id=1) << ()


def test_frames_within_their_rate_go_on_for_ever(opened: Play) -> None:
    """What is used comes back with time."""
    for _ in range(200):
        opened >> Later(0.1) << () >> Ping(id=1) << Say(Ok(1))


# ---- what it cannot understand


def test_malformed_messages_in_a_row_end_the_session(opened: Play) -> None:
    """The last one is answered too; the client has a fault and need not come back."""
    answer = Say(Error(code=ErrorCode.BAD_REQUEST, message="no such field", id=9))
    for _ in range(ERRORS_IN_A_ROW_MAX - 1):
        opened >> DAMAGED << answer
    opened >> DAMAGED << (answer, MALFORMED_END)
    opened >> DAMAGED << ()


def test_a_good_message_between_malformed_ones_forgives_them(play: Play) -> None:
    """They are counted in a row, before the welcome as after it."""
    answer = Say(Error(code=ErrorCode.BAD_REQUEST, message="no such field", id=9))
    for _ in range(2):
        for _ in range(ERRORS_IN_A_ROW_MAX - 1):
            play >> DAMAGED << answer
        play >> Ping(id=1) << Say(Ok(1))


def test_malformed_messages_count_as_frames(opened: Play) -> None:
    """A flood is a flood: the client may come back."""
    for _ in range(49):
        opened >> Ping(id=1) << Say(Ok(1))
    opened >> DAMAGED << FLOOD_END


# ---- after the end


@pytest.mark.parametrize(
    "given",
    [
        HELLO,
        Ping(id=1),
        post(1),
        DAMAGED,
        Later(1e6),
        Verified(HELLO),
        Denied(HELLO),
        Renewed(REFRESH),
        NotRenewed(REFRESH),
    ],
)
def test_nothing_comes_of_anything_after_the_end(opened: Play, given: Input) -> None:
    """The connection is lost while a token was being checked, and while messages were on their way."""
    opened >> REFRESH << Refresh(REFRESH)
    opened >> Gone() << ()
    opened >> given << ()
    opened >> given << ()


def test_the_credentials_of_the_upgrade_are_forgotten_at_the_end() -> None:
    """A hello that came too late finds none."""
    stage = Stage(Session(POLICY, START_S, token="up"))
    stage.session.closed()
    assert stage.session.is_closed
    assert stage.perform(Hello(id=1)) == ()


def test_the_claims_are_those_of_the_token_that_holds_now() -> None:
    session = Session(POLICY, START_S)
    first, second = Claims(UserId("alice"), 1.0, 0.5, "t1"), Claims(UserId("alice"), 2.0, 1.5, "t2")
    session.receive(HELLO, START_S)
    session.accept(HELLO, first, START_S + 60)
    assert session.claims is first
    session.renew(REFRESH, Claims(UserId("bob"), 3.0), START_S + 90)
    assert session.claims is first
    session.renew(REFRESH, second, START_S + 90)
    assert session.claims is second


def test_who_failed_too_often_is_told_when_to_come_back() -> None:
    """With a close code that says to come back at all."""
    session = Session(POLICY, START_S)
    session.receive(HELLO, START_S)
    waits = TokenRefused(ErrorCode.RATE_LIMITED, "wait", retry_after_ms=1_500)
    error = Error(ErrorCode.RATE_LIMITED, "wait", 1, 1_500)
    assert session.refuse(HELLO, waits) == (Say(error), Close(CloseCode.TOO_MANY_FAILURES, "not authenticated"))


def test_a_shared_bucket_is_emptied_by_all() -> None:
    bucket = TokenBucket(POLICY.messages, START_S)
    sessions = []
    for _ in range(2):
        session = Session(POLICY, START_S)
        session.receive(HELLO, START_S)
        session.accept(HELLO, Claims(UserId("alice"), 1.0), START_S + 60)
        session.share_messages(bucket)
        sessions.append(session)
    outcomes = [session.receive(post(number), START_S) for number in range(2) for session in sessions]
    assert [isinstance(actions[0], MessageSend) for actions in outcomes] == [True, True, True, False]
