"""What has to be told of a commit that was made some time ago, and to whom: read again from the log.

Each entry goes to those whom it concerned when it was written, and in the order of the log.
"""

from collections.abc import Sequence

from msgspec import Struct

from protocol.calls import CallEntry, CallId
from protocol.from_server import Entry, Gap, MatchLeft, MembersChanged
from protocol.ids import Micros, UserId
from protocol.limits import MATCHES_PAGE_MAX, PAGE_MAX
from server.core.log import EntryPage, MatchState, Refused
from server.core.notices import CallNews, MembersNews
from server.core.people import NOBODY, author_of, is_group, skip_of
from server.core.routes import Route, Span
from server.delivery import made
from server.hub import frame
from server.ports import Store
from server.views import arrivals

Push = tuple[Sequence[UserId], bytes]


class Told(Struct, frozen=True):
    """What a commit is told by: frames, and what every node has to know of members."""

    pushes: Sequence[Push]
    news: Sequence[MembersNews]
    # That its entries tell of.
    calls: Sequence[CallId] = ()


class CallStates(Struct, frozen=True):
    """How calls are: frames for those whom they concern, and what every node has to know of them."""

    pushes: Sequence[Push]
    news: Sequence[CallNews]


class Retelling:
    """Reads `store`; raises its `StoreUnavailable`."""

    __slots__ = ("_store",)

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, route: Route) -> Told:
        """Read what has to be told of a commit, and to whom, in order."""
        pushes: list[Push] = []
        news: list[MembersNews] = []
        calls: list[CallId] = []
        for span in route.spans:
            # Before the entries: those after the state's last one say themselves who came and went.
            state = await self._store.match(span.match)
            page = await self._store.history(
                span.match, None, before=None, after=Micros(span.first_at - 1), limit=PAGE_MAX, folded=False
            )
            if state is None or isinstance(page, Refused):
                continue
            pushes += await self._of_span(span, state, page) if page.complete else _of_many(state, page)
            news += [_news_of(entry) for entry in page.entries if isinstance(entry, MembersChanged)]
            calls += [entry.call for entry in page.entries if isinstance(entry, CallEntry)]
        return Told(pushes, news, calls)

    async def _of_span(self, span: Span, state: MatchState, page: EntryPage) -> list[Push]:
        pushes: list[Push] = []
        told = [each for each in with_viewers(page.entries, state) if each[0].created_at <= span.last_at]
        # Only in groups is anything hidden.
        found = [author_of(entry) for entry, viewers in told if is_group(len(viewers))]
        authors = tuple(dict.fromkeys(author for author in found if author))
        people = dict(zip(authors, await self._store.people(authors), strict=True)) if authors else {}
        for entry, viewers in told:
            author = people.get(author_of(entry) or UserId(""), NOBODY) if is_group(len(viewers)) else NOBODY
            hidden = [viewer for viewer in viewers if viewer in author.blocked_by]
            if hidden:
                viewers = [viewer for viewer in viewers if viewer not in hidden]
                pushes.append((hidden, frame(skip_of(entry))))
            pushes += await self._of_entry(entry, viewers)
        return pushes

    async def _of_entry(self, entry: Entry, viewers: Sequence[UserId]) -> list[Push]:
        if not isinstance(entry, MembersChanged):
            return [(viewers, frame(entry))]
        pushes = await self._of_joined(entry) if entry.joined else []
        pushes.append((viewers, frame(entry)))
        if entry.left:
            pushes.append((entry.left, frame(MatchLeft(entry.match))))
        return pushes

    async def _of_joined(self, entry: MembersChanged) -> list[Push]:
        found = await arrivals(self._store, entry.joined, MATCHES_PAGE_MAX)
        return [
            ((user,), frame(made(summary)))
            for user, arrival in zip(entry.joined, found, strict=True)
            for summary in arrival.page.matches
            if summary.match == entry.match
        ]


def _of_many(state: MatchState, page: EntryPage) -> list[Push]:
    """Too much has happened since: the store answers each of them alone."""
    gone = [user for entry in page.entries if isinstance(entry, MembersChanged) for user in entry.left]
    return [(tuple(dict.fromkeys((*state.members, *gone))), frame(Gap(state.match)))]


def _news_of(entry: MembersChanged) -> MembersNews:
    return MembersNews(entry.match, entry.seq, entry.members, entry.joined, entry.left)


def with_viewers(entries: Sequence[Entry], state: MatchState) -> list[tuple[Entry, Sequence[UserId]]]:
    """Return each entry with those who may see it: who was a member then, and who left by it.

    `entries` are oldest first and without gaps; `state` is the match's, read before them.
    """
    known = sum(entry.seq <= state.last_seq for entry in entries)
    seen: list[tuple[Entry, Sequence[UserId]]] = []
    now = dict.fromkeys(state.members)
    for entry in reversed(entries[:known]):
        if isinstance(entry, MembersChanged):
            now.update(dict.fromkeys(entry.left))
        seen.append((entry, tuple(now)))
        if isinstance(entry, MembersChanged):
            for user in entry.joined:
                now.pop(user, None)
    seen.reverse()
    members: Sequence[UserId] = state.members
    for entry in entries[known:]:
        if isinstance(entry, MembersChanged):
            members = entry.members
            seen.append((entry, (*members, *entry.left)))
        else:
            seen.append((entry, members))
    return seen
