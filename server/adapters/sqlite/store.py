"""The embedded store: one SQLite file, one thread that writes it, two that read it.

`await SqliteStore.open(path, clock)` is the way in; it raises `StoreUnusable` with one line for the operator.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Final

from protocol.calls import CallId
from protocol.ids import MatchId, Micros, UserId
from server.adapters.sqlite.file import open_to_read, open_to_write
from server.adapters.sqlite.read import Reader
from server.adapters.sqlite.thread import SqliteThread
from server.adapters.sqlite.write import Writer
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
from server.ports import Clock

READERS: Final = 2


class SqliteStore:
    """The `Store`, `Calls` and `Revocations` ports on one file."""

    __slots__ = ("_clock", "_epoch", "_next_reader", "_readers", "_writer")

    def __init__(
        self, writer: SqliteThread[Writer], readers: Sequence[SqliteThread[Reader]], epoch: str, clock: Clock
    ) -> None:
        self._clock = clock
        self._writer = writer
        self._readers = readers
        self._next_reader = cycle(readers)
        self._epoch = epoch

    @classmethod
    async def open(cls, path: Path, clock: Clock, *, readers: int = READERS) -> "SqliteStore":
        """Open or make the store at `path`; the running loop is the only one that may use it."""
        writer = SqliteThread("store-writer", lambda: Writer(open_to_write(path, clock.random_id()), clock))
        threads = [SqliteThread(f"store-reader-{n}", lambda: Reader(open_to_read(path))) for n in range(readers)]
        try:
            await writer.start()
            for thread in threads:
                await thread.start()
            return cls(writer, threads, await writer.run(Writer.epoch), clock)
        except BaseException:
            for thread in threads:
                thread.give_up()
            writer.give_up()
            raise

    @property
    def epoch(self) -> str:
        """Made with the file."""
        return self._epoch

    async def append(self, batch: Sequence[Append]) -> Sequence[Appended | Refused]:
        """Store messages in this order, one commit."""
        return await self._writer.run(lambda writer: writer.append(batch))

    async def set_members(self, match: MatchId, members: tuple[UserId, ...]) -> MembersSet | Refused:
        """Make, change or end a match."""
        return await self._writer.run(lambda writer: writer.set_members(match, members))

    async def mark(self, batch: Sequence[Mark]) -> Sequence[Marked | None]:
        """Move members' cursors forward, one commit."""
        return await self._writer.run(lambda writer: writer.mark(batch))

    async def match(self, match: MatchId) -> MatchState | None:
        """Read a match as the backend sees it."""
        return await self._reader().run(lambda reader: reader.match(match))

    async def members(self, matches: Sequence[MatchId]) -> Sequence[tuple[UserId, ...]]:
        """Read the present members of each match."""
        return await self._reader().run(lambda reader: reader.members(matches))

    async def partners(self, user: UserId, among: Sequence[UserId]) -> frozenset[UserId]:
        """Tell who of `among` shares a present match with `user`."""
        return await self._reader().run(lambda reader: reader.partners(user, among))

    async def welcome(self, users: Sequence[UserId], limit: int) -> Sequence[SummaryPage]:
        """Read the newest `limit` matches of each user, all in one go."""
        return await self._reader().run(lambda reader: reader.summaries(users, END, limit))

    async def summaries(self, user: UserId, before: Micros | None, limit: int) -> SummaryPage:
        """Read one page of the user's matches."""
        until = END if before is None else before
        (page,) = await self._reader().run(lambda reader: reader.summaries((user,), until, limit))
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
        between = (before, after)
        return await self._reader().run(lambda reader: reader.history(match, viewer, between, limit, folded=folded))

    async def sync(self, user: UserId, cursors: Cursors, *, entries: int, budget_bytes: int) -> SyncResult:
        """Read what came after each cursor."""
        return await self._reader().run(lambda reader: reader.sync(user, cursors, entries, budget_bytes))

    # ---- calls

    async def change_call(self, change: CallChange) -> CallChanged | CallStale:
        """Make or change a call and append its entry, one commit."""
        return await self._writer.run(lambda writer: writer.change_call(change))

    async def call_view(
        self, *, call: CallId | None = None, match: MatchId | None = None, caller: UserId | None, since_us: int
    ) -> CallView:
        """Read a call and what a decision about it needs."""
        now = self._clock.micros()
        return await self._reader().run(lambda reader: reader.call_view(call, match, caller, now, since_us))

    async def live_calls(self, users: Sequence[UserId]) -> Sequence[tuple[CallRow, ...]]:
        """Read the live calls of the users' matches, all in one go."""
        return await self._reader().run(lambda reader: reader.live_calls(users))

    async def claim_due_calls(self, claim_us: int, limit: int) -> CallRows:
        """Take over calls whose deadline has passed."""
        return await self._writer.run(lambda writer: writer.claim_due_calls(claim_us, limit))

    async def orphaned_calls(self, node: str, silent_us: int, limit: int) -> OrphanedCalls:
        """Read calls with seats on dead nodes."""
        return await self._writer.run(lambda writer: writer.orphaned_calls(node, silent_us, limit))

    async def list_calls(
        self, *, user: UserId | None, match: MatchId | None, before: CallId | None, limit: int
    ) -> CallsPage:
        """Read a page of calls."""
        return await self._reader().run(lambda reader: reader.list_calls(user, match, before, limit))

    async def set_call_settings(self, user: UserId, settings: CallSettings) -> None:
        """Keep how the user wants to be called, one commit."""
        await self._writer.run(lambda writer: writer.set_call_settings(user, settings))

    async def call_settings(self, user: UserId) -> CallSettings:
        """Read how the user wants to be called."""
        return await self._reader().run(lambda reader: reader.call_settings(user))

    # ---- revocations
    async def set_private_read(self, match: MatchId, user: UserId, *, is_on: bool) -> PrivateReadSet | None:
        """Show the others no more, or again, how far the member reads."""
        return await self._writer.run(lambda writer: writer.set_private_read(match, user, is_on=is_on))

    async def people(self, users: Sequence[UserId]) -> Sequence[Person]:
        """Read what is kept of each user."""
        return await self._reader().run(lambda reader: reader.people(users))

    async def arriving(self, users: Sequence[UserId], limit: int) -> Arrivals:
        """Read what users who connect are told; one thread is woken for all of it."""
        return await self._reader().run(
            lambda reader: Arrivals(reader.summaries(users, END, limit), reader.people(users), reader.live_calls(users))
        )

    async def set_block(self, user: UserId, other: UserId, *, is_on: bool) -> bool | Refused:
        """Block, or take it back."""
        return await self._writer.run(lambda writer: writer.set_block(user, other, is_on=is_on))

    async def hidden_unread(self, user: UserId, among: Sequence[Unread]) -> Mapping[MatchId, int]:
        """Count unread messages and missed calls of those whom the user blocked."""
        return await self._reader().run(lambda reader: reader.hidden_unread(user, among))

    async def set_presence(self, user: UserId, wish: PresenceWish) -> Person | Refused:
        """Change how the user is shown."""
        return await self._writer.run(lambda writer: writer.set_presence(user, wish))

    async def revoke(self, revocation: Revocation) -> None:
        """Keep a revocation, one commit."""
        await self._writer.run(lambda writer: writer.revoke(revocation))

    async def revocations(self, position: int) -> RevocationPage:
        """Read what was kept after `position`."""
        return await self._reader().run(lambda reader: reader.revocations(position))

    async def check(self) -> None:
        """Write a row and remove it, one commit."""
        await self._writer.run(Writer.check)

    async def close(self) -> None:
        """Finish what is under way and let the file go; the readers first, so that the writer can write the log back."""
        for reader in self._readers:
            await reader.stop()
        await self._writer.stop()

    def _reader(self) -> SqliteThread[Reader]:
        return next(self._next_reader)
