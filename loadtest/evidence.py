"""What a device of the load tester remembers of what it sent and saw: a few words an entry, in arrays.

The checker weighs `ClientLog`s, which hold everything and are dear. Here an entry shown is one number, from which its log is
made again, match by match, when the store's log of that match is there to be compared with: an entry that leaves the same
number is the store's own, any other is one that differs. Numbers are Python's hashes and never leave their process.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from loadtest.record import Ack, Submission
from protocol.codec import encode_body
from protocol.from_client import Body
from protocol.from_server import Entry, Message, Skip
from protocol.ids import ClientId, Cursor, MatchId, Micros, Ordinal, Seq, UserId

Texts = Callable[[int, int], str]
# The text of a key and a length: the same each time it is asked for.
_MARK_BITS: Final = (1 << 62) - 1
_UNKNOWN_SENDER: Final = UserId("?")


def mark(entry: Entry) -> int:
    """Return the number that an entry leaves; never negative."""
    match entry:
        case Message():
            return hash((entry.created_at, entry.sender, entry.client_id, bytes(entry.body))) & _MARK_BITS
        case Skip():
            return hash(entry.created_at) & _MARK_BITS
        case _:
            return hash(msgspec.json.encode(entry)) & _MARK_BITS


class Book:
    """The messages that one device wanted stored, by number from 0, in parallel arrays."""

    __slots__ = (
        "acked_us",
        "connection",
        "created_at",
        "due_us",
        "duplicates",
        "key",
        "length",
        "match",
        "refused",
        "resent",
        "seq",
    )

    def __init__(self) -> None:
        self.match = array("l")  # its number among the device's matches
        self.due_us = array("q")
        self.key = array("q")
        self.length = array("l")
        self.connection = array("l")
        self.seq = array("q")
        self.created_at = array("q")
        self.acked_us = array("q")
        self.resent: dict[int, list[int]] = {}
        self.refused: dict[int, str] = {}
        self.duplicates: set[int] = set()

    def add(self, match: int, due_us: int, key: int, length: int) -> int:
        """Note a message and return its number."""
        self.match.append(match)
        self.due_us.append(due_us)
        self.key.append(key)
        self.length.append(length)
        for empty in (self.connection, self.seq, self.created_at, self.acked_us):
            empty.append(0)
        return len(self.seq) - 1

    def transmitted(self, number: int, connection: int) -> None:
        """Note an attempt, on the device's connection of this number."""
        if self.connection[number]:
            self.resent.setdefault(number, [self.connection[number]]).append(connection)
        self.connection[number] = connection

    def acked(self, number: int, seq: int, created_at: int, at_us: int) -> None:
        """Note the first answer."""
        self.seq[number], self.created_at[number], self.acked_us[number] = seq, created_at, at_us

    def submission(self, number: int, match: MatchId, client_id: ClientId, texts: Texts) -> Submission:
        """Return it as the checker wants it."""
        body = Body(texts(self.key[number], self.length[number]))
        attempts = self.resent.get(number, [self.connection[number]] if self.connection[number] else [])
        acks = []
        if self.seq[number]:
            is_duplicate = number in self.duplicates
            seq, created_at = Seq(self.seq[number]), Micros(self.created_at[number])
            acks.append(Ack(seq, created_at, is_duplicate, self.acked_us[number] / 1e6, self.connection[number]))
        due_s = self.due_us[number] / 1e6
        return Submission(match, client_id, body, due_s, attempts, acks, self.refused.get(number, ""))


class Held:
    """What one device shows of one match: from a cursor on, one number an entry, without a gap."""

    __slots__ = (
        "dropped",
        "early",
        "fetched",
        "first",
        "index",
        "is_asking",
        "is_told",
        "last",
        "last_at",
        "marks",
        "match",
        "newest_seen",
    )

    def __init__(self, match: MatchId, index: int) -> None:
        self.match = match
        self.index = index
        self.first = 0
        self.last = 0
        self.last_at = 0
        self.newest_seen = 0
        # The highest that came on this connection, shown or not.
        self.is_asking = False
        self.is_told = False
        # The server said itself that it has more than it pushes.
        self.fetched: set[int] = set()
        # What came when it was asked for, and was not pushed since.
        self.marks = array("q")
        # Of the entries after `first`. Of an own message, which came back as its answer, -1 - its number in the book.
        self.early: dict[int, tuple[int, int]] = {}
        # What came before its turn: seq -> (mark, created_at).
        self.dropped: list[tuple[int, array[int]]] = []
        # What was shown until the server said that its log is another one: the cursor it began from, and the marks.

    def begin(self, seq: int, created_at: int) -> None:
        """Stand at a cursor: what is up to it was not seen and is not judged."""
        self.first = self.last = self.newest_seen = seq
        self.last_at = created_at
        del self.marks[:]
        self.early.clear()

    def reset(self) -> None:
        """Begin anew, as the server says that its log is another one; what was shown so far stays evidence."""
        if self.marks:
            self.dropped.append((self.first, array("q", self.marks)))
        self.begin(0, 0)

    @property
    def cursor(self) -> Cursor:
        """The entry up to which all is shown."""
        return Seq(self.last), Micros(self.last_at)

    def show(self, seq: int, entry_mark: int, created_at: int) -> None:
        """Take in the next entry, and those behind it that came before it."""
        self.marks.append(entry_mark)
        self.last, self.last_at = seq, created_at
        while self.early and (following := self.early.pop(self.last + 1, None)) is not None:
            self.marks.append(following[0])
            self.last, self.last_at = self.last + 1, following[1]

    def shown(self, stored: Sequence[Entry], own: Callable[[int], Submission], user: UserId) -> list[Entry]:
        """Return what was shown, as entries. What was below the cursor at the start is the store's word for it."""
        return self._entries(self.first, self.marks, stored, own, user)

    def shown_before(
        self, stored: Sequence[Entry], own: Callable[[int], Submission], user: UserId
    ) -> Iterator[list[Entry]]:
        """Yield what was shown before each reset."""
        for first, marks in self.dropped:
            yield self._entries(first, marks, stored, own, user)

    def _entries(
        self, first: int, marks: "array[int]", stored: Sequence[Entry], own: Callable[[int], Submission], user: UserId
    ) -> list[Entry]:
        by_seq = {int(entry.seq): entry for entry in stored}
        entries = [by_seq[seq] for seq in range(1, first + 1) if seq in by_seq]
        for seq, each in enumerate(marks, first + 1):
            truth = by_seq.get(seq)
            if each < 0:
                entries.append(_own_entry(own(-1 - each), user))
            elif truth is not None and mark(truth) == each:
                entries.append(truth)
            else:
                entries.append(_differing(self.match, seq))
        return entries


def _own_entry(submission: Submission, user: UserId) -> Message:
    """Return an own message as far as its sender knows it (`n` is not in the answer)."""
    ack, body = submission.acks[0], encode_body(submission.body)
    return Message(submission.match, ack.seq, ack.created_at, Ordinal(0), user, submission.client_id, body)


def _differing(match: MatchId, seq: int) -> Message:
    """Return an entry that equals none that is stored; what it said is not kept."""
    client_id, body = ClientId("?"), encode_body(Body("?"))
    return Message(match, Seq(seq), Micros(0), Ordinal(0), _UNKNOWN_SENDER, client_id, body)
