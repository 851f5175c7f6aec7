"""The closed catalogue of errors: every `error` answer, on the socket and over HTTP, has one of these codes."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from msgspec import Struct


class ErrorCode(StrEnum):
    """What went wrong; stable, for programs. The `message` beside it is for people and may change."""

    BAD_JSON = "bad_json"
    BAD_REQUEST = "bad_request"
    UNKNOWN_TYPE = "unknown_type"
    UNAUTHENTICATED = "unauthenticated"
    ALREADY_AUTHENTICATED = "already_authenticated"
    TOKEN_INVALID = "token_invalid"  # noqa: S105 - a code, not a credential
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a code, not a credential
    TICKET_INVALID = "ticket_invalid"
    FORBIDDEN = "forbidden"
    NOT_MEMBER = "not_member"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CLIENT_ID_CONFLICT = "client_id_conflict"
    NO_SUCH_REPLY = "no_such_reply"
    CALL_EXISTS = "call_exists"
    CALL_OVER = "call_over"
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    IN_OTHER_CALL = "in_other_call"
    CALL_FULL = "call_full"
    CALL_REFUSED = "call_refused"
    NO_RELAY = "no_relay"
    NOT_IN_CALL = "not_in_call"
    BAD_DESCRIPTION = "bad_description"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class ErrorFacts(Struct, frozen=True):
    """What follows from a code: may the same request succeed later, which HTTP status it has, what to do next."""

    temporary: bool
    http_status: int
    what_to_do: str


CATALOGUE: Final[Mapping[ErrorCode, ErrorFacts]] = MappingProxyType(
    {
        ErrorCode.BAD_JSON: ErrorFacts(False, 400, "Send one JSON object per text frame, in UTF-8."),
        ErrorCode.BAD_REQUEST: ErrorFacts(False, 400, "Correct the field that the message names."),
        ErrorCode.UNKNOWN_TYPE: ErrorFacts(False, 400, "Use a `type` of this protocol version; see /protocol.json."),
        ErrorCode.UNAUTHENTICATED: ErrorFacts(
            False, 401, "Send `hello` with a token first, or an Authorization header."
        ),
        ErrorCode.ALREADY_AUTHENTICATED: ErrorFacts(False, 409, "One `hello` per connection; `auth.refresh` renews."),
        ErrorCode.TOKEN_INVALID: ErrorFacts(False, 401, "Get a new token from your app's backend."),
        ErrorCode.TOKEN_EXPIRED: ErrorFacts(False, 401, "Get a new token from your app's backend, then connect again."),
        ErrorCode.TICKET_INVALID: ErrorFacts(False, 401, "A ticket works once, for 30 s: get a new one."),
        ErrorCode.FORBIDDEN: ErrorFacts(False, 403, "This needs an API key, or another user's rights."),
        ErrorCode.NOT_MEMBER: ErrorFacts(
            False, 403, "Only members of a match may do this; there may be no such match."
        ),
        ErrorCode.REFUSED: ErrorFacts(False, 403, "It cannot be delivered, for a reason that is not told."),
        ErrorCode.NOT_FOUND: ErrorFacts(False, 404, "Check the address and the ids in it."),
        ErrorCode.METHOD_NOT_ALLOWED: ErrorFacts(False, 405, "Use a method that the Allow header names."),
        ErrorCode.CLIENT_ID_CONFLICT: ErrorFacts(
            False, 409, "This client_id was used for another body: take a new one."
        ),
        ErrorCode.NO_SUCH_REPLY: ErrorFacts(False, 400, "`reply_to` must be the seq of a message that you can read."),
        ErrorCode.CALL_EXISTS: ErrorFacts(False, 409, "The match has a call: join the one that `call` names."),
        ErrorCode.CALL_OVER: ErrorFacts(False, 410, "The call, or its ring for you, has ended."),
        ErrorCode.ANSWERED_ELSEWHERE: ErrorFacts(
            False, 409, "Another device of yours has answered; `call.join` with `takeover` moves the call here."
        ),
        ErrorCode.IN_OTHER_CALL: ErrorFacts(
            False, 409, "You are in the call that `call` names: hang up there, or send it again with `replace`."
        ),
        ErrorCode.CALL_FULL: ErrorFacts(False, 409, "The call has as many participants as one may have."),
        ErrorCode.CALL_REFUSED: ErrorFacts(False, 403, "This call cannot be made now; do not try again at once."),
        ErrorCode.NO_RELAY: ErrorFacts(
            False,
            409,
            "This user's calls go through a relay only, and there is none: set TURN_SERVER_URL, or unset `relay_only`.",
        ),
        ErrorCode.NOT_IN_CALL: ErrorFacts(False, 403, "You, or the peer that you named, have no place in this call."),
        ErrorCode.BAD_DESCRIPTION: ErrorFacts(
            False, 400, "The message names the rule that the SDP or the candidate breaks."
        ),
        ErrorCode.TOO_LARGE: ErrorFacts(
            False, 413, "Make it smaller; the limits are in `welcome` and docs/protocol.md."
        ),
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: ErrorFacts(False, 415, "Send `Content-Type: application/json`."),
        ErrorCode.RATE_LIMITED: ErrorFacts(True, 429, "Wait `retry_after_ms`, then send the same request again."),
        ErrorCode.UNAVAILABLE: ErrorFacts(
            True, 503, "Wait `retry_after_ms`, then send it again with the same client_id: it is stored once."
        ),
        ErrorCode.INTERNAL: ErrorFacts(
            True, 500, "A fault of the server, logged there. Try again; report it if it stays."
        ),
    }
)
