"""signaling/views.py and signaling/entries.py: a call as it is told and remembered."""

import pytest

from protocol.calls import CallId, CallOutcome, CallReason, CallState, Route
from protocol.ids import SessionId, UserId
from signaling.call import LEG_TURNS, TURNS, LegState, Turn, moved
from signaling.events import Feedback, Rated, Report
from signaling.views import incoming_of, peer_of, record_of, ringing_of, seat_answer, snapshot_of
from tests.unit.signaling.people import START, Play, active, peer


def test_the_answer_to_who_takes_a_seat() -> None:
    """Names everybody else, with one's own part towards them."""
    play = active()
    play.lose("alice.web")
    answer = seat_answer(play.there, peer("bob.phone"), 7)
    assert (answer.id, answer.peer, answer.policy, answer.state) == (7, "p-bob.phone", "all", CallState.RECONNECTING)
    [other] = answer.peers
    assert (other.user, other.initiator, other.polite, other.state) == ("alice", False, True, "reconnecting")
    assert answer.answered_at == START


def test_roles_are_opposite_for_every_pair() -> None:
    """Of two seats one makes the offer and the other gives way."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web", relay_only=True)
    play.accept("carol.web")
    play.accept("bob.phone")
    seats = play.there.seats
    for one in seats:
        for other in seats:
            if one is not other:
                seen, back = peer_of(play.there, one, other), peer_of(play.there, other, one)
                assert (seen.initiator, seen.polite) == (not back.initiator, not back.polite)
                assert seen.initiator != seen.polite
    assert seat_answer(play.there, peer("alice.web"), 1).policy == "relay"


def test_a_snapshot_is_for_seats_and_for_who_may_join() -> None:
    """Who is yet to come is polite to all."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web", users=("bob",))
    assert ringing_of(play.there) == ("bob",)
    outside = snapshot_of(play.there, None)
    assert [(each.user, each.initiator, each.polite) for each in outside.peers] == [("alice", False, True)]
    assert outside.ringing == ("bob",)
    seat = play.there.seat_of(UserId("alice"))
    assert snapshot_of(play.there, seat).peers == ()


def test_a_ring_that_is_told_later_is_shorter() -> None:
    """A device that connects while it rings has what is left."""
    play = Play()
    play.start("alice.web")
    [leg] = play.there.legs
    play.wait(20)
    late = incoming_of(play.there, leg, play.rules, play.now, in_call=False)
    assert (late.age_ms, late.expires_in_ms) == (20_000, 25_000)
    play.wait(60)
    assert incoming_of(play.there, leg, play.rules, play.now, in_call=False).expires_in_ms == 0


def test_the_record_of_a_call() -> None:
    """Everybody's part with its times, route, quality and opinion; seats one after the other are one part."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.wait(1)
    play.ring("bob")
    play.wait(2)
    play.accept("bob.phone")
    play.connect("alice.web", "bob.phone")
    play.happen(Report(SessionId("bob.phone"), peer("alice.web"), "connected", Route("relay", "host", "tcp")))
    play.join("bob.web", takeover=True)
    play.wait(5)
    play.connect("alice.web", "bob.web")
    play.happen(Rated(SessionId("bob.web"), "good"))
    going = record_of(play.there)
    assert (going.state, going.duration_ms) == (CallOutcome.ONGOING, None)
    assert going.participants[0].left_at is None
    play.hang_up("alice.web")
    play.pass_time(310)
    play.happen(Feedback(UserId("bob"), 4, ("echo",)))
    record = record_of(play.there)
    alice, bob, carol = record.participants
    assert (record.call, record.state, record.reason) == (CallId("c1"), CallOutcome.COMPLETED, CallReason.HANGUP)
    assert (alice.user, alice.invited_at, alice.answered_at, alice.reason) == (
        "alice",
        None,
        START,
        CallReason.HANGUP,
    )
    assert (bob.ringing_at, bob.answered_at, bob.connected_at) == (
        START + 1_000_000,
        START + 3_000_000,
        START + 3_000_000,
    )
    assert (bob.quality, bob.rating, bob.issues) == ("good", 4, ("echo",))
    assert (carol.answered_at, carol.connected_at, carol.left_at, carol.route) == (None, None, None, None)


def test_participants_are_those_called_until_somebody_answers() -> None:
    """Then those who took part."""
    play = Play("alice", "bob", "carol")
    decision = play.start("alice.web")
    assert decision.entry is not None
    assert decision.entry.participants == ("alice", "bob", "carol")
    assert not decision.entry.is_missed
    decision = play.accept("carol.web")
    assert decision.entry is not None
    assert decision.entry.participants == ("alice", "carol")


def test_one_declines_one_does_not_answer() -> None:
    """It was missed by one: that counts more."""
    play = Play("alice", "bob", "carol")
    play.start("alice.web")
    play.ring("carol")
    play.decline("bob.phone")
    play.pass_time(60)
    assert play.entries == ["ringing", "missed"]
    assert play.last.entry is not None
    assert play.last.entry.is_missed


def test_nothing_comes_after_the_end() -> None:
    """The tables have no way out of what is over."""
    assert not TURNS[CallState.ENDED]
    assert {state for state, turns in LEG_TURNS.items() if turns} == {LegState.NOTIFIED, LegState.RINGING}
    play = active()
    play.hang_up("alice.web")
    with pytest.raises(KeyError):
        moved(play.there, Turn.PAIRED)
