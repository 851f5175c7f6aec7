"""One match of the store in memory: its log, who is in it and how far they are."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from protocol.from_server import Entry, MatchSummary, Member, MembersChanged, Message, ReceiptMoved, SyncedMatch
from protocol.ids import ClientId, Cursor, MatchId, Micros, Ordinal, Seq, UserId
from server.core.log import Append, MatchState
from server.core.pages import Budget, cut_page, is_cursor


class Membership:
    """What one user may see of a match, and how far they are. `until_seq` is None while they are in it."""

    __slots__ = ("delivered", "from_seq", "private_from", "read", "until_seq")

    def __init__(self, from_seq: Seq, *, is_private: bool = False) -> None:
        self.from_seq = from_seq
        self.until_seq: Seq | None = None
        self.delivered = from_seq
        self.read = from_seq
        # What the others are shown, of a member who reads in private.
        self.private_from: Seq | None = from_seq if is_private else None

    @property
    def shown_read(self) -> Seq:
        return self.read if self.private_from is None else self.private_from

    def wrote(self, seq: Seq) -> None:
        """Move to the member's own message, which shows by itself that all before it was read."""
        self.delivered = self.read = seq
        if self.private_from is not None:
            self.private_from = seq


class MatchLog:
    """One match. The entry with seq s is at s - 1 of `entries`, its time in `times`, the messages up to it in `counts`."""

    __slots__ = ("counts", "entries", "match", "members", "memberships", "sent", "times")

    def __init__(self, match: MatchId) -> None:
        self.match = match
        self.entries: list[Entry] = []
        self.times: list[Micros] = []
        self.counts: list[Ordinal] = []
        self.memberships: dict[UserId, Membership] = {}
        self.members: tuple[UserId, ...] = ()
        self.sent: dict[tuple[UserId, ClientId], Message] = {}

    @property
    def last_seq(self) -> Seq:
        return Seq(len(self.entries))

    @property
    def last_at(self) -> Micros:
        return self.times[-1]

    @property
    def messages(self) -> Ordinal:
        return self.counts[-1] if self.counts else Ordinal(0)

    # ---- who is in it

    def present(self, user: UserId) -> Membership | None:
        """Give the membership of a user who is in the match now."""
        membership = self.memberships.get(user)
        return membership if membership is not None and membership.until_seq is None else None

    def change_members(self, wanted: tuple[UserId, ...], now: Micros) -> MembersChanged:
        """Let these be its members; whoever read in private still does when they are back."""
        joined = tuple(user for user in wanted if user not in self.members)
        left = tuple(user for user in self.members if user not in wanted)
        seq, at = Seq(self.last_seq + 1), self.time_after(now)
        entry = MembersChanged(self.match, seq, at, wanted, joined, left)
        self.add(entry, self.messages)
        self.members = wanted
        for user in joined:
            before = self.memberships.get(user)
            is_private = before is not None and before.private_from is not None
            self.memberships[user] = Membership(seq, is_private=is_private)
        for user in left:
            self.memberships[user].until_seq = seq
        return entry

    # ---- what is added

    def time_after(self, now: Micros) -> Micros:
        """Give the next entry's time: `now`, or just after the last one where the clock stood or stepped back."""
        return Micros(max(now, self.times[-1] + 1)) if self.times else now

    def add(self, entry: Entry, messages: Ordinal) -> None:
        self.entries.append(entry)
        self.times.append(entry.created_at)
        self.counts.append(messages)

    def add_message(self, append: Append, sender: Membership, now: Micros) -> Message:
        message = Message(
            match=self.match,
            seq=Seq(self.last_seq + 1),
            created_at=self.time_after(now),
            n=Ordinal(self.messages + 1),
            sender=append.sender,
            client_id=append.client_id,
            body=append.body,
            reply_to=append.reply_to,
        )
        self.add(message, message.n)
        self.sent[append.sender, append.client_id] = message
        sender.wrote(message.seq)
        return message

    def can_reply(self, sender: Membership, reply_to: Seq) -> bool:
        """Tell whether that is a message which the sender may read."""
        return sender.from_seq <= reply_to <= self.last_seq and isinstance(self.entries[reply_to - 1], Message)

    # ---- how far its members are

    def receipts(self, viewer: UserId) -> Iterator[ReceiptMoved]:
        for user in self.members:
            yield self.receipt(user) if user == viewer else self.shown(user)

    def receipt(self, user: UserId) -> ReceiptMoved:
        membership = self.memberships[user]
        return ReceiptMoved(self.match, user, membership.delivered, membership.read)

    def shown(self, user: UserId) -> ReceiptMoved:
        """Give what the others see of the user's cursors."""
        membership = self.memberships[user]
        return ReceiptMoved(self.match, user, membership.delivered, membership.shown_read)

    # ---- what is read of it

    def state(self) -> MatchState:
        return MatchState(self.match, self.members, self.last_seq, self.last_at, self.messages)

    def summary(self, user: UserId) -> MatchSummary:
        members = tuple(Member(r.user, r.delivered, r.read) for r in self.receipts(user))
        own = self.memberships[user]
        unread = self.messages - self.counts[own.read - 1]
        last, is_private = self.entries[-1], own.private_from is not None
        return MatchSummary(self.match, members, self.last_seq, self.last_at, unread, last, is_private)

    def between(self, viewer: Membership | None, before: Micros | None, after: Micros | None) -> Iterator[Entry]:
        """Give what the viewer (None: everybody) may see between these times, oldest first if there is `after`."""
        first = viewer.from_seq - 1 if viewer else 0
        last: int = (viewer.until_seq if viewer else None) or self.last_seq
        if before is not None:
            last = min(last, bisect_left(self.times, before))
        if after is None:
            return (self.entries[place] for place in range(last - 1, first - 1, -1))
        return (self.entries[place] for place in range(max(first, bisect_right(self.times, after)), last))

    def synced(self, viewer: Membership, cursor: Cursor, limit: int, budget: Budget) -> SyncedMatch:
        """Give what came after the cursor, as `Store.sync` says."""
        left = viewer.until_seq is not None
        last = viewer.until_seq or self.last_seq
        seq, at = cursor
        if (seq, at) == (0, 0):
            first = int(viewer.from_seq)
        elif is_cursor(seq, at) and viewer.from_seq <= seq <= last and self.times[seq - 1] == at:
            first = seq + 1
        else:
            return SyncedMatch((), complete=True, reset=True, left=left)
        page = cut_page((self.entries[place] for place in range(first - 1, last)), limit, budget)
        return SyncedMatch(page.entries, page.complete, left=left)
