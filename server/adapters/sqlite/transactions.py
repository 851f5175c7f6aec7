"""Transactions of the writer thread, and what it remembers between them.

It alone writes, so it keeps what it knows of the busiest matches in memory; a transaction that fails, and a change by
another program, empty that memory. What appending changes is noted and written once, at the end of the batch.
"""

import sqlite3
from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct

from protocol.from_server import Message
from protocol.ids import MatchId, Micros, Ordinal, Seq, UserId
from server.adapters.sqlite import people
from server.adapters.sqlite.rows import KIND_MESSAGE
from server.adapters.sqlite.statements import SQL
from server.adapters.sqlite.thread import unavailable
from server.core.people import Pair

MATCHES_KEPT: Final = 20_000
# After any other failure of COMMIT the log may hold the batch when it is read again after a crash.
_CERTAINLY_NOT_STORED: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY})

R = TypeVar("R")


class PresentMember(Struct):
    """One who is in a match now."""

    user_no: int
    from_seq: Seq


class KnownMatch(Struct):
    """A match as the last transaction, or the one under way, leaves it."""

    match: MatchId
    match_no: int
    last_seq: Seq
    last_at: Micros
    messages: Ordinal
    members: tuple[UserId, ...]
    present: dict[UserId, PresentMember]
    # Who of the members has blocked whom of them.
    pairs: tuple[Pair, ...]

    def next_time(self, now: Micros) -> Micros:
        """Give the next entry's time: `now`, or just after the last one where the clock stood or stepped back."""
        return now if now > self.last_at else Micros(self.last_at + 1)


class Transactions:
    """One after the other on one connection; lives in the writer's thread."""

    __slots__ = ("_connection", "_cursors", "_data_version", "_drafts", "_matches", "_touched", "execute")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # One cursor for everything: each statement is read to its end before the next.
        self.execute = connection.cursor().execute
        self._matches: dict[MatchId, KnownMatch] = {}
        self._data_version = 0
        # What the transaction under way has still to write: rows of entries, matches and senders' cursors at their newest.
        self._drafts: list[tuple[object, ...]] = []
        self._touched: dict[int, KnownMatch] = {}
        self._cursors: dict[tuple[int, int], Message] = {}

    def run(self, work: Callable[[], R]) -> R:
        """Do `work` wholly or not at all; what it wrote is on the disk when this returns."""
        self._trust_memory()
        self.execute("BEGIN IMMEDIATE")
        try:
            result = work()
        except BaseException:
            self._roll_back()
            raise
        self._commit()
        return result

    def _commit(self) -> None:
        try:
            self.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            raise unavailable(error, maybe_stored=code not in _CERTAINLY_NOT_STORED) from error

    def _roll_back(self) -> None:
        self.forget()
        if self._connection.in_transaction:  # SQLite rolls back by itself after some errors.
            self.execute("ROLLBACK")

    # ---- what is noted within a transaction

    def add_message(self, message: Message, match: KnownMatch, sender: PresentMember) -> None:
        """Note a message for `write_noted`, its match's new end and its sender's new cursors."""
        body, reply_to = message.body, message.reply_to
        place = (match.match_no, message.created_at, message.seq, message.n)
        self._drafts.append((*place, KIND_MESSAGE, sender.user_no, message.client_id, 1, reply_to, body))
        match.last_seq, match.last_at, match.messages = message.seq, message.created_at, message.n
        self._touched[match.match_no] = match
        self._cursors[match.match_no, sender.user_no] = message

    def insert_messages(self) -> None:
        """Write the messages that were noted; the rest of what they change can wait."""
        if self._drafts:
            self._connection.executemany(SQL["add_entry"], self._drafts)
            self._drafts.clear()

    def write_noted(self) -> None:
        """Write what appending only noted: once for each match and sender, whatever they got."""
        self.insert_messages()
        self._connection.executemany(
            SQL["move_match"], [(m.last_seq, m.last_at, m.messages, m.match_no) for m in self._touched.values()]
        )
        self._connection.executemany(
            SQL["move_member"], [(m.seq, m.seq, m.n, *member) for member, m in self._cursors.items()]
        )
        self._touched.clear()
        self._cursors.clear()

    # ---- what is remembered

    def match(self, name: MatchId) -> KnownMatch | None:
        """Give the match as the transaction under way leaves it."""
        return self._matches.get(name) or self._read_match(name)

    def _read_match(self, name: MatchId) -> KnownMatch | None:
        row = self.execute(SQL["find_match"], (name,)).fetchone()
        if row is None:
            return None
        match_no, last_seq, last_at, messages = row
        members = self.execute(SQL["present_members"], (match_no,)).fetchall()
        present = {user: PresentMember(user_no, from_seq) for user, user_no, from_seq in members}
        pairs = people.pairs(self.execute, match_no, tuple(present))
        match = KnownMatch(name, match_no, last_seq, last_at, messages, tuple(present), present, pairs)
        self._matches[name] = match
        return match

    def forget_match(self, name: MatchId) -> None:
        """Read the match again when it is asked for next."""
        del self._matches[name]

    def forget_matches(self) -> None:
        """Read every match again."""
        self._matches.clear()

    def forget(self) -> None:
        """Nothing remembered or noted holds any more."""
        self._matches.clear()
        self._drafts.clear()
        self._touched.clear()
        self._cursors.clear()

    def _trust_memory(self) -> None:
        """Empty the memory of matches when it is full or another program has written."""
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._data_version or len(self._matches) > MATCHES_KEPT:
            self._matches.clear()
        self._data_version = version

    # ---- users' numbers

    def find_user(self, user: UserId) -> int:
        """Give the user's number, or one that nobody has."""
        row = self.execute(SQL["find_user"], (user,)).fetchone()
        return int(row[0]) if row else -1

    def make_user(self, user: UserId) -> int:
        """Give the user's number, which is made if need be."""
        found = self.find_user(user)
        if found >= 0:
            return found
        number = self.execute(SQL["add_user"], (user,)).lastrowid
        assert number is not None
        return number
