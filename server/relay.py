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
from server.core.log import Refused
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

Tell = Callable[[Sequence[UserId], bytes], None]


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
        """Tell again, in the next round, what was committed since then."""
        self._parts.telemetry.repairs += 1
        self._repair_since = since if self._repair_since is None else min(since, self._repair_since)

    def routed(self, route_ids: Sequence[int]) -> None:
        """Note, in the next round, that these commits are on their way."""
        self._routed.extend(route_ids)

    def bus_is(self, *, alive: bool) -> None:
        """Let clients know when other nodes cannot be heard, and trust no cache that others may have outdated."""
        if alive == self._is_alive:
            return
        self._is_alive = alive
        self._parts.hub.forget_members()
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
                await self._round(rounds)
            except StoreUnavailable as unavailable:
                _log.debug("relay.store_unavailable", extra=event(reason=unavailable.reason))

    async def _round(self, rounds: int) -> None:
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
            since = self._repair_since
            for route in await routes.routes_since(since):
                await self._tell(route, self._parts.hub.push)
            if self._repair_since == since:
                self._repair_since = None
        if self._is_alive:
            await self._claim(routes)
        if rounds % EXPIRE_EVERY == 0:
            await routes.expire_routed()

    async def _claim(self, routes: RouteLog) -> None:
        """Route what its own node could not: it died, or it lost the bus."""

        def everywhere(users: Sequence[UserId], framed: bytes) -> None:
            self._parts.hub.push(users, framed)
            self._parts.bus.route(users, framed)

        for route in await routes.claim_unrouted(self._parts.node, UNROUTED_AFTER_S, CLAIMED_MAX):
            await self._tell(route, everywhere)
            self._parts.bus.batch_ended(route.route_id)

    async def _tell(self, route: Route, tell: Tell) -> None:
        for span in route.spans:
            page = await self._parts.store.history(
                span.match, None, before=None, after=Micros(span.first_at - 1), limit=PAGE_MAX
            )
            if isinstance(page, Refused):
                continue
            (members,) = await self._parts.store.members((span.match,))
            if not page.complete:  # Too much has happened since: the store answers each of them alone.
                tell(members, frame(Gap(span.match)))
                continue
            for entry, viewers in reversed(_with_viewers(page.entries, members)):
                if entry.created_at <= span.last_at:
                    await self._tell_entry(entry, viewers, tell)

    async def _tell_entry(self, entry: Entry, viewers: Sequence[UserId], tell: Tell) -> None:
        if isinstance(entry, MembersChanged):
            await self._tell_joined(entry, tell)
        tell(viewers, frame(entry))
        if isinstance(entry, MembersChanged) and entry.left:
            tell(entry.left, frame(MatchLeft(entry.match)))

    async def _tell_joined(self, entry: MembersChanged, tell: Tell) -> None:
        if not entry.joined:
            return
        pages = await self._parts.store.welcome(entry.joined, MATCHES_PAGE_MAX)
        for user, page in zip(entry.joined, pages, strict=True):
            for summary in page.matches:
                if summary.match == entry.match:
                    tell((user,), frame(made(summary)))


def _with_viewers(entries: Sequence[Entry], members: Sequence[UserId]) -> list[tuple[Entry, Sequence[UserId]]]:
    """Return, newest first, each entry with those who may see it: who was a member then, and who left by it."""
    seen: list[tuple[Entry, Sequence[UserId]]] = []
    now = dict.fromkeys(members)
    for entry in reversed(entries):
        if not isinstance(entry, MembersChanged):
            seen.append((entry, tuple(now)))
            continue
        now.update(dict.fromkeys(entry.left))
        seen.append((entry, tuple(now)))
        for user in entry.joined:
            now.pop(user, None)
    return seen
