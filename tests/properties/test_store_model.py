"""Random histories: every store answers, step by step, what a list and a few loops would answer.

The model is as naive as can be: it keeps entries and memberships in lists and derives everything else by looking
through them. A second property is the client's: what it was welcomed with, and every push since, make the next welcome.
"""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Final, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import Raw, Struct
from typing_extensions import override

from protocol.calls import CallEntry
from protocol.from_server import Entry, MatchSummary, Member, MembersChanged, Message, ReceiptMoved, Skip, SyncedMatch
from protocol.ids import ClientId, Cursor, MatchId, Micros, Ordinal, Seq, UserId
from server.core.log import (
    CONFLICT,
    NO_SUCH_REPLY,
    NOT_FOUND,
    NOT_MEMBER,
    Append,
    Appended,
    EntryPage,
    Mark,
    Marked,
    MatchState,
    MembersSet,
    Refused,
    SummaryPage,
    SyncResult,
)
from server.ports import Store
from tests.support.clock import DAY_US, FakeClock
from tests.support.stores import STORES, open_store

USERS: Final = tuple(map(UserId, ("ann", "ben", "cleo")))
MATCHES: Final = tuple(map(MatchId, ("m", "n")))

R = TypeVar("R")

users = st.sampled_from(USERS)
# Most of it in one match, so that much happens there.
matches = st.sampled_from(("m", "m", "m", "n")).map(MatchId)
circles = st.sampled_from([USERS, USERS, USERS[:2], USERS[:1], USERS[1:], ()])
places = st.integers(0, 14).map(Seq)
appends = st.builds(
    Append,
    match=matches,
    sender=users,
    client_id=st.sampled_from("abcdefghij").map(ClientId),
    body=st.sampled_from([Raw(b'{"text":"one"}'), Raw(b'{"text":"two"}')]),
    reply_to=st.none() | st.none() | places,
)
marks = st.builds(Mark, match=matches, user=users, delivered=places, read=places)
steps_us = st.sampled_from([0, 0, 1, 3_000_000, -5_000_000, 20 * DAY_US, 36 * DAY_US])


class Stay(Struct):
    """One user's time in a match, and their cursors there."""

    user: UserId
    first: int
    last: int | None
    delivered: int
    read: int


class Log(Struct):
    """One match."""

    match: MatchId
    entries: list[Entry]
    stays: list[Stay]

    def stay(self, user: UserId) -> Stay | None:
        """Give the user's newest stay; earlier ones are forgotten."""
        return next((stay for stay in reversed(self.stays) if stay.user == user), None)

    def present(self) -> list[Stay]:
        newest = {stay.user: stay for stay in self.stays}
        return sorted((stay for stay in newest.values() if stay.last is None), key=lambda stay: stay.user)

    def members(self) -> tuple[UserId, ...]:
        return tuple(stay.user for stay in self.present())

    def place(self, now: int) -> tuple[Seq, Micros]:
        last_at = self.entries[-1].created_at if self.entries else 0
        return Seq(len(self.entries) + 1), Micros(max(now, last_at + 1))

    def messages(self, upto: int) -> int:
        return sum(isinstance(entry, Message) for entry in self.entries if entry.seq <= upto)

    def visible(self, stay: Stay) -> list[Entry]:
        last = len(self.entries) if stay.last is None else stay.last
        return [entry for entry in self.entries if stay.first <= entry.seq <= last]

    def receipts(self) -> tuple[ReceiptMoved, ...]:
        return tuple(ReceiptMoved(self.match, s.user, Seq(s.delivered), Seq(s.read)) for s in self.present())

    def summary(self, user: UserId) -> MatchSummary:
        stay = self.stay(user)
        assert stay is not None
        last = self.entries[-1]
        members = tuple(Member(receipt.user, receipt.delivered, receipt.read) for receipt in self.receipts())
        unread = self.messages(len(self.entries)) - self.messages(stay.read)
        return MatchSummary(self.match, members, last.seq, last.created_at, unread, last)


class Model:
    """What the port says, said again as loops."""

    def __init__(self) -> None:
        self.logs = {match: Log(match, [], []) for match in MATCHES}

    def append(self, append: Append, now: int) -> Appended | Refused:
        log = self.logs[append.match]
        stay = log.stay(append.sender)
        is_member = stay is not None and stay.last is None
        for entry in reversed(log.entries):
            if (
                isinstance(entry, Message)
                and (entry.sender, entry.client_id) == (append.sender, append.client_id)
                and entry.created_at >= now - 35 * DAY_US
            ):
                if (entry.body, entry.reply_to) == (append.body, append.reply_to):
                    return Appended(entry, log.members(), duplicate=True)
                return CONFLICT if is_member else NOT_MEMBER
        if stay is None or not is_member:
            return NOT_MEMBER
        readable = [entry.seq for entry in log.visible(stay) if isinstance(entry, Message)]
        if append.reply_to is not None and append.reply_to not in readable:
            return NO_SUCH_REPLY
        seq, at = log.place(now)
        n = Ordinal(log.messages(seq) + 1)
        message = Message(log.match, seq, at, n, append.sender, append.client_id, append.body, append.reply_to)
        log.entries.append(message)
        stay.delivered = stay.read = seq
        return Appended(message, log.members(), duplicate=False)

    def set_members(self, match: MatchId, wanted: tuple[UserId, ...], now: int) -> MembersSet:
        log = self.logs[match]
        before = log.members()
        if wanted == before:
            return MembersSet(match, wanted, None, made=False, joined=())
        seq, at = log.place(now)
        joined = tuple(user for user in wanted if user not in before)
        left = tuple(user for user in before if user not in wanted)
        entry = MembersChanged(match, seq, at, wanted, joined, left)
        log.entries.append(entry)
        for stay in log.present():
            if stay.user in left:
                stay.last = seq
        log.stays += [Stay(user, seq, None, seq, seq) for user in joined]
        return MembersSet(match, wanted, entry, not before, tuple((user, log.summary(user)) for user in joined))

    def mark(self, mark: Mark) -> Marked | None:
        log = self.logs[mark.match]
        stay = log.stay(mark.user)
        if stay is None or stay.last is not None:
            return None
        before = (stay.delivered, stay.read)
        stay.read = max(stay.read, min(mark.read, len(log.entries)))
        stay.delivered = max(stay.delivered, min(mark.delivered, len(log.entries)), stay.read)
        if (stay.delivered, stay.read) == before:
            return None
        return Marked(ReceiptMoved(mark.match, mark.user, Seq(stay.delivered), Seq(stay.read)), log.members())

    def summaries(self, user: UserId) -> SummaryPage:
        summaries = [log.summary(user) for log in self.logs.values() if user in log.members()]
        summaries.sort(key=lambda summary: (-summary.last_at, summary.match))
        return SummaryPage(tuple(summaries), complete=True)

    def state(self, match: MatchId) -> MatchState | None:
        log = self.logs[match]
        if not log.entries:
            return None
        last = log.entries[-1]
        return MatchState(match, log.members(), last.seq, last.created_at, log.messages(last.seq))

    def history(self, match: MatchId, viewer: UserId | None, asked: "Asked") -> EntryPage | Refused:
        log = self.logs[match]
        if viewer is None:
            found = log.entries
            if not found:
                return NOT_FOUND
        else:
            stay = log.stay(viewer)
            if stay is None:
                return NOT_MEMBER
            found = log.visible(stay)
        before, after = self.time(match, asked.before), self.time(match, asked.after)
        found = [
            e for e in found if (before is None or e.created_at < before) and (after is None or e.created_at > after)
        ]
        if asked.after is None:
            found = found[::-1]
        return EntryPage(tuple(found[: asked.limit]), complete=len(found) <= asked.limit)

    def time(self, match: MatchId, place: int | None) -> Micros | None:
        """Give the time of the entry at `place`; far ahead for one that is not there yet."""
        if place is None:
            return None
        entries = self.logs[match].entries
        return entries[place].created_at if place < len(entries) else Micros(2**53)

    def sync(self, user: UserId, cursors: dict[MatchId, Cursor], limit: int) -> SyncResult:
        synced: dict[MatchId, SyncedMatch] = {}
        receipts: tuple[ReceiptMoved, ...] = ()
        for match, (seq, at) in cursors.items():
            log = self.logs[match]
            stay = log.stay(user)
            if stay is None:
                continue
            visible = log.visible(stay)
            left = stay.last is not None
            known = (seq, at) == (0, 0) or (seq, at) in [(entry.seq, entry.created_at) for entry in visible]
            after = [entry for entry in visible if entry.seq > seq] if known else []
            page = tuple(after[:limit])
            synced[match] = SyncedMatch(page, complete=len(after) <= limit, reset=not known, left=left)
            receipts += () if left else log.receipts()
        return SyncResult(synced, receipts)


class Asked(Struct):
    """A page: places in the log instead of times, so that they are near entries."""

    before: int | None
    after: int | None
    limit: int


asked_pages = st.builds(
    Asked, before=st.none() | st.integers(0, 14), after=st.none() | st.integers(0, 14), limit=st.integers(1, 5)
)


async def _summed_up(
    store: Store,
) -> tuple[list[SummaryPage], list[MatchState | None], list[tuple[UserId, ...]]]:
    states = [await store.match(match) for match in MATCHES]
    return list(await store.welcome(USERS, 10)), states, list(await store.members(MATCHES))


class StoreMachine(RuleBasedStateMachine):
    """Drives the model and every store with the same steps; each store has its own clock, moved alike."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clocks = [FakeClock() for _ in STORES]
        self.now = self.clocks[0].wall_us
        self.stores: list[Store] = []
        # What each user's client believes, from its last welcome and the pushes since.
        self.believed: dict[UserId, dict[MatchId, MatchSummary]] = {user: {} for user in USERS}

    @initialize()
    def open(self) -> None:
        self.stores = [
            self._run(open_store(kind, Path(self.folder.name), clock))
            for kind, clock in zip(STORES, self.clocks, strict=True)
        ]
        self.set_members(MATCHES[0], USERS)

    def _run(self, work: Coroutine[None, None, R]) -> R:
        return self.runner.run(work)

    @override
    def teardown(self) -> None:
        for store in self.stores:
            self._run(store.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(step_us=steps_us)
    def let_time_pass(self, step_us: int) -> None:
        self.now += step_us
        for clock in self.clocks:
            clock.wall_us = self.now

    @rule(batch=st.lists(appends, min_size=1, max_size=6))
    def append(self, batch: list[Append]) -> None:
        expected = [self.model.append(append, self.now) for append in batch]
        for store in self.stores:
            assert list(self._run(store.append(batch))) == expected
        for outcome in expected:
            if isinstance(outcome, Appended) and not outcome.duplicate:
                self.push(outcome.members, outcome.message)

    @rule(match=matches, members=circles)
    def set_members(self, match: MatchId, members: tuple[UserId, ...]) -> None:
        expected = self.model.set_members(match, members, self.now)
        for store in self.stores:
            assert self._run(store.set_members(match, members)) == expected
        if expected.entry is None:
            return
        self.push(tuple(user for user in members if user not in expected.entry.joined), expected.entry)
        for user, summary in expected.joined:
            self.believed[user][match] = summary
        for user in expected.entry.left:
            del self.believed[user][match]

    @rule(batch=st.lists(marks, min_size=1, max_size=4))
    def mark(self, batch: list[Mark]) -> None:
        expected = [self.model.mark(mark) for mark in batch]
        for store in self.stores:
            assert list(self._run(store.mark(batch))) == expected
        for marked in expected:
            if marked is not None:
                self.push_receipt(marked)

    @rule(match=matches, viewer=st.none() | users, asked=asked_pages)
    def history(self, match: MatchId, viewer: UserId | None, asked: Asked) -> None:
        expected = self.model.history(match, viewer, asked)
        before, after = self.model.time(match, asked.before), self.model.time(match, asked.after)
        for store in self.stores:
            page = store.history(match, viewer, before=before, after=after, limit=asked.limit)
            assert self._run(page) == expected

    @rule(user=users, seqs=st.tuples(places, places), shift=st.sampled_from([0, 0, 0, 1]), limit=st.integers(1, 5))
    def sync(self, user: UserId, seqs: tuple[Seq, Seq], shift: int, limit: int) -> None:
        cursors: dict[MatchId, Cursor] = {}
        for match, seq in zip(MATCHES, seqs, strict=True):
            entries = self.model.logs[match].entries
            at = Micros(entries[seq - 1].created_at + shift) if 0 < seq <= len(entries) else Micros(shift)
            cursors[match] = (seq, at)
        expected = self.model.sync(user, cursors, limit)
        for store in self.stores:
            result = store.sync(user, cursors, entries=limit, budget_bytes=1_000_000)
            assert self._run(result) == expected

    @rule()
    def open_the_file_again(self) -> None:
        for place, kind in enumerate(STORES):
            if kind != "memory":
                self._run(self.stores[place].close())
                self.stores[place] = self._run(open_store(kind, Path(self.folder.name), self.clocks[place]))

    @invariant()
    def everything_agrees(self) -> None:
        expected = [self.model.summaries(user) for user in USERS]
        states = [self.model.state(match) for match in MATCHES]
        members = [self.model.logs[match].members() for match in MATCHES]
        for store in self.stores:
            assert self._run(_summed_up(store)) == (expected, states, members)
        # The client's property: welcome before, plus pushes, is welcome now.
        for user, page in zip(USERS, expected, strict=True):
            assert self.believed[user] == {summary.match: summary for summary in page.matches}

    def push(self, told: tuple[UserId, ...], entry: Entry) -> None:
        """Apply a pushed entry the way a client does."""
        for user in told:
            summary = self.believed[user][entry.match]
            members, unread = summary.members, summary.unread
            match entry:
                case Message():
                    moved = Member(entry.sender, entry.seq, entry.seq)
                    members = tuple(moved if m.user == entry.sender else m for m in members)
                    unread = 0 if entry.sender == user else unread + 1
                case MembersChanged():
                    joined = tuple(Member(user, entry.seq, entry.seq) for user in entry.joined)
                    stayed = tuple(m for m in members if m.user not in entry.left)
                    members = tuple(sorted(stayed + joined, key=lambda member: member.user))
                case Skip() | CallEntry():
                    raise AssertionError("nothing is hidden from anybody yet")
            self.believed[user][entry.match] = MatchSummary(
                entry.match, members, entry.seq, entry.created_at, unread, entry
            )

    def push_receipt(self, marked: Marked) -> None:
        """Apply a receipt; one's own read cursor says what is still unread."""
        receipt = marked.receipt
        for user in marked.members:
            summary = self.believed[user][receipt.match]
            moved = Member(receipt.user, receipt.delivered, receipt.read)
            members = tuple(moved if m.user == receipt.user else m for m in summary.members)
            log = self.model.logs[receipt.match]
            own = receipt.user == user
            unread = log.messages(len(log.entries)) - log.messages(receipt.read) if own else summary.unread
            self.believed[user][receipt.match] = MatchSummary(
                summary.match, members, summary.last_seq, summary.last_at, unread, summary.last
            )


TestStores = StoreMachine.TestCase
TestStores.settings = settings(max_examples=60, stateful_step_count=30)
