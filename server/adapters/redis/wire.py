"""What travels through a node's Redis channel: MessagePack, put together by the Lua scripts.

The scripts only join bytes that are packed here or by them, so that no text is ever searched for a separator.
"""

from collections.abc import Callable
from typing import Final, cast

import hiredis
import msgspec
from msgspec import Struct

from protocol.ids import SessionId, UserId
from server.core.latest import Key


class Item(Struct, array_like=True, frozen=True, gc=False):
    """A frame for `users` here (`key` None: durable lane), or, without users, a notice."""

    users: tuple[UserId, ...] | None
    frame: bytes
    key: Key | None


class Frames(Struct, array_like=True, frozen=True, tag=1, gc=False):
    """What one call of another node routed here; `counter` counts the calls with something durable in them."""

    counter: int | None
    items: tuple[Item, ...]


class Changed(Struct, array_like=True, frozen=True, gc=False):
    """A watched user is shown otherwise now; numbers are those of the scripts. `seen_us` 0: never, or here."""

    user: UserId
    status: int
    v: int
    change: int
    seen_us: int
    text: str


class News(Struct, array_like=True, frozen=True, tag=2, gc=False):
    """Changes of users whom this node watches."""

    changes: tuple[Changed, ...]


class Beat(Struct, array_like=True, frozen=True, tag=3, gc=False):
    """What a node sends to itself: the counter at that moment, and when it asked, by its own monotonic clock."""

    counter: int
    asked_us: int


Message = Frames | News | Beat

Argument = str | int | bytes
Command = tuple[Argument, ...]

# Its stub means a tuple of any length and says one of length 1.
pack_command: Final = cast("Callable[[Command], bytes]", hiredis.pack_command)
_decode: Final = cast("Callable[[bytes], Message]", msgspec.msgpack.Decoder(Message).decode)
_encode: Final = msgspec.msgpack.Encoder().encode
_NONE: Final = _encode(None)


def decode(payload: bytes) -> Message:
    """Decode what came through the channel; raise `msgspec.MsgspecError` for what this version does not know."""
    return _decode(payload)


def rest_of_item(frame: bytes, key: Key | None) -> bytes:
    """Pack what follows the users of an `Item`."""
    return _encode(frame) + (_NONE if key is None else _encode(key))


def pack_session(user: UserId, session: SessionId) -> bytes:
    """Pack a session for the index of its node, as `reap.lua` unpacks it."""
    return _encode((user, session))
