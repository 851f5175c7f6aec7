"""Signals of which only the latest counts, wherever they wait: by which key they are known, and which of two it is. Pure."""

from typing import Final

import msgspec
from msgspec import Struct

from protocol.from_client import TypingKind
from protocol.ids import MatchId, UserId

PRESENCE: Final = "presence"
RECEIPT: Final = "receipt"
TYPING: Final = "typing"

Key = tuple[str, ...]
# Which of these it is; then whose (presence), or in which match, whose, and of what kind (typing).


def presence_key(user: UserId) -> Key:
    """Return the key of how a user is."""
    return (PRESENCE, user)


def receipt_key(match: MatchId, user: UserId) -> Key:
    """Return the key of how far a member is."""
    return (RECEIPT, match, user)


def typing_key(user: UserId, match: MatchId, kind: TypingKind) -> Key:
    """Return the key of whether a member is writing."""
    return (TYPING, match, user, kind.value)


class _Reach(Struct, order=True):
    """Both only grow, so that of two receipts of one member the one that was stored later has more of one at least."""

    delivered: int
    read: int


_reach: Final = msgspec.json.Decoder(_Reach).decode


def tells_less(receipt: bytes, other: bytes) -> bool:
    """Tell whether of two encoded receipts of one member, from two nodes perhaps, the first was stored before the other."""
    return _reach(receipt) < _reach(other)
