"""How much of a log fits one answer, and what can be kept at all: rules that every store shares, so that all answer alike."""

from collections.abc import Iterable
from typing import Final, assert_never

from protocol.calls import CallEntry
from protocol.from_server import Entry, MembersChanged, Message, Skip
from protocol.ids import MAX_SAFE_INTEGER, Micros, Seq
from protocol.limits import DEDUP_DAYS
from server.core.log import Append, EntryPage

DEDUP_US: Final = DEDUP_DAYS * 86_400_000_000
# What an entry costs on the wire beside its body: names of fields, two numbers, ids of usual length.
ENTRY_OVERHEAD_BYTES: Final = 200
MEMBER_BYTES: Final = 48
# Beyond every time and seq there is; keeps numbers within what databases hold.
END: Final = Micros(MAX_SAFE_INTEGER + 1)


def is_storable(text: str) -> bool:
    """Tell whether every database can hold `text` as an id: no NUL (PostgreSQL), no lone surrogate (UTF-8)."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def can_be_stored(append: Append) -> bool:
    """Tell whether the ids of `append` can be held."""
    return is_storable(append.match) and is_storable(append.sender) and is_storable(append.client_id)


def is_cursor(seq: Seq, at: Micros) -> bool:
    """Tell whether a cursor could name an entry at all."""
    return 0 < seq <= MAX_SAFE_INTEGER and 0 <= at <= MAX_SAFE_INTEGER


def bounded(at: Micros) -> Micros:
    """Bring a time that a client named to where every database can compare it; no entry lies beyond."""
    return Micros(max(-1, min(at, END)))


def entry_bytes(entry: Entry) -> int:
    """Estimate the size of `entry` on the wire."""
    match entry:
        case Message():
            return len(memoryview(entry.body)) + ENTRY_OVERHEAD_BYTES
        case MembersChanged():
            names = len(entry.members) + len(entry.joined) + len(entry.left)
            return names * MEMBER_BYTES + ENTRY_OVERHEAD_BYTES
        case CallEntry():
            return (len(entry.participants) + 2) * MEMBER_BYTES + ENTRY_OVERHEAD_BYTES
        case Skip():
            return ENTRY_OVERHEAD_BYTES
        case _:
            assert_never(entry)


class Budget:
    """Bytes that one answer may have; its first entry always fits, so that whoever asks again gets on."""

    __slots__ = ("_is_untouched", "_left_bytes")

    def __init__(self, total_bytes: int) -> None:
        self._left_bytes = total_bytes
        self._is_untouched = True

    def take(self, entry: Entry) -> bool:
        """Take the bytes of `entry`; when it does not fit, the budget is at its end."""
        self._left_bytes -= entry_bytes(entry)
        fits = self._left_bytes >= 0 or self._is_untouched
        self._is_untouched = False
        return fits


def cut_page(entries: Iterable[Entry], limit: int, budget: Budget) -> EntryPage:
    """Take from `entries`, as far as they need be read, what fits `limit` and `budget`.

    The entry that is one too many costs as well: a database that was given the same budget has read it, and must not run
    out of budget before we do, or what it left out of the next page would be taken for its end.
    """
    page: list[Entry] = []
    for entry in entries:
        if not budget.take(entry) or len(page) >= limit:
            return EntryPage(tuple(page), complete=False)
        page.append(entry)
    return EntryPage(tuple(page), complete=True)
