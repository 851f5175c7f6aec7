"""signaling/sitting.py: join, resume, report, mute, lose, hang up, remove, rate."""

import pytest
from msgspec import structs

from protocol.calls import (
    CallCancelled,
    CallEnded,
    CallId,
    CallMediaChanged,
    CallPeerJoined,
    CallPeerLeft,
    CallPeerState,
    CallQuality,
    CallReason,
    CallState,
    PeerId,
    Route,
)
from protocol.errors import ErrorCode
from protocol.ids import SessionId, UserId
from signaling.decision import Rules, UserSettings
from signaling.events import Feedback, HangUp, Rated, Relayed, Remove, Report, SetMedia
from signaling.sitting import RELAYED_MAX
from signaling.views import record_of
from tests.unit.signaling.people import MUTED, Play, active, peer

RELAYED = Route("relay", "host", "udp")
C1 = CallId("c1")


def test_active_when_both_say_connected() -> None:
    """One of them is not enough."""
    play = Play()
    play.start("alice.web")
    play.accept("bob.phone")
    play.hear("alice.web", "bob.phone")
    assert play.state() is CallState.CONNECTING
    play.wait(3)
    play.hear("bob.phone", "alice.web")
    assert play.state() is CallState.ACTIVE
    assert play.there.active_at == play.now


def test_a_call_of_two_ends_with_the_first_who_leaves() -> None:
    """Both devices and the log are told, with the length."""
    play = active()
    play.wait(222)
    play.hang_up("alice.web")
    assert play.entries == ["ringing", "ongoing", "completed"]
    assert play.last.entry is not None
    assert (play.last.entry.duration_ms, play.last.entry.by) == (222_000, "alice")
    assert play.told == [
        ("alice", CallEnded(C1, CallReason.HANGUP, UserId("alice"), 222_000)),
        ("bob.phone", CallPeerLeft(C1, peer("alice.web"), UserId("alice"), CallReason.HANGUP)),
        ("bob", CallEnded(C1, CallReason.HANGUP, UserId("alice"), 222_000)),
    ]
    assert play.hang_up("bob.phone").refusal is None
    assert play.last.call is None


def test_an_answered_call_that_never_came_about_has_failed() -> None:
    """It was hung up before anybody saw anybody."""
    play = Play()
    play.start("alice.web")
    play.accept("bob.phone")
    play.hang_up("bob.phone", CallReason.MEDIA_FAILED)
    assert play.entries == ["ringing", "ongoing", "failed"]
    assert play.there.reason is CallReason.MEDIA_FAILED


@pytest.mark.parametrize("rings, entry", [(True, "missed"), (False, "cancelled")])
def test_the_caller_cancels(rings: bool, entry: str) -> None:
    """Missed is what somebody could have heard."""
    play = Play()
    play.start("alice.web")
    if rings:
        play.ring("bob")
    play.hang_up("alice.web")
    assert play.entries == ["ringing", entry]
    assert ("bob", CallCancelled(C1, CallReason.CANCELLED)) in play.told
    assert play.there.reason is CallReason.CANCELLED


def test_who_has_no_seat_hangs_nothing_up() -> None:
    """Not while it rings, not as a stranger."""
    play = Play()
    play.start("alice.web")
    play.hang_up("bob.phone")
    assert play.refusal() is ErrorCode.NOT_IN_CALL


def test_the_server_gives_up_whichever_seat_a_user_has() -> None:
    """As when another call takes its place."""
    play = active()
    play.happen(HangUp(UserId("bob"), None, CallReason.REPLACED))
    assert play.there.reason is CallReason.REPLACED


def test_a_lost_socket_ends_nothing() -> None:
    """The other is told, and told again when it is back, with what it holds."""
    play = active()
    play.lose("bob.phone")
    assert play.state() is CallState.RECONNECTING
    assert play.told == [("alice.web", CallPeerState(C1, peer("bob.phone"), "reconnecting"))]
    assert play.lose("bob.phone").call is None
    play.wait(29)
    decision = play.resume("bob.again", "bob.phone", alice_web=7)
    assert decision.peer == peer("bob.phone")
    assert play.state() is CallState.ACTIVE
    assert play.told == [("alice.web", CallPeerState(C1, peer("bob.phone"), "ok", 7))]
    assert play.entries == ["ringing", "ongoing"]
    assert play.lose("bob.phone").call is None  # The old connection: nobody sits on it.


def test_both_sockets_lost_at_once() -> None:
    """As when their node is killed: both come back."""
    play = active()
    play.lose("alice.web")
    play.lose("bob.phone")
    play.resume("alice.web2", "alice.web", bob_phone=3)
    assert play.state() is CallState.RECONNECTING
    play.resume("bob.phone2", "bob.phone", alice_web=2)
    assert play.state() is CallState.ACTIVE


def test_a_seat_that_misses_signals_asks_where_it_sits() -> None:
    """Nothing is written; the others learn what it holds, nothing being nothing."""
    play = active()
    decision = play.resume("bob.phone", "bob.phone")
    assert decision.call is not None  # The node is another one in this play.
    assert play.resume("bob.phone", "bob.phone").call is None
    assert play.told == [("alice.web", CallPeerState(C1, peer("bob.phone"), "ok", 0))]


def test_a_resume_elsewhere_ends_it_on_the_old_connection() -> None:
    """The server may not have noticed that the old one is gone."""
    play = active()
    play.resume("bob.again", "bob.phone")
    assert play.told[0] == ("bob.phone", CallEnded(C1, CallReason.REPLACED))


@pytest.mark.parametrize(
    "device, seat, code",
    [
        ("alice.web", "bob.phone", ErrorCode.NOT_IN_CALL),
        ("bob.phone", "nobody", ErrorCode.NOT_IN_CALL),
    ],
)
def test_a_seat_is_resumed_by_its_own_user_only(device: str, seat: str, code: ErrorCode) -> None:
    """A peer's name is no credential."""
    play = active()
    play.resume(device, seat)
    assert play.refusal() is code


def test_a_seat_that_is_gone_is_not_resumed() -> None:
    """Also while others go on."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.accept("bob.phone")
    play.accept("carol.web")
    play.hang_up("bob.phone")
    play.resume("bob.phone", "bob.phone")
    assert play.refusal() is ErrorCode.CALL_OVER
    play.hang_up("alice.web")
    play.hang_up("carol.web")
    play.resume("carol.web", "nobody")
    assert play.refusal() is ErrorCode.CALL_OVER


def test_media_lost_and_found() -> None:
    """Both ends of a broken connection are seen as reconnecting, until both say that it is back."""
    play = active()
    play.miss("alice.web", "bob.phone")
    assert play.state() is CallState.RECONNECTING
    assert play.told == [
        ("bob.phone", CallPeerState(C1, peer("alice.web"), "reconnecting")),
        ("alice.web", CallPeerState(C1, peer("bob.phone"), "reconnecting")),
    ]
    assert play.miss("alice.web", "bob.phone").call is None
    play.hear("alice.web", "bob.phone")
    assert play.state() is CallState.ACTIVE
    assert [state for _, state in play.told] == [
        CallPeerState(C1, peer("alice.web"), "ok"),
        CallPeerState(C1, peer("bob.phone"), "ok"),
    ]


def test_the_route_is_remembered() -> None:
    """Of a report without one, the last."""
    play = active()
    play.happen(Report(SessionId("alice.web"), peer("bob.phone"), "connected", RELAYED))
    play.hear("alice.web", "bob.phone")
    seat = play.there.seat_of(UserId("alice"))
    assert seat is not None
    assert seat.route == RELAYED


@pytest.mark.parametrize("about", ["alice.web", "nobody"])
def test_reports_are_about_other_seats(about: str) -> None:
    """Nobody is connected to themselves."""
    play = active()
    play.hear("alice.web", about)
    assert play.refusal() is ErrorCode.NOT_IN_CALL


def test_reports_are_of_seats() -> None:
    """A connection without one is refused, and told when it is all over."""
    play = active()
    play.hear("carol.web", "bob.phone")
    assert play.refusal() is ErrorCode.NOT_IN_CALL
    play.hang_up("alice.web")
    play.hear("alice.web", "bob.phone")
    assert play.refusal() is ErrorCode.CALL_OVER


def test_mute_is_told_to_the_others() -> None:
    """Once."""
    play = active()
    play.happen(SetMedia(SessionId("alice.web"), MUTED))
    assert play.told == [("bob.phone", CallMediaChanged(C1, peer("alice.web"), MUTED))]
    assert play.happen(SetMedia(SessionId("alice.web"), MUTED)).call is None


def test_quality_is_told_on_change() -> None:
    """To everybody, also to who has it."""
    play = active()
    play.happen(Rated(SessionId("alice.web"), "poor"))
    news = CallQuality(C1, peer("alice.web"), "poor")
    assert play.told == [("alice.web", news), ("bob.phone", news)]
    assert play.happen(Rated(SessionId("alice.web"), "poor")).call is None


def test_takeover_from_another_own_device() -> None:
    """The old one is told that it was replaced, the others see one leave and one come; nothing ends."""
    play = active()
    play.join("bob.web")
    assert play.refusal() is ErrorCode.ANSWERED_ELSEWHERE
    decision = play.join("bob.web", takeover=True)
    assert decision.peer == peer("bob.web")
    assert play.told[0] == ("bob.phone", CallEnded(C1, CallReason.REPLACED, None, 0))
    [(_, left)], [(_, joined)] = play.said(CallPeerLeft), play.said(CallPeerJoined)
    assert isinstance(left, CallPeerLeft)
    assert isinstance(joined, CallPeerJoined)
    assert (left.reason, joined.peer.initiator) == (CallReason.REPLACED, True)
    assert play.state() is CallState.RECONNECTING
    play.connect("alice.web", "bob.web")
    assert play.state() is CallState.ACTIVE
    assert play.join("bob.web", takeover=True).peer == peer("bob.web")


def test_a_caller_moves_while_it_rings() -> None:
    """Nobody has answered, and it rings on."""
    play = Play()
    play.start("alice.web")
    play.join("alice.phone", takeover=True)
    assert play.state() is CallState.RINGING
    play.accept("bob.phone")
    assert play.state() is CallState.CONNECTING


def test_who_may_join() -> None:
    """Members, while there is a call."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web", users=("bob",))
    play.join("mallory.web")
    assert play.refusal() is ErrorCode.NOT_MEMBER
    play.join("carol.web")
    assert play.refusal() is None
    for device in ("alice.web", "carol.web"):
        play.hang_up(device)
    play.pass_time(60)
    play.join("carol.web", key="again")
    assert play.refusal() is ErrorCode.CALL_OVER


def test_who_declined_may_join_after_all() -> None:
    """In a group the call goes on without them, until they change their mind."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.accept("bob.phone")
    play.decline("carol.web")
    play.join("carol.web")
    assert play.refusal() is None
    assert len(play.there.seats) == 3


def test_a_group_goes_on_without_one() -> None:
    """Leaving is told, and is no end; a seat is hung up once."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.accept("bob.phone")
    play.accept("carol.web")
    for pair in (("alice.web", "bob.phone"), ("alice.web", "carol.web"), ("bob.phone", "carol.web")):
        play.connect(*pair)
    play.hang_up("alice.web")
    assert play.state() is CallState.ACTIVE
    assert play.hang_up("alice.web").refusal is None
    assert play.entries == ["ringing", "ongoing"]
    play.hang_up("bob.phone")
    assert play.state() is CallState.RECONNECTING
    play.hang_up("carol.web")
    assert play.entries == ["ringing", "ongoing", "completed"]


def test_who_leaves_the_match_leaves_the_call() -> None:
    """Sitting or rung."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.accept("bob.phone")
    play.happen(Remove((UserId("carol"), UserId("bob"))))
    assert ("carol", CallCancelled(C1, CallReason.REMOVED)) in play.told
    assert [seat.user for seat in play.there.seats] == ["alice"]
    play.happen(Remove((UserId("alice"),)))
    assert play.there.reason is CallReason.REMOVED
    assert play.happen(Remove((UserId("alice"),))).call is None


def test_the_only_one_called_leaves_the_match() -> None:
    """There is nobody left to answer."""
    play = Play()
    play.start("alice.web")
    play.happen(Remove((UserId("bob"),)))
    assert (play.state(), play.there.reason) == (CallState.ENDED, CallReason.REMOVED)
    assert play.entries == ["ringing", "cancelled"]


def test_the_app_ends_a_call() -> None:
    """For everybody."""
    play = active()
    play.happen(Remove(None))
    assert play.entries[-1] == "completed"
    assert play.there.reason is CallReason.REMOVED


def test_what_users_say_of_it() -> None:
    """The last word of each counts; strangers and latecomers have none."""
    play = active()
    play.happen(Feedback(UserId("alice"), 3))
    play.hang_up("alice.web")
    play.happen(Feedback(UserId("alice"), 5, ("echo",)))
    play.happen(Feedback(UserId("bob"), 1))
    assert [(each.user, each.rating) for each in play.there.opinions] == [("alice", 5), ("bob", 1)]
    play.happen(Feedback(UserId("carol"), 1))
    assert play.refusal() is ErrorCode.NOT_IN_CALL
    play.wait(90_000)
    play.happen(Feedback(UserId("bob"), 2))
    assert play.refusal() is ErrorCode.CALL_OVER


def test_a_relayed_seat() -> None:
    """Who asks to be relayed is."""
    play = Play()
    play.start("alice.web", relay_only=True)
    seat = play.there.seat_named(PeerId("p-alice.web"))
    assert seat is not None
    assert seat.relay_only


def test_nobody_waits_for_a_relay_that_there_is_not() -> None:
    """Who is to be relayed only is told at once, whoever wants it so; everybody else is connected directly."""
    play = Play(rules=Rules(has_relay=False))
    play.start("alice.web", relay_only=True)
    assert play.refusal() is ErrorCode.NO_RELAY
    play.context = structs.replace(play.context, settings={UserId("bob"): UserSettings(relay_only=True)})
    play.start("alice.web")
    play.accept("bob.phone")
    assert play.refusal() is ErrorCode.NO_RELAY
    assert play.state() is CallState.RINGING
    play.context = structs.replace(play.context, settings={UserId("alice"): UserSettings(relay_only=True)})
    play.join("alice.phone", takeover=True)
    assert play.refusal() is ErrorCode.NO_RELAY
    assert play.accept("bob.phone").peer == peer("bob.phone")


def test_what_relays_carried() -> None:
    """Each allocation counts once, whatever it is told; of strangers nothing is kept."""
    play = active()
    play.hang_up("alice.web")
    play.happen(Relayed(UserId("alice"), "1:a/1", 50_000))
    play.happen(Relayed(UserId("alice"), "1:a/2", 7_000))
    play.happen(Relayed(UserId("bob"), "1:b/1", 90_000))
    play.happen(Relayed(UserId("alice"), "1:a/1", 60_000))
    assert {part.user: part.relay_bytes for part in record_of(play.there).participants} == {
        "alice": 67_000,
        "bob": 90_000,
    }
    play.happen(Relayed(UserId("carol"), "1:c/1", 90_000))
    assert play.refusal() is ErrorCode.NOT_IN_CALL
    for number in range(RELAYED_MAX + 5):
        play.happen(Relayed(UserId("bob"), f"2:b/{number}", 1))
    assert len(play.there.relayed) == RELAYED_MAX
