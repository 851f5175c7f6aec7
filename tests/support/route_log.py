"""A memory store that several nodes share, with the record of what each commit left to be told."""

from collections.abc import Sequence

from protocol.from_server import Entry
from protocol.ids import MatchId, Micros, Seq, UserId
from server.adapters.memory.store import MemoryStore
from server.core.calls import CallChange, CallChanged, CallStale
from server.core.log import Append, Appended, MembersSet, Refused
from server.core.routes import Route, Span
from server.ports import Clock, StoreUnavailable


class RoutedStore(MemoryStore):
    """Keeps routes for as long as it lives. While `is_away` it answers nothing that the rounds of a relay ask."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._time = clock
        # By id: the route, when it last changed hands, and whether it was routed.
        self._routes: dict[int, tuple[Route, Micros, bool]] = {}
        self.is_away = False
        self.expired = 0
        # What it was told of other nodes' entries; None where it had to forget.
        self.seen: list[tuple[MatchId, Seq, tuple[UserId, ...]] | None] = []

    @property
    def unrouted(self) -> list[int]:
        """The ids of those that nobody has routed."""
        return [number for number, (_, _, routed) in self._routes.items() if not routed]

    async def append_routed(
        self, batch: Sequence[Append], node: str
    ) -> tuple[Sequence[Appended | Refused], Sequence[int]]:
        """Store messages and their route."""
        outcomes = await self.append(batch)
        new = [each.message for each in outcomes if isinstance(each, Appended) and not each.duplicate]
        return outcomes, self._note(node, new)

    async def set_members_routed(
        self, match: MatchId, members: tuple[UserId, ...], node: str
    ) -> tuple[MembersSet | Refused, Sequence[int]]:
        """Change members, and keep the route."""
        outcome = await self.set_members(match, members)
        entry = outcome.entry if isinstance(outcome, MembersSet) else None
        return outcome, self._note(node, [entry] if entry else [])

    async def change_call_routed(self, change: CallChange, node: str) -> tuple[CallChanged | CallStale, Sequence[int]]:
        """Change a call, and keep the route of its entry."""
        changed = await self.change_call(change)
        entry = changed.entry if isinstance(changed, CallChanged) else None
        return changed, self._note(node, [entry] if entry else [])

    async def mark_routed(self, ids: Sequence[int]) -> None:
        """Note that these are on their way."""
        self._answer()
        for number in ids:
            route, _, _ = self._routes[number]
            self._routes[number] = (route, self._time.micros(), True)

    async def claim_unrouted(self, node: str, older_than_s: float, limit: int) -> Sequence[Route]:
        """Take over what nobody routed for so long."""
        self._answer()
        old = self._time.micros() - older_than_s * 1_000_000
        found = [number for number in self.unrouted if self._routes[number][1] <= old][:limit]
        for number in found:
            route = Route(number, node, self._routes[number][0].spans)
            self._routes[number] = (route, self._time.micros(), False)
        return [self._routes[number][0] for number in found]

    async def routes_within(self, age_s: float) -> Sequence[Route]:
        """Read what was stored, claimed or routed within the last seconds."""
        self._answer()
        since = self._time.micros() - age_s * 1_000_000
        return [route for route, at, _ in self._routes.values() if at >= since]

    async def expire_routed(self) -> int:
        """Count how often it was asked."""
        self.expired += 1
        return 0

    def saw(self, match: MatchId, seq: Seq, changed: Sequence[UserId] = ()) -> None:
        """Keep for the test what a store with a replica would know."""
        self.seen.append((match, seq, tuple(changed)))

    def forget(self) -> None:
        """Know nothing any more."""
        self.seen.append(None)

    def _note(self, node: str, entries: Sequence[Entry]) -> Sequence[int]:
        if not entries:
            return ()
        number = len(self._routes) + 1
        spans: dict[MatchId, Span] = {}
        for entry in entries:
            first = spans.get(entry.match)
            spans[entry.match] = Span(entry.match, first.first_at if first else entry.created_at, entry.created_at)
        self._routes[number] = (Route(number, node, tuple(spans.values())), self._time.micros(), False)
        return (number,)

    def _answer(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away for the test")
