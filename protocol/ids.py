"""The words of the protocol that are text or integers, each with its own type so that they cannot be mixed up.

The `Annotated` forms are what the decoder checks; the `NewType`s are what the rest of the code names.
"""

from typing import Annotated, Final, NewType

from msgspec import Meta

ID_MAX_CHARS: Final = 64
# C0 and C1 control characters, DEL, and the two line separators that break logs and JavaScript source.
# The look-ahead is for Python, whose `$` also matches before a line feed at the end.
ID_PATTERN: Final = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]+$(?!\\n)"
# JavaScript's largest exact integer; also far beyond any microsecond time or sequence number.
MAX_SAFE_INTEGER: Final = 2**53 - 1

# The pattern is told in the schema and checked by `protocol.codec`, which skips it where it cannot fail.
_Id = Meta(min_length=1, max_length=ID_MAX_CHARS, extra_json_schema={"pattern": ID_PATTERN})
_Natural = Meta(ge=0, le=MAX_SAFE_INTEGER)

MatchId = NewType("MatchId", str)
# An app's name for a match; opaque, compared byte for byte (no Unicode normalisation).
UserId = NewType("UserId", str)
# The `sub` of the access token.
ClientId = NewType("ClientId", str)
# A sender's name for one message, unique per (match, sender) for 35 days; a UUIDv7 is a good choice.
SessionId = NewType("SessionId", str)
# Given by the server in `welcome`; names one live connection so that its successor can replace it.
DeviceId = NewType("DeviceId", str)
# A client's name for the machine it runs on.
Seq = NewType("Seq", int)
# Place of an entry in its match's log: dense, from 1, assigned at commit.
Micros = NewType("Micros", int)
# Microseconds since the Unix epoch; strictly increasing with `seq` within a match.
Ordinal = NewType("Ordinal", int)
# `n`: dense count, per match, of the entries that make a match unread.

WireMatchId = Annotated[MatchId, _Id]
WireUserId = Annotated[UserId, _Id]
WireClientId = Annotated[ClientId, _Id]
WireSessionId = Annotated[SessionId, _Id]
WireDeviceId = Annotated[DeviceId, _Id]
WireSeq = Annotated[Seq, _Natural]
WireMicros = Annotated[Micros, _Natural]

RequestId = Annotated[int, _Natural] | Annotated[str, Meta(min_length=1, max_length=ID_MAX_CHARS)]
# The client's choice; comes back unchanged in the answer.

Cursor = tuple[WireSeq, WireMicros]
# The last entry that a client holds of a match: its seq and created_at.
