"""Group D, JSON and commands: every case is answered with its code, echoes nothing, and the connection goes on."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.api import Api
from tests.support.attacked import Attacked, attacked
from tests.support.chatter import Chatter, Message

MARK = "PLANTED7f3a"
# Stands in what is refused; an error that repeats it could be made to show a stranger's text in somebody's console.
GENEROUS = {"FRAME_BURST": "100000", "MESSAGE_BURST": "10000", "MESSAGE_RATE_PER_S": "10000", "LOG_LEVEL": "debug"}


@pytest.fixture(scope="module")
def server() -> Iterator[Attacked]:
    """A server that has a match `m` of alice and bob, and one of mallory and bob."""
    with attacked({**GENEROUS, "PRESENCE_DEBOUNCE_MS": "0"}) as server:
        server.api.make_match("m", "alice", "bob")
        server.api.make_match("other", "mallory", "bob")
        yield server


@pytest.fixture
def alice(server: Attacked) -> Iterator[Chatter]:
    """Alice, authenticated."""
    with Chatter.of(server.api, "alice") as chatter:
        yield chatter


def nested(depth: int) -> bytes:
    """Nest objects."""
    return b'{"a":' * depth + b"1" + b"}" * depth


def post(body: bytes, client_id: bytes = b'"c"') -> bytes:
    """Write a message.send whose body, or client_id, is any JSON."""
    return b'{"type":"message.send","id":7,"match":"m","client_id":%b,"body":%b}' % (client_id, body)


def history(fields: bytes) -> bytes:
    """Write a history request with further fields."""
    return b'{"type":"history","id":7,"match":"m",%b}' % fields


BAD_JSON = {
    "70 empty": b"",
    "70 blank": b" \r\n\t",
    "71 half an object": b'{"type":"ping","id":7',
    "73 NaN": b'{"type":"ping","id":NaN}',
    "73 Infinity": b'{"type":"ping","id":7,"x":Infinity}',
    "72 depth 2 000": nested(2_000),
    "76 lone surrogate": b'{"type":"ping","id":"\\ud800"}',
    "76 surrogates the wrong way round": b'{"type":"ping","id":"\\udc00\\ud800"}',
    "78 BOM": b"\xef\xbb\xbf" + b'{"type":"ping","id":7}',
    "79 trailing bytes": b'{"type":"ping","id":7} x',
    "79 two objects": b'{"type":"ping","id":7}{"type":"ping","id":8}',
    "single quotes": b"{'type':'ping','id':7}",
    "comment": b'{"type":"ping","id":7 /* */}',
    "trailing comma": b'{"type":"ping","id":7,}',
    "bare control character": b'{"type":"ping","id":"a\nb"}',
    "leading zero": b'{"type":"ping","id":07}',
}

BAD_REQUEST = {
    "72 depth 60 000, arrays": b"[" * 60_000,
    "72 depth 60 000, arrays in a field": b'{"type":"ping","id":' + b"[" * 60_000,
    "71 a number and more": b"7x",
    "71 null": b"null",
    "71 array": b"[]",
    "71 text": b'"x"',
    "71 number": b"1",
    "82 nothing": b"{}",
    "82 no id": b'{"type":"ping"}',
    "82 no type": b'{"id":7}',
    "82 no body": b'{"type":"message.send","id":7,"match":"m","client_id":"c"}',
    "73 1e999": b'{"type":"ping","id":1e999}',
    "74 5 000 digits": b'{"type":"ping","id":' + b"9" * 5_000 + b"}",
    "74 2^64": b'{"type":"ping","id":18446744073709551616}',
    "74 2^53": b'{"type":"ping","id":9007199254740992}',
    "74 -1": b'{"type":"ping","id":-1}',
    "74 1.5": b'{"type":"ping","id":1.5}',
    "74 id is true": b'{"type":"ping","id":true}',
    "77 NUL in a match": b'{"type":"typing","id":7,"match":"m\\u0000","on":true}',
    "77 NUL in a text": post(b'{"text":"a\\u0000b"}'),
    "77 NUL in a client_id": post(b'{"text":"a"}', b'"\\u0000"'),
    "77 escape in a text": post(b'{"text":"\\u001b[31mred"}'),
    "83 __proto__ as body": post(b'{"__proto__":{"text":"a"}}'),
    "84 body is text": post(b'"%b"' % MARK.encode()),
    "84 body is a list": post(b"[]"),
    "84 text is an object": post(b'{"text":{"%b":1}}' % MARK.encode()),
    "84 data is a list": post(b'{"data":[1]}'),
    "84 client_id is an object": post(b'{"text":"a"}', b'{"%b":1}' % MARK.encode()),
    "84 match is a number": b'{"type":"typing","id":7,"match":7,"on":true}',
    "84 on is text": b'{"type":"typing","id":7,"match":"m","on":"%b"}' % MARK.encode(),
    "84 type is an object": b'{"type":{"%b":1},"id":7}' % MARK.encode(),
    "85 10 000 cursors": b'{"type":"sync","id":7,"cursors":{%b}}'
    % b",".join(b'"%d":[0,0]' % number for number in range(4_000)),
    "85 10 000 users": b'{"type":"presence.watch","id":7,"users":[%b]}' % b",".join([b'"u"'] * 10_000),
    "85 no cursors": b'{"type":"sync","id":7,"cursors":{}}',
    "86 empty match": b'{"type":"typing","id":7,"match":"","on":true}',
    "86 match of 1 kB": b'{"type":"typing","id":7,"match":"%b","on":true}' % (MARK.encode() * 100),
    "86 match with a line end": b'{"type":"typing","id":7,"match":"room\\r\\nPUBLISH","on":true}',
    "89 seq -1": b'{"type":"receipt","id":7,"match":"m","read":-1}',
    "89 seq 2^63": b'{"type":"receipt","id":7,"match":"m","read":9223372036854775808}',
    "89 seq as text": b'{"type":"receipt","id":7,"match":"m","read":"1"}',
    "89 cursor of one number": b'{"type":"sync","id":7,"cursors":{"m":[1]}}',
    "89 cursor of three": b'{"type":"sync","id":7,"cursors":{"m":[1,2,3]}}',
    "89 before as text": history(b'"before":"%b"' % MARK.encode()),
    "90 limit 0": history(b'"limit":0'),
    "90 limit 10^9": history(b'"limit":1000000000'),
    "90 limit null": history(b'"limit":null'),
    "empty body": post(b"{}"),
    "empty text": post(b'{"text":""}'),
    "no data": post(b'{"data":null}'),
    "reply to 0.5": b'{"type":"message.send","id":7,"match":"m","client_id":"c","body":{"text":"a"},"reply_to":0.5}',
    "data out of range": post(b'{"data":{"a":%b}}' % (b"9" * 40)),
    "72 data 300 deep": post(b'{"data":%b}' % nested(300)),
}

UNKNOWN_TYPE = {
    "80 unknown type": b'{"type":"%b","id":7}' % MARK.encode(),
    "80 a push of the server": b'{"type":"welcome","id":7}',
    "80 other case": b'{"type":"Ping","id":7}',
    "83 __proto__": b'{"type":"__proto__","id":7}',
    "83 constructor": b'{"type":"constructor","id":7}',
    "empty type": b'{"type":"","id":7}',
    "1 kB": b'{"type":"%b","id":7}' % (MARK.encode() * 100),
}

TOO_LARGE = {"data of 20 kB": post(b'{"data":{"a":"%b"}}' % (b"x" * 20_000))}

NOT_MEMBER = {
    "94 a match of others": b'{"type":"message.send","id":7,"match":"other","client_id":"c","body":{"text":"a"}}',
    "94 no such match": b'{"type":"message.send","id":7,"match":"%b","client_id":"c","body":{"text":"a"}}'
    % MARK.encode(),
    "94 typing among others": b'{"type":"typing","id":7,"match":"other","on":true}',
    "94 history of others": b'{"type":"history","id":7,"match":"other"}',
    "86 a match named *": b'{"type":"history","id":7,"match":"*"}',
    "86 a:b": b'{"type":"history","id":7,"match":"a:b"}',
    "86 ../x": b'{"type":"history","id":7,"match":"../x"}',
    "86 SQL": b'{"type":"history","id":7,"match":"m\' OR 1=1 --"}',
    "86 LIKE": b'{"type":"history","id":7,"match":"%"}',
    "86 other case": b'{"type":"history","id":7,"match":"M"}',
    "86 trailing space": b'{"type":"history","id":7,"match":"m "}',
}

NO_SUCH_REPLY = {
    "reply to what is not there": b'{"type":"message.send","id":7,"match":"m","client_id":"r","body":{"text":"a"},"reply_to":999}',
    "reply to the members entry": b'{"type":"message.send","id":7,"match":"m","client_id":"r","body":{"text":"a"},"reply_to":1}',
}

CASES = [
    pytest.param(payload, code, id=f"{code}: {name}")
    for code, table in {
        "bad_json": BAD_JSON,
        "bad_request": BAD_REQUEST,
        "unknown_type": UNKNOWN_TYPE,
        "too_large": TOO_LARGE,
        "not_member": NOT_MEMBER,
        "no_such_reply": NO_SUCH_REPLY,
    }.items()
    for name, payload in table.items()
]


@pytest.mark.parametrize("payload, code", CASES)
def test_it_is_refused_with_its_code_and_echoes_nothing(alice: Chatter, payload: bytes, code: str) -> None:
    """70 to 91: one error, then life goes on."""
    answer = alice.ask(payload)
    assert (answer["type"], answer["code"]) == ("error", code)
    assert answer.get("id") in (None, 7)
    assert MARK not in str(answer)
    assert alice.is_alive()


@pytest.mark.parametrize(
    "payload, answer",
    [
        pytest.param(b'{"type":"ping","id":7,"id":8}', {"id": 8}, id="75 duplicate keys: the last counts"),
        pytest.param(b'{"type":"ping","id":7,"x":[1,{"y":null}],"__proto__":1}', {"id": 7}, id="81 unknown fields"),
        pytest.param(b'{"id":"\\ud83d\\ude00","type":"ping"}', {"id": "😀"}, id="76 a pair of surrogates is a character"),
        pytest.param(b' \n{"type":"ping","id":9007199254740991}\t', {"id": 9007199254740991}, id="74 the largest id"),
        pytest.param(b'{"type":"ping","id":7,"x":' + b"9" * 4_000 + b"}", {"id": 7}, id="74 digits nobody reads"),
        pytest.param(b'{"type":"receipt","id":7,"match":"m","read":999999}', {"id": 7}, id="91 a receipt from beyond is clamped"),
        pytest.param(b'{"type":"receipt","id":7,"match":"other","read":1}', {"id": 7}, id="94 a receipt among others moves nothing"),
        pytest.param(b'{"type":"sync","id":7,"cursors":{"other":[0,0]}}', {"id": 7, "matches": {}}, id="94 sync of others"),
        pytest.param(b'{"type":"presence.watch","id":7,"users":["mallory"]}', {"presence": []}, id="94 presence of strangers"),
        pytest.param(b'{"type":"matches","id":7,"before":0}', {"matches": [], "complete": True}, id="89 before everything"),
    ],
)  # fmt: skip
def test_what_is_odd_but_right_is_answered(alice: Chatter, payload: bytes, answer: Message) -> None:
    """Robustness where nothing is ambiguous."""
    assert answer.items() <= alice.ask(payload).items()
    assert alice.is_alive()


def test_74_a_wrong_cursor_is_reset(alice: Chatter) -> None:
    """89: above the end, and a time that is not that entry's."""
    for cursor in ([999, 1], [1, 1], [9007199254740991, 9007199254740991]):
        answer = alice.ask({"type": "sync", "id": 1, "cursors": {"m": cursor}})
        assert answer["matches"] == {"m": {"entries": [], "complete": True, "reset": True}}


def test_87_a_client_id_stands_for_one_body_of_one_sender(server: Attacked, alice: Chatter) -> None:
    """87 and 88: the same again is the same; another text is a conflict; another sender is another message."""
    first = alice.send("m", "same", "hi")
    again = alice.send("m", "same", "hi")
    assert (again["seq"], again["duplicate"]) == (first["seq"], True)
    assert alice.send("m", "same", "hi, forged")["code"] == "client_id_conflict"
    with Chatter.of(server.api, "bob") as bob:
        theirs = bob.send("m", "same", "hi")
    assert theirs["duplicate"] is False
    assert theirs["seq"] != first["seq"]


def test_92_a_session_of_somebody_else_is_not_replaced(server: Attacked) -> None:
    """92: the thief gets a session of their own; the owner's lives on."""
    alice, mallory = Chatter(server.port), Chatter(server.port)
    with alice, mallory:
        session = alice.hello(server.api.token("alice"))["session"]
        assert mallory.hello(server.api.token("mallory"), session=session)["session"] != session
        assert alice.is_alive()
        assert mallory.is_alive()


def test_93_the_older_of_one_session_is_closed(server: Attacked) -> None:
    """93: resumed twice at once, the later one wins."""
    token = server.api.token("alice")
    with Chatter(server.port) as first, Chatter(server.port) as second:
        session = first.hello(token)["session"]
        second.hello(token, session=session)
        assert first.closed_with() == 4500
        assert second.is_alive()


def test_94_who_was_put_out_is_out(server: Attacked) -> None:
    """94: at once, for messages and for what is not stored; history stays readable up to the end."""
    api = server.api
    api.make_match("short", "alice", "bob", "carol")
    with Chatter.of(api, "carol") as carol, Chatter.of(api, "bob") as bob:
        assert carol.ask({"type": "typing", "id": 1, "match": "short", "on": True})["type"] == "ok"
        api.make_match("short", "alice", "bob")
        assert carol.push("match.left")["match"] == "short"
        assert carol.send("short", "late", "still here?")["code"] == "not_member"
        assert carol.ask({"type": "typing", "id": 1, "match": "short", "on": True})["code"] == "not_member"
        page = carol.ask({"type": "history", "id": 1, "match": "short"})
        bob.send("short", "gone", "is she gone?")
        assert carol.ask({"type": "history", "id": 1, "match": "short"}) == page


def test_hello_comes_first_and_once(server: Attacked) -> None:
    """Everything else waits for it; a second one is refused."""
    requests = [payload for payload, code in (case.values for case in CASES) if code in ("not_member", "no_such_reply")]
    with Chatter(server.port) as client:
        for payload in requests:
            assert client.ask(payload)["code"] == "unauthenticated"  # type: ignore[arg-type]
        assert client.ask({"type": "hello", "id": 1})["code"] == "unauthenticated"
        client.hello(server.api.token("alice"))
        again: Message = {"type": "hello", "id": 2, "token": server.api.token("mallory")}
        assert client.ask(again)["code"] == "already_authenticated"
        assert client.ask({"type": "matches", "id": 3})["complete"] is True


def test_twenty_malformed_in_a_row_are_the_end(server: Attacked, alice: Chatter) -> None:
    """A client with a fault is told to stay away; one good message in between starts the count anew."""
    for _ in range(3):
        for _ in range(19):
            assert alice.ask(MARK.encode())["code"] == "bad_json"
        assert alice.is_alive()
    for _ in range(20):
        alice.say(b"[")
    assert alice.closed_with() == 4502
    assert server.metric("malformed_frames") >= 77


def test_made_up_matches_cost_no_memory(server: Attacked, alice: Chatter) -> None:
    """Typing in, reading of and posting to what does not exist: none of it is remembered."""
    before = server.grown_kib()
    for start in range(0, 6_000, 10):
        for number in range(start, start + 10):
            alice.say({"type": "typing", "id": number, "match": f"{MARK}-{number:050d}", "on": True})
        assert {alice.answer()["code"] for _ in range(10)} == {"not_member"}
    assert server.grown_kib() - before < 4 * 1024
    assert alice.is_alive()


def test_a_flood_of_hellos_is_cut() -> None:
    """And of anything else: after the burst a connection is closed with a code that says so."""
    with attacked({"FRAME_BURST": "50", "FRAME_RATE_PER_S": "1"}) as server:
        token = Api(server.port).token("alice")
        for first in ({"type": "hello", "id": 1, "token": token}, {"type": "hello", "id": 1}):
            with Chatter(server.port) as client:
                for _ in range(200):
                    client.say(first)
                assert client.closed_with() == 4009


def test_who_never_says_hello_is_closed() -> None:
    """However busy: pings do not help, and neither do refused hellos."""
    with attacked({"AUTH_TIMEOUT_S": "3"}) as server, ExitStack() as stack:
        silent, busy, stubborn = (stack.enter_context(Chatter(server.port)) for _ in range(3))
        assert busy.is_alive()
        assert stubborn.ask({"type": "hello", "id": 1})["code"] == "unauthenticated"
        assert [client.closed_with() for client in (silent, busy, stubborn)] == [4002] * 3
