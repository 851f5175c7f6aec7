"""The store of a cluster: one PostgreSQL database, any number of nodes.

`await PostgresStore.open(url, clock)` is the way in; it raises `StoreUnusable` with one line for the operator. Writes have
connections of their own, one for each lane of the journal; reads share others. The time of an entry is the database's,
so that nodes whose clocks differ make one order.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from protocol.calls import CallId
from protocol.ids import MatchId, Micros, Seq, UserId
from server.adapters.guard import Guard
from server.adapters.postgres.address import read_address
from server.adapters.postgres.calls import CallTable
from server.adapters.postgres.connections import Connections, Connector, Greeting, Timeouts
from server.adapters.postgres.known import Known
from server.adapters.postgres.read import Reader
from server.adapters.postgres.revocations import RevocationTable
from server.adapters.postgres.routes import Outbox
from server.adapters.postgres.schema import MONTHS_AHEAD, check_replica, prepare
from server.adapters.postgres.write import Timeline, Writer
from server.core.calls import (
    CallChange,
    CallChanged,
    CallRow,
    CallRows,
    CallSettings,
    CallsPage,
    CallStale,
    CallView,
    OrphanedCalls,
)
from server.core.log import (
    Append,
    Appended,
    Cursors,
    EntryPage,
    Mark,
    Marked,
    MatchState,
    MembersSet,
    Refused,
    SummaryPage,
    SyncResult,
)
from server.core.pages import END
from server.core.people import Arrivals, Person, PresenceWish, PrivateReadSet, Unread
from server.core.revocations import Revocation, RevocationPage
from server.core.routes import Route
from server.ports import Clock, StoreUnavailable, StoreUnusable

LANES: Final = 4
READERS: Final = 6


async def migrate(url: str, clock: Clock, *, allow_unsafe: bool = False, timeouts: Timeouts | None = None) -> None:
    """Make or renew the tables at `url`; raise `StoreUnusable`."""
    address, epoch = read_address(url), clock.random_id()
    await prepare(address, timeouts or Timeouts(), new_epoch=epoch, is_safe=not allow_unsafe, applies=True)


class _Parts(Struct, frozen=True):
    writers: Connections
    readers: Connections
    followers: Connections | None
    timeline: Timeline
    guards: tuple[Guard, ...]


class PostgresStore:
    """The `Store`, `Calls` and `Revocations` ports on PostgreSQL, and the outbox that a bus needs."""

    __slots__ = (
        "_calls",
        "_epoch",
        "_known",
        "_outbox",
        "_pools",
        "_reader",
        "_revocations",
        "_timeline",
        "_writer",
        "guards",
    )

    def __init__(self, parts: _Parts, epoch: str, now: Callable[[], Micros] | None) -> None:
        self._epoch = epoch
        # One for the primary, one for the replica.
        self.guards = parts.guards
        self._pools = [pool for pool in (parts.writers, parts.readers, parts.followers) if pool is not None]
        self._known = Known() if parts.followers else None
        self._timeline = parts.timeline
        self._writer = Writer(parts.writers, parts.timeline, now)
        self._outbox = Outbox(parts.writers, now)
        self._revocations = RevocationTable(parts.writers, parts.readers, now)
        self._calls = CallTable(parts.writers, parts.readers, now)
        self._reader = Reader(parts.readers, parts.followers, self._known)

    @classmethod
    async def open(
        cls,
        url: str,
        clock: Clock,
        *,
        replica_url: str | None = None,
        allow_unsafe: bool = False,
        migrates: bool = True,
        lanes: int = LANES,
        readers: int = READERS,
        timeouts: Timeouts | None = None,
        now: Callable[[], Micros] | None = None,
    ) -> "PostgresStore":
        """Open or make the store at `url`; the running loop is the only one that may use it.

        `allow_unsafe`: take a server that answers before its disk has it. `now` stands for the database's clock: tests.
        """
        address, timeouts = read_address(url), timeouts or Timeouts()
        replica = None if replica_url is None else read_address(replica_url)
        found = await prepare(
            address, timeouts, new_epoch=clock.random_id(), is_safe=not allow_unsafe, applies=migrates
        )
        timeline, connector = Timeline(), Connector(address, timeouts, found.is_pooled)
        guards, followers = [Guard("store", clock.now)], None
        if replica is not None:
            guards.append(Guard("replica", clock.now))
            following = Connector(replica, timeouts, await check_replica(replica, timeouts))
            followers = Connections(following, readers, guards[1])
        writers = Connections(connector, lanes, guards[0], Greeting(Timeline.statement, timeline.told))
        others = Connections(connector, readers, guards[0])
        store = cls(_Parts(writers, others, followers, timeline, tuple(guards)), found.epoch, now)
        try:
            await store.make_partitions()  # and learn the timeline
        except StoreUnavailable as gone:  # since the look at its tables
            await store.close()
            raise StoreUnusable(f"cannot use the store {address.shown}: {gone.reason}") from None
        return store

    @property
    def epoch(self) -> str:
        """Made with the tables; its end changes when a replica is promoted, which may have lost the last commits."""
        return f"{self._epoch}-{self._timeline.name}"

    @property
    def from_replica(self) -> int:
        """Answers that the replica gave, so far."""
        return self._reader.from_replica

    # ---- writes

    async def append(self, batch: Sequence[Append]) -> Sequence[Appended | Refused]:
        """Store messages in this order, one commit."""
        outcomes, _ = await self._append(batch, None)
        return outcomes

    async def append_routed(
        self, batch: Sequence[Append], node: str
    ) -> tuple[Sequence[Appended | Refused], tuple[int, ...]]:
        """Store messages and, in the same commit, that `node` has to route them; return the routes' ids too."""
        return await self._append(batch, node)

    async def _append(
        self, batch: Sequence[Append], node: str | None
    ) -> tuple[Sequence[Appended | Refused], tuple[int, ...]]:
        outcomes, routes = await self._writer.append(batch, node)
        if self._known is not None:
            for outcome in outcomes:
                if isinstance(outcome, Appended):
                    self._known.saw(outcome.message.match, outcome.message.seq)
        return outcomes, routes

    async def set_members(self, match: MatchId, members: tuple[UserId, ...]) -> MembersSet | Refused:
        """Make, change or end a match."""
        outcome, _ = await self._set_members(match, members, None)
        return outcome

    async def set_members_routed(
        self, match: MatchId, members: tuple[UserId, ...], node: str
    ) -> tuple[MembersSet | Refused, tuple[int, ...]]:
        """Make, change or end a match and note, in the same commit, that `node` has to route it."""
        return await self._set_members(match, members, node)

    async def _set_members(
        self, match: MatchId, members: tuple[UserId, ...], node: str | None
    ) -> tuple[MembersSet | Refused, tuple[int, ...]]:
        outcome, routes = await self._writer.set_members(match, members, node)
        if isinstance(outcome, MembersSet) and outcome.entry is not None:
            self.saw(match, outcome.entry.seq, (*outcome.entry.joined, *outcome.entry.left))
        return outcome, routes

    async def mark(self, batch: Sequence[Mark]) -> Sequence[Marked | None]:
        """Move members' cursors forward, one commit."""
        return await self._writer.mark(batch)

    # ---- reads

    async def match(self, match: MatchId) -> MatchState | None:
        """Read a match as the backend sees it."""
        return await self._reader.match(match)

    async def members(self, matches: Sequence[MatchId]) -> Sequence[tuple[UserId, ...]]:
        """Read the present members of each match."""
        return await self._reader.members(matches)

    async def partners(self, user: UserId, among: Sequence[UserId]) -> frozenset[UserId]:
        """Tell who of `among` shares a present match with `user`."""
        return await self._reader.partners(user, among)

    async def welcome(self, users: Sequence[UserId], limit: int) -> Sequence[SummaryPage]:
        """Read the newest `limit` matches of each user, all in one go."""
        return await self._reader.summaries(users, END, limit)

    async def summaries(self, user: UserId, before: Micros | None, limit: int) -> SummaryPage:
        """Read one page of the user's matches."""
        (page,) = await self._reader.summaries((user,), END if before is None else before, limit)
        return page

    async def history(
        self,
        match: MatchId,
        viewer: UserId | None,
        *,
        before: Micros | None,
        after: Micros | None,
        limit: int,
        folded: bool = True,
    ) -> EntryPage | Refused:
        """Read a page of entries."""
        return await self._reader.history(match, viewer, (before, after), limit, folded=folded)

    async def sync(self, user: UserId, cursors: Cursors, *, entries: int, budget_bytes: int) -> SyncResult:
        """Read what came after each cursor."""
        return await self._reader.sync(user, cursors, entries, budget_bytes)

    # ---- calls

    async def change_call(self, change: CallChange) -> CallChanged | CallStale:
        """Make or change a call and append its entry, one commit."""
        changed, _ = await self._change_call(change, None)
        return changed

    async def change_call_routed(
        self, change: CallChange, node: str
    ) -> tuple[CallChanged | CallStale, tuple[int, ...]]:
        """Make or change a call and note, in the same commit, that `node` has to route its entry."""
        return await self._change_call(change, node)

    async def _change_call(
        self, change: CallChange, node: str | None
    ) -> tuple[CallChanged | CallStale, tuple[int, ...]]:
        changed, routes = await self._calls.change(change, node)
        if isinstance(changed, CallChanged) and changed.entry is not None:
            self.saw(change.match, changed.entry.seq)
        return changed, routes

    async def call_view(
        self, *, call: CallId | None = None, match: MatchId | None = None, caller: UserId | None, since_us: int
    ) -> CallView:
        """Read a call and what a decision about it needs; never from a replica."""
        return await self._calls.view(call, match, caller, since_us)

    async def live_calls(self, users: Sequence[UserId]) -> Sequence[tuple[CallRow, ...]]:
        """Read the live calls of the users' matches, all in one go."""
        return await self._calls.live(users)

    async def claim_due_calls(self, claim_us: int, limit: int) -> CallRows:
        """Take over calls whose deadline has passed."""
        return await self._calls.claim_due(claim_us, limit)

    async def orphaned_calls(self, node: str, silent_us: int, limit: int) -> OrphanedCalls:
        """Read calls with seats on dead nodes."""
        return await self._calls.orphaned(node, silent_us, limit)

    async def list_calls(
        self, *, user: UserId | None, match: MatchId | None, before: CallId | None, limit: int
    ) -> CallsPage:
        """Read a page of calls."""
        return await self._calls.page(user, match, before, limit)

    async def set_call_settings(self, user: UserId, settings: CallSettings) -> None:
        """Keep how the user wants to be called, one commit."""
        await self._calls.set_settings(user, settings)

    async def call_settings(self, user: UserId) -> CallSettings:
        """Read how the user wants to be called."""
        return await self._calls.settings(user)

    async def set_private_read(self, match: MatchId, user: UserId, *, is_on: bool) -> PrivateReadSet | None:
        """Show the others no more, or again, how far the member reads."""
        return await self._writer.set_private_read(match, user, is_on=is_on)

    # ---- people

    async def people(self, users: Sequence[UserId]) -> Sequence[Person]:
        """Read what is kept of each user."""
        return await self._reader.people(users)

    async def arriving(self, users: Sequence[UserId], limit: int) -> Arrivals:
        """Read what users who connect are told, in two round trips."""
        pages = await self.welcome(users, limit)
        people, calls = await asyncio.gather(self.people(users), self.live_calls(users))
        return Arrivals(pages, people, calls)

    async def set_block(self, user: UserId, other: UserId, *, is_on: bool) -> bool | Refused:
        """Block, or take it back."""
        return await self._writer.set_block(user, other, is_on=is_on)

    async def hidden_unread(self, user: UserId, among: Sequence[Unread]) -> Mapping[MatchId, int]:
        """Count unread messages of those whom the user blocked."""
        return await self._reader.hidden_unread(user, among)

    async def set_presence(self, user: UserId, wish: PresenceWish) -> Person | Refused:
        """Change how the user is shown."""
        shown = await self._writer.set_presence(user, wish)
        if isinstance(shown, Refused):
            return shown
        (person,) = await self._reader.people((user,))
        return person

    # ---- revocations

    async def revoke(self, revocation: Revocation) -> None:
        """Keep a revocation, one commit."""
        await self._revocations.revoke(revocation)

    async def revocations(self, position: int) -> RevocationPage:
        """Read what was kept after `position`; never from a replica, which may be behind."""
        return await self._revocations.after(position)

    async def check(self) -> None:
        """Store a batch of nothing: it needs what every commit needs, and is forgotten like one that was routed."""
        await self._outbox.add_nothing()

    # ---- what the bus needs

    def saw(self, match: MatchId, seq: Seq, changed: Sequence[UserId] = ()) -> None:
        """Learn of an entry that another node stored, and who came or went by it: no older page is shown from now on."""
        if self._known is not None:
            self._known.changed(match, seq, changed)

    def forget(self) -> None:
        """News of other nodes may have been missed: the primary answers until it has told the newest."""
        if self._known is not None:
            self._known.forget()

    async def mark_routed(self, ids: Sequence[int]) -> None:
        """Note that these batches are on their way to every node."""
        await self._outbox.mark_routed(ids)

    async def claim_unrouted(self, node: str, older_than_s: float, limit: int) -> Sequence[Route]:
        """Take over batches that nobody routed for so long."""
        return await self._outbox.claim_unrouted(node, older_than_s, limit)

    async def routes_within(self, age_s: float) -> Sequence[Route]:
        """Read the batches that were stored, claimed or routed within the last `age_s` seconds."""
        return await self._outbox.routes_within(age_s)

    async def expire_routed(self) -> int:
        """Forget what was routed more than two minutes ago."""
        return await self._outbox.expire_routed()

    # ---- life

    async def make_partitions(self) -> Micros:
        """Make the coming months where they are missing; return up to when there are some. Call it once a day."""
        return await self._writer.make_partitions(None, MONTHS_AHEAD)

    async def close(self) -> None:
        """Finish what is under way and end every connection."""
        for pool in self._pools:
            await pool.close()
