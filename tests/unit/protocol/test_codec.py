"""protocol/codec.py: what is understood, what is refused, and how it is said."""

import msgspec
import pytest

from protocol.codec import Malformed, check_id, check_text, decode, decode_with, encode, encode_body
from protocol.errors import ErrorCode
from protocol.from_client import (
    AuthRefresh,
    Body,
    ClientMessage,
    Hello,
    History,
    JsonObject,
    Matches,
    MessageSend,
    Ping,
    PresenceWatch,
    Receipt,
    Sync,
    Typing,
)
from protocol.from_server import Error, Message, Ok, Presence, Status
from protocol.ids import ClientId, DeviceId, MatchId, Micros, Ordinal, RequestId, Seq, SessionId, UserId
from protocol.limits import DATA_MAX_BYTES

M1, ALICE = MatchId("m1"), UserId("alice")
AT = Micros(1_795_000_000_000_000)


def refused(payload: bytes) -> Malformed:
    """Return what `decode` says about a payload that it must refuse."""
    with pytest.raises(Malformed) as caught:
        decode(payload)
    return caught.value


def sending(body: bytes) -> bytes:
    """Return a `message.send` with this body."""
    return b'{"type":"message.send","id":7,"match":"m1","client_id":"c1","body":' + body + b"}"


@pytest.mark.parametrize(
    "payload, message",
    [
        (b'{"type":"hello","id":1}', Hello(1)),
        (
            b'{"type":"hello","id":1,"token":"t","device":"phone","session":"s","cursors":{"m1":[3,1795000000000000]}}',
            Hello(1, token="t", device=DeviceId("phone"), session=SessionId("s"), cursors={M1: (Seq(3), AT)}),
        ),
        (b'{"type":"hello","id":1,"ticket":"k"}', Hello(1, ticket="k")),
        (b'{"type":"auth.refresh","id":"r","token":"t"}', AuthRefresh("r", token="t")),
        (b'{"type":"ping","id":0}', Ping(0)),
        (b'{"type":"matches","id":1}', Matches(1)),
        (b'{"type":"matches","id":1,"before":1795000000000000,"limit":5}', Matches(1, before=AT, limit=5)),
        (sending(b'{"text":"hi"}'), MessageSend(7, M1, ClientId("c1"), Body("hi"))),
        (sending(b'{"data":{"a":1}}'), MessageSend(7, M1, ClientId("c1"), Body(data={"a": 1}))),
        (b'{"type":"history","id":1,"match":"m1"}', History(1, M1)),
        (b'{"type":"history","id":1,"match":"m1","after":0,"limit":200}', History(1, M1, after=Micros(0), limit=200)),
        (b'{"type":"sync","id":1,"cursors":{"m1":[0,0]}}', Sync(1, {M1: (Seq(0), Micros(0))})),
        (b'{"type":"receipt","match":"m1","read":2}', Receipt(M1, read=Seq(2))),
        (b'{"type":"typing","match":"m1","on":true}', Typing(M1, on=True)),
        (b'{"type":"presence.watch","id":1,"users":["alice"]}', PresenceWatch(1, (ALICE,))),
        (b'{"type":"presence.watch","id":1,"users":[]}', PresenceWatch(1, ())),
    ],
)
def test_every_type_is_understood(payload: bytes, message: ClientMessage) -> None:
    """Each message of the client becomes its struct, with the defaults that the spec names."""
    assert decode(payload) == message


def test_unknown_fields_and_the_order_of_fields_do_not_matter() -> None:
    """A newer client may say more, and JSON objects have no order."""
    assert decode(b' {"new":{"x":[1]},"id":1,"type":"ping"}\n') == Ping(1)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b'{"type":"ping","id":1}{',
        b'\xef\xbb\xbf{"type":"ping","id":1}',
        sending(b'{"text":"\xff"}'),
        sending(b'{"text":"\\ud800"}'),
        sending(b'{"data":{"a":NaN}}'),
        sending(b'{"data":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}}"),
    ],
)
def test_what_is_not_json_is_told_so(payload: bytes) -> None:
    """Broken JSON, broken UTF-8 and bottomless nesting have one answer, without an id."""
    problem = refused(payload)
    assert (problem.code, problem.message) == (ErrorCode.BAD_JSON, "this is not one JSON object in UTF-8")
    assert problem.request_id is None
    assert str(problem) == problem.message


@pytest.mark.parametrize(
    "payload, message, request_id",
    [
        (b"[1]", "Expected `object`, got `array` - at `$`", None),
        (b'{"id":1}', "Object missing required field `type` - at `$`", 1),
        (b'{"type":4,"id":1}', "Expected `str` - at `$.type`", 1),
        (b'{"type":"ping"}', "Object missing required field `id` - at `$`", None),
        (b'{"type":"ping","id":-1}', "Expected `int` >= 0 - at `$.id`", None),
        (b'{"type":"ping","id":1.5}', "Expected `int | str`, got `float` - at `$.id`", None),
        (b'{"type":"history","id":1,"match":"m1","limit":201}', "Expected `int` <= 200 - at `$.limit`", 1),
        (b'{"type":"sync","id":1,"cursors":{}}', "Expected `object` of length >= 1 - at `$.cursors`", 1),
        (b'{"type":"sync","id":1,"cursors":{"m":[1]}}', "Expected `array` of length 2 - at `$.cursors[...]`", 1),
        (b'{"type":"sync","id":1,"cursors":{"":[1,1]}}', "Expected `str` of length >= 1 - at `key` in `$.cursors`", 1),
        (sending(b'{"text":3}'), "Expected `str`, got `int` - at `$.body.text`", 7),
        (sending(b'{"data":{"a":1e999}}'), "Number out of range - at `$.body.data[...]`", 7),
        (
            sending(b'{"data":{"a":' + b"9" * 5_000 + b"}}"),
            "Integer value out of range - at `$.body.data[...]`",
            7,
        ),
    ],
)
def test_a_wrong_field_is_named(payload: bytes, message: str, request_id: RequestId | None) -> None:
    """The answer says where and what was expected, and has the request's id where it has a good one."""
    problem = refused(payload)
    assert (problem.code, problem.message) == (ErrorCode.BAD_REQUEST, message)
    assert problem.request_id == request_id


def test_an_unknown_type_has_its_own_code() -> None:
    """A newer client finds out that this server is older, without its type being repeated."""
    problem = refused(b'{"type":"call.start - at `$.match`","id":"x"}')
    assert (problem.code, problem.message) == (ErrorCode.UNKNOWN_TYPE, "no such type - at `$.type`")
    assert problem.request_id == "x"


@pytest.mark.parametrize("bad_id", [b'"\xff"', b'"\\ud800"', b'{"a":' * 5_000, b"null"])
def test_an_answer_without_a_good_id_has_none(bad_id: bytes) -> None:
    """What can't be an id is not searched for further."""
    problem = refused(b'{"type":"nope","id":' + bad_id + b"}")
    assert (problem.code, problem.request_id) == (ErrorCode.UNKNOWN_TYPE, None)


def test_an_enumerated_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message has an enumerated field yet; the first that gets one will not quote the client's value."""

    class Mood(msgspec.Struct, tag_field="type", tag="mood"):
        status: Status

    monkeypatch.setattr("protocol.codec._decode_message", msgspec.json.Decoder(Mood).decode)
    problem = refused(b'{"type":"mood","id":1,"status":"hunter2"}')
    assert (problem.code, problem.message) == (
        ErrorCode.BAD_REQUEST,
        "not one of the allowed values - at `$.status`",
    )


@pytest.mark.parametrize("character", ["\\u0000", "\\n", "\x7f", "\x85", "\u2028", "\\u2029"])
@pytest.mark.parametrize(
    "template, path",
    [
        ('{"type":"typing","id":1,"match":"?","on":true}', "$.match"),
        ('{"type":"history","id":1,"match":"?"}', "$.match"),
        ('{"type":"receipt","id":1,"match":"?"}', "$.match"),
        ('{"type":"message.send","id":1,"match":"?","client_id":"c","body":{"text":"x"}}', "$.match"),
        ('{"type":"message.send","id":1,"match":"m","client_id":"?","body":{"text":"x"}}', "$.client_id"),
        ('{"type":"sync","id":1,"cursors":{"m":[1,1],"?":[1,1]}}', "$.cursors"),
        ('{"type":"presence.watch","id":1,"users":["u","?"]}', "$.users[...]"),
        ('{"type":"hello","id":1,"cursors":{"?":[1,1]}}', "$.cursors"),
        ('{"type":"hello","id":1,"device":"?"}', "$.device"),
        ('{"type":"hello","id":1,"session":"?"}', "$.session"),
        ('{"type":"call.start","id":1,"match":"?","client_id":"c","media":"audio"}', "$.match"),
        ('{"type":"call.start","id":1,"match":"m","client_id":"?","media":"audio"}', "$.client_id"),
        ('{"type":"call.start","id":1,"match":"m","client_id":"c","media":"audio","users":["?"]}', "$.users[...]"),
        ('{"type":"call.accept","id":1,"call":"?","client_id":"c","media":"audio"}', "$.call"),
        ('{"type":"call.join","id":1,"call":"c","client_id":"?","media":"audio"}', "$.client_id"),
        ('{"type":"call.invite","id":1,"call":"c","users":["u","?"]}', "$.users[...]"),
        ('{"type":"call.hangup","id":1,"call":"?"}', "$.call"),
        ('{"type":"call.ice","id":1,"call":"?"}', "$.call"),
        ('{"type":"call.signal","id":1,"call":"c","to":"?","n":1}', "$.to"),
        ('{"type":"call.signal","id":1,"call":"c","to":"p","n":1,"streams":{"?":"screen"}}', "$.streams"),
        (
            '{"type":"call.signal","id":1,"call":"c","to":"p","n":1,"candidates":[{"candidate":"","sdpMid":"?"}]}',
            "$.candidates[...].sdpMid",
        ),
        (
            '{"type":"call.signal","id":1,"call":"c","to":"p","n":1,"candidates":[{"candidate":"","usernameFragment":"?"}]}',
            "$.candidates[...].usernameFragment",
        ),
        ('{"type":"call.state","id":1,"call":"c","peer":"?","ice":"failed"}', "$.peer"),
        ('{"type":"call.stats","id":1,"call":"c","peer":"?"}', "$.peer"),
        ('{"type":"call.resume","id":1,"call":"c","peer":"?"}', "$.peer"),
        ('{"type":"call.resume","id":1,"call":"c","peer":"p","have":{"?":1}}', "$.have"),
        ('{"type":"call.feedback","id":1,"call":"c","rating":1,"issues":["?"]}', "$.issues[...]"),
    ],
)
def test_control_characters_are_refused_in_every_id(template: str, path: str, character: str) -> None:
    """An id that breaks a log line, a terminal or a script is no id; at its end least of all."""
    problem = refused(template.replace("?", f"a{character}").encode())
    assert (problem.code, problem.request_id) == (ErrorCode.BAD_REQUEST, 1)
    assert problem.message == f"control characters are not allowed - at `{path}`"


@pytest.mark.parametrize("character", [b"\\u0000", b"\\u001b", b"\\b", b"\x7f"])
def test_control_characters_are_refused_in_text(character: bytes) -> None:
    """NUL breaks databases, escapes break terminals."""
    problem = refused(sending(b'{"text":"a' + character + b'"}'))
    assert problem.message == "control characters are not allowed - at `$.body.text`"


@pytest.mark.parametrize(
    "payload",
    [
        sending(b'{"text":"a\\tb\\r\\n\\"\\\\ \\u2028"}'),
        sending('{"text":"é 😀 \u2028"}'.encode()),
        '{"type":"ping","id":"é"}'.encode(),
        b'{"type":"auth.refresh","id":1,"token":"\\u00e9"}',
        '{"type":"matches","id":"é"}'.encode(),
        '{"type":"hello","id":1,"device":"Zoés phone"}'.encode(),
        '{"type":"hello","id":1,"cursors":{"é":[1,1]}}'.encode(),
        '{"type":"sync","id":1,"cursors":{"é":[1,1]}}'.encode(),
        '{"type":"presence.watch","id":1,"users":["é"]}'.encode(),
        '{"type":"typing","match":"é","on":false}'.encode(),
    ],
)
def test_other_text_is_let_through(payload: bytes) -> None:
    """Line breaks, tabs, quotes, emoji and any script are text like other text."""
    decode(payload)


def test_length_is_counted_in_code_points() -> None:
    """An emoji is one character, whatever UTF-8 and UTF-16 make of it."""
    decode(sending(b'{"text":"' + "😀".encode() * 4_000 + b'"}'))
    problem = refused(sending(b'{"text":"' + "😀".encode() * 4_001 + b'"}'))
    assert problem.message == "Expected `str` of length <= 4000 - at `$.body.text`"


def test_answers_leave_out_what_they_do_not_have() -> None:
    """An error without a delay has no such field; absent is not null."""
    assert encode(Ok("a")) == b'{"type":"ok","id":"a"}'
    assert encode(Error(ErrorCode.BAD_JSON, "no")) == b'{"type":"error","code":"bad_json","message":"no"}'
    assert msgspec.json.encode(Presence(ALICE, Status.ONLINE, 3)) == b'{"user":"alice","status":"online","v":3}'


def test_a_body_is_copied_into_the_message_as_it_stands() -> None:
    """What was encoded once is not built again for every recipient."""
    message = Message(M1, Seq(1), AT, Ordinal(1), ALICE, ClientId("c"), encode_body(Body("hé")))
    assert encode(message).endswith('"body":{"text":"hé"}}'.encode())


@pytest.mark.parametrize(
    "body, stored",
    [
        (Body("a"), b'{"text":"a"}'),
        (Body("", data={}), b'{"data":{}}'),
        (
            Body("a", data={"b": [1.5, None], "a": {"z": 1, "y": 2}}),
            b'{"text":"a","data":{"a":{"y":2,"z":1},"b":[1.5,null]}}',
        ),
    ],
)
def test_a_body_has_one_spelling(body: Body, stored: bytes) -> None:
    """Text first, data with sorted keys, no spaces."""
    assert bytes(encode_body(body)) == stored


@pytest.mark.parametrize(
    "body, code, message",
    [
        (Body(), ErrorCode.BAD_REQUEST, "body needs `text` or `data` - at `$.body`"),
        (Body(data={"a": "x" * DATA_MAX_BYTES}), ErrorCode.TOO_LARGE, "at most 16384 bytes - at `$.body.data`"),
        (
            Body(data={"a": 2**64}),
            ErrorCode.BAD_REQUEST,
            "nested too deep, or a number out of range - at `$.body.data`",
        ),
    ],
)
def test_a_body_without_meaning_is_refused(body: Body, code: ErrorCode, message: str) -> None:
    """Empty, too large, or not to be stored without changing it."""
    with pytest.raises(Malformed) as caught:
        encode_body(body)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_data_nested_too_deep_is_refused() -> None:
    """What was decoded may still be deeper than what is encoded."""
    data: JsonObject = {}
    for _ in range(300):
        data = {"a": data}
    with pytest.raises(Malformed, match="nested too deep"):
        encode_body(Body(data=data))


def test_data_fills_its_limit_exactly() -> None:
    """The limit counts the bytes of the compact JSON."""
    room = DATA_MAX_BYTES - len(b'{"a":""}')
    encode_body(Body(data={"a": "x" * room}))
    with pytest.raises(Malformed):
        encode_body(Body(data={"a": "x" * (room + 1)}))


def test_other_types_are_decoded_with_the_same_care() -> None:
    """The HTTP API's requests are refused in the same words."""
    decoder = msgspec.json.Decoder(Body).decode
    assert decode_with(decoder, b'{"text":"a"}') == Body("a")
    with pytest.raises(Malformed, match=r"^Expected `str`, got `int` - at `\$.text`$"):
        decode_with(decoder, b'{"text":1}')
    with pytest.raises(Malformed, match="not one JSON object"):
        decode_with(decoder, b"\xff")


def test_ids_and_text_from_elsewhere_are_checked_alike() -> None:
    """What came in an address has no request to name."""
    check_id("$.match", "m1")
    check_text("$.body.text", "two\nlines")
    with pytest.raises(Malformed, match=r"control characters are not allowed - at `\$.match`") as caught:
        check_id("$.match", "m\n")
    assert caught.value.request_id is None
    with pytest.raises(Malformed, match=r"control characters are not allowed - at `\$.body.text`"):
        check_text("$.body.text", "\x00")
