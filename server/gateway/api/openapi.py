"""The OpenAPI document of the HTTP API, made from the route table and the types of its requests and answers."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from protocol.from_client import Body, JsonObject
from protocol.schema import schema_of
from server.gateway.api.requests import ErrorAnswer

_REF: Final = "#/components/schemas/{name}"


class Operation(Struct, frozen=True):
    """One method of one path: who may call it, what it takes, what it answers by status (None: no content)."""

    method: Literal["GET", "PUT", "POST", "DELETE"]
    path: str
    name: str
    summary: str
    callers: str
    takes: type[Struct] | None
    answers: Mapping[int, type[Struct] | None]
    query: tuple[str, ...] = ()
    # Fields of the query that are names.
    names: tuple[str, ...] = ()
    # …that are lists of names: joined by commas, or the field is repeated.
    joined: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()


def openapi_document(operations: Sequence[Operation]) -> JsonObject:
    """Return the OpenAPI 3.1 document."""
    types = {kind for each in operations for kind in (each.takes, *each.answers.values()) if kind is not None}
    ordered = sorted(types | {ErrorAnswer, Body}, key=lambda kind: kind.__name__)
    paths: dict[str, JsonObject] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Duologue HTTP API",
            "version": "1",
            "description": "docs/protocol.md has the WebSocket side.",
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a token."}
            },
            "schemas": schema_of(ordered, _REF),
        },
    }


def _operation(operation: Operation) -> JsonObject:
    described: JsonObject = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Callers: {operation.callers}.",
        "parameters": [
            *_in_path(operation.path),
            *map(_in_query, operation.query),
            *map(_name, operation.names),
            *(_names(name, is_repeated=False) for name in operation.joined),
            *(_names(name, is_repeated=True) for name in operation.repeated),
        ],
        "responses": {str(status): _content("Done.", kind) for status, kind in operation.answers.items()}
        | {"default": _content("An error of the catalogue.", ErrorAnswer)},
    }
    if operation.takes is not None:
        described["requestBody"] = {"required": True, **_content("", operation.takes)}
    return described


def _content(description: str, kind: type[Struct] | None) -> JsonObject:
    described: JsonObject = {"description": description}
    if kind is not None:
        described["content"] = {"application/json": {"schema": {"$ref": _REF.format(name=kind.__name__)}}}
    return described


def _in_path(path: str) -> list[JsonObject]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    schema: JsonObject = {"type": "string", "minLength": 1, "maxLength": 64}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _in_query(name: str) -> JsonObject:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "integer", "minimum": 0}}


def _name(name: str) -> JsonObject:
    schema: JsonObject = {"type": "string", "minLength": 1, "maxLength": 64}
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _names(name: str, *, is_repeated: bool) -> JsonObject:
    return _name(name) | {"schema": {"type": "array", "items": _name(name)["schema"]}, "explode": is_repeated}


def encoded(document: JsonObject) -> bytes:
    """Encode a document, indented for people who open it in a browser."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2)
