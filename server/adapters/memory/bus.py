"""The bus of nodes that live in one process: the embedded server's single node, and several nodes in tests.

Keeps the promises of the port without a network: in order per sender and target, at most once; nothing is ever lost here,
so that `repair` is never called. What is handed over in one turn of the loop arrives at its end, never inside the call.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from protocol.from_server import Presence
from protocol.ids import SessionId, UserId
from server.core.latest import Key
from server.core.notices import Notice
from server.core.presence import ACTIVE, Change, Departure, PresenceBook, Shown
from server.ports import BusEvents, Clock

SETTLE_S: Final = 0.25
DEBOUNCE_S: Final = 2.0


class MemoryHubOfNodes:
    """What Redis is to nodes on several machines: who is where, who is present, who watches whom."""

    __slots__ = ("_clock", "_directory", "_is_flushing", "_nodes", "_presence", "_waiting")

    def __init__(self, clock: Clock, debounce_s: float = DEBOUNCE_S) -> None:
        self._clock = clock
        self._nodes: dict[MemoryBus, None] = {}
        # Where each session is, and what it says of its user: nothing as long as it is not to be counted.
        self._directory: dict[UserId, dict[SessionId, tuple[MemoryBus, Shown | None]]] = {}
        self._presence: PresenceBook[tuple[MemoryBus, UserId]] = PresenceBook(debounce_s, clock.micros())
        self._waiting: list[Callable[[], None]] = []
        self._is_flushing = False

    def bus(self) -> "MemoryBus":
        """Return the bus of one more node."""
        return MemoryBus(self)

    @property
    def online(self) -> int:
        """Users that count as online."""
        return self._presence.online

    @property
    def sessions(self) -> int:
        """Sessions registered by all nodes."""
        return sum(map(len, self._directory.values()))

    def _join(self, node: "MemoryBus") -> None:
        self._nodes[node] = None

    def _arrive(self, node: "MemoryBus", user: UserId, session: SessionId, shown: Shown | None) -> None:
        sessions = self._directory.setdefault(user, {})
        _, before = sessions.get(session, (node, None))
        sessions[session] = (node, shown or before)
        if shown is not None:
            now = self._clock.micros()
            book = self._presence
            self._tell(book.arrive(user, now, shown) if before is None else book.turn(user, now, before, shown))

    def _leave(self, node: "MemoryBus", user: UserId, session: SessionId, departure: Departure) -> None:
        sessions = self._directory.get(user, {})
        where, shown = sessions.get(session, (None, None))
        if where is not node:
            return
        del sessions[session]
        if not sessions:
            del self._directory[user]
        if shown is not None:
            self._tell(self._presence.leave(user, self._clock.now(), self._clock.micros(), shown, departure))

    def _end(self, node: "MemoryBus", watched: Sequence[UserId]) -> None:
        self._nodes.pop(node, None)
        self._unwatch(node, watched)
        here = [
            (u, s) for u, sessions in self._directory.items() for s, (where, _) in sessions.items() if where is node
        ]
        for user, session in here:
            self._leave(node, user, session, Departure.LOST)

    def _watch(self, node: "MemoryBus", users: Sequence[UserId]) -> Sequence[Presence]:
        for user in users:
            self._presence.watch((node, user), (user,))
        return self._presence.states(users)

    def _states(self, users: Sequence[UserId]) -> Sequence[Presence]:
        return self._presence.states(users)

    def _unwatch(self, node: "MemoryBus", users: Sequence[UserId]) -> None:
        for user in users:
            self._presence.unwatch((node, user))

    def settle(self) -> None:
        """Tell who has been gone for the debounce; each node's `run` calls it."""
        for change in self._presence.settle(self._clock.now(), self._clock.micros()):
            self._tell(change)

    def _tell(self, change: Change[tuple["MemoryBus", UserId]] | None) -> None:
        if change is not None:
            for node, _ in change.watchers:
                self._soon(partial(node._changed, (change.presence,)))

    def _route(self, sender: "MemoryBus", users: Sequence[UserId], frame: bytes, key: Key | None) -> None:
        # A node alone has nobody to hand anything to.
        if len(self._nodes) > 1:
            self._soon(partial(self._deliver, sender, tuple(users), frame, key))

    def _deliver(self, sender: "MemoryBus", users: tuple[UserId, ...], frame: bytes, key: Key | None) -> None:
        targets: dict[MemoryBus, list[UserId]] = {}
        for user in users:
            for node in dict.fromkeys(where for where, _ in self._directory.get(user, {}).values()):
                if node is not sender:
                    targets.setdefault(node, []).append(user)
        for node, recipients in targets.items():
            node._deliver(recipients, frame, key)

    def _announce(self, sender: "MemoryBus", notice: Notice) -> None:
        for node in self._nodes:
            if node is not sender:
                self._soon(partial(node._noticed, notice))

    def _soon(self, do: Callable[[], None]) -> None:
        self._waiting.append(do)
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        waiting, self._waiting = self._waiting, []
        for do in waiting:
            do()


class MemoryBus:
    """One node's side of the hub."""

    __slots__ = ("_events", "_hub", "_watched")

    def __init__(self, hub: MemoryHubOfNodes) -> None:
        self._hub = hub
        self._events: BusEvents | None = None
        self._watched: dict[UserId, None] = {}

    @property
    def trouble(self) -> str:
        """Why this node is deaf; it never is."""
        return ""

    def start(self, events: BusEvents) -> None:
        """Tell `events` from now on; call once, before `run`."""
        self._events = events
        self._hub._join(self)

    async def run(self) -> None:
        """Live until cancelled: say that all is well, then settle who is gone."""
        if self._events is not None:
            self._events.bus_is(alive=True)
        while True:
            await asyncio.sleep(SETTLE_S)
            self._hub.settle()

    def register(self, user: UserId, session: SessionId, shown: Shown | None = ACTIVE) -> None:
        """The session is connected here, and says this of its user; None: frames only, it is not counted yet."""
        if self._events is not None:
            self._hub._arrive(self, user, session, shown)

    def when_registered(self, user: UserId, session: SessionId, then: Callable[[], None]) -> None:  # noqa: ARG002
        """Call `then`: whoever is registered is there at once."""
        then()

    def unregister(self, user: UserId, session: SessionId, departure: Departure = Departure.LOST) -> None:
        """The session is gone."""
        self._hub._leave(self, user, session, departure)

    def route(self, users: Sequence[UserId], frame: bytes, key: Key | None = None) -> None:
        """Hand `frame` to the connections of `users` on other nodes."""
        if self._events is not None:
            self._hub._route(self, users, frame, key)

    def batch_ended(self, route_id: int) -> None:
        """The durable frames since the last call belong to the commit `route_id`; `routed` says when they are out."""
        self._hub._soon(partial(self._routed, route_id))

    def announce(self, notice: Notice) -> None:
        """Tell every other node."""
        if self._events is not None:
            self._hub._announce(self, notice)

    async def watch(self, users: Sequence[UserId]) -> Sequence[Presence]:
        """Be told of these users, too, and read how they are now."""
        distinct = tuple(dict.fromkeys(users))
        if self._events is not None:
            self._watched.update(dict.fromkeys(distinct))
        return self._hub._watch(self, distinct)

    def unwatch(self, users: Sequence[UserId]) -> None:
        """Be told of these users no more."""
        watched = [user for user in users if self._watched.pop(user, 0) is None]
        self._hub._unwatch(self, watched)

    async def presence_of(self, users: Sequence[UserId]) -> Sequence[Presence]:
        """Read how these users are, each once, and watch nobody."""
        return self._hub._states(users)

    async def close(self) -> None:
        """Leave in good order: unregister everybody."""
        self._events = None
        self._hub._end(self, tuple(self._watched))
        self._watched.clear()

    def _deliver(self, users: Sequence[UserId], frame: bytes, key: Key | None) -> None:
        if self._events is not None:
            self._events.deliver(users, frame, key)

    def _noticed(self, notice: Notice) -> None:
        if self._events is not None:
            self._events.notice(notice)

    def _changed(self, changes: Sequence[Presence]) -> None:
        watched = [change for change in changes if change.user in self._watched]
        if watched and self._events is not None:
            self._events.presence(watched)

    def _routed(self, route_id: int) -> None:
        if self._events is not None:
            self._events.routed((route_id,))
