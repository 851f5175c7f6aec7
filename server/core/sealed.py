"""Frames for one connection of a user, or for all but one, as they travel between nodes.

The bus carries frames to users. What concerns one connection is sealed with its session; the node that has the user's
connections opens it. A WebSocket frame never begins with zero.
"""

from typing import Final

from msgspec import Struct

from protocol.ids import SessionId

_MARK: Final = 0
_ONLY: Final = 1
_BUT: Final = 2
_HEAD_BYTES: Final = 3


class Sealed(Struct, frozen=True):
    """`frame` is for that session alone, or (`only` false) for every other one of the user's."""

    session: SessionId
    frame: bytes
    only: bool


def seal(sealed: Sealed) -> bytes:
    """Return what travels."""
    session = sealed.session.encode()
    return bytes((_MARK, _ONLY if sealed.only else _BUT, len(session))) + session + sealed.frame


def is_sealed(frame: bytes) -> bool:
    """Tell a sealed frame from a plain one."""
    return frame[:1] == b"\0"


def unseal(frame: bytes) -> Sealed:
    """Open what `seal` made."""
    end = _HEAD_BYTES + frame[2]
    return Sealed(SessionId(frame[_HEAD_BYTES:end].decode()), frame[end:], only=frame[1] == _ONLY)
