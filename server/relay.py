"""Between this node and the others: what comes over the bus is delivered here, what may have been missed is told again.

The bus may lose; the store does not. Every commit leaves a route, and a route that may not have arrived is told again
from the log, to those whom each entry concerned when it was written; clients drop what they have.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from protocol.from_server import Degraded, Entry, Gap, MatchLeft, MembersChanged, Presence
from protocol.ids import Micros, UserId
from protocol.limits import MATCHES_PAGE_MAX, PAGE_MAX
from server.core.log import MatchState, Refused
from server.core.notices import MembersNews, Notice
from server.core.routes import Route
from server.delivery import Delivery, made
from server.hub import Hub, frame
from server.ports import Bus, Key, RouteLog, Store, StoreUnavailable
from server.telemetry import Telemetry, event

_log = logging.getLogger(__name__)

ROUND_S: Final = 1.0
UNROUTED_AFTER_S: Final = 15.0
# A commit that nobody has routed for so long is taken over by whichever node sees it first.
CLAIMED_MAX: Final = 100
EXPIRE_EVERY: Final = 30
# Rounds between two looks for routes that nobody will ask for any more.

Push = tuple[Sequence[UserId], bytes]


class RelayParts(Struct, frozen=True):
    """What the relay works with; without `routes` the store is this node's alone and nothing is ever missed."""

    bus: Bus
    hub: Hub
    delivery: Delivery
    store: Store
    routes: RouteLog | None
    node: str
    apply: Callable[[Notice], None]
    members_changed: Callable[[Iterable[UserId]], None]
    telemetry: Telemetry


class Relay:
    """The bus's events, and the rounds that keep its promises. `run` for as long as the node lives."""

    def __init__(self, parts: RelayParts) -> None:
        self._parts = parts
        self._is_alive = True
        self._routed: list[int] = []
        self._repair_since: Micros | None = None

    # ---- what the bus tells

    def deliver(self, users: Sequence[UserId], frame: bytes, key: Key | None) -> None:
        """Hand over what another node routed to connections here."""
        if key is None:
            self._parts.hub.push(users, frame)
        else:
            self._parts.hub.push_latest(users, key, frame)

    def notice(self, notice: Notice) -> None:
        """Do what another node announced."""
        if isinstance(notice, MembersNews):
            self._parts.hub.set_members(notice.match, notice.members)
            if notice.left:
                self._parts.members_changed((*notice.left, *notice.members))
        else:
            self._parts.apply(notice)

    def presence(self, changes: Sequence[Presence]) -> None:
        """Tell those here who watch."""
        for change in changes:
            self._parts.delivery.presence(change)

    def repair(self, since: Micros) -> None:
        """Tell again, in the next round, what was committed since then; news of members may have been missed, too."""
        self._parts.telemetry.repairs += 1
        self._parts.hub.forget_members()
        self._repair_from(since)

    def routed(self, route_ids: Sequence[int]) -> None:
        """Note, in the next round, that these commits are on their way."""
        self._routed.extend(route_ids)

    def bus_is(self, *, alive: bool) -> None:
        """Let clients know when other nodes cannot be heard, and trust no cache that others may have outdated."""
        if alive == self._is_alive:
            return
        self._is_alive = alive
        self._parts.hub.hears_others(hears=alive)
        _log.warning("bus.alive" if alive else "bus.away", extra=event(reason=self._parts.bus.trouble))
        framed = frame(Degraded(active=not alive))
        for recipient in self._parts.hub:
            recipient.send(framed)

    # ---- rounds

    async def run(self) -> None:
        """Mark, repair, claim and forget, once a second, until cancelled."""
        rounds = 0
        while True:
            await asyncio.sleep(ROUND_S)
            rounds += 1
            try:
                await self.round(rounds)
            except StoreUnavailable as unavailable:
                _log.debug("relay.store_unavailable", extra=event(reason=unavailable.reason))

    async def round(self, rounds: int) -> None:
        """Do the round with this number; raise `StoreUnavailable`, and what was not done is done in the next one."""
        routes = self._parts.routes
        if routes is None:
            return
        if self._routed:
            routed, self._routed = self._routed, []
            try:
                await routes.mark_routed(routed)
            except StoreUnavailable:
                self._routed = routed + self._routed
                raise
        if self._repair_since is not None:
            await self._repair(routes, self._repair_since)
        if self._is_alive:
            await self._claim(routes)
        if rounds % EXPIRE_EVERY == 0:
            await routes.expire_routed()

    async def _repair(self, routes: RouteLog, since: Micros) -> None:
        self._repair_since = None  # One that is asked for meanwhile is another one: it may have missed later commits.
        try:
            for route in await routes.routes_since(since):
                for users, framed in await self._told(route):
                    self._parts.hub.push(users, framed)
        except StoreUnavailable:
            self._repair_from(since)
            raise

    def _repair_from(self, since: Micros) -> None:
        self._repair_since = since if self._repair_since is None else min(since, self._repair_since)

    async def _claim(self, routes: RouteLog) -> None:
        """Route what its own node could not: it died, or it lost the bus."""
        for route in await routes.claim_unrouted(self._parts.node, UNROUTED_AFTER_S, CLAIMED_MAX):
            # In one turn, so that none of these frames counts as another commit's.
            for users, framed in await self._told(route):
                self._parts.hub.push(users, framed)
                self._parts.bus.route(users, framed)
            self._parts.bus.batch_ended(route.route_id)

    async def _told(self, route: Route) -> list[Push]:
        """Read what has to be told of a commit, and to whom, in order."""
        pushes: list[Push] = []
        for span in route.spans:
            # Before the entries: those after the state's last one say themselves who came and went.
            state = await self._parts.store.match(span.match)
            page = await self._parts.store.history(
                span.match, None, before=None, after=Micros(span.first_at - 1), limit=PAGE_MAX
            )
            if state is None or isinstance(page, Refused):
                continue
            if page.complete:
                for entry, viewers in with_viewers(page.entries, state):
                    if entry.created_at <= span.last_at:
                        pushes += await self._of_entry(entry, viewers)
            else:  # Too much has happened since: the store answers each of them alone.
                gone = [user for entry in page.entries if isinstance(entry, MembersChanged) for user in entry.left]
                pushes.append((tuple(dict.fromkeys((*state.members, *gone))), frame(Gap(span.match))))
        return pushes

    async def _of_entry(self, entry: Entry, viewers: Sequence[UserId]) -> list[Push]:
        if not isinstance(entry, MembersChanged):
            return [(viewers, frame(entry))]
        pushes = await self._of_joined(entry) if entry.joined else []
        pushes.append((viewers, frame(entry)))
        if entry.left:
            self._parts.members_changed((*entry.left, *entry.members))
            pushes.append((entry.left, frame(MatchLeft(entry.match))))
        return pushes

    async def _of_joined(self, entry: MembersChanged) -> list[Push]:
        pages = await self._parts.store.welcome(entry.joined, MATCHES_PAGE_MAX)
        return [
            ((user,), frame(made(summary)))
            for user, page in zip(entry.joined, pages, strict=True)
            for summary in page.matches
            if summary.match == entry.match
        ]


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
