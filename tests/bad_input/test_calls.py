"""Calls under bad input: what is no call, what is nobody's business, what comes too often, and what must never be kept."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

import pytest

from tests.support.attacked import Attacked, attacked
from tests.support.chatter import Chatter, Message
from tests.support.sdp import FINGERPRINT, HOST, OFFER, RELAYED

UNKNOWN = "0123456789abcdefABCDEF"
HURRIED = {
    "CLOSE_TIMEOUT_S": "0.3",
    "PRESENCE_DEBOUNCE_MS": "0",
    "LOG_LEVEL": "debug",
    "CALL_CALLER_GRACE_S": "0.3",
    "CALL_GRACE_S": "0.3",
    "CALL_STARTS_PER_MIN": "1000",
}
SIGNAL: Message = {"type": "call.signal", "id": 1, "call": UNKNOWN, "to": UNKNOWN, "n": 1}
SEATED: Message = {"id": 1, "call": UNKNOWN, "client_id": "k", "media": "audio"}
START: Message = {"type": "call.start", "id": 1, "match": "m", "client_id": "k", "media": "audio"}

MALFORMED: Final[dict[str, Message]] = {
    "media of another kind": {**START, "media": "smell"},
    "a mode of another kind": {**START, "mode": "shout"},
    "nobody to ring": {**START, "users": []},
    "too many to ring": {**START, "users": [f"u{number}" for number in range(6)]},
    "users that are no texts": {**START, "users": [1]},
    "a user with a control character": {**START, "users": ["a\x01"]},
    "no client_id": {"type": "call.start", "id": 1, "match": "m", "media": "audio"},
    "a call that is a number": {"type": "call.ringing", "id": 1, "call": 7},
    "a call that is empty": {"type": "call.decline", "id": 1, "call": ""},
    "a call that is too long": {"type": "call.decline", "id": 1, "call": "x" * 65},
    "a call with a line feed": {"type": "call.hangup", "id": 1, "call": "x\n"},
    "a reason that is the server's": {"type": "call.hangup", "id": 1, "call": UNKNOWN, "reason": "max_duration"},
    "relay_only that is a text": {"type": "call.accept", **SEATED, "relay_only": "yes"},
    "takeover that is null": {"type": "call.join", **SEATED, "takeover": None},
    "a signal without a number": {name: value for name, value in SIGNAL.items() if name != "n"},
    "a signal numbered 0": {**SIGNAL, "n": 0},
    "a signal numbered 2**53": {**SIGNAL, "n": 2**53},
    "a signal numbered 1.5": {**SIGNAL, "n": 1.5},
    "a rollback": {**SIGNAL, "description": {"type": "rollback", "sdp": "v=0"}},
    "a provisional answer": {**SIGNAL, "description": {"type": "pranswer", "sdp": "v=0"}},
    "an SDP that is a list": {**SIGNAL, "description": {"type": "offer", "sdp": ["v=0"]}},
    "an SDP that is empty": {**SIGNAL, "description": {"type": "offer", "sdp": ""}},
    "an SDP of 48 KiB and one": {**SIGNAL, "description": {"type": "offer", "sdp": "x" * (48 * 1024 + 1)}},
    "a candidate of 513 characters": {**SIGNAL, "candidates": [{"candidate": "x" * 513}]},
    "21 candidates": {**SIGNAL, "candidates": [{"candidate": HOST}] * 21},
    "a candidate that is a text": {**SIGNAL, "candidates": [HOST]},
    "a negative line": {**SIGNAL, "candidates": [{"candidate": HOST, "sdpMLineIndex": -1}]},
    "nine streams": {**SIGNAL, "streams": {f"s{number}": "camera" for number in range(9)}},
    "a stream of another kind": {**SIGNAL, "streams": {"s": "window"}},
    "a stream with a control character": {**SIGNAL, "streams": {"s\x00": "screen"}},
    "a state of another kind": {"type": "call.state", "call": UNKNOWN, "peer": UNKNOWN, "ice": "new", "id": 1},
    "a route with an address": {
        "type": "call.state", "call": UNKNOWN, "peer": UNKNOWN, "ice": "connected", "id": 1,
        "route": {"local": "192.0.2.7", "remote": "host", "protocol": "udp"},
    },
    "media that are numbers": {"type": "call.media", "call": UNKNOWN, "audio": 1, "video": 0, "screen": 0, "id": 1},
    "seven peers": {
        "type": "call.resume", "id": 1, "call": UNKNOWN, "peer": UNKNOWN, "have": {f"p{number}": 1 for number in range(7)},
    },
    "a negative have": {"type": "call.resume", "id": 1, "call": UNKNOWN, "peer": UNKNOWN, "have": {"p": -1}},
    "more than everything lost": {"type": "call.stats", "call": UNKNOWN, "peer": UNKNOWN, "loss": 1.1, "id": 1},
    "a round trip of an hour and more": {"type": "call.stats", "call": UNKNOWN, "peer": UNKNOWN, "rtt_ms": 4e6, "id": 1},
    "not a number": {"type": "call.stats", "call": UNKNOWN, "peer": UNKNOWN, "fps": "NaN", "id": 1},
    "six stars": {"type": "call.feedback", "id": 1, "call": UNKNOWN, "rating": 6},
    "eleven issues": {"type": "call.feedback", "id": 1, "call": UNKNOWN, "rating": 1, "issues": ["x"] * 11},
    "an issue of 65 characters": {"type": "call.feedback", "id": 1, "call": UNKNOWN, "rating": 1, "issues": ["x" * 65]},
    "an issue with a control character": {"type": "call.feedback", "id": 1, "call": UNKNOWN, "rating": 1, "issues": ["\x1b"]},
}  # fmt: skip

# What a seat, or one who is called, may ask; {call} and {peer} are filled in.
OF_A_CALL: Final[dict[str, Message]] = {
    "ringing": {"type": "call.ringing"},
    "accept": {"type": "call.accept", "client_id": "stranger", "media": "audio"},
    "decline": {"type": "call.decline"},
    "invite": {"type": "call.invite", "users": ["mallory"]},
    "signal": {"type": "call.signal", "to": "{peer}", "n": 1},
    "media": {"type": "call.media", "audio": True, "video": True, "screen": True},
    "state": {"type": "call.state", "peer": "{peer}", "ice": "connected"},
    "ice": {"type": "call.ice"},
    "resume": {"type": "call.resume", "peer": "{peer}"},
    "hangup": {"type": "call.hangup"},
    "stats": {"type": "call.stats", "peer": "{peer}", "loss": 0.5},
    "feedback": {"type": "call.feedback", "rating": 1},
}
BAD_SDP: Final[dict[str, str]] = {
    "text": "hello",
    "an offer cut off in its head": OFFER[:200],
    "keys in the open": OFFER
    + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n",
    "an old hash": OFFER.replace(FINGERPRINT, "sha-1 " + ":".join(["AB"] * 20)),
    "no encryption": OFFER.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
    "NUL": OFFER + "a=x\x00\r\n",
    "a bad candidate": OFFER + "a=candidate:<script>\r\n",
    "a thousand sections": "v=0\r\n" + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 1_000,
    "the lines that cost a known parser seconds": "v=0\r\n" + "a=rtcp-fb:* nack\r\na=rtpmap:1 x/1\r\n" * 1_300,
}
_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[Attacked]:
    """One server for the file, in whose calls a lost connection is soon given up."""
    with attacked(HURRIED) as server:
        yield server


class Talk:
    """Alice and Bob, in a call; Mallory, who is in no match of theirs."""

    def __init__(self, server: Attacked, alice: Chatter, bob: Chatter, mallory: Chatter, names: list[str]) -> None:
        self.server, self.alice, self.bob, self.mallory = server, alice, bob, mallory
        self.alice_name, self.bob_name, self.match = names
        seat = alice.ask({**START, "match": self.match})
        assert seat["type"] == "ok", seat
        self.call, self.alice_peer = seat["call"], seat["peer"]
        answer = bob.ask({"type": "call.accept", "id": 2, "call": self.call, "client_id": "b", "media": "audio"})
        assert answer["type"] == "ok", answer
        self.bob_peer = answer["peer"]

    def signal(self, **fields: object) -> Message:
        """Have Alice signal to Bob, and return the answer."""
        return self.alice.ask(
            {"type": "call.signal", "id": 3, "call": self.call, "to": self.bob_peer, "n": 1, **fields}
        )


@contextmanager
def talking(server: Attacked) -> Iterator[Talk]:
    """Have two talk and a third one listen at the door; at the end nothing is left of it."""
    number = next(_numbers)
    names = [f"alice{number}", f"bob{number}", f"m{number}"]
    api = server.api
    api.make_match(names[2], *names[:2])
    with Chatter.of(api, names[0]) as alice, Chatter.of(api, names[1]) as bob, Chatter.of(api, "mallory") as mallory:
        talk = Talk(server, alice, bob, mallory, names)
        yield talk
        assert alice.ask({"type": "call.hangup", "id": 9, "call": talk.call})["type"] == "ok"
    assert server.left_over() == {}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_request_is_refused(server: Attacked, message: Message) -> None:
    """With the field's name, and the connection lives on."""
    with Chatter.of(server.api, "alice") as alice:
        answer = alice.ask(message)
        assert (answer["type"], answer["code"]) == ("error", "bad_request"), answer
        assert alice.is_alive()


@pytest.mark.parametrize("message", OF_A_CALL.values(), ids=OF_A_CALL)
def test_a_call_that_there_is_not(server: Attacked, message: Message) -> None:
    """It is nobody's: the answer tells no more."""
    with Chatter.of(server.api, "mallory") as mallory:
        answer = mallory.ask(filled(message, UNKNOWN, UNKNOWN))
        assert answer["code"] in ("not_in_call", "call_over"), answer


def test_a_stranger_gets_nothing_of_a_call(server: Attacked) -> None:
    """Knowing its name, and that of a seat, helps nobody who is not in the match; those who talk notice nothing."""
    with talking(server) as talk:
        for message in OF_A_CALL.values():
            answer = talk.mallory.ask(filled(message, str(talk.call), str(talk.alice_peer)))
            assert answer["code"] in ("not_in_call", "not_member"), (message, answer)
        for kind in ("call.join", "call.start"):
            request = {
                "type": kind,
                "id": 1,
                "call": talk.call,
                "match": talk.match,
                "client_id": "x",
                "media": "audio",
            }
            assert talk.mallory.ask(request)["code"] == "not_member"
        assert talk.mallory.pushes == []
        assert talk.bob.is_alive()
        kinds = {push["type"] for push in talk.bob.pushes}
        assert kinds <= {"call.incoming", "call.peer_joined", "call", "call.joined", "presence"}, kinds


def test_another_device_of_the_same_user_has_no_seat(server: Attacked) -> None:
    """Signals are the seat's."""
    with talking(server) as talk, Chatter.of(server.api, talk.alice_name) as tablet:
        request = {"type": "call.signal", "id": 1, "call": talk.call, "to": talk.bob_peer, "n": 1}
        assert tablet.ask(request)["code"] == "not_in_call"
        for name in ("media", "state", "stats"):
            answer = tablet.ask(filled(OF_A_CALL[name], str(talk.call), str(talk.bob_peer)))
            assert answer["code"] == "not_in_call", answer


def test_a_signal_to_where_nobody_sits(server: Attacked) -> None:
    """Neither to oneself nor to a name that was made up."""
    with talking(server) as talk:
        assert talk.signal(to=UNKNOWN)["code"] == "not_in_call"
        assert talk.signal(to=talk.alice_peer)["code"] == "not_in_call"


@pytest.mark.parametrize("sdp", BAD_SDP.values(), ids=BAD_SDP)
def test_what_is_no_sdp_of_a_browser_is_not_relayed(server: Attacked, sdp: str) -> None:
    """The other one never sees it, and the answer does not repeat it."""
    with talking(server) as talk:
        answer = talk.signal(description={"type": "offer", "sdp": sdp})
        assert answer["code"] == "bad_description", answer
        assert talk.signal(candidates=[{"candidate": HOST}], n=2)["type"] == "ok"
        assert talk.bob.push("call.signal")["n"] == 2


def test_a_good_one_arrives_character_for_character(server: Attacked) -> None:
    """What is between the quotes is the browser's."""
    with talking(server) as talk:
        offer = OFFER + 'a=x-odd:\u00e4 \u2028 \\ " 😀\r\n'
        assert talk.signal(description={"type": "offer", "sdp": offer}, **{"from": "mallory"})["type"] == "ok"
        heard = talk.bob.push("call.signal")
        assert heard["description"] == {"type": "offer", "sdp": offer}
        assert heard["peer"] == talk.alice_peer
        assert "from" not in heard


def test_signals_that_come_too_fast(server: Attacked) -> None:
    """A hundred at once, then ten a second: the rest is told to wait, and is not relayed."""
    with talking(server) as talk:
        for number in range(150):
            talk.alice.say(
                {"type": "call.signal", "id": number, "call": talk.call, "to": talk.bob_peer, "n": number + 1}
            )
        answers = [talk.alice.answer() for _ in range(150)]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert refused
        assert {answer["code"] for answer in refused} == {"rate_limited"}
        assert all(answer["retry_after_ms"] for answer in refused)


def test_ringing_is_no_way_to_annoy(server: Attacked) -> None:
    """Three calls that stay unanswered, and the fourth is not made."""
    api = server.api
    api.make_match("annoyed", "annoying", "victim")
    with Chatter.of(api, "annoying") as caller, Chatter.of(api, "victim") as victim:
        codes = []
        for number in range(4):
            answer = caller.ask({**START, "match": "annoyed", "client_id": f"k{number}"})
            codes.append(answer.get("code"))
            if answer["type"] == "ok":
                assert victim.push("call.incoming")["call"] == answer["call"]
                assert victim.ask({"type": "call.ringing", "id": 1, "call": answer["call"]})["type"] == "ok"
                assert caller.ask({"type": "call.hangup", "id": 1, "call": answer["call"]})["type"] == "ok"
        assert codes == [None, None, None, "call_refused"]


def test_starting_too_many_calls() -> None:
    """Six a minute, whoever is called."""
    with attacked({**HURRIED, "CALL_STARTS_PER_MIN": "6"}) as server, Chatter.of(server.api, "caller") as caller:
        codes = []
        for number in range(7):
            server.api.make_match(f"of-{number}", "caller", f"callee{number}")
            answer = caller.ask({**START, "match": f"of-{number}", "client_id": f"k{number}"})
            codes.append(answer.get("code"))
            if answer["type"] == "ok":
                assert caller.ask({"type": "call.hangup", "id": 1, "call": answer["call"]})["type"] == "ok"
        assert codes == [None] * 6 + ["rate_limited"]


def test_asking_for_relays_too_often() -> None:
    """Credentials are worth something."""
    with attacked({**HURRIED, "CALL_ICE_PER_MIN": "3"}) as server, Chatter.of(server.api, "alice") as alice:
        answers = [alice.ask({"type": "call.ice", "id": number}) for number in range(4)]
        assert [answer.get("code") for answer in answers] == [None, None, None, "rate_limited"]


def test_those_who_vanish_leave_no_call(server: Attacked) -> None:
    """Cut while it rings and while they talk: the calls end by themselves, and the seats are gone."""
    api = server.api
    with Chatter.of(api, "witness"):
        for number in range(5):
            api.make_match(f"vanish{number}", f"gone{number}", "witness")
            with Chatter.of(api, f"gone{number}") as caller:
                assert caller.ask({**START, "match": f"vanish{number}"})["type"] == "ok"
    with talking(server):
        pass
    waited = threading.Event()
    left: dict[str, int] = {}
    for _ in range(1_000):
        left = {name: server.metric(name) for name in ("call_seats", "call_events_waiting")}
        if not any(left.values()):
            break
        waited.wait(0.02)  # another process's deadlines: there is no event to await
    assert left == {"call_seats": 0, "call_events_waiting": 0}


def test_no_sdp_and_no_address_is_kept_or_logged(server: Attacked) -> None:
    """Neither in the log at debug, nor in the conversation, nor in the record, also of what was refused."""
    with talking(server) as talk:
        assert talk.signal(description={"type": "offer", "sdp": OFFER})["type"] == "ok"
        assert talk.signal(n=2, candidates=[{"candidate": RELAYED}], end_of_candidates=True)["type"] == "ok"
        assert talk.signal(n=3, description={"type": "offer", "sdp": OFFER[:300]})["code"] == "bad_description"
        assert talk.signal(n=4, candidates=[{"candidate": HOST.replace("host", "guest")}])["code"] == "bad_description"
        assert talk.signal(n="192.0.2.7")["code"] == "bad_request"
        call, match = talk.call, talk.match
    history = server.api.call("GET", f"/v1/matches/{match}/messages").content
    record = server.api.call("GET", f"/v1/calls/{call}").content
    assert b'"completed"' in history or b'"failed"' in history
    kept = server.server.program.output().encode() + history + record
    for told in (
        "192.0.2.7",
        "198.51.100.4",
        "203.0.113.9",
        FINGERPRINT[:30],
        "asd88fgpdd777uzjYhagZg",
        "candidate:",
        "v=0",
    ):
        assert told.encode() not in kept, told


def filled(message: Message, call: str, peer: str) -> Message:
    """Return the request about that call and seat."""
    about = {name: peer if value == "{peer}" else value for name, value in message.items()}
    return {"id": 1, "call": call, **about}
