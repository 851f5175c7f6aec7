"""Between bytes and messages. Decoding is strict; an error names the field, never what stood in it.

Typed structs are encoded by msgspec and dictionaries by orjson; docs/decisions/0002-json.md has the measurement.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar, assert_never

import msgspec
import orjson
from msgspec import Raw, Struct, UnsetType

from protocol.calls import (
    CallAccept,
    CallDecline,
    CallFeedback,
    CallHangup,
    CallIce,
    CallInvite,
    CallJoin,
    CallMedia,
    CallReport,
    CallRequest,
    CallResume,
    CallRinging,
    CallSignal,
    CallStart,
    CallStats,
)
from protocol.errors import ErrorCode
from protocol.from_client import (
    TEXT_PATTERN,
    AuthRefresh,
    Block,
    Body,
    ClientMessage,
    ClientStateSet,
    Hello,
    History,
    JsonObject,
    Matches,
    MatchSet,
    MessageSend,
    Ping,
    PresenceSet,
    PresenceWatch,
    Receipt,
    Sync,
    Typing,
    Unblock,
)
from protocol.from_server import ServerMessage
from protocol.ids import ID_PATTERN, RequestId
from protocol.limits import DATA_MAX_BYTES

_decode_message: Final[Callable[[bytes], ClientMessage]] = msgspec.json.Decoder(ClientMessage).decode
_encode: Final = msgspec.json.Encoder().encode
# msgspec ends an error with the path of the field; what stands before it may quote a value (an unknown `type`, an enum).
_PATH: Final = re.compile(r" - at (?:`key` in )?`(\$[^`]*)`$")
_QUOTED_VALUE: Final = re.compile(r"^Invalid (?:enum )?value")
_allowed_in_id: Final = re.compile(ID_PATTERN).match
_allowed_in_text: Final = re.compile(TEXT_PATTERN).match

Decoded = TypeVar("Decoded")


class _Envelope(Struct):
    id: RequestId | UnsetType = msgspec.UNSET


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


class Malformed(Exception):
    """A client's message could not be understood; carries what the `error` answer needs."""

    def __init__(self, code: ErrorCode, message: str, request_id: RequestId | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id


def decode(payload: bytes) -> ClientMessage:
    """Decode one text message (UTF-8, already within the frame limit); raise `Malformed`."""
    message = decode_with(_decode_message, payload)
    # JSON forbids bare control characters below 0x20, so they come as escapes only; what else the patterns forbid is DEL
    # or not ASCII. Most frames have none of these, and three scans in C are 1.5 µs cheaper than the regular expressions.
    if not payload.isascii() or b"\\" in payload or b"\x7f" in payload:
        _refuse_control_characters(message, payload)
    return message


def decode_with(decoder: Callable[[bytes], Decoded], payload: bytes) -> Decoded:
    """Decode by a msgspec decoder of any type; raise `Malformed`. Control characters are the caller's to check."""
    try:
        return decoder(payload)
    except msgspec.ValidationError as error:
        raise _invalid(payload, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed(ErrorCode.BAD_JSON, "this is not one JSON object in UTF-8") from None


def check_id(path: str, text: str, payload: bytes = b"") -> None:
    """Refuse an id with control characters; `path` names the field, `payload` is where a request's `id` may be."""
    if not _allowed_in_id(text):
        raise _control_character(path, payload)


def check_text(path: str, text: str, payload: bytes = b"") -> None:
    """Refuse text with control characters other than tab, line feed and carriage return."""
    if not _allowed_in_text(text):
        raise _control_character(path, payload)


def encode(message: ServerMessage) -> bytes:
    """Encode one message to the client as compact JSON."""
    return _encode(message)


def encode_body(body: Body) -> Raw:
    """Encode a body as it is stored, compared and pushed; raise `Malformed` when it is empty or too large."""
    if body.data is None:
        if not body.text:
            raise Malformed(ErrorCode.BAD_REQUEST, "body needs `text` or `data` - at `$.body`")
        return Raw(_encode(body))
    data = encode_data("$.body.data", body.data)
    fields = {"data": orjson.Fragment(data)}
    return Raw(orjson.dumps({"text": body.text, **fields} if body.text else fields))


def encode_data(path: str, data: JsonObject) -> bytes:
    """Encode an app's own JSON, the keys sorted; raise `Malformed` when it is too deep or too large."""
    try:
        # Sorted, so that the same data is the same body however the client ordered it (client_id_conflict).
        encoded = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise Malformed(ErrorCode.BAD_REQUEST, f"nested too deep, or a number out of range - at `{path}`") from None
    if len(encoded) > DATA_MAX_BYTES:
        raise Malformed(ErrorCode.TOO_LARGE, f"at most {DATA_MAX_BYTES} bytes - at `{path}`")
    return encoded


def _refuse_control_characters(message: ClientMessage, payload: bytes) -> None:
    for path, text in _ids(message):
        check_id(path, text, payload)
    if isinstance(message, MessageSend):
        check_text("$.body.text", message.body.text, payload)
    if isinstance(message, PresenceSet):
        check_text("$.text", message.text or "", payload)


def _ids(message: ClientMessage) -> Iterator[tuple[str, str]]:
    match message:
        case Typing() | History() | Receipt() | MatchSet():
            yield "$.match", message.match
        case MessageSend():
            yield "$.match", message.match
            yield "$.client_id", message.client_id
        case Sync():
            yield from (("$.cursors", match) for match in message.cursors)
        case PresenceWatch():
            yield from (("$.users[...]", user) for user in message.users)
        case Hello():
            yield from (("$.cursors", match) for match in message.cursors)
            yield "$.device", message.device or "-"
            yield "$.session", message.session or "-"
        case Block() | Unblock():
            yield "$.user", message.user
        case AuthRefresh() | Ping() | Matches() | ClientStateSet() | PresenceSet():
            return
        case _:
            yield from _ids_of_call(message)


def _ids_of_call(message: CallRequest) -> Iterator[tuple[str, str]]:
    if not isinstance(message, CallStart):
        yield "$.call", message.call or "-"
    match message:
        case CallStart():
            yield "$.match", message.match
            yield "$.client_id", message.client_id
            yield from (("$.users[...]", user) for user in message.users or ())
        case CallAccept() | CallJoin():
            yield "$.client_id", message.client_id
        case CallInvite():
            yield from (("$.users[...]", user) for user in message.users)
        case CallSignal():
            # What stands in descriptions and candidates is looked at line by line where they are relayed.
            yield "$.to", message.to
            yield from (("$.streams", stream) for stream in message.streams or ())
            yield from (("$.candidates[...].sdpMid", each.sdp_mid or "-") for each in message.candidates)
            fragments = (each.username_fragment or "-" for each in message.candidates)
            yield from (("$.candidates[...].usernameFragment", fragment) for fragment in fragments)
        case CallReport() | CallStats():
            yield "$.peer", message.peer
        case CallResume():
            yield "$.peer", message.peer
            yield from (("$.have", peer) for peer in message.have)
        case CallFeedback():
            yield from (("$.issues[...]", issue) for issue in message.issues)
        case CallRinging() | CallDecline() | CallMedia() | CallIce() | CallHangup():
            return
        case _:
            assert_never(message)


def _control_character(path: str, payload: bytes) -> Malformed:
    return Malformed(ErrorCode.BAD_REQUEST, f"control characters are not allowed - at `{path}`", _request_id(payload))


def _invalid(payload: bytes, problem: str) -> Malformed:
    request_id = _request_id(payload)
    found = _PATH.search(problem)
    path = found.group(1) if found else "$"
    if not _QUOTED_VALUE.match(problem):
        return Malformed(ErrorCode.BAD_REQUEST, problem if found else f"{problem} - at `$`", request_id)
    if path == "$.type":
        return Malformed(ErrorCode.UNKNOWN_TYPE, "no such type - at `$.type`", request_id)
    return Malformed(ErrorCode.BAD_REQUEST, f"not one of the allowed values - at `{path}`", request_id)


def _request_id(payload: bytes) -> RequestId | None:
    try:
        envelope = _decode_envelope(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if isinstance(envelope.id, UnsetType) else envelope.id
