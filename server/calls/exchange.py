"""The calls of one node, joined: what the router, the relay and the node's life cycle see of them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Final

import msgspec
from msgspec import Struct

from protocol.calls import CallId, CallRequest
from protocol.ids import MatchId, UserId
from server.calls.book import CallBook, decode_call
from server.calls.changes import news_of
from server.calls.desk import Desk, DeskParts
from server.calls.ice_lists import IceLists
from server.calls.jobs import Job, Outcome, silently
from server.calls.lookup import CallLookup
from server.calls.room import CallRoom, RoomParts
from server.calls.rounds import CallRounds, RoundsParts
from server.calls.signals import Signals
from server.calls.teller import Teller
from server.calls.updates import CallUpdates
from server.core.calls import CallRow
from server.core.log import Refused
from server.core.notices import CallNews
from server.core.rate_limits import RatePolicy
from server.delivery import Delivery
from server.hub import Hub
from server.ice import IceDesk
from server.journal import Journal
from server.peer import Peer, Wheel
from server.people import People
from server.ports import Bus, Calls, Clock, Limiter
from server.reads import Reads
from server.retelling import CallStates, Push
from server.telemetry import Telemetry
from signaling.decision import Rules
from signaling.events import Relayed, Remove
from turn.accounts import RelayUse

RELAYED_FROM_BYTES: Final = 16_384
# Browsers make more allocations than they use; one that carried media carried more than this.

AGAIN_S: Final = 1.0
AGAIN_MAX: Final = 1_000
# Connections for which the store is asked again at once.

_log: Final = logging.getLogger(__name__)

Work = Callable[[], Coroutine[None, None, None]]


class CallLimits(Struct, frozen=True):
    """How often users may do what costs others something."""

    starts_per_min: int
    signals: RatePolicy


class ExchangeParts(Struct, frozen=True):
    """What calls work with. `is_alone`: no other node shares the store."""

    store: Calls
    reads: Reads
    journal: Journal
    hub: Hub
    people: People
    bus: Bus
    delivery: Delivery
    ice: IceDesk
    ice_reads: Reads
    limiter: Limiter
    clock: Clock
    wheel: Wheel
    rules: Rules
    limits: CallLimits
    telemetry: Telemetry
    node: str
    is_alone: bool


class Exchange:
    """The switchboard of calls. Run each of `work` for as long as the node lives."""

    __slots__ = ("_again_at", "_book", "_desk", "_parts", "_room", "_signals", "_updates", "rounds", "work")

    def __init__(self, parts: ExchangeParts) -> None:
        self._parts = parts
        teller = Teller(parts.hub, parts.bus)
        self._book = CallBook(parts.node, parts.clock.now)
        self._signals = Signals(teller, parts.limits.signals, parts.wheel, parts.telemetry)
        self._desk = Desk(
            DeskParts(
                store=parts.store,
                reads=parts.reads,
                journal=parts.journal,
                book=self._book,
                teller=teller,
                delivery=parts.delivery,
                bus=parts.bus,
                clock=parts.clock,
                rules=parts.rules,
                telemetry=parts.telemetry,
            )
        )
        self._updates = CallUpdates(self._book, parts.hub, parts.people, self._signals, parts.clock, parts.rules, {})
        lookup = CallLookup(self._book, parts.store, parts.reads)
        self._room = CallRoom(
            RoomParts(
                lookup=lookup,
                book=self._book,
                desk=self._desk,
                teller=teller,
                signals=self._signals,
                ice=IceLists(parts.ice, parts.ice_reads, lookup),
                limiter=parts.limiter,
                clock=parts.clock,
                rules=parts.rules,
                telemetry=parts.telemetry,
                starts_per_min=parts.limits.starts_per_min,
            )
        )
        self._again_at = 0.0
        self.rounds = CallRounds(
            RoundsParts(parts.store, self._room, self._desk, parts.node, parts.is_alone, parts.telemetry)
        )
        self.work: tuple[Work, ...] = (self.rounds.run,)

    # ---- connections

    def asked(self, peer: Peer, request: CallRequest) -> None:
        """Answer a request, or begin to."""
        self._room.asked(peer, request)

    def opened(self, peer: Peer, rows: Sequence[CallRow]) -> None:
        """A connection is about to be welcomed, and these are live: it rings, goes on or may join."""
        self._updates.greet(peer, rows)

    def settle(self, now: float) -> None:
        """Tell, every AGAIN_S, those from whom calls were kept whether they may know of them, if that is known now."""
        withheld = self._updates.withheld
        if not withheld or now < self._again_at:
            return
        self._again_at = now + AGAIN_S
        known = (peer for peer in withheld if self._parts.people.person(peer.user) is not None)
        for peer in tuple(islice(known, AGAIN_MAX)):
            self._offer(peer, withheld.pop(peer))

    def _offer(self, peer: Peer, calls: frozenset[CallId]) -> None:
        def found(rows: Sequence[tuple[CallRow, ...]] | Refused) -> None:
            if not isinstance(rows, Refused):
                self._updates.greet(peer, [row for row in rows[0] if row.call in calls])
            elif peer.is_live:
                self._updates.withheld[peer] = calls

        self._parts.reads.submit(partial(self._parts.store.live_calls, (peer.user,)), peer.shield(found))

    def lost(self, peer: Peer) -> None:
        """A connection has gone."""
        self._updates.withheld.pop(peer, None)
        self._room.lost(peer)

    # ---- the app

    async def end(self, call: CallId) -> Refused | None:
        """End a call for everybody; one that is over stays as it is."""
        ended: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not ended.done():
                ended.set_result(outcome if isinstance(outcome, Refused) else None)

        self._desk.submit(Job(Remove(None), done, call=call))
        return await ended

    # ---- news

    def removed(self, match: MatchId, users: Iterable[UserId]) -> None:
        """These users may not take part in a call of the match any more."""
        self._room.removed(match, tuple(users))

    def blocked(self, blocker: UserId, blocked: UserId) -> None:
        """One does not want to hear from the other any more: a call of just these two is over."""
        two = frozenset((blocker, blocked))

        def found(calls: Sequence[tuple[CallRow, ...]] | Refused) -> None:
            if isinstance(calls, Refused):
                return
            for row in calls[0]:
                if decode_call(row.value).people <= two:
                    self._desk.insist(Job(Remove(tuple(sorted(two))), silently, call=row.call))

        self._parts.reads.submit(lambda: self._parts.store.live_calls((blocker,)), found)

    def heard(self, news: CallNews) -> None:
        """Another node changed a call."""
        try:
            call = decode_call(bytes(news.value))
        except msgspec.MsgspecError:  # A newer version's, perhaps: what is needed of it is read from the store.
            _log.warning("calls.news_not_understood")
            return
        self._updates.heard(news.call, news.version, call)

    def hears_others(self, *, hears: bool) -> None:
        """News of other nodes come, or do not."""
        self._book.hears_others(hears=hears)

    def forget(self) -> None:
        """Some news may have been missed: believe nothing."""
        self._book.forget()

    async def states(self, calls: Sequence[CallId]) -> CallStates:
        """Read how `calls` are, for everybody whom they concern; raise `StoreUnavailable`."""
        pushes: list[Push] = []
        news: list[CallNews] = []
        for name in dict.fromkeys(calls):
            view = await self._parts.store.call_view(call=name, caller=None, since_us=0)
            pushes += [((user,), framed) for user, framed in self._updates.states(view)]
            if view.row is not None:
                news.append(news_of(view.row))
        return CallStates(pushes, news)

    @property
    def here(self) -> Sequence[CallId]:
        """The calls in which connections of this node sit."""
        return self._book.calls_here()

    def relayed(self, use: RelayUse) -> None:
        """A relay tells what it carried; what an allocation that was hardly used carried is not worth a write."""
        if use.call is not None and use.has_ended and use.total_bytes >= RELAYED_FROM_BYTES:
            job = Job(
                Relayed(use.user, use.allocation, use.total_bytes), silently, call=CallId(use.call), user=use.user
            )
            self._desk.insist(job)

    # ---- numbers

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way; what waits for the store to come back is not."""
        return not self._desk.under_way

    def measure(self, numbers: Telemetry) -> None:
        """Write how many there are of what comes and goes."""
        numbers.call_seats = self._book.seats
        numbers.call_events_waiting = self._desk.waiting
