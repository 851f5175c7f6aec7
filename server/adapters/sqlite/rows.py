"""Between rows of `entries` and entries."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from protocol.from_server import Entry, MembersChanged, Message
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId
from server.core.calls import entry_of_note

KIND_MESSAGE: Final = 1
KIND_MEMBERS: Final = 2
KIND_CALL: Final = 3

# seq, created_at, n, kind, sender, client_id, reply_to, body
EntryRow = tuple[Seq, Micros, Ordinal, int, UserId, ClientId, Seq | None, bytes]


class _MembersBody(Struct):
    members: tuple[UserId, ...]
    joined: tuple[UserId, ...]
    left: tuple[UserId, ...]


_decode_members: Final = msgspec.json.Decoder(_MembersBody).decode
_encode: Final = msgspec.json.Encoder().encode


def members_body(entry: MembersChanged) -> bytes:
    """Encode what a `members` entry says beside its place in the log."""
    return _encode(_MembersBody(entry.members, entry.joined, entry.left))


def entry_of_row(match: MatchId, row: EntryRow) -> Entry:
    """Make the entry of `match` that a row of entries_down, entries_up or last_entries holds."""
    seq, created_at, n, kind, sender, client_id, reply_to, body = row
    if kind == KIND_MESSAGE:
        return Message(match, seq, created_at, n, sender, client_id, Raw(body), reply_to)
    if kind == KIND_CALL:
        return entry_of_note(match, seq, created_at, n, body)
    changed = _decode_members(body)
    return MembersChanged(match, seq, created_at, changed.members, changed.joined, changed.left)


def json_list(values: Sequence[str | int]) -> str:
    """Write what json_each is to read; one bound value stands for any number of them."""
    return _encode(values).decode()
