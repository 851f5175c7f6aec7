"""protocol/schema.py: the document says what the types say, and the committed copy is current."""

from typing import get_args

import pytest
from jsonschema import Draft202012Validator

from protocol.close_codes import CloseCode, comes_back
from protocol.codec import encode_body
from protocol.errors import ErrorCode
from protocol.from_client import Body, ClientMessage, JsonObject
from protocol.from_server import ServerMessage
from protocol.schema import SUBPROTOCOL, pretty, protocol_document, schema_of
from tests.support.programs import ROOT

DOCUMENT = protocol_document()


def section(name: str) -> JsonObject:
    """Return one object of the document."""
    found = DOCUMENT[name]
    assert isinstance(found, dict)
    return found


def is_valid(value: object, definition: str) -> bool:
    """Tell whether `value` keeps to one definition of the document."""
    schema = {"$ref": f"#/$defs/{definition}", "$defs": DOCUMENT["$defs"]}
    return bool(Draft202012Validator(schema).is_valid(value))


def test_the_committed_copy_is_current() -> None:
    """`python -m protocol > docs/protocol.json` renews it."""
    assert (ROOT / "docs/protocol.json").read_text() == pretty()


def test_it_is_a_json_schema() -> None:
    """Tools of other languages can read it."""
    Draft202012Validator.check_schema(DOCUMENT)
    assert DOCUMENT["title"] == SUBPROTOCOL


def test_every_message_is_defined() -> None:
    """Each type of the unions has its definition, under its struct's name."""
    assert {kind.__name__ for kind in (*get_args(ClientMessage), *get_args(ServerMessage))} <= set(section("$defs"))


def test_errors_and_close_codes_are_listed() -> None:
    """Programs can make their tables from the document."""
    assert set(section("errors")) == {code.value for code in ErrorCode}
    codes = section("closeCodes")
    assert set(codes) == {str(int(code)) for code in CloseCode}
    assert codes["4008"] == {
        "name": "SLOW_READER",
        "meaning": "more than the send bound was waiting: connect again and resume by cursors",
        "comesBack": comes_back(4008),
    }


def test_bodies_are_described_although_they_are_stored_as_bytes() -> None:
    """A pushed message holds the same body that was sent."""
    message = {"type": "message", "match": "m", "seq": 1, "created_at": 2, "n": 1, "sender": "a", "client_id": "c"}
    assert is_valid(message | {"body": {"text": "a", "data": {"any": [None, {"deep": 1.5}]}}}, "Message")
    assert not is_valid(message | {"body": {"text": 1}}, "Message")
    assert not is_valid(message, "Message")
    assert bytes(encode_body(Body("a"))) == b'{"text":"a"}'


@pytest.mark.parametrize("match, allowed", [("m", True), ("", False), ("a" * 65, False), ("a\n", False)])
def test_ids_are_bounded_in_the_document_too(match: str, *, allowed: bool) -> None:
    """A client that validates against the document is not refused by the server."""
    assert is_valid({"type": "typing", "match": match, "on": True}, "Typing") is allowed


def test_types_of_other_documents_are_described_the_same_way() -> None:
    """The HTTP API has its own document, with references of its own form."""
    definitions = schema_of((Body,), "#/components/schemas/{name}")
    assert list(definitions) == ["Body"]
