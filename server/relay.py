"""Between this node and the others: what comes over the bus is delivered here, what may have been missed is told again.

The bus may lose; the store does not. Every commit leaves a route, and a route that may not have arrived is told again
from the log, to those whom each entry concerned when it was written; clients drop what they have. Routes are kept for
two minutes: who may have missed older ones is sent away to come back and resume.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct, UnsetType

from protocol.calls import CallId
from protocol.close_codes import CloseCode
from protocol.from_server import Degraded, Presence
from protocol.ids import MatchId, Seq, UserId
from server.core.latest import TYPING, Key
from server.core.notices import Blocked, CallNews, MembersNews, Notice, PersonNews
from server.core.routes import ROUTES_KEPT_S, Route
from server.core.sealed import Sealed, is_sealed, unseal
from server.delivery import TAKEN_BACK, Delivery
from server.hub import Hub, Recipient, frame
from server.outbox import payload_of
from server.people import People
from server.ports import Bus, RouteLog, Store, StoreUnavailable
from server.retelling import CallStates, Retelling, Told
from server.telemetry import Telemetry, event

_log = logging.getLogger(__name__)

ROUND_S: Final = 1.0
UNROUTED_AFTER_S: Final = 15.0
# A commit that nobody has routed for so long is taken over by whichever node sees it first.
CLAIMED_MAX: Final = 100
EXPIRE_EVERY: Final = 30
# Rounds between two looks for routes that nobody will ask for any more.
COME_BACK_PER_S: Final = 200
STAY_S: Final = 10.0
# So many connections are sent away to resume, and then so long until those that stayed are closed.
REASON: Final = "resume: news of other nodes may have been missed"


class _Place(Struct):
    """What tells of a frame that it is an entry, and which."""

    match: MatchId | UnsetType = msgspec.UNSET
    seq: Seq | UnsetType = msgspec.UNSET


_place: Final = msgspec.json.Decoder(_Place).decode


class CallsElsewhere(Protocol):
    """The node's calls, as far as other nodes matter to them."""

    def heard(self, news: CallNews) -> None:
        """Another node changed a call."""

    def hears_others(self, *, hears: bool) -> None:
        """News of other nodes come, or do not."""

    def forget(self) -> None:
        """Some news may have been missed."""

    def removed(self, match: MatchId, users: Iterable[UserId]) -> None:
        """These users may not take part in a call of the match any more."""

    @property
    def here(self) -> Sequence[CallId]:
        """The calls in which connections of this node sit."""

    async def states(self, calls: Sequence[CallId]) -> CallStates:
        """Read how these calls are, for everybody whom they concern; raise `StoreUnavailable`."""


class RelayParts(Struct, frozen=True):
    """What the relay works with; without `routes` the store is this node's alone and nothing is ever missed.

    `learns`: the store has to know which entries other nodes stored, because a replica answers some reads.
    """

    bus: Bus
    hub: Hub
    people: People
    delivery: Delivery
    calls: CallsElsewhere
    store: Store
    routes: RouteLog | None
    node: str
    apply: Callable[[Notice], None]
    load_revocations: Callable[[], Awaitable[None]]
    members_changed: Callable[[Iterable[UserId]], None]
    going_away: Callable[[int], None]
    now: Callable[[], float]
    telemetry: Telemetry
    learns: bool = False


class Relay:
    """The bus's events, and the rounds that keep its promises. `run` for as long as the node lives."""

    def __init__(self, parts: RelayParts) -> None:
        self._parts = parts
        self._retelling = Retelling(parts.store)
        self._is_alive = True
        self._routed: list[int] = []
        # Monotonic seconds; who was sent away to resume, and until when they may stay.
        self._repair_since: float | None = None
        self._sent_away: tuple[Recipient, ...] = ()
        self._stay_until = 0.0

    # ---- what the bus tells

    def deliver(self, users: Sequence[UserId], frame: bytes, key: Key | None) -> None:
        """Hand over what another node routed to connections here."""
        if key is not None:
            self._deliver_latest(users, frame, key)
            return
        if is_sealed(frame):
            self._deliver_sealed(users, unseal(frame))
            return
        if self._parts.learns:
            self._learn(frame)
        self._parts.delivery.heard(users, frame)
        self._parts.hub.push(users, frame)

    def _deliver_latest(self, users: Sequence[UserId], frame: bytes, key: Key) -> None:
        if frame == TAKEN_BACK:
            self._parts.hub.drop_latest(users, key)
        elif key[0] == TYPING:
            self._parts.hub.push_passing(users, key, frame)
        else:
            self._parts.hub.push_latest(users, key, frame)

    def _deliver_sealed(self, users: Sequence[UserId], sealed: Sealed) -> None:
        recipient = self._parts.hub.session(sealed.session)
        if not sealed.only:
            self._parts.hub.push(users, sealed.frame, skip=recipient)
        elif recipient is not None:
            recipient.send(sealed.frame)

    def notice(self, notice: Notice) -> None:
        """Do what another node announced."""
        if isinstance(notice, MembersNews):
            self._members_news(notice)
        elif isinstance(notice, CallNews):
            self._parts.calls.heard(notice)
        elif isinstance(notice, Blocked | PersonNews):
            self._parts.people.heard(notice)
        else:
            self._parts.apply(notice)

    def _members_news(self, news: MembersNews) -> None:
        if self._parts.routes is not None:
            self._parts.routes.saw(news.match, news.seq, (*news.joined, *news.left))
        self._parts.hub.heard_members(news.match, news.members, news.seq)
        self._parts.delivery.left(news.match, news.left, news.members)
        if news.left:
            self._parts.members_changed((*news.left, *news.members))

    def _learn(self, framed: bytes) -> None:
        try:
            place = _place(payload_of(framed))
        except msgspec.MsgspecError:  # A newer version's, perhaps: clients are told, and nothing is learnt.
            return
        if self._parts.routes is not None and isinstance(place.match, str) and isinstance(place.seq, int):
            self._parts.routes.saw(place.match, place.seq)

    def presence(self, changes: Sequence[Presence]) -> None:
        """Tell those here who watch."""
        for change in changes:
            self._parts.delivery.presence(change)

    def repair(self, since: float) -> None:
        """Tell again, in the next round, what was committed since then; other news may have been missed, too."""
        self._parts.telemetry.repairs += 1
        self._forget()
        self._parts.people.forget()
        self._repair_from(since)

    def _forget(self) -> None:
        self._parts.hub.forget_members()
        self._parts.calls.forget()
        if self._parts.routes is not None:
            self._parts.routes.forget()

    def routed(self, route_ids: Sequence[int]) -> None:
        """Note, in the next round, that these commits are on their way."""
        self._routed.extend(route_ids)

    def bus_is(self, *, alive: bool) -> None:
        """Let clients know when other nodes cannot be heard, and trust no cache that others may have outdated."""
        if alive == self._is_alive:
            return
        self._is_alive = alive
        self._parts.hub.hears_others(hears=alive)
        self._parts.calls.hears_others(hears=alive)
        self._parts.people.hears_others(hears=alive)
        self._forget()
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
        self._close_who_stayed()
        if self._is_alive:
            await self._claim(routes)
        if rounds % EXPIRE_EVERY == 0:
            await routes.expire_routed()

    async def _repair(self, routes: RouteLog, since: float) -> None:
        self._repair_since = None  # One that is asked for meanwhile is another one: it may have missed later commits.
        age_s = self._parts.now() - since
        try:
            await self._parts.load_revocations()
            if age_s > ROUTES_KEPT_S:
                self._parts.telemetry.repairs_by_resume += 1
                self._send_away()
            calls: list[CallId] = []
            for route in await routes.routes_within(age_s):
                self._parts.telemetry.commits_retold += bool(route.spans)
                told = await self._retold(route)
                calls += told.calls
                for users, framed in told.pushes:
                    self._parts.hub.push(users, framed)
            for users, framed in (await self._parts.calls.states((*calls, *self._parts.calls.here))).pushes:
                self._parts.hub.push(users, framed)
        except StoreUnavailable:
            self._repair_from(since)
            raise

    def _send_away(self) -> None:
        """Have everybody come back, spread over time: a resume finds what no route tells any more."""
        self._sent_away = tuple(self._parts.hub)
        spread_s = len(self._sent_away) / COME_BACK_PER_S
        self._stay_until = self._parts.now() + spread_s + STAY_S
        _log.warning("relay.all_resume", extra=event(connections=len(self._sent_away)))
        self._parts.going_away(round(spread_s * 1000))

    def _close_who_stayed(self) -> None:
        if self._sent_away and self._parts.now() >= self._stay_until:
            stayed, self._sent_away = self._sent_away, ()
            for recipient in stayed:
                if self._parts.hub.session(recipient.session) is recipient:
                    recipient.close(CloseCode.GOING_AWAY, REASON)

    def _repair_from(self, since: float) -> None:
        self._repair_since = since if self._repair_since is None else min(since, self._repair_since)

    async def _claim(self, routes: RouteLog) -> None:
        """Route what its own node could not: it died, or it lost the bus."""
        for route in await routes.claim_unrouted(self._parts.node, UNROUTED_AFTER_S, CLAIMED_MAX):
            self._parts.telemetry.commits_taken_over += 1
            # In one turn, so that none of these frames counts as another commit's.
            told = await self._retold(route)
            states = await self._parts.calls.states(told.calls)
            for news in told.news:
                self._parts.bus.announce(news)
                if news.left:
                    self._parts.calls.removed(news.match, news.left)
            for each in states.news:
                self._parts.bus.announce(each)
            for users, framed in (*told.pushes, *states.pushes):
                self._parts.hub.push(users, framed)
                self._parts.bus.route(users, framed)
            self._parts.bus.batch_ended(route.route_id)

    async def _retold(self, route: Route) -> Told:
        """Read what has to be told of a commit; do here what it says of members."""
        told = await self._retelling.of(route)
        for news in told.news:
            self._members_news(news)
        return told
