"""signaling/relay.py and signaling/privacy.py: from seat to seat, and what is hidden on the way."""

import re
from typing import Literal

import pytest

from protocol.calls import CallId, CallSignal, CallSignalled, Candidate, Description, PeerId
from protocol.errors import ErrorCode
from protocol.ids import SessionId
from signaling.decision import Refusal
from signaling.privacy import hide_addresses
from signaling.relay import Relayed, relay
from signaling.sdp import sdp_problem
from tests.support.sdp import HOST, MDNS, OFFER, REFLEXIVE, RELAYED
from tests.unit.signaling.people import Play, active, peer

CANDIDATE = Candidate(HOST, "0", 0, "Yk2x")
HIDDEN = "candidate:2 1 udp 33562367 203.0.113.9 49201 typ relay raddr 0.0.0.0 rport 9 generation 0"


def offer(to: PeerId, sdp: str = OFFER) -> CallSignal:
    """Return an offer to that seat."""
    return CallSignal(CallId("c1"), to, 1, Description("offer", sdp), streams={"c0ffee": "camera"})


def test_a_signal_reaches_the_other_seat_as_it_was() -> None:
    """Character for character, and that connection alone."""
    play = active()
    outcome = relay(play.there, SessionId("alice.web"), offer(peer("bob.phone")))
    assert isinstance(outcome, Relayed)
    assert (outcome.action.user, outcome.action.session, outcome.action.node) == ("bob", "bob.phone", "n1")
    assert outcome.action.message == CallSignalled(
        CallId("c1"), peer("alice.web"), 1, Description("offer", OFFER), streams={"c0ffee": "camera"}
    )


def test_candidates_and_their_end_are_passed_on() -> None:
    """Together; a signal may also say nothing but its number."""
    play = active()
    signal = CallSignal(CallId("c1"), peer("alice.web"), 2, None, (CANDIDATE, Candidate("")), end_of_candidates=True)
    outcome = relay(play.there, SessionId("bob.phone"), signal)
    assert isinstance(outcome, Relayed)
    message = outcome.action.message
    assert isinstance(message, CallSignalled)
    assert (message.n, message.candidates, message.end_of_candidates) == (2, (CANDIDATE, Candidate("")), True)


@pytest.mark.parametrize(
    "session, to",
    [
        ("bob.tablet", "alice.web"),
        ("mallory.web", "bob.phone"),
        ("alice.web", "alice.web"),
        ("alice.web", "nobody"),
    ],
)
def test_only_seats_signal_seats(session: str, to: str) -> None:
    """Not another device of who sits there, not oneself, nobody who is not there."""
    outcome = relay(active().there, SessionId(session), offer(peer(to)))
    assert isinstance(outcome, Refusal)
    assert outcome.code is ErrorCode.NOT_IN_CALL


def test_nothing_is_relayed_while_it_rings_or_when_it_is_over() -> None:
    """There is nobody to tell."""
    play = Play()
    play.start("alice.web")
    ringing = relay(play.there, SessionId("alice.web"), offer(peer("bob.phone")))
    assert isinstance(ringing, Refusal)
    over = active()
    over.hang_up("bob.phone")
    outcome = relay(over.there, SessionId("alice.web"), offer(peer("bob.phone")))
    assert isinstance(outcome, Refusal)
    assert outcome.code is ErrorCode.CALL_OVER


def test_what_is_no_sdp_or_no_candidate_is_refused() -> None:
    """With the place of it."""
    play = active()
    to = peer("bob.phone")
    for signal, path in (
        (offer(to, "hello"), "$.description.sdp"),
        (CallSignal(CallId("c1"), to, 1, None, (Candidate("hello"),)), "$.candidates[...].candidate"),
    ):
        outcome = relay(play.there, SessionId("alice.web"), signal)
        assert isinstance(outcome, Refusal)
        assert outcome.code is ErrorCode.BAD_DESCRIPTION
        assert path in outcome.message


def test_a_relayed_seat_tells_no_address() -> None:
    """Neither in candidates nor anywhere in its SDP, which stays a good one."""
    play = Play()
    play.start("alice.web", relay_only=True)
    play.accept("bob.phone")
    outcome = relay(play.there, SessionId("alice.web"), offer(peer("bob.phone")))
    assert isinstance(outcome, Relayed)
    message = outcome.action.message
    assert isinstance(message, CallSignalled)
    assert message.description is not None
    sdp = message.description.sdp
    assert "192.0.2.7" not in sdp
    assert "198.51.100.4" not in sdp
    assert "typ host" not in sdp
    assert f"a={HIDDEN}\r\n" in sdp
    assert sdp_problem(sdp) is None
    # The other seat asked for nothing of the kind.
    other = relay(play.there, SessionId("bob.phone"), offer(peer("alice.web")))
    assert isinstance(other, Relayed)
    assert isinstance(other.action.message, CallSignalled)
    assert other.action.message.description == Description("offer", OFFER)


@pytest.mark.parametrize("kind", ["offer", "answer"])
def test_hiding_changes_nothing_else(kind: Literal["offer", "answer"]) -> None:
    """Every line but those that hold addresses is as it was; a port of 0 (a refused line) too."""
    refused = OFFER + "m=video 0 UDP/TLS/RTP/SAVPF 96\r\n"
    signal = CallSignal(CallId("c1"), PeerId("p"), 1, Description(kind, refused))
    hidden = hide_addresses(signal).description
    assert hidden is not None
    assert hidden.type == kind
    of_addresses = re.compile(r"(?:o|c|a=rtcp|a=candidate|m)[=:]")
    assert [line for line in hidden.sdp.split("\r\n") if not of_addresses.match(line)] == [
        line for line in refused.split("\r\n") if not of_addresses.match(line)
    ]
    assert "m=audio 9 UDP" in hidden.sdp
    assert "m=video 0 UDP" in hidden.sdp


def test_only_relayed_candidates_are_left() -> None:
    """Their own base is hidden; the number of the signal stays, so that nobody waits for it."""
    signal = CallSignal(
        CallId("c1"), PeerId("p"), 7, None, tuple(Candidate(each) for each in (HOST, MDNS, REFLEXIVE, RELAYED, ""))
    )
    hidden = hide_addresses(signal)
    assert [each.candidate for each in hidden.candidates] == [HIDDEN, ""]
    assert hidden.n == 7
