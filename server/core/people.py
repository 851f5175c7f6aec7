"""What is kept of a user for other users' sake: whom they blocked, who blocked them, how they want to be shown. Pure.

Blocking is one rule: between two users of whom one has blocked the other nothing passes that is not part of a log that a
third shares, and of such a log the blocker sees `skip` where the blocked one wrote. What follows from it on each path is
in this file; `docs/protocol.md`, Blocking, says it to clients.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct, structs

from protocol.calls import CallEntry
from protocol.errors import ErrorCode
from protocol.from_client import LastSeen, OwnStatus
from protocol.from_server import (
    Entry,
    MatchSummary,
    Member,
    Message,
    OwnPresence,
    ReceiptMoved,
    Skip,
)
from protocol.ids import MatchId, Seq, UserId
from protocol.limits import BLOCKS_MAX
from server.core.calls import CallRow
from server.core.log import Refused, SummaryPage, refused

BLOCKED: Final = refused(ErrorCode.REFUSED)
# What both sides are told of a message between them: that one was blocked is nobody's business.
TOO_MANY_BLOCKS: Final = Refused(ErrorCode.BAD_REQUEST, f"at most {BLOCKS_MAX} users can be blocked")

Pair = tuple[UserId, UserId]
# Who blocked, and whom.


class Person(Struct, frozen=True):
    """One user. `version` grows with every change of `presence`; 0 before the first."""

    blocked: frozenset[UserId] = frozenset()
    blocked_by: frozenset[UserId] = frozenset()
    presence: OwnPresence = OwnPresence()
    version: int = 0

    def is_apart_from(self, other: UserId) -> bool:
        """Tell whether one of the two has blocked the other."""
        return other in self.blocked or other in self.blocked_by

    @property
    def apart(self) -> frozenset[UserId]:
        """Everybody whom this user has blocked or was blocked by."""
        return self.blocked | self.blocked_by if self.blocked_by else self.blocked

    @property
    def blocks(self) -> tuple[frozenset[UserId], frozenset[UserId]]:
        """Whom this user has blocked, and who has blocked them: what they see of others hangs on both."""
        return self.blocked, self.blocked_by

    def with_block(self, other: UserId, *, is_on: bool) -> "Person":
        """Return this user after they blocked `other`, or took that back."""
        rest = self.blocked - {other}
        return structs.replace(self, blocked=rest | {other} if is_on else rest)

    def with_block_by(self, other: UserId, *, is_on: bool) -> "Person":
        """Return this user after `other` blocked them, or took that back."""
        rest = self.blocked_by - {other}
        return structs.replace(self, blocked_by=rest | {other} if is_on else rest)


NOBODY: Final = Person()


class PresenceWish(Struct, frozen=True):
    """A change of how a user wants to be shown; None leaves it as it is."""

    status: OwnStatus | None = None
    text: str | None = None
    last_seen: LastSeen | None = None

    def applied(self, presence: OwnPresence) -> OwnPresence:
        """Return what it makes of `presence`."""
        return OwnPresence(
            presence.status if self.status is None else self.status,
            presence.text if self.text is None else self.text,
            presence.last_seen if self.last_seen is None else self.last_seen,
        )


class Arrivals(Struct, frozen=True):
    """What users who connect are told, of each in its place: newest matches, what is kept of them, live calls."""

    pages: Sequence[SummaryPage]
    people: Sequence[Person]
    calls: Sequence[tuple[CallRow, ...]]


class Unread(Struct, frozen=True):
    """The entries of a match after `read`, up to `last`."""

    match: MatchId
    read: Seq
    last: Seq


class PrivateReadSet(Struct, frozen=True):
    """A member's reading is private now, or not; `receipt` is what the others are to be told, who are `members`."""

    receipt: ReceiptMoved
    members: tuple[UserId, ...]
    hidden: tuple[UserId, ...] = ()


# ---- what a store decides within its transactions


def is_group(members: int) -> bool:
    """Tell whether a match of so many members goes on when one of them blocks another, with `skip` where it matters."""
    return members > _PAIR


def is_cut(members: Collection[UserId], pairs: Collection[Pair]) -> bool:
    """Tell whether no message may be sent: two members, one of whom blocked the other. `pairs` are among the members."""
    return bool(pairs) and not is_group(len(members))


def not_shown_to(members: Collection[UserId], pairs: Collection[Pair], sender: UserId) -> tuple[UserId, ...]:
    """Return the members to whom an entry of `sender` is a `skip`."""
    if not is_group(len(members)):
        return ()
    return tuple(blocker for blocker, blocked in pairs if blocked == sender)


def apart_from(pairs: Collection[Pair], user: UserId) -> tuple[UserId, ...]:
    """Return who among `pairs` has blocked `user`, or was blocked by them; each once."""
    others = (blocked if blocker == user else blocker for blocker, blocked in pairs if user in (blocker, blocked))
    return tuple(dict.fromkeys(others))


# ---- what a reader gets to see


def entry_for(viewer: Person, entry: Entry, members: int) -> Entry:
    """Return `entry` of a match of so many members as `viewer` sees it."""
    if viewer.blocked and is_group(members) and author_of(entry) in viewer.blocked:
        return skip_of(entry)
    return entry


def author_of(entry: Entry) -> UserId | None:
    """Return whose doing an entry is: who sent the message, who called."""
    match entry:
        case Message():
            return entry.sender
        case CallEntry():
            return entry.caller
        case _:
            return None


def is_counted(entry: Entry) -> bool:
    """Tell whether an entry counts as unread: a message, or a call that was missed."""
    return isinstance(entry, Message) or (isinstance(entry, CallEntry) and entry.n is not None)


def entries_for(viewer: Person, entries: Sequence[Entry], members: int) -> tuple[Entry, ...]:
    """Return `entries` as `viewer` sees them."""
    return tuple(entry_for(viewer, entry, members) for entry in entries)


def skip_of(entry: Entry) -> Skip:
    """Return what stands for `entry` where it is not shown."""
    return Skip(entry.match, entry.seq, entry.created_at)


def receipts_for(viewer: Person, receipts: Sequence[ReceiptMoved]) -> tuple[ReceiptMoved, ...]:
    """Return the receipts that `viewer` may know of."""
    return tuple(receipt for receipt in receipts if not viewer.is_apart_from(receipt.user))


def summary_for(viewer: Person, summary: MatchSummary, hidden_unread: Mapping[MatchId, int]) -> MatchSummary:
    """Return a match as `viewer` sees it; of its unread messages so many are not shown."""
    if not viewer.apart:
        return summary
    members = tuple(
        Member(member.user, Seq(0), Seq(0)) if viewer.is_apart_from(member.user) else member
        for member in summary.members
    )
    last = None if summary.last is None else entry_for(viewer, summary.last, len(members))
    unread = summary.unread - hidden_unread.get(summary.match, 0)
    return structs.replace(summary, members=members, last=last, unread=unread)


_PAIR: Final = 2
