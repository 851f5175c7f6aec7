"""What one node tells all others about matches, users and sessions; small structs, sent as JSON over the bus."""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw, Struct

from protocol.calls import CallId
from protocol.from_server import OwnPresence
from protocol.ids import MatchId, Micros, Seq, SessionId, UserId


class MembersNews(Struct, frozen=True, tag="members"):
    """The match has these members from its entry `seq` on; these have just come or gone.

    It may come late. Whoever knows a later state of the match keeps that.
    """

    match: MatchId
    seq: Seq
    members: tuple[UserId, ...]
    joined: tuple[UserId, ...] = ()
    left: tuple[UserId, ...] = ()


class Kick(Struct, frozen=True, tag="kick"):
    """End the user's connections (only that of `session`, if it is named) with this close code."""

    user: UserId
    code: int
    reason: str
    session: SessionId | None = None


class Revoked(Struct, frozen=True, tag="revoked"):
    """Refuse the user's tokens: the one named `token_id`, else all that were issued before `issued_before`."""

    user: UserId
    token_id: str | None = None
    issued_before: Micros | None = None
    until: Micros | None = None


class Blocked(Struct, frozen=True, tag="blocked"):
    """`user` has blocked `other`, or taken it back; the store has it.

    It may come late, and in another order than it happened: whoever hears of it does not rely on it but reads again.
    """

    user: UserId
    other: UserId
    on: bool


class PersonNews(Struct, frozen=True, tag="person"):
    """This is how `user` wants to be shown as of `version`; whoever knows a higher one keeps that."""

    user: UserId
    presence: OwnPresence
    version: int


class CallNews(Struct, frozen=True, tag="call"):
    """The call's row is at `version` and holds `value`, JSON; whoever knows a later one keeps that."""

    call: CallId
    match: MatchId
    version: int
    value: Raw


Notice = MembersNews | Kick | Revoked | Blocked | PersonNews | CallNews
PeopleNews = Blocked | PersonNews

_decode: Final[Callable[[bytes], Notice]] = msgspec.json.Decoder(Notice).decode
_encode: Final = msgspec.json.Encoder().encode


def encode_notice(notice: Notice) -> bytes:
    """Encode for the bus."""
    return _encode(notice)


def decode_notice(payload: bytes) -> Notice:
    """Decode what another node sent; raise `msgspec.MsgspecError` for what this version does not know."""
    return _decode(payload)
