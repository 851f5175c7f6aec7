"""The store as one user sees it: what a block hides is not there.

Guarantees: everything that a user reads, on a socket or over HTTP, is read here, and shown by the newest that is known of
the reader when it is handed out; only the app's backend reads the store itself. Raises the store's `StoreUnavailable`:
where it is not known whom the reader has blocked, nothing is shown.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from protocol.from_server import MatchSummary, SyncedMatch
from protocol.ids import MatchId, Micros, UserId
from protocol.limits import PAGE_MAX_BYTES, RESUME_ENTRIES_MAX
from server.core.calls import CallRow
from server.core.log import Cursors, EntryPage, Refused, SummaryPage, SyncResult
from server.core.people import Person, Unread, entries_for, is_group, receipts_for, summary_for
from server.people import People
from server.ports import Store


class Arrival(Struct, frozen=True):
    """What a user who connects is told: their newest matches, as they see them, what is kept of them, and the live calls of
    all their matches.
    """

    page: SummaryPage
    person: Person
    calls: tuple[CallRow, ...] = ()


async def arrivals(store: Store, users: Sequence[UserId], limit: int) -> Sequence[Arrival]:
    """Read the newest `limit` matches of each user, and what else they are told, many users at once."""
    found = await store.arriving(users, limit)
    return [
        Arrival(await _shown(store, user, person, page), person, calls)
        for user, person, page, calls in zip(users, found.people, found.pages, found.calls, strict=True)
    ]


async def _shown(store: Store, user: UserId, person: Person, page: SummaryPage) -> SummaryPage:
    """Return a page of matches as `person` sees it."""
    if not person.apart:
        return page
    hidden: Mapping[MatchId, int] = {}
    if person.blocked:
        groups = [each for each in page.matches if each.unread and is_group(len(each.members))]
        hidden = await store.hidden_unread(user, [_unread(user, each) for each in groups]) if groups else {}
    return SummaryPage(tuple(summary_for(person, each, hidden) for each in page.matches), page.complete)


def _unread(user: UserId, summary: MatchSummary) -> Unread:
    (read,) = (member.read for member in summary.members if member.user == user)
    return Unread(summary.match, read, summary.last_seq)


class Views:
    """Reads for users; one for each node."""

    __slots__ = ("_people", "_store")

    def __init__(self, store: Store, people: People) -> None:
        self._store = store
        self._people = people

    async def summaries(self, user: UserId, before: Micros | None, limit: int) -> SummaryPage:
        """`Store.summaries`."""
        page = await self._store.summaries(user, before, limit)
        person = await self._people.read(user)
        shown = await _shown(self._store, user, person, page)
        # Heard while the hidden ones were counted: once more, with that.
        now = self._people.person(user)
        return shown if now is None or now.blocks == person.blocks else await self.summaries(user, before, limit)

    async def history(
        self, match: MatchId, user: UserId, *, before: Micros | None, after: Micros | None, limit: int
    ) -> EntryPage | Refused:
        """`Store.history`."""
        page = await self._store.history(match, user, before=before, after=after, limit=limit)
        person = await self._people.read(user)
        if isinstance(page, Refused) or not person.blocked:
            return page
        (members,) = await self._store.members((match,))
        person = self._people.person(user) or person
        return EntryPage(entries_for(person, page.entries, len(members)), page.complete)

    async def sync(self, user: UserId, cursors: Cursors) -> SyncResult:
        """`Store.sync`, as much of it as one answer may bring."""
        result = await self._store.sync(user, cursors, entries=RESUME_ENTRIES_MAX, budget_bytes=PAGE_MAX_BYTES)
        person = await self._people.read(user)
        if not person.apart:
            return result
        matches = result.matches
        if person.blocked:
            sizes = [len(members) for members in await self._store.members(tuple(matches))]
            person = self._people.person(user) or person
            matches = {
                match: _synced_for(person, synced, size)
                for (match, synced), size in zip(matches.items(), sizes, strict=True)
            }
        return SyncResult(matches, receipts_for(person, result.receipts))


def _synced_for(person: Person, synced: SyncedMatch, members: int) -> SyncedMatch:
    return structs.replace(synced, entries=entries_for(person, synced.entries, members))
