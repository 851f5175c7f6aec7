"""The codec against everything: whatever comes in, the answer is a message or `Malformed`, and repeats no data."""

import re
from typing import Final, get_args

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from protocol.codec import Malformed, decode, encode, encode_body
from protocol.errors import ErrorCode
from protocol.from_client import (
    Body,
    ClientMessage,
    ClientState,
    JsonObject,
    LastSeen,
    OwnStatus,
    TypingKind,
)
from protocol.from_server import Error, MembersChanged, Message, Ok, ReceiptMoved, ServerMessage, Skip
from protocol.ids import ID_PATTERN, MAX_SAFE_INTEGER
from protocol.limits import DATA_MAX_BYTES, TEXT_MAX_CHARS

SECRET: Final = "hunter2"
KINDS: Final = get_args(ClientMessage)
TAGS: Final = [str(kind.__struct_config__.tag) for kind in KINDS]
FIELDS: Final = sorted({each.encode_name for kind in (*KINDS, Body) for each in fields(kind)})

LEAVES: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON: Final = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
ids = st.from_regex(ID_PATTERN, fullmatch=True).filter(lambda text: 1 <= len(text) <= 64)
naturals = st.integers(0, MAX_SAFE_INTEGER)
request_ids = naturals | st.text(min_size=1, max_size=64)
# What orjson carries: 64-bit integers and real text.
DATA: Final = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=10,
    ),
    max_size=4,
)
bodies = st.builds(Body, st.text(max_size=50), st.none() | DATA).filter(
    lambda body: bool(body.text) or body.data is not None
)


def loose(value: object) -> bytes:
    """Encode any JSON, integers of every size too."""
    return msgspec.json.encode(value)


def refusal(payload: bytes) -> Malformed | None:
    """Decode, also the body; return the refusal. Any other exception is a failed test."""
    try:
        message = decode(payload)
        body = getattr(message, "body", None)
        if isinstance(body, Body):
            encode_body(body)
    except Malformed as problem:
        return problem
    return None


def what_is_said(payload: bytes) -> str:
    """Return everything that a refusal could tell a client or a log; nothing for a good message."""
    problem = refusal(payload)
    if problem is None:
        return ""
    assert problem.code in set(ErrorCode)
    assert problem.message
    return f"{problem.message} {problem} {problem.__cause__}"


@given(st.binary())
def test_bytes_never_do_more_than_be_malformed(payload: bytes) -> None:
    """No other exception gets out."""
    what_is_said(payload)


@given(JSON)
def test_json_never_does_more_than_be_malformed(value: object) -> None:
    """Nor for well-formed JSON of any shape."""
    what_is_said(loose(value))


@given(st.sampled_from(TAGS), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6), st.data())
def test_messages_of_a_kind_never_do_more_than_be_malformed(tag: str, values: JsonObject, data: st.DataObject) -> None:
    """Nor for the fields of real messages with wrong values, nor cut off, nor with a byte changed."""
    payload = loose({"type": tag, **values})
    what_is_said(payload)
    at = data.draw(st.integers(0, len(payload) - 1))
    what_is_said(payload[:at])
    what_is_said(payload[:at] + bytes([data.draw(st.integers(0, 255))]) + payload[at + 1 :])


def valid(kind: type[ClientMessage]) -> st.SearchStrategy[ClientMessage]:
    """Return valid messages of one kind."""
    optional_seq = st.none() | naturals
    cursors = st.dictionaries(ids, st.tuples(naturals, naturals), min_size=1, max_size=3)
    values: dict[str, st.SearchStrategy[object]] = {
        "id": request_ids,
        "token": st.text(min_size=1, max_size=40),
        "ticket": st.none() | st.text(min_size=1, max_size=40),
        "device": st.none() | ids,
        "session": st.none() | ids,
        "cursors": cursors,
        "match": ids,
        "client_id": ids,
        "body": bodies,
        "reply_to": optional_seq,
        "delivered": optional_seq,
        "read": optional_seq,
        "before": optional_seq,
        "after": optional_seq,
        "limit": st.integers(1, 100),
        "on": st.booleans(),
        "users": st.lists(ids, max_size=3).map(tuple),
        "user": ids,
        "client_state": st.sampled_from(ClientState),
        "state": st.sampled_from(ClientState),
        "status": st.sampled_from(OwnStatus),
        "text": st.text(max_size=40),
        "last_seen": st.sampled_from(LastSeen),
        "kind": st.sampled_from(TypingKind),
        "private_read": st.booleans(),
    }
    return st.builds(kind, **{each.name: values[each.name] for each in fields(kind)})


@given(st.sampled_from([kind for kind in KINDS if "call" not in str(kind.__struct_config__.tag)]).flatmap(valid))
def test_what_a_client_can_say_is_understood(message: ClientMessage) -> None:
    """Encoded by anyone and decoded here it is the same message, unless its text has control characters."""
    payload = msgspec.json.encode(message)
    problem = refusal(payload)
    if problem is None:
        assert decode(payload) == message
    else:
        assert re.fullmatch(r"control characters are not allowed - at `\$\.(body\.)?text`", problem.message)


def planted(kind: type[ClientMessage]) -> list[bytes]:
    """Return messages of one kind with the secret as each field, in each field's containers, and as a name."""
    good: JsonObject = {
        "id": 1,
        "token": "t",
        "cursors": {"m": [1, 1]},
        "match": "m",
        "client_id": "c",
        "body": {"text": "x"},
        "on": True,
        "users": ["u"],
    }
    names = {each.encode_name for each in fields(kind)}
    base: JsonObject = {name: value for name, value in good.items() if name in names}
    tag = str(kind.__struct_config__.tag)
    long, dirty = SECRET * 1_000, f"{SECRET}\x00"
    bad: list[object] = [
        SECRET,
        long,
        dirty,
        [SECRET],
        {SECRET: SECRET},
        {long: [1, 1]},
        {dirty: [1, 1]},
        {"m": [SECRET, 1]},
    ]
    bad += [
        {SECRET: [1]},
        {"text": SECRET, "data": SECRET},
        {"text": dirty},
        {"text": [SECRET]},
        {"data": {SECRET: 2**70}},
    ]
    bad += [{"text": long}, {"data": {SECRET: long * 3}}, [dirty], [long], [{SECRET: 1}]]
    messages: list[JsonObject] = [{"type": tag, **base, name: value} for name in sorted(names) for value in bad]
    messages += [{"type": value, **base} for value in bad]
    messages += [{"type": tag, SECRET: SECRET}, {SECRET: tag}]
    return [loose(message) for message in messages]


def test_refusals_never_repeat_what_was_sent() -> None:
    """A token, a message or a name in the wrong field does not come back in an error, nor go into a log with one."""
    refusals = [what_is_said(payload) for kind in KINDS for payload in planted(kind)]
    assert sum(map(bool, refusals)) > 500
    assert not [said for said in refusals if SECRET in said]


@given(st.sampled_from([payload for kind in KINDS for payload in planted(kind)]), st.data())
def test_refusals_of_broken_messages_do_not_repeat_them_either(payload: bytes, data: st.DataObject) -> None:
    """Nor when the JSON itself breaks somewhere."""
    at = data.draw(st.integers(0, len(payload) - 1))
    assert SECRET not in what_is_said(payload[:at])
    assert SECRET not in what_is_said(payload[:at] + bytes([data.draw(st.integers(0, 255))]) + payload[at + 1 :])


def shuffled(value: object, data: st.DataObject) -> object:
    """Return the same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = data.draw(st.permutations(list(value)))
        return {key: shuffled(value[key], data) for key in keys}
    if isinstance(value, list):
        return [shuffled(item, data) for item in value]
    return value


@given(bodies, st.data())
def test_the_same_body_is_the_same_bytes(body: Body, data: st.DataObject) -> None:
    """…in whatever order a client's library writes its keys: a repeated message is no conflict."""
    other = msgspec.convert(shuffled(msgspec.to_builtins(body), data), Body)
    assert bytes(encode_body(other)) == bytes(encode_body(body))


@given(bodies)
def test_a_body_comes_back_as_it_was(body: Body) -> None:
    """Two JSON libraries read the stored bytes as what was sent, and encoding again changes nothing."""
    stored = bytes(encode_body(body))
    assert msgspec.json.decode(stored, type=Body) == body
    assert orjson.loads(stored) == msgspec.json.decode(stored)
    assert bytes(encode_body(msgspec.json.decode(stored, type=Body))) == stored


@given(st.text(max_size=TEXT_MAX_CHARS), st.none() | st.dictionaries(st.text(), JSON, max_size=3))
def test_any_decoded_body_is_encoded_or_refused(text: str, data: JsonObject | None) -> None:
    """Nothing that passes the decoder can break the encoder, or outgrow its bound."""
    try:
        stored = encode_body(msgspec.json.decode(loose({"text": text, "data": data}), type=Body))
    except Malformed:
        return
    assert len(bytes(stored)) <= 6 * TEXT_MAX_CHARS + DATA_MAX_BYTES + 32


entries = (
    st.builds(
        Message,
        match=ids,
        seq=naturals,
        created_at=naturals,
        n=naturals,
        sender=ids,
        client_id=ids,
        body=bodies.map(encode_body),
        reply_to=st.none() | naturals,
    )
    | st.builds(
        MembersChanged,
        match=ids,
        seq=naturals,
        created_at=naturals,
        members=st.lists(ids, max_size=3).map(tuple),
        joined=st.just(()),
        left=st.just(()),
    )
    | st.builds(Skip, match=ids, seq=naturals, created_at=naturals)
)
said_by_server = (
    entries
    | st.builds(Ok, id=request_ids)
    | st.builds(ReceiptMoved, match=ids, user=ids, delivered=naturals, read=naturals)
    | st.builds(Error, st.sampled_from(ErrorCode), st.text(), st.none() | request_ids, st.none() | naturals)
)


@given(said_by_server)
def test_what_the_server_says_comes_back_the_same(message: ServerMessage) -> None:
    """One line of JSON in UTF-8, from which every field returns."""
    payload = encode(message)
    assert b"\n" not in payload
    again = msgspec.json.decode(payload, type=type(message))
    assert encode(again) == payload
    assert orjson.loads(payload)["type"] == message.__struct_config__.tag
