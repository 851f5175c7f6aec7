"""The bus over Redis: one channel and one lease per node, a directory of who is where, one script call per turn.

One coroutine does all that waits: it connects, keeps the lease, sends what was collected, and makes things whole after a
fault. What it hears comes from the reader's callbacks. Whatever it cannot be sure of (a cut connection, a gap in the
counter, another server behind the address) ends the same way: connect, register everybody, watch everybody, repair.
A node whose lease is over, or whose Redis has forgotten something, does so under a new name.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from redis.exceptions import ResponseError

from protocol.from_server import Presence, Status
from protocol.ids import SessionId, UserId
from server.adapters.redis.channel import ChannelLost, RedisChannel, open_channel
from server.adapters.redis.directory import CHUNK, Sessions, Told, Watches, unknown
from server.adapters.redis.ear import Ear
from server.adapters.redis.endpoint import Address, RedisEndpoint
from server.adapters.redis.health import Health
from server.adapters.redis.lease import MICROS, Lease
from server.adapters.redis.link import RedisAway, RedisLink, Reply, script_call
from server.adapters.redis.outgoing import Outgoing
from server.adapters.redis.routing import Routing
from server.adapters.redis.scripts import LEASE, LEAVE, REAP, REGISTER, ROUTE, SETTLE, WATCH, Script
from server.adapters.redis.wire import Argument, Command
from server.core.latest import Key
from server.core.notices import Notice, encode_notice
from server.core.presence import ACTIVE, Departure, Shown
from server.ports import BusEvents, BusUnusable, Clock
from server.telemetry import event

BACKOFF_MAX_S: Final = 5.0
CLOSE_WITHIN_S: Final = 3.0

_log = logging.getLogger(__name__)


class RedisBusSettings(Struct, frozen=True):
    """Where the bus is, and its times; those of all nodes should agree."""

    url: str
    prefix: str = "duologue:"
    node_name: str = "node"
    lease_s: float = 10.0
    # Renewed, and a beat sent, this often.
    renew_s: float = 2.0
    # Without a beat for so long the reader counts as cut off.
    silence_s: float = 4.0
    # Out of order for so long the node is deaf, and says so.
    deaf_after_s: float = 2.0
    debounce_s: float = 1.5
    settle_s: float = 0.5
    command_timeout_s: float = 2.0
    # How far a repair goes back behind the last moment when all was well: a commit is dated before it can be seen.
    slack_s: float = 30.0
    pending_max_bytes: int = 16 * 1024 * 1024


class _Call(Struct, frozen=True, eq=False):
    command: Command
    done: Callable[[Reply], None]


class RedisBus:
    """A node's bus; `check` it, `start` it, and `run` it for as long as the node lives."""

    def __init__(self, settings: RedisBusSettings, clock: Clock) -> None:
        """Refuses an unusable URL with `BusUnusable`; connects to nothing."""
        self._settings = settings
        self._clock = clock
        self._endpoint = RedisEndpoint(settings.url)
        self._prefix = settings.prefix.encode()
        self._events: BusEvents | None = None
        self._wake = asyncio.Event()
        self._link: RedisLink | None = None
        self._channel: RedisChannel | None = None
        # What the reader said when it ended.
        self._lost = ""
        self._failures = 0
        self._whole_at = math.inf

        self._sessions = Sessions()
        self._registers = 0
        self._watches = Watches()
        self._outgoing = Outgoing(settings.pending_max_bytes)
        self._routing = Routing(self._outgoing)
        self._lease = Lease(clock, settings.node_name, settings.lease_s, settings.renew_s)
        self._health = Health(clock, settings.deaf_after_s, f"not yet connected to Redis at {self._endpoint.shown}")
        self._is_catching_up = True
        self._is_closed = False
        # Monotonic seconds; the last is when to read again how those are who are watched.
        self._settle_at = self._reap_at = clock.now()
        self._tell_again_at = math.inf
        self._ear = Ear(self._lease, self._watches, clock, self._missed)
        self.counters = self._ear.counters

    # ---- Bus

    @property
    def node(self) -> str:
        """The node's present name in Redis."""
        return self._lease.node

    @property
    def trouble(self) -> str:
        """Why this node is deaf, in words for `/readyz`; empty when it is not."""
        return self._health.trouble

    @property
    def is_whole(self) -> bool:
        """Whether both connections work, Redis knows everybody here, and nothing is known to be missing."""
        is_connected = self._link is not None and self._channel is not None
        return is_connected and not self._is_catching_up and not self._lease.flaw

    @property
    def lease_age_s(self) -> float:
        """How long ago Redis last renewed the lease; 0 before it granted one."""
        return self._lease.age_s(self._clock.now())

    @property
    def pending_bytes(self) -> int:
        """What waits to be routed."""
        return self._outgoing.bytes

    @property
    def dropped(self) -> tuple[int, int]:
        """Ephemeral and durable frames that were dropped because Redis was away or slow."""
        return self._outgoing.dropped_ephemeral, self._outgoing.dropped_durable

    async def check(self) -> None:
        """Raise `BusUnusable` when this Redis will never do; one that is away now may come back and is no reason."""
        try:
            link = await self._open_link()
        except RedisAway as away:
            _log.warning("bus.away", extra=event(reason=str(away)))
            return
        if link.facts.evicts:
            _log.warning("bus.evicts", extra=event(reason="maxmemory-policy should be noeviction: users will get lost"))
        await link.close()

    def start(self, events: BusEvents) -> None:
        """Tell `events` from now on; call once, before `run`."""
        self._events = events
        self._ear.start(events)
        self._health.start(events)

    def register(self, user: UserId, session: SessionId, shown: Shown | None = ACTIVE) -> None:
        """The session is connected here, and says this of its user; None: frames only, it is not counted yet."""
        self._sessions.add(user, session, shown)
        self._wake.set()

    def when_registered(self, user: UserId, session: SessionId, then: Callable[[], None]) -> None:
        """Call `then` when Redis knows where the session is; at once while it cannot be told."""
        if self.is_whole:
            self._sessions.when_there(user, session, then)
        else:
            then()

    def unregister(self, user: UserId, session: SessionId, departure: Departure = Departure.LOST) -> None:
        """The session is gone; presence counts the user as gone when the departure's grace is over."""
        self._sessions.remove(user, session, self._grace_ms(departure))
        self._wake.set()

    def _grace_ms(self, departure: Departure) -> int:
        return round(departure.grace_s(self._settings.debounce_s) * 1000)

    def route(self, users: Sequence[UserId], frame: bytes, key: Key | None = None) -> None:
        """Hand `frame` to the connections of `users` on other nodes."""
        if self._is_closed:
            return
        if key is None:
            self._outgoing.add_durable(users, frame)
        elif self._link is not None:
            self._outgoing.add_latest(users, frame, key)
        self._wake.set()

    def batch_ended(self, route_id: int) -> None:
        """The durable frames since the last call belong to the commit `route_id`; `routed` says when they are out."""
        if not self._is_closed:
            self._outgoing.end_commit(route_id)
            self._wake.set()

    def announce(self, notice: Notice) -> None:
        """Tell every other node; it travels with the durable frames, counted like them."""
        if not self._is_closed:
            self._outgoing.add_notice(encode_notice(notice))
            self._wake.set()

    async def watch(self, users: Sequence[UserId]) -> Sequence[Presence]:
        """Be told of these users, too, and read how they are now (`unknown` while the directory is away)."""
        if not self._can_ask:
            self._watches.note(users)
        return await self._ask(users, self._watches.watch)

    async def presence_of(self, users: Sequence[UserId]) -> Sequence[Presence]:
        """Read how these users are, each once (`unknown` while the directory is away), and watch nobody."""
        return await self._ask(users, self._watches.look)

    @property
    def _can_ask(self) -> bool:
        return self._link is not None and not self._is_closed

    async def _ask(self, users: Sequence[UserId], ask: Callable[[Sequence[UserId], Told], None]) -> Sequence[Presence]:
        distinct = tuple(dict.fromkeys(users))
        if not self._can_ask or not distinct:
            return [unknown(user) for user in distinct]
        states: list[Presence] = []
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(some: Sequence[Presence]) -> None:
            states.extend(some)
            if len(states) == len(distinct) and not answer.done():
                answer.set_result(None)

        ask(distinct, told)
        self._wake.set()
        await answer
        return states

    def unwatch(self, users: Sequence[UserId]) -> None:
        """Be told of these users no more."""
        self._watches.unwatch(users)
        self._wake.set()

    async def run(self) -> None:
        """Live until cancelled: connect, keep the lease, listen."""
        try:
            while True:
                try:
                    await self._make_whole()
                    await self._turn()
                except (RedisAway, ChannelLost, BusUnusable) as problem:
                    await self._fail(problem)
        finally:
            await self._disconnect()

    async def close(self) -> None:
        """Leave in good order: send what waits, unregister everybody, give up the lease. Call it when `run` has ended."""
        self._is_closed = True
        self._health.stop()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._leave()
        except (RedisAway, BusUnusable, TimeoutError) as problem:
            _log.warning("bus.left_without_goodbye", extra=event(reason=str(problem)))
        finally:
            self._events = None
            await self._disconnect()
            await self._endpoint.close()

    # ---- becoming whole

    async def _make_whole(self) -> None:
        if self._lost:
            reason, self._lost = self._lost, ""
            raise ChannelLost(reason)
        self._lease.look(self._clock.now())
        if self._lease.flaw:
            self._begin_anew()
        if self._link is None:
            self._link = await self._open_link()
            self._lease.connected(self._clock.now())
            self._catch_up()
        if self._channel is None:
            self._channel = await self._open_channel(self._link.address)
            self._lease.opened(self._clock.now())
            self._catch_up()

    async def _open_link(self) -> RedisLink:
        settings = self._settings
        return await RedisLink.open(self._endpoint, settings.prefix, settings.command_timeout_s)

    async def _open_channel(self, address: Address) -> RedisChannel:
        name = f"{self._settings.prefix}node:{self.node}".encode()
        self._lease.opening()
        try:
            return await open_channel(self._endpoint, address, name, self._heard, self._channel_lost)
        except ChannelLost as lost:  # Where no reader can connect, the other connection cannot be trusted.
            raise RedisAway(str(lost)) from None

    def _begin_anew(self) -> None:
        """Become another node: the old one's entries are overwritten now and reaped later."""
        self.counters.incarnations += 1
        self._health.ill(self._lease.flaw, self._clock.now())
        self._lease.begin_anew()
        self._close_channel()
        self._sessions.begin_anew()
        self._registers = 0
        self._watches.begin_anew()
        self._routing.begin_anew()

    def _catch_up(self) -> None:
        """Register and watch everybody again; when Redis has all of it, it is whole."""
        self._is_catching_up = True
        self._lease.renew_at = self._clock.now()
        self._sessions.register_all()
        self._watches.begin_anew()
        if self._health.was_told and not self._lease.is_held:
            # A new name: the directory may have been emptied, and the other nodes register again, too. What it says
            # before they have would show everybody offline for a moment.
            self._tell_again_at = self._clock.now() + 2 * self._settings.renew_s
            self._watches.watch_all(_tell_nobody)
        else:
            self._watches.watch_all(self._watched_again)
        self._wake.set()

    def _watched_again(self, states: Sequence[Presence]) -> None:
        known = [presence for presence in states if presence.status is not Status.UNKNOWN]
        if known and self._events is not None:
            self._events.presence(known)

    def _became_whole(self) -> None:
        self._is_catching_up, self._whole_at = False, self._clock.now()
        since = self._lease.repaired_since(self._settings.slack_s)
        if self._events is not None and (len(self._sessions) or self._health.was_told):
            self.counters.repairs += 1
            _log.info("bus.repair", extra=event(node=self.node))
            self._events.repair(since)
        self._health.well()

    # ---- one turn

    async def _turn(self) -> None:
        """Send what there is to send, or wait until there is or the next thing is due."""
        settings, lease, now = self._settings, self._lease, self._clock.now()
        if lease.silent_s(now) > settings.silence_s:
            raise ChannelLost(f"nothing was heard for {settings.silence_s:g} s")
        assert self._link is not None
        if now >= lease.renew_at and await self._endpoint.has_moved(self._link.address):
            raise RedisAway("Sentinel names another master")
        calls = self._gather(now)
        if not calls:
            due_s = min(lease.renew_at - now, self._settle_at - now, settings.silence_s - lease.silent_s(now))
            await self._wait(due_s)
            return
        replies = await self._link.call([call.command for call in calls])
        for call, reply in zip(calls, replies, strict=True):
            call.done(reply)
        if self._is_catching_up and lease.is_confirmed and not lease.flaw and self._is_settled:
            self._became_whole()

    @property
    def _is_settled(self) -> bool:
        return self._sessions.is_settled and self._watches.is_settled

    async def _wait(self, delay_s: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(max(delay_s, 0.001)):
                await self._wake.wait()
        except TimeoutError:
            return

    def _gather(self, now: float) -> list[_Call]:
        calls: list[_Call] = []
        if now >= self._lease.renew_at:
            calls.append(self._renewal(now))
        if not self._lease.is_confirmed:  # Everything else needs a lease.
            return calls
        if self._sessions.is_waiting:
            calls.append(self._registration())
        if now >= self._tell_again_at:
            self._tell_again_at = math.inf
            self._watches.watch_all(self._watched_again)
        if self._watches.is_waiting:
            calls.append(self._script(WATCH, self._watched, *self._watches.take()))
        if (route := self._route()) is not None:
            calls.append(route)
        if now >= self._settle_at:
            self._settle_at = now + self._settings.settle_s
            calls.append(self._script(SETTLE, self._settled, CHUNK))
        if now >= self._reap_at and self._lease.may_reap(now):
            self._reap_at = now + self._settings.renew_s
            calls.append(self._script(REAP, self._reaped, CHUNK, round(self._settings.lease_s * 1000)))
        return calls

    def _script(self, script: Script, done: Callable[[Reply], None], *arguments: Argument) -> _Call:
        def answered(reply: Reply) -> None:
            if isinstance(reply, ResponseError):
                self.counters.script_errors += 1
                _log.error("bus.script_failed", extra=event(script=script.name, reason=str(reply)))
            elif reply == b"lost":
                self._lease.flaw = "the lease was lost"
            done(reply)

        return _Call(script_call(script, self._prefix, self.node, *arguments), answered)

    # ---- calls and their answers

    def _renewal(self, now: float) -> _Call:
        lease, link = self._lease, self._link
        lease.asked(now)
        counter = lease.counter

        def answered(reply: Reply) -> None:
            if isinstance(reply, list):
                assert link is not None
                lease.granted(now, counter, link.facts.run_id, reply)

        how = b"renew" if lease.is_held else b"take"
        lease_ms = round(self._settings.lease_s * 1000)
        return self._script(LEASE, answered, lease_ms, how, self._clock.random_id(), round(now * MICROS))

    def _registration(self) -> _Call:
        self._registers += 1
        changes = self._sessions.take()
        return self._script(REGISTER, self._registered, self._registers, *changes)

    def _registered(self, reply: Reply) -> None:
        if reply == b"lost":
            self._sessions.take_back()
        else:
            self._sessions.confirm()

    def _watched(self, reply: Reply) -> None:
        if isinstance(reply, list):
            self._watches.confirm(reply)
        else:
            self._watches.begin_anew()

    def _settled(self, reply: Reply) -> None:
        if reply == CHUNK:
            self._settle_at = self._clock.now()

    def _reaped(self, reply: Reply) -> None:
        if isinstance(reply, int) and reply > 0:
            self.counters.reaped += reply - 1
            self._reap_at = self._clock.now()

    def _route(self) -> _Call | None:
        call = self._routing.next_call(self._routed)
        if call is None:
            return None
        self.counters.routes_called += 1
        return self._script(ROUTE, self._route_answered, call.number, *call.arguments())

    def _route_answered(self, reply: Reply) -> None:
        self._routing.answered(reply, self._routed)

    def _routed(self, route_ids: Sequence[int]) -> None:
        if self._events is not None:
            self._events.routed(route_ids)

    # ---- hearing

    def _heard(self, payload: bytes) -> None:
        self._ear.hear(payload, is_whole=not self._is_catching_up)
        if self._lease.flaw:
            self._wake.set()

    def _missed(self, what: str) -> None:
        self._health.ill(what, self._clock.now())
        self._catch_up()

    # ---- failing

    def _channel_lost(self, reason: str) -> None:
        self._channel = None
        self._lost = reason
        self._wake.set()

    async def _fail(self, problem: Exception) -> None:
        """Close what cannot be trusted, and wait before the next attempt."""
        self._health.ill(str(problem), min(self._lease.overdue_at, self._clock.now()))
        self.counters.reconnects += 1
        if isinstance(problem, ChannelLost):
            self._close_channel()
        else:
            await self._close_link()
        await self._back_off()

    async def _back_off(self) -> None:
        """Wait longer each time, but not the first time after all was well for a while."""
        if self._clock.now() - self._whole_at > self._settings.silence_s:
            self._failures = 0
        self._whole_at = math.inf
        if self._failures:
            most_s = min(BACKOFF_MAX_S, 0.1 * 2 ** min(self._failures, 10))
            await asyncio.sleep(most_s / 2 + self._clock.jitter(most_s / 2))
        self._failures += 1

    async def _disconnect(self) -> None:
        self._close_channel()
        await self._close_link()

    async def _close_link(self) -> None:
        link, self._link = self._link, None
        self._sessions.take_back()
        self._watches.begin_anew()
        self._outgoing.drop_ephemeral()
        if link is not None:
            await link.close()

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    # ---- leaving

    async def _leave(self) -> None:
        if not self._lease.is_held:
            return
        link = self._link = await self._open_link()
        while (route := self._route()) is not None:
            (reply,) = await link.call([route.command])
            route.done(reply)
        self._sessions.remove_all(self._grace_ms(Departure.LOST))
        while self._sessions.is_waiting:
            await link.call([self._registration().command])
            self._sessions.confirm()
        await link.call([script_call(LEAVE, self._prefix, self.node)])


def _tell_nobody(states: Sequence[Presence]) -> None:
    del states
