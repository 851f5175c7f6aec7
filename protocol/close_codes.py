"""Close codes and their come-back rule: 4000-4499 connect again, 4500-4999 do not."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final


class CloseCode(IntEnum):
    """Why the server closed a connection. The first nine are RFC 6455 section 7.4.1."""

    NORMAL = 1000
    GOING_AWAY_PEER = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL = 1006
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011

    GOING_AWAY = 4000
    TOKEN_EXPIRED = 4001
    AUTH_TIMEOUT = 4002
    PING_TIMEOUT = 4003
    SLOW_READER = 4008
    TOO_MANY_FRAMES = 4009
    UNAVAILABLE = 4010
    TOO_MANY_FAILURES = 4011

    REPLACED = 4500
    TOKEN_INVALID = 4501
    TOO_MANY_ERRORS = 4502
    TOO_MANY_CONNECTIONS = 4503


MEANING: Final[Mapping[CloseCode, str]] = MappingProxyType(
    {
        CloseCode.NORMAL: "closed on purpose",
        CloseCode.GOING_AWAY_PEER: "the page or app went away",
        CloseCode.PROTOCOL_ERROR: "a frame broke RFC 6455",
        CloseCode.UNSUPPORTED_DATA: "a binary frame; the protocol is text",
        CloseCode.ABNORMAL: "the connection was lost without a close frame (never sent)",
        CloseCode.INVALID_TEXT: "text that is not UTF-8",
        CloseCode.POLICY_VIOLATION: "refused for a reason that has no code of its own",
        CloseCode.MESSAGE_TOO_BIG: "a message or frame over the limit",
        CloseCode.INTERNAL_ERROR: "a fault of the server",
        CloseCode.GOING_AWAY: "this node is being stopped: connect again, another node answers",
        CloseCode.TOKEN_EXPIRED: "the token ran out: connect again with a new one",
        CloseCode.AUTH_TIMEOUT: "no valid hello in time",
        CloseCode.PING_TIMEOUT: "nothing was heard, not even a pong",
        CloseCode.SLOW_READER: "more than the send bound was waiting: connect again and resume by cursors",
        CloseCode.TOO_MANY_FRAMES: "frames came faster than the connection's limit for long: connect again, slower",
        CloseCode.UNAVAILABLE: "the store could not answer hello: connect again after a delay",
        CloseCode.TOO_MANY_FAILURES: "too many failed authentications: connect again after the error's `retry_after_ms`",
        CloseCode.REPLACED: "a newer connection of the same session took over",
        CloseCode.TOKEN_INVALID: "the token or ticket was refused or revoked: get a new one, then connect by hand",
        CloseCode.TOO_MANY_ERRORS: "many malformed messages in a row: the client has a fault",
        CloseCode.TOO_MANY_CONNECTIONS: "this user has too many connections",
    }
)

# RFC 6455 codes after which the same client would only fail again.
_FINAL_RFC_CODES: Final = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010})


def comes_back(code: int) -> bool:
    """Tell whether a client that was closed with `code` should connect again by itself."""
    if 4000 <= code < 5000:
        return code < 4500
    return code not in _FINAL_RFC_CODES
