"""What the writer thread of the embedded store does: whole batches, one transaction each.

How one is made, and what is remembered from one to the next, is in `transactions`.
"""

import logging
import sqlite3
from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from protocol.calls import CallEntry
from protocol.from_server import MatchSummary, Member, MembersChanged, Message, ReceiptMoved
from protocol.ids import MatchId, Micros, Ordinal, Seq, UserId
from server.adapters.sqlite import people
from server.adapters.sqlite.calls import CallTable, Found
from server.adapters.sqlite.file import StoreFile
from server.adapters.sqlite.rows import KIND_CALL, KIND_MEMBERS, KIND_MESSAGE, members_body
from server.adapters.sqlite.statements import SQL
from server.adapters.sqlite.transactions import KnownMatch, PresentMember, Transactions
from server.core.calls import (
    STALE,
    CallChange,
    CallChanged,
    CallNote,
    CallRows,
    CallSettings,
    CallStale,
    OrphanedCalls,
    entry_of,
    entry_of_note,
    note_body,
    row_changed,
)
from server.core.log import (
    CONFLICT,
    NO_SUCH_REPLY,
    NOT_MEMBER,
    UNSTORABLE,
    Append,
    Appended,
    Mark,
    Marked,
    MembersSet,
    Refused,
)
from server.core.pages import DEDUP_US, can_be_stored, is_storable
from server.core.people import (
    BLOCKED,
    Person,
    PresenceWish,
    PrivateReadSet,
    apart_from,
    is_cut,
    not_shown_to,
)
from server.core.revocations import Revocation
from server.ports import Clock

# What says of one row that it cannot be stored, and nothing of the store.
_ROW_ERRORS: Final = (sqlite3.DataError, sqlite3.IntegrityError, OverflowError, UnicodeEncodeError)
_log: Final = logging.getLogger(__name__)


class Writer:
    """The only one who writes to the file; lives in one thread."""

    __slots__ = ("_calls", "_clock", "_execute", "_file", "_in_transaction", "_match", "_transactions")

    def __init__(self, file: StoreFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._transactions = transactions = Transactions(file.connection)
        self._execute = transactions.execute
        self._match = transactions.match
        self._in_transaction = transactions.run
        self._calls = CallTable(self._execute)

    def epoch(self) -> str:
        """Read the store's epoch."""
        return str(self._execute(SQL["epoch"]).fetchone()[0])

    def check(self) -> None:
        """Add a row and remove it, so that the disk has to take a page. (One that did not change is not written.)"""
        self._in_transaction(self._add_nothing)

    def _add_nothing(self) -> None:
        self._execute(SQL["add_nothing"])
        self._execute(SQL["remove_nothing"])

    def close(self) -> None:
        """Write the log back, and let the file go."""
        self._file.close()

    # ---- messages

    def append(self, batch: Sequence[Append]) -> list[Appended | Refused]:
        """Store `batch` in one transaction.

        At first as if nothing were sent twice, which saves a look-up a row: the unique index tells. When it does, or a
        row cannot be stored, the batch is done again one by one.
        """
        try:
            return self._in_transaction(lambda: self._append_all(batch, self._clock.micros()))
        except _ROW_ERRORS:
            return self._in_transaction(lambda: self._append_each(batch, self._clock.micros()))

    def _append_all(self, batch: Sequence[Append], now: Micros) -> list[Appended | Refused]:
        outcomes: list[Appended | Refused] = []
        for append in batch:
            drafted = self._draft(append, now)
            if drafted is None:
                self._transactions.insert_messages()
            outcomes.append(drafted or self._append(append, now))
        self._transactions.write_noted()
        return outcomes

    def _draft(self, append: Append, now: Micros) -> Appended | None:
        """Note the message of a member for the end of the batch; None for what must be looked at closely."""
        if append.reply_to is not None or not can_be_stored(append):
            return None
        match = self._match(append.match)
        sender = match.present.get(append.sender) if match else None
        if match is None or sender is None or match.pairs:
            return None
        return Appended(self._add_message(append, match, sender, now), match.members, duplicate=False)

    def _append_each(self, batch: Sequence[Append], now: Micros) -> list[Appended | Refused]:
        outcomes: list[Appended | Refused] = []
        for append in batch:
            self._execute("SAVEPOINT row")
            try:
                outcome = self._append(append, now)
                self._transactions.write_noted()
            except _ROW_ERRORS as error:
                self._execute("ROLLBACK TO row")
                self._transactions.forget()
                outcome = UNSTORABLE
                _log.warning("a message could not be stored: %s", type(error).__name__)
            self._execute("RELEASE row")
            outcomes.append(outcome)
        return outcomes

    def _append(self, append: Append, now: Micros) -> Appended | Refused:
        if not can_be_stored(append):
            return UNSTORABLE
        match = self._match(append.match)
        if match is None:
            return NOT_MEMBER
        sender = match.present.get(append.sender)
        user_no = self._transactions.find_user(append.sender) if sender is None else sender.user_no
        first = self._execute(SQL["find_sent"], (append.client_id, match.match_no, user_no)).fetchone()
        if first is not None and first[1] >= now - DEDUP_US:
            return _repeated(first, append, match, sender)
        if sender is None:
            return NOT_MEMBER
        if is_cut(match.members, match.pairs):
            return BLOCKED
        if append.reply_to is not None and not self._can_reply(match, sender, append.reply_to):
            return NO_SUCH_REPLY
        if first is not None:
            self._execute(SQL["give_up_key"], (match.match_no, first[1]))
        message = self._add_message(append, match, sender, now)
        self._transactions.insert_messages()
        return Appended(message, match.members, False, not_shown_to(match.members, match.pairs, append.sender))

    def _can_reply(self, match: KnownMatch, sender: PresentMember, reply_to: Seq) -> bool:
        if not sender.from_seq <= reply_to <= match.last_seq:
            return False
        return bool(self._execute(SQL["kind_at"], (match.match_no, reply_to)).fetchone() == (KIND_MESSAGE,))

    def _add_message(self, append: Append, match: KnownMatch, sender: PresentMember, now: Micros) -> Message:
        seq, at, n = Seq(match.last_seq + 1), match.next_time(now), Ordinal(match.messages + 1)
        message = Message(match.match, seq, at, n, append.sender, append.client_id, append.body, append.reply_to)
        self._transactions.add_message(message, match, sender)
        return message

    # ---- members

    def set_members(self, name: MatchId, members: tuple[UserId, ...]) -> MembersSet | Refused:
        """Make, change or end a match in one transaction."""
        if not all(map(is_storable, (name, *members))):
            return UNSTORABLE
        wanted = tuple(sorted(set(members)))
        return self._in_transaction(lambda: self._set_members(name, wanted))

    def _set_members(self, name: MatchId, wanted: tuple[UserId, ...]) -> MembersSet:
        match = self._match(name)
        if wanted == (match.members if match else ()):
            return MembersSet(name, wanted, None, made=False, joined=())
        if match is None:
            self._execute(SQL["add_match"], (name,))
            match = self._match(name)
            assert match is not None
        made = not match.members
        entry = self._change_members(match, wanted)
        return MembersSet(name, wanted, entry, made, self._summaries(match, entry))

    def _change_members(self, match: KnownMatch, wanted: tuple[UserId, ...]) -> MembersChanged:
        joined = tuple(user for user in wanted if user not in match.present)
        left = tuple(user for user in match.members if user not in wanted)
        seq, at = Seq(match.last_seq + 1), match.next_time(self._clock.micros())
        entry = MembersChanged(match.match, seq, at, wanted, joined, left)
        row = (match.match_no, at, seq, match.messages, KIND_MEMBERS, None, None, None, None, members_body(entry))
        self._execute(SQL["add_entry"], row)
        for user in left:
            self._execute(SQL["leave_match"], (seq, match.match_no, match.present[user].user_no))
        for user in joined:
            facts = {
                "match_no": match.match_no,
                "user_no": self._transactions.make_user(user),
                "seq": seq,
                "n": match.messages,
            }
            self._execute(SQL["join_match"], facts)
        self._execute(SQL["move_match"], (seq, at, match.messages, match.match_no))
        self._transactions.forget_match(match.match)
        return entry

    def _summaries(self, match: KnownMatch, entry: MembersChanged) -> tuple[tuple[UserId, MatchSummary], ...]:
        """Show the match as those who joined see it: all of them alike, with nothing unread."""
        rows = self._execute(SQL["receipts_of_match"], (match.match_no,)).fetchall()
        members = tuple(Member(*row) for row in rows)
        summary = MatchSummary(match.match, members, entry.seq, entry.created_at, 0, entry)
        return tuple((user, summary) for user in entry.joined)

    # ---- receipts

    def mark(self, batch: Sequence[Mark]) -> list[Marked | None]:
        """Move cursors in one transaction."""
        return self._in_transaction(lambda: [self._mark(mark) for mark in batch])

    def _mark(self, mark: Mark) -> Marked | None:
        match = self._match(mark.match) if is_storable(mark.match) else None
        member = match.present.get(mark.user) if match else None
        if match is None or member is None:
            return None
        key = (match.match_no, member.user_no)
        was_delivered, was_read, n, shown_read = self._execute(SQL["cursors_of_member"], key).fetchone()
        read = Seq(max(was_read, min(mark.read, match.last_seq)))
        delivered = Seq(max(was_delivered, min(mark.delivered, match.last_seq), read))
        if (delivered, read) == (was_delivered, was_read):
            return None
        if read != was_read:
            n = self._count_at(match, read)
        hidden = apart_from(match.pairs, mark.user)
        receipt = ReceiptMoved(match.match, mark.user, delivered, read)
        if shown_read is None:
            self._execute(SQL["move_member"], (delivered, read, n, *key))
            return Marked(receipt, match.members, hidden)
        self._execute(SQL["move_in_private"], (delivered, read, n, *key))
        return Marked(receipt, match.members, hidden, ReceiptMoved(match.match, mark.user, delivered, shown_read))

    def set_private_read(self, name: MatchId, user: UserId, *, is_on: bool) -> PrivateReadSet | None:
        """Show the others no more, or again, how far the member reads, in one transaction."""
        return self._in_transaction(lambda: self._set_private_read(name, user, is_on=is_on))

    def _set_private_read(self, name: MatchId, user: UserId, *, is_on: bool) -> PrivateReadSet | None:
        match = self._match(name) if is_storable(name) else None
        member = match.present.get(user) if match else None
        if match is None or member is None:
            return None
        key = (match.match_no, member.user_no)
        self._execute(SQL["read_in_private" if is_on else "read_in_public"], key)
        delivered, read, _, shown_read = self._execute(SQL["cursors_of_member"], key).fetchone()
        receipt = ReceiptMoved(name, user, delivered, read if shown_read is None else shown_read)
        return PrivateReadSet(receipt, match.members, apart_from(match.pairs, user))

    def _count_at(self, match: KnownMatch, seq: Seq) -> Ordinal:
        if seq == match.last_seq:
            return match.messages
        (count,) = self._execute(SQL["count_at"], (match.match_no, seq)).fetchone()
        return Ordinal(count)

    # ---- calls

    def change_call(self, change: CallChange) -> CallChanged | CallStale:
        """Make or change a call and append its entry, in one transaction."""
        try:
            return self._in_transaction(lambda: self._change_call(change))
        except sqlite3.IntegrityError:  # The match has another live call, or somebody a seat elsewhere.
            return STALE

    def _change_call(self, change: CallChange) -> CallChanged | CallStale:
        match = self._match(change.match) if is_storable(change.match) else None
        found = self._calls.find(change.call)
        if match is None:
            return STALE
        if found is not None and found.change == change.change:
            return CallChanged(row_changed(change), self._last_call_entry(match, found), match.members)
        if (found.version if found else 0) != change.version:
            return STALE
        if change.members not in (None, match.members) or change.blocks not in (None, len(match.pairs)):
            return STALE
        seq = None if change.note is None else Seq(match.last_seq + 1)
        call_no = self._calls.keep(found, change, match.match_no, seq, self._transactions.make_user)
        entry = None if change.note is None else self._add_call_entry(match, call_no, change, change.note)
        return CallChanged(row_changed(change), entry, match.members)

    def _last_call_entry(self, match: KnownMatch, found: Found) -> CallEntry | None:
        if not found.is_entry_new or found.entry_seq is None:
            return None
        at, n, body = self._execute(SQL["entry_at_seq"], (match.match_no, found.entry_seq)).fetchone()
        return entry_of_note(match.match, found.entry_seq, at, n, body)

    def _add_call_entry(self, match: KnownMatch, call_no: int, change: CallChange, note: CallNote) -> CallEntry:
        before = match.messages
        seq, at, n = Seq(match.last_seq + 1), match.next_time(self._clock.micros()), Ordinal(before + change.is_missed)
        row = (match.match_no, at, seq, n, KIND_CALL, None, None, None, call_no, note_body(note))
        self._execute(SQL["add_entry"], row)
        self._execute(SQL["move_match"], (seq, at, n, match.match_no))
        match.last_seq, match.last_at, match.messages = seq, at, n
        caller = match.present.get(change.caller)
        if change.is_missed and caller is not None:
            key = (match.match_no, caller.user_no)
            _, _, read_n, _ = self._execute(SQL["cursors_of_member"], key).fetchone()
            if read_n == before:
                self._execute(SQL["move_member"], (seq, seq, n, *key))
        return entry_of(match.match, (seq, at, n), note)

    def claim_due_calls(self, claim_us: int, limit: int) -> CallRows:
        """Take over calls whose deadline has passed."""
        return self._in_transaction(lambda: self._calls.claim_due(self._clock.micros(), claim_us, limit))

    def orphaned_calls(self, node: str, silent_us: int, limit: int) -> OrphanedCalls:
        """Note that a node lives, and find calls with seats on others that do not."""
        return self._in_transaction(lambda: self._calls.orphaned(node, self._clock.micros(), silent_us, limit))

    def set_call_settings(self, user: UserId, settings: CallSettings) -> None:
        """Keep how the user wants to be called."""

        def write() -> None:
            row = (self._transactions.make_user(user), settings.when_busy, int(settings.relay_only))
            self._execute(SQL["set_call_settings"], row)

        self._in_transaction(write)

    # ---- people

    def set_block(self, user: UserId, other: UserId, *, is_on: bool) -> bool | Refused:
        """Block, or take it back, in one transaction."""
        if not (is_storable(user) and is_storable(other)):
            return UNSTORABLE
        news = self._in_transaction(lambda: people.set_block(self._execute, user, other, is_on=is_on))
        self._transactions.forget_matches()  # What is remembered of matches says who blocked whom.
        return news

    def set_presence(self, user: UserId, wish: PresenceWish) -> Person | Refused:
        """Change how the user is shown, in one transaction."""
        if not (is_storable(user) and is_storable(wish.text or "")):
            return UNSTORABLE
        now = self._clock.micros()
        return self._in_transaction(lambda: people.set_presence(self._execute, user, wish, now))

    # ---- revocations

    def revoke(self, revocation: Revocation) -> None:
        """Keep a revocation and drop those that hold no longer, in one transaction."""
        self._in_transaction(lambda: self._revoke(revocation))

    def _revoke(self, revocation: Revocation) -> None:
        self._execute(SQL["drop_revocations"], (self._clock.micros(),))
        # `is_storable` was asked by whoever let the user's name in.
        self._execute(
            SQL["add_revocation"],
            {
                "user_id": revocation.user,
                "token_id": revocation.token_id or "",
                "issued_before": revocation.issued_before,
                "until": revocation.until,
            },
        )


def _repeated(
    row: tuple[Seq, Micros, Ordinal, Seq | None, bytes], append: Append, match: KnownMatch, sender: PresentMember | None
) -> Appended | Refused:
    seq, at, n, reply_to, body = row
    if body != bytes(append.body) or reply_to != append.reply_to:
        return CONFLICT if sender else NOT_MEMBER
    first = Message(match.match, seq, at, n, append.sender, append.client_id, Raw(body), reply_to)
    return Appended(first, match.members, duplicate=True)
