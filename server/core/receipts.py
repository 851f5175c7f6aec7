"""How far somebody is, as a signal of which the latest counts: the one that tells most, in whatever order they come. Pure."""

from typing import Final

import msgspec
from msgspec import Struct

from protocol.ids import MatchId, UserId

RECEIPT: Final = "receipt"
# The first part of the keys of these signals, wherever the latest of a key wins.


class _Reach(Struct, order=True):
    """Both only grow, so that of two receipts of one member the one that was stored later has more of one at least."""

    delivered: int
    read: int


_reach: Final = msgspec.json.Decoder(_Reach).decode


def key_of(match: MatchId, user: UserId) -> tuple[str, ...]:
    """Return the key of which the latest receipt is the one that counts."""
    return (RECEIPT, match, user)


def tells_less(receipt: bytes, other: bytes) -> bool:
    """Tell whether of two encoded receipts of one member, from two nodes perhaps, the first was stored before the other."""
    return _reach(receipt) < _reach(other)
