"""signaling/due.py: every timer is a deadline, and each ends what it is for."""

import pytest

from protocol.calls import CallCancelled, CallEnded, CallId, CallPeerLeft, CallRang, CallReason, CallState
from protocol.ids import SessionId, UserId
from signaling.decision import Rules
from signaling.due import deadline_of
from signaling.events import Due, Invite, SetMedia
from tests.unit.signaling.people import MUTED, START, Play, active, peer

C1 = CallId("c1")


def test_nobody_answers() -> None:
    """It rings for its time, then it was missed."""
    play = Play()
    play.start("alice.web")
    play.ring("bob")
    play.pass_time(44.9)
    assert play.state() is CallState.RINGING
    play.pass_time(0.2)
    assert play.entries == ["ringing", "missed"]
    assert play.told == [
        ("bob", CallCancelled(C1, CallReason.NO_ANSWER)),
        ("alice", CallEnded(C1, CallReason.NO_ANSWER)),
    ]
    assert play.there.ended_at == START + 45_000_000
    assert deadline_of(play.there, play.rules) is None


def test_nobody_is_there_to_ring() -> None:
    """After a shorter time, and it was missed all the same."""
    play = Play()
    play.start("alice.web")
    play.pass_time(10)
    assert play.entries == ["ringing", "missed"]
    assert play.there.reason is CallReason.UNAVAILABLE


def test_a_ring_is_no_longer_than_it_may_be() -> None:
    """Also when the time to find a device is the longer one."""
    play = Play(rules=Rules(ring_us=5_000_000))
    play.start("alice.web")
    assert deadline_of(play.there, play.rules) == START + 5_000_000


def test_one_of_a_group_does_not_answer() -> None:
    """The others go on, and are told."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.accept("bob.phone")
    play.connect("alice.web", "bob.phone")
    play.pass_time(10)
    assert play.state() is CallState.ACTIVE
    assert play.told == [
        ("carol", CallCancelled(C1, CallReason.UNAVAILABLE)),
        ("alice.web", CallRang(C1, UserId("carol"), CallReason.UNAVAILABLE)),
        ("bob.phone", CallRang(C1, UserId("carol"), CallReason.UNAVAILABLE)),
    ]


def test_media_never_come() -> None:
    """Both seats run out at once: the call has failed."""
    play = Play()
    play.start("alice.web")
    play.accept("bob.phone")
    play.hear("alice.web", "bob.phone")
    play.pass_time(30)
    assert play.entries[-1] == "failed"
    assert play.there.reason is CallReason.ICE_FAILED


def test_one_of_a_group_never_connects() -> None:
    """That seat is lost, and its user told; the others go on."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.accept("bob.phone")
    play.accept("carol.web")
    play.connect("alice.web", "bob.phone")
    play.pass_time(30)
    assert play.state() is CallState.ACTIVE
    assert play.told[0] == ("carol", CallEnded(C1, CallReason.ICE_FAILED, None, 30_000))
    assert ("alice.web", CallPeerLeft(C1, peer("carol.web"), UserId("carol"), CallReason.ICE_FAILED)) in play.told


def test_media_are_lost_for_good() -> None:
    """Half a minute of reconnecting, then it is over."""
    play = active()
    play.wait(100)
    play.miss("alice.web", "bob.phone")
    play.pass_time(29)
    assert play.state() is CallState.RECONNECTING
    play.pass_time(1)
    assert play.there.reason is CallReason.ICE_TIMEOUT
    assert play.entries[-1] == "completed"


def test_a_socket_is_lost_for_good() -> None:
    """The grace is over."""
    play = active()
    play.lose("bob.phone")
    play.pass_time(30)
    assert play.there.reason is CallReason.SIGNALING_LOST
    assert play.entries[-1] == "completed"


@pytest.mark.parametrize("rings, entry", [(True, "missed"), (False, "cancelled")])
def test_the_caller_is_lost_while_it_rings(rings: bool, entry: str) -> None:
    """Nobody is left to talk to: it stops ringing, sooner than in a call."""
    play = Play()
    play.start("alice.web")
    if rings:
        play.ring("bob")
    play.wait(-9)  # The time to find a device must not come first.
    play.lose("alice.web")
    play.wait(9)
    play.pass_time(10)
    assert play.entries == ["ringing", entry]
    assert play.there.reason is CallReason.CANCELLED


def test_a_caller_who_comes_back_rings_on() -> None:
    """Within the grace."""
    play = Play()
    play.start("alice.web")
    play.ring("bob")
    play.lose("alice.web")
    play.pass_time(9)
    play.resume("alice.web", "alice.web")
    play.pass_time(20)
    assert play.state() is CallState.RINGING


def test_alone_in_a_group() -> None:
    """One waits for others for a while; whoever comes starts it anew."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web", mode="prompt")
    play.pass_time(100)
    play.happen(SetMedia(SessionId("alice.web"), MUTED))
    play.pass_time(199)
    assert play.there.alone_since == START
    assert play.state() is CallState.RINGING
    play.join("bob.phone")
    play.connect("alice.web", "bob.phone")
    play.join("carol.web")
    play.hang_up("carol.web")
    play.pass_time(400)
    assert play.state() is CallState.ACTIVE
    play.hang_up("bob.phone")
    play.happen(Invite(SessionId("alice.web"), (UserId("bob"),)))
    play.pass_time(299)
    assert play.state() is CallState.RECONNECTING
    play.pass_time(11)
    assert play.there.reason is CallReason.HANGUP
    assert play.entries == ["ringing", "ongoing", "completed"]


def test_whoever_joins_one_who_is_alone_has_the_time_to_connect() -> None:
    """The lone seat waits anew, as if it had never been connected."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.accept("bob.phone")
    play.connect("alice.web", "bob.phone")
    play.decline("carol.web")
    play.hang_up("bob.phone")
    play.pass_time(100)
    play.join("carol.web")
    play.pass_time(29)
    assert len(play.there.seats) == 2
    play.connect("alice.web", "carol.web")
    assert play.state() is CallState.ACTIVE


def test_nobody_joins_a_prompt() -> None:
    """It was nobody's miss."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web", mode="prompt")
    play.pass_time(300)
    assert play.entries == ["ringing", "cancelled"]
    assert play.there.reason is CallReason.NO_ANSWER


def test_the_longest_call() -> None:
    """Whatever goes on in it."""
    play = active()
    play.pass_time(14_400)
    assert play.there.reason is CallReason.MAX_DURATION
    assert play.entries[-1] == "completed"


def test_looked_at_too_early_it_is_written_again() -> None:
    """So that a row whose deadline is of older rules gets the one that holds; what is over stays so."""
    play = active()
    assert play.happen(Due()).call == play.call
    play.hang_up("alice.web")
    ended = play.call
    decision = play.happen(Due())
    assert (decision.call, decision.entry, decision.actions) == (ended, None, ())
