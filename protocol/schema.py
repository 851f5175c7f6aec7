"""The JSON Schema of the protocol, made from the types; served at `/protocol.json` and kept in `docs/protocol.json`.

`python -m protocol > docs/protocol.json` renews the kept copy; a test compares it with the types.
"""

from collections.abc import Sequence
from typing import Final, get_args

import msgspec
import orjson

from protocol.close_codes import MEANING, comes_back
from protocol.errors import CATALOGUE
from protocol.from_client import Body, ClientMessage, JsonObject
from protocol.from_server import Entry, ServerMessage

SUBPROTOCOL: Final = "duologue.v1"
_REF: Final = "#/$defs/{name}"


def protocol_document() -> JsonObject:
    """Return one JSON Schema (2020-12) document: what each side may send, every error and every close code."""
    client, server, entries = get_args(ClientMessage), get_args(ServerMessage), get_args(Entry)
    definitions = schema_of((*client, *server, Body), _REF)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SUBPROTOCOL,
        "description": "One JSON object per WebSocket text frame. docs/protocol.md is the normative text.",
        "fromClient": _one_of(client),
        "fromServer": _one_of(server),
        "entry": _one_of(entries),
        "errors": {code.value: msgspec.to_builtins(facts) for code, facts in CATALOGUE.items()},
        "closeCodes": {
            str(int(code)): {"name": code.name, "meaning": meaning, "comesBack": comes_back(code)}
            for code, meaning in MEANING.items()
        },
        "$defs": definitions,
    }


def schema_of(types: Sequence[type], reference: str) -> dict[str, JsonObject]:
    """Return the JSON Schema of each of `types` and of what they hold, by name; `reference` forms a `$ref` from a name."""
    _, definitions = msgspec.json.schema_components(types, schema_hook=_any_json, ref_template=reference)
    if "Message" in definitions:
        definitions["Message"]["properties"]["body"] = {"$ref": reference.format(name="Body")}
    return definitions


def pretty() -> str:
    """Return the document as the text of `docs/protocol.json`."""
    return orjson.dumps(protocol_document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _any_json(_: type) -> JsonObject:
    """`object` (an app's own JSON) and `Raw` (JSON encoded before) may hold anything."""
    return {"description": "any JSON"}  # msgspec takes an empty schema for none


def _one_of(types: tuple[type, ...]) -> JsonObject:
    return {"anyOf": [{"$ref": _REF.format(name=kind.__name__)} for kind in types]}
