"""signaling/sdp.py and signaling/candidates.py: what is relayed and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.limits import SDP_CANDIDATES_MAX, SDP_LINES_MAX, SDP_MAX_CHARS, SDP_MEDIA_MAX
from signaling.candidates import candidate_problem
from signaling.sdp import sdp_problem
from tests.support.sdp import ANSWER, HOST, MDNS, OFFER, OVER_TCP, REFLEXIVE, RELAYED

AIORTC = """v=0
o=- 3990000000 3990000000 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic:WMS *
m=application 50123 DTLS/SCTP 5000
c=IN IP4 203.0.113.9
a=mid:0
a=sctpmap:5000 webrtc-datachannel 65535
a=max-message-size:65536
a=candidate:6815297761 1 udp 2130706431 203.0.113.9 50123 typ relay
a=end-of-candidates
a=ice-ufrag:abcd
a=ice-pwd:0123456789abcdefghijkl
a=fingerprint:sha-256 {digits}
a=fingerprint:sha-512 {digits}:{digits}
a=setup:actpass
""".replace("{digits}", ":".join(["AB"] * 32))


@pytest.mark.parametrize("sdp", [OFFER, ANSWER, AIORTC, OFFER.rstrip()], ids=["offer", "answer", "aiortc", "unended"])
def test_what_browsers_make_is_relayed(sdp: str) -> None:
    """With either line end."""
    assert sdp_problem(sdp) is None


def replaced(old: str, new: str) -> str:
    """Return the offer with another line."""
    assert old in OFFER
    return OFFER.replace(old, new)


@pytest.mark.parametrize(
    "sdp, rule",
    [
        ("hello", "v=0"),
        ("", "v=0"),
        (OFFER[5:], "v=0"),
        ("\r\n" + OFFER, "v=0"),
        (OFFER + "hello\r\n", "letter"),
        (OFFER + "\r\n" + OFFER, "letter"),
        (OFFER + "a=x\0y\r\n", "letter"),
        (OFFER + "a=x\ry\r\n", "letter"),
        (OFFER + "a=x\x7fy\r\n", "letter"),
        (OFFER + "A=x\r\n", "letter"),
        (replaced("m=audio 46154 UDP/TLS/RTP/SAVPF", "m=audio 46154 RTP/AVP"), "m= is"),
        (replaced("m=audio 46154 UDP/TLS/RTP/SAVPF", "m=audio 46154 RTP/SAVPF"), "m= is"),
        (replaced("m=audio", "m=text"), "m= is"),
        (OFFER.partition("m=")[0], "m= lines"),
        (OFFER + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * SDP_MEDIA_MAX, "m= lines"),
        (OFFER + "a=x\r\n" * SDP_LINES_MAX, "lines"),
        (OFFER + f"a={HOST}\r\n" * SDP_CANDIDATES_MAX, "candidates"),
        (OFFER + "a=candidate:x\r\n", "a candidate reads"),
        (OFFER + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:secret\r\n", "a=crypto"),
        (OFFER + "a=fingerprint:sha-1 " + ":".join(["AB"] * 20) + "\r\n", "a=fingerprint"),
        (OFFER + "a=fingerprint:md5 " + ":".join(["AB"] * 16) + "\r\n", "a=fingerprint"),
        (OFFER + "a=fingerprint:sha-256 none\r\n", "a=fingerprint"),
        (OFFER + "a=ice-ufrag:abc\r\n", "a=ice-ufrag"),
        (OFFER + "a=ice-pwd:short\r\n", "a=ice-pwd"),
        (OFFER + "a=ice-pwd:" + "x" * 257 + "\r\n", "a=ice-pwd"),
        (OFFER + "a=setup:both\r\n", "a=setup"),
        (replaced("a=ice-ufrag:Yk2x\r\n", ""), "a=ice-ufrag is missing"),
        (replaced("a=setup:actpass\r\n", ""), "a=setup is missing"),
    ],
)
def test_what_is_refused(sdp: str, rule: str) -> None:
    """By the rule that it breaks, without a word of what it says."""
    problem = sdp_problem(sdp)
    assert problem is not None
    assert rule in problem
    assert "secret" not in problem


@pytest.mark.parametrize("candidate", [HOST, MDNS, REFLEXIVE, RELAYED, OVER_TCP, "", "candidate:"])
def test_good_candidates(candidate: str) -> None:
    """Of every type, and the end of them."""
    assert candidate_problem(candidate) is None


@pytest.mark.parametrize(
    "candidate",
    [
        "hello",
        HOST.removeprefix("candidate:"),
        HOST + "\r\na=crypto:1",
        HOST + " odd",
        HOST.replace("host", "guest"),
        HOST.replace("udp", "sctp"),
        HOST.replace("192.0.2.7", "<script>"),
        HOST.replace("46154", "port"),
        HOST + " x y" * 150,
    ],
)
def test_bad_candidates(candidate: str) -> None:
    """Not what `RTCIceCandidate.toJSON()` gives."""
    assert candidate_problem(candidate) is not None


@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_answered(text: str) -> None:
    """With a rule, or not at all; a candidate likewise."""
    assert sdp_problem(text) is not None
    candidate_problem(text)


CRAFTED = {
    "feedback lines": "a=rtcp-fb:* nack\r\n" * 2_700,
    "sources": "a=ssrc:1 cname:x\r\n" * 2_700,
    "versions": "v=0\r\n" * 9_000,
    "one long m=": "m=" + "audio " * 8_000,
    "a candidate of numbers": "a=candidate:" + "1 " * 24_000,
    "a candidate with pairs": f"a={HOST}" + " a b" * 12_000,
    "a long fingerprint": "a=fingerprint:sha-256 " + "AB:" * 16_000,
    "line feeds": "\n" * SDP_MAX_CHARS,
    "one long attribute": "a=" + "x" * 49_000,
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_texts_cost_what_their_length_costs(name: str) -> None:
    """A scanner that goes back and forth would need minutes for these; the tests' own limit ends it."""
    text = ("v=0\r\n" + CRAFTED[name])[:SDP_MAX_CHARS]
    for _ in range(50):
        assert sdp_problem(text) is not None
        assert candidate_problem(text) is not None
