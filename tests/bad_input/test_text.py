"""Group F, text: what is kept byte for byte, what is refused, and what must never be mixed up."""

import unicodedata
from collections.abc import Iterator

import pytest

from tests.support.attacked import Attacked, attacked
from tests.support.chatter import Chatter, Message

KEPT = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "SQL": "'; DROP TABLE messages; --",
    "templates": "${7*7} {{7*7}} %s %(x)s {0}",
    "line ends and tabs": "a\r\nb\nc\rd\te",
    "only blanks": "   ",
    "only a line end": "\n",
    "bidi controls": "\u202egnp.exe\u202c \u2066x\u2069",
    "zero width": "\u200b\u200c\u200d\u2060\ufeff",
    "combining marks": "Z" + "\u0335\u0321\u0344" * 600,
    "NFC": "caf\u00e9",
    "NFD": "cafe\u0301",
    "compatibility forms": "\ufb01 \u2460 \u2126 \uff21",
    "family of emoji": "👨\u200d👩\u200d👧\u200d👦🏳️\u200d🌈",
    "4 000 emoji, 16 kB": "😀" * 4_000,
    "4 000 characters": "a" * 4_000,
    "noncharacters": "\ufffe\uffff\U0010ffff\ufdd0",
    "private use": "\ue000\U000f0000",
    "line and paragraph separators": "a\u2028b\u2029c",
    "next line and other C1": "a\u0085b\u009bc",
    "replacement character": "\ufffd",
    "quotes and backslashes": "\"'\\/`\\u0041 \\x00",
    "a JSON message": '{"type":"welcome","id":1}',
    "Arabic, Hebrew, Thai, Devanagari": "مرحبا שלום สวัสดี नमस्ते",
    "tag characters": "\U000e0041\U000e007f",
    "BOM in front": "\ufefftext",
    "Turkish and German case": "İıßẞ",
}

REFUSED = {
    "NUL": "a\0b",
    "bell": "\x07",
    "escape sequences": "\x1b[2J\x1b]0;title\x07",
    "backspace": "a\x08",
    "form feed": "\x0c",
    "DEL": "\x7f",
    "4 001 characters": "a" * 4_001,
    "4 001 emoji": "😀" * 4_001,
}

IDS = {
    "other alphabets": "комната-房間-غرفة",
    "a slash": "a/b",
    "two dots": "../..",
    "an escape": "%2e%2e%2f",
    "a question": "a?b#c",
    "a glob": "*",
    "a colon": "a:b",
    "a star of brackets": "[a-z]{1,2}",
    "quotes": "'\"`",
    "one blank": " ",
    "a leading dash": "--help",
    "a plus": "a+b c",
    "64 emoji": "😀" * 64,
    "markup": "<b>&amp;",
    "__proto__": "__proto__",
    "constructor": "constructor",
    "NFC": "caf\u00e9",
    "NFD": "cafe\u0301",
    "zero width": "a\u200bb",
    "bidi": "\u202eabc",
    "no zero width": "ab",
    "capitals": "AB",
    "a lone combining mark": "\u0301",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Attacked]:
    """A server with a match of alice and bob."""
    with attacked({"MESSAGE_BURST": "1000", "PRESENCE_DEBOUNCE_MS": "0", "LOG_LEVEL": "debug"}) as server:
        server.api.make_match("m", "alice", "bob")
        yield server


def history(client: Chatter, match: str) -> list[Message]:
    """Read the newest entries."""
    page = client.ask({"type": "history", "id": 1, "match": match, "limit": 1})["messages"]
    assert isinstance(page, list)
    return page


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_text_arrives_as_it_was_sent(server: Attacked, text: str) -> None:
    """Pushed, read back on the socket and read over HTTP: the same characters, not normalised and not escaped twice."""
    with Chatter.of(server.api, "alice") as alice, Chatter.of(server.api, "bob") as bob:
        sent = alice.send("m", f"c-{hash(text)}", text)
        assert sent["type"] == "ok", sent
        pushed = bob.push("message")
        assert pushed["body"] == {"text": text}
        assert history(bob, "m") == [pushed]
        over_http = server.api.call("GET", "/v1/matches/m/messages?limit=1").json["messages"]
        assert over_http == [pushed]
        assert alice.send("m", f"c-{hash(text)}", text)["duplicate"] is True


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_text_that_harms_terminals_and_databases_is_refused(server: Attacked, text: str) -> None:
    """On both ways in, with the field named; a log or a psql session that shows messages must stay whole."""
    with Chatter.of(server.api, "alice") as alice:
        refused = alice.send("m", "c", text)
        assert (refused["code"], "$.body.text" in str(refused["message"])) == ("bad_request", True)
        assert alice.is_alive()
    reply = server.api.post("m", "alice", "c", text)
    assert (reply.status, reply.code) == (400, "bad_request")


@pytest.mark.parametrize("match", IDS.values(), ids=IDS)
def test_an_id_may_be_any_text(server: Attacked, match: str) -> None:
    """As the id of a match, of a user and of a message, on the socket and in a path."""
    user = match
    server.api.make_match(match, user, "bob")
    with Chatter.of(server.api, user) as client:
        sent = client.send(match, match, "hi")
        assert (sent["type"], sent["match"]) == ("ok", match), sent
        (entry,) = history(client, match)
        assert (entry["sender"], entry["client_id"], entry["match"]) == (user, match, match)
        assert client.ask({"type": "typing", "id": 1, "match": match, "on": True})["type"] == "ok"
    assert server.api.post(match, user, match, "hi").json["duplicate"] is True


def test_twins_are_two(server: Attacked) -> None:
    """86: ids are compared byte for byte; what looks alike is not alike."""
    twins = [("ab", "a\u200bb"), ("ab", "AB"), ("caf\u00e9", "cafe\u0301"), ("ab", "ab "), ("ﬁ", "fi")]
    for one, other in twins:
        assert unicodedata.normalize("NFKC", one) != one or one != other
        server.api.make_match(f"t-{one}", "alice", "bob")
        with Chatter.of(server.api, "alice") as alice:
            assert alice.send(f"t-{other}", "c", "hi").get("code", "ok") in ("ok", "not_member")
            assert alice.send(f"t-{one}", "only-here", "hi")["type"] == "ok"
            assert all(entry["match"] == f"t-{one}" for entry in history(alice, f"t-{one}"))


@pytest.mark.parametrize("bad", ["a\0", "\n", "a\n", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "", "a" * 65], ids=ascii)
def test_an_id_that_breaks_lines_is_refused_everywhere(server: Attacked, bad: str) -> None:
    """In every field of every message that takes one, and over HTTP."""
    requests: list[Message] = [
        {"type": "typing", "match": bad, "on": True},
        {"type": "history", "match": bad},
        {"type": "receipt", "match": bad, "read": 1},
        {"type": "message.send", "match": bad, "client_id": "c", "body": {"text": "a"}},
        {"type": "message.send", "match": "m", "client_id": bad, "body": {"text": "a"}},
        {"type": "sync", "cursors": {bad: [0, 0]}},
        {"type": "presence.watch", "users": [bad]},
    ]
    with Chatter.of(server.api, "alice") as alice:
        for request in requests:
            assert alice.ask({**request, "id": 1})["code"] == "bad_request"
    with Chatter(server.port) as client:
        for field, value in (("device", bad), ("session", bad), ("cursors", {bad: [0, 0]})):
            assert client.ask({"type": "hello", "id": 1, "token": "x", field: value})["code"] == "bad_request"
    api = server.api
    assert api.call("POST", "/v1/tokens", {"user": bad}).code == "bad_request"
    assert api.call("POST", "/v1/tickets", {"user": bad}).code == "bad_request"
    assert api.call("PUT", "/v1/matches/x", {"members": ["alice", bad]}).code == "bad_request"
    assert api.post("m", bad, "c", "a").code == "bad_request"
    assert api.post("m", "alice", bad, "a").code == "bad_request"
    assert api.call("POST", "/v1/users/alice/events", {"name": bad}).code == "bad_request"


def test_data_is_kept_as_json(server: Attacked) -> None:
    """An app's own JSON: any keys, any order; the same data in another order is the same message."""
    data: Message = {"__proto__": {"a": 1}, "constructor": None, "b": [1.5, -0.0, 2**53, "\u0000"], "ключ": {"": []}}
    request: Message = {"type": "message.send", "id": 1, "match": "m", "client_id": "data", "body": {"data": data}}
    turned: Message = {**request, "body": {"data": dict(reversed(data.items()))}}
    with Chatter.of(server.api, "alice") as alice, Chatter.of(server.api, "bob") as bob:
        assert alice.ask(request)["type"] == "ok"
        assert bob.push("message")["body"] == {"data": data}
        assert alice.ask(turned)["duplicate"] is True
