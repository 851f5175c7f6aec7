"""signaling/ringing.py: start, ring, accept, decline, invite."""

import pytest
from msgspec import structs

from protocol.calls import (
    CallCancelled,
    CallEnded,
    CallId,
    CallIncoming,
    CallJoined,
    CallPeerJoined,
    CallRang,
    CallReason,
    CallState,
    PeerId,
)
from protocol.errors import ErrorCode
from protocol.ids import SessionId, UserId
from signaling.decide import decide
from signaling.decision import Rules, UserSettings
from signaling.due import deadline_of
from signaling.events import Invite, Rang
from tests.unit.signaling.people import START, Play, active, peer, sitter

BUSY = UserSettings(when_busy="busy")


def test_a_call_rings_on_every_device_of_the_other() -> None:
    """The caller has a seat, and the log says that it rings."""
    play = Play()
    decision = play.start("alice.web")
    assert decision.peer == peer("alice.web")
    assert play.state() is CallState.RINGING
    assert play.entries == ["ringing"]
    assert play.told == [
        ("alice but alice.web", CallJoined(CallId("c1"), play.there.match)),
        (
            "bob",
            CallIncoming(
                CallId("c1"),
                play.there.match,
                UserId("alice"),
                "video",
                "ring",
                age_ms=0,
                expires_in_ms=45_000,
                joined=(UserId("alice"),),
            ),
        ),
    ]
    assert deadline_of(play.there, play.rules) == START + 10_000_000


def test_the_seats_are_told_once_that_a_user_is_rung() -> None:
    """A second device changes nothing."""
    play = Play()
    play.start("alice.web")
    assert play.ring("bob").actions
    assert play.told == [("alice.web", CallRang(CallId("c1"), UserId("bob")))]
    assert play.ring("bob").call is None
    assert not play.told


def test_who_is_not_called_does_not_ring() -> None:
    """Neither a stranger to the call nor one whose ring is over."""
    play = Play()
    play.start("alice.web")
    play.ring("carol")
    assert play.refusal() is ErrorCode.NOT_IN_CALL
    play.accept("bob.phone")
    play.ring("bob")
    assert play.refusal() is ErrorCode.CALL_OVER


def test_the_first_accept_wins() -> None:
    """The other devices stop ringing and learn why; a second accept is refused."""
    play = Play()
    play.start("alice.web")
    play.ring("bob")
    decision = play.accept("bob.phone")
    assert decision.peer == peer("bob.phone")
    assert play.state() is CallState.CONNECTING
    assert play.entries == ["ringing", "ongoing"]
    assert [(who, type(message)) for who, message in play.told] == [
        ("bob but bob.phone", CallCancelled),
        ("bob but bob.phone", CallJoined),
        ("alice.web", CallPeerJoined),
    ]
    assert play.said(CallCancelled)[0][1] == CallCancelled(CallId("c1"), CallReason.ANSWERED_ELSEWHERE)
    play.accept("bob.tablet")
    assert play.refusal() is ErrorCode.ANSWERED_ELSEWHERE


def test_who_sat_first_makes_the_offer_and_is_not_polite() -> None:
    """The caller learns its part with the news, the callee with its answer."""
    play = Play()
    play.start("alice.web")
    play.accept("bob.phone")
    [(_, news)] = play.said(CallPeerJoined)
    assert isinstance(news, CallPeerJoined)
    assert (news.peer.user, news.peer.initiator, news.peer.polite) == ("bob", True, False)


def test_the_same_accept_is_the_same_seat() -> None:
    """Sent again on another connection, the seat belongs to that one."""
    play = Play()
    play.start("alice.web")
    play.accept("bob.phone", key="k")
    again = sitter("bob.again", key="k")
    play.lose("bob.phone")
    decision = play.accept("bob.again", key="k")
    assert decision.peer == PeerId("p-bob.phone-k")
    assert play.there.seat_at(again.session) is not None
    assert len(play.there.seats) == 2


def test_the_same_start_is_the_same_call() -> None:
    """Also when it has a new id for a call that is not made; after its end it rings no more."""
    play = Play()
    play.start("alice.web", key="k")
    assert play.start("alice.web", call="c2", key="k").peer == PeerId("p-alice.web-k")
    assert play.there.call == "c1"
    play.hang_up("alice.web")
    play.start("alice.web", call="c3", key="k")
    assert play.refusal() is ErrorCode.CALL_OVER
    play.start("alice.web", call="c4", key="another")
    assert play.refusal() is None
    assert play.there.call == "c4"


def test_calling_each_other_is_answering() -> None:
    """Glare: the second start is an accept."""
    play = Play()
    play.start("alice.web")
    decision = play.start("bob.phone", call="c2")
    assert decision.peer == peer("bob.phone")
    assert play.there.call == "c1"
    assert play.state() is CallState.CONNECTING
    seat = play.there.seat_of(UserId("bob"))
    assert seat is not None
    assert seat.glare
    assert play.start("bob.phone", call="c3").peer == peer("bob.phone")


def test_one_call_a_match() -> None:
    """Who sits in it, has declined it, or was not called learns which one there is."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web", users=("bob",))
    for device in ("alice.phone", "carol.web"):
        decision = play.start(device, call="c2")
        assert play.refusal() is ErrorCode.CALL_EXISTS
        assert decision.refusal is not None
        assert (decision.refusal.call, decision.refusal.leave_first) == ("c1", False)
    decision = play.start("alice.phone", call="c2", replace=True)
    assert decision.refusal is not None
    assert decision.refusal.leave_first


def test_one_seat_a_user() -> None:
    """Who sits in another match's call is told which; with `replace` it is to be left first."""
    play = Play()
    play.in_call({"alice": "other"})
    play.start("alice.web")
    assert play.refusal() is ErrorCode.IN_OTHER_CALL
    decision = play.start("alice.web", replace=True)
    assert decision.refusal is not None
    assert (decision.refusal.call, decision.refusal.leave_first) == ("other", True)
    play.in_call({"bob": "other"})
    play.start("alice.web")
    play.accept("bob.phone")
    assert play.refusal() is ErrorCode.IN_OTHER_CALL


def test_call_waiting() -> None:
    """Who talks with somebody else is rung all the same, and knows it."""
    play = Play()
    play.in_call({"bob": "other"})
    play.start("alice.web")
    [(who, message)] = play.said(CallIncoming)
    assert who == "bob"
    assert isinstance(message, CallIncoming)
    assert message.in_call


def test_busy_at_once() -> None:
    """Who does not want to be rung while talking is busy, and nothing rings."""
    play = Play()
    play.in_call({"bob": "other"}, {"bob": BUSY})
    decision = play.start("alice.web")
    assert play.state() is CallState.ENDED
    assert play.entries == ["busy"]
    assert decision.peer == peer("alice.web")
    assert play.told[-1] == ("alice", CallEnded(CallId("c1"), CallReason.BUSY))
    assert not play.said(CallIncoming)


def test_declining_ends_the_call_everywhere() -> None:
    """The caller learns that it was declined, the other devices that it was elsewhere."""
    play = Play()
    play.start("alice.web")
    play.ring("bob")
    play.decline("bob.phone")
    assert play.entries == ["ringing", "declined"]
    assert play.told == [
        ("bob but bob.phone", CallCancelled(CallId("c1"), CallReason.DECLINED_ELSEWHERE)),
        ("alice", CallEnded(CallId("c1"), CallReason.DECLINED, UserId("bob"))),
    ]
    assert play.decline("bob.phone").refusal is None
    play.accept("bob.phone")
    assert play.refusal() is ErrorCode.CALL_OVER


def test_declining_as_busy() -> None:
    """The device decides that its user is busy."""
    play = Play()
    play.start("alice.web")
    play.decline("bob.phone", busy=True)
    assert play.entries == ["ringing", "busy"]
    assert play.there.reason is CallReason.BUSY


def test_declining_what_was_answered_or_never_rang() -> None:
    """It changes nothing."""
    play = Play()
    play.start("alice.web")
    play.decline("carol.web")
    assert play.refusal() is ErrorCode.NOT_IN_CALL
    play.accept("bob.phone")
    play.decline("bob.tablet")
    assert play.refusal() is ErrorCode.ANSWERED_ELSEWHERE
    play.hang_up("bob.phone")
    play.decline("bob.tablet")
    assert play.refusal() is ErrorCode.CALL_OVER


def test_a_stranger_calls_nobody() -> None:
    """Neither the caller nor those called may be from outside of the match."""
    play = Play()
    play.start("mallory.web")
    assert play.refusal() is ErrorCode.NOT_MEMBER
    play.start("alice.web", users=("mallory",))
    assert play.refusal() is ErrorCode.NOT_MEMBER
    play.start("alice.web")
    play.accept("mallory.web")
    assert play.refusal() is ErrorCode.NOT_IN_CALL
    assert play.call is not None
    assert decide(None, Rang(UserId("bob")), play.context, play.rules, play.now).refusal is not None


def test_no_call_between_those_who_block() -> None:
    """In a match of two it is refused; in a group the one who blocks is not rung."""
    play = Play()
    play.blocked("bob")
    play.start("alice.web")
    assert play.refusal() is ErrorCode.CALL_REFUSED
    group = Play("alice", "bob", "carol")
    group.blocked("bob")
    group.start("alice.web")
    assert [leg.user for leg in group.there.legs] == ["carol"]
    group.blocked("alice")
    group.join("bob.web")
    assert group.refusal() is ErrorCode.CALL_REFUSED


def test_a_group_without_anybody_to_ring() -> None:
    """Naming only people who block, or only oneself, is refused."""
    play = Play("alice", "bob", "carol")
    play.blocked("bob")
    play.start("alice.web", users=("bob",))
    assert play.refusal() is ErrorCode.CALL_REFUSED
    play.start("alice.web", users=("alice",))
    assert play.refusal() is ErrorCode.CALL_REFUSED


def test_calls_that_nobody_answers_are_few() -> None:
    """Ringing is no way to annoy somebody."""
    play = Play()
    play.context = structs.replace(play.context, unanswered=3)
    play.start("alice.web")
    assert play.refusal() is ErrorCode.CALL_REFUSED
    play.start("alice.web", mode="prompt")
    assert play.refusal() is None


def test_a_large_match_is_prompted() -> None:
    """More people than seats are not rung; those named are."""
    people = [f"u{number}" for number in range(9)]
    play = Play(*people)
    play.start("u0.web")
    assert (play.there.mode, play.there.legs) == ("prompt", ())
    named = Play(*people)
    named.start("u0.web", users=tuple(people[1:6]))
    assert len(named.there.legs) == 5
    many = Play(*people, rules=Rules(participants=3))
    many.start("u0.web", users=tuple(people[1:6]))
    assert many.refusal() is ErrorCode.CALL_FULL


def test_a_prompt_waits_for_who_joins() -> None:
    """Nobody rings; members join."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web", mode="prompt")
    assert not play.said(CallIncoming)
    assert play.state() is CallState.RINGING
    play.join("carol.web")
    assert play.state() is CallState.CONNECTING
    assert play.entries == ["ringing", "ongoing"]


def test_a_call_has_so_many_seats() -> None:
    """One more is refused, sitting or invited."""
    people = [f"u{number}" for number in range(5)]
    play = Play(*people, rules=Rules(participants=3))
    play.start("u0.web", users=("u1", "u2"))
    play.happen(Invite(SessionId("u0.web"), (UserId("u3"),)))
    assert play.refusal() is ErrorCode.CALL_FULL
    play.accept("u1.web")
    play.accept("u2.web")
    play.join("u3.web")
    assert play.refusal() is ErrorCode.CALL_FULL


def test_inviting_rings_once_more() -> None:
    """Those who sit or are rung are left alone, those who declined are asked again."""
    play = Play("alice", "bob", "carol", "dave")
    play.start("alice.web", users=("bob", "carol"))
    play.accept("bob.phone")
    play.decline("carol.web")
    assert ("alice.web", CallRang(CallId("c1"), UserId("carol"), CallReason.DECLINED)) in play.told
    play.happen(Invite(SessionId("bob.phone"), (UserId("alice"), UserId("carol"), UserId("dave"))))
    assert [who for who, _ in play.said(CallIncoming)] == ["carol", "dave"]
    play.accept("carol.web")
    assert len(play.there.seats) == 3


@pytest.mark.parametrize(
    "device, user, code",
    [
        ("bob.phone", "carol", ErrorCode.NOT_IN_CALL),
        ("alice.web", "mallory", ErrorCode.NOT_MEMBER),
    ],
)
def test_who_may_invite_whom(device: str, user: str, code: ErrorCode) -> None:
    """Only seats invite, only members are invited."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web", users=("bob",))
    play.happen(Invite(SessionId(device), (UserId(user),)))
    assert play.refusal() is code


def test_nobody_is_invited_to_what_is_over() -> None:
    """The call has ended."""
    play = active()
    play.hang_up("alice.web")
    play.happen(Invite(SessionId("alice.web"), (UserId("bob"),)))
    assert play.refusal() is ErrorCode.CALL_OVER
