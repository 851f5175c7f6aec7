"""Stores to test: each kind with a clock that stands still, and short ways to fill and read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Raw, Struct

from protocol.from_server import Entry
from protocol.ids import ClientId, Cursor, MatchId, Micros, Seq, UserId
from server.adapters.memory.store import MemoryStore
from server.adapters.sqlite.store import SqliteStore
from server.core.log import Append, Appended, EntryPage, Marked, MatchState, MembersSet, Refused, SyncResult
from server.ports import Store
from tests.support.clock import FakeClock

STORES: Final = ("memory", "sqlite")
M: Final = MatchId("m")
ALICE, BOB, CAROL, DAVE = (UserId(name) for name in ("alice", "bob", "carol", "dave"))
BUDGET_BYTES: Final = 1_000_000


async def open_store(kind: str, folder: Path, clock: FakeClock) -> Store:
    """Open an empty store of `kind`, or what the same folder held before."""
    if kind == "memory":
        return MemoryStore(clock)
    return await SqliteStore.open(folder / "store.sqlite3", clock)


def post(  # the parts of a message, most of which most tests leave alone
    client_id: str, sender: str = ALICE, match: str = M, *, text: str | None = None, reply_to: int | None = None
) -> Append:
    """Make a message to be stored; its text is its client_id unless told."""
    body = Raw(b'{"text":"%b"}' % (client_id if text is None else text).encode("utf-8", "replace"))
    return Append(
        MatchId(match), UserId(sender), ClientId(client_id), body, None if reply_to is None else Seq(reply_to)
    )


class World(Struct):
    """A store and its clock. Its methods expect success and unpack it."""

    store: Store
    clock: FakeClock

    async def make(self, *members: str, match: str = M) -> MembersSet:
        made = await self.store.set_members(MatchId(match), tuple(map(UserId, members)))
        assert isinstance(made, MembersSet)
        return made

    async def post(self, *appends: Append) -> list[Appended]:
        outcomes = await self.store.append(appends)
        return [outcome for outcome in outcomes if isinstance(outcome, Appended)]

    async def fill(self, count: int, sender: str = ALICE, match: str = M, text: str = "") -> list[Appended]:
        """Post `count` messages a millisecond apart."""
        stored: list[Appended] = []
        for number in range(count):
            self.clock.advance(0.001)
            stored += await self.post(post(f"{match}-{sender}-{self.clock.wall_us}-{number}", sender, match, text=text))
        assert len(stored) == count
        return stored

    async def state(self, match: str = M) -> MatchState:
        state = await self.store.match(MatchId(match))
        assert state is not None
        return state

    async def page(
        self,
        viewer: str | None = None,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 200,
        match: str = M,
    ) -> EntryPage:
        page = await self.read(viewer, before=before, after=after, limit=limit, match=match)
        assert isinstance(page, EntryPage)
        return page

    async def read(
        self,
        viewer: str | None = None,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 200,
        match: str = M,
    ) -> EntryPage | Refused:
        return await self.store.history(
            MatchId(match),
            None if viewer is None else UserId(viewer),
            before=None if before is None else Micros(before),
            after=None if after is None else Micros(after),
            limit=limit,
        )

    async def sync_all(self, match: str = M) -> list[Entry]:
        """Read the whole log."""
        entries: list[Entry] = []
        while True:
            page = await self.page(after=entries[-1].created_at if entries else 0, match=match)
            entries += page.entries
            if page.complete:
                return entries

    async def sync(
        self, user: str, cursors: dict[str, tuple[int, int]], *, entries: int = 200, budget_bytes: int = BUDGET_BYTES
    ) -> SyncResult:
        typed: dict[MatchId, Cursor] = {MatchId(m): (Seq(seq), Micros(at)) for m, (seq, at) in cursors.items()}
        return await self.store.sync(UserId(user), typed, entries=entries, budget_bytes=budget_bytes)


def seqs(entries: Sequence[Entry]) -> list[int]:
    """List the places of `entries`."""
    return [int(entry.seq) for entry in entries]


def stored(outcome: Appended | Refused) -> Appended:
    assert isinstance(outcome, Appended)
    return outcome


def moved(marked: Marked | None) -> Marked:
    assert marked is not None
    return marked
