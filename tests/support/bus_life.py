"""Nodes on a bus in virtual time, their sessions and what they see of users: what is done to them is remembered as the truth.

`judge` weighs what every node was shown against that truth, with bounds that have no room for a slow machine.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from protocol.from_server import Presence
from protocol.ids import SessionId, UserId
from server.core.latest import Key
from server.core.notices import Notice
from server.core.presence import Departure, Shown
from server.core.watches import Watches
from server.ports import Bus
from tests.support.presence_judge import Bounds, Loss, Stay, Verdict, View, judge
from tests.support.presence_judge import Shown as Seen
from tests.support.virtual_time import VirtualLoop

LOSSES: Final[Mapping[Departure, Loss]] = {
    Departure.LOST: Loss.CLOSE,
    Departure.GOODBYE: Loss.GOODBYE,
    Departure.HANDOFF: Loss.HANDOFF,
}
# A lease, and the time until somebody looks whether it is over.
LONGEST_S: Final = 12.0
_WATCHER: Final = "somebody"


class Eyes:
    """What a node's bus tells; news that are not newer are dropped where the server drops them."""

    def __init__(self, place: int, number: int, now: Callable[[], float]) -> None:
        self.place = place
        self._name = f"node {place} ({number})"
        self._now = now
        self.watches: Watches[str] = Watches()
        self.views: list[View] = []
        self.alive: list[bool] = []

    def look(self, users: Sequence[UserId]) -> tuple[UserId, ...]:
        """Watch these users instead of those before; return whom nobody watches any more."""
        self.close()
        self.views.append(View(f"{self._name}, view {len(self.views)}", self._now()))
        return self.watches.watch(_WATCHER, users)

    def answered(self, states: Sequence[Presence]) -> None:
        """Take how those are who are watched from now on."""
        self.views[-1].shown += [Seen(self._now(), state, is_news=False) for state in states]

    def close(self) -> None:
        """See nothing any more."""
        if self.views:
            self.views[-1].ended_s = min(self.views[-1].ended_s, self._now())

    def presence(self, changes: Sequence[Presence]) -> None:
        for change in changes:
            if self.watches.news(change):
                self.views[-1].shown.append(Seen(self._now(), change))

    def bus_is(self, *, alive: bool) -> None:
        self.alive.append(alive)

    def deliver(self, users: Sequence[UserId], frame: bytes, key: Key | None) -> None:
        """Frames are not what is looked at here."""

    def notice(self, notice: Notice) -> None:
        """Nor are notices."""

    def repair(self, since: float) -> None:
        """Nor entries."""

    def routed(self, route_ids: Sequence[int]) -> None:
        """Nor commits."""


@dataclass
class Session:
    """A session that is open."""

    user: UserId
    name: SessionId
    shown: Shown
    stay: Stay


@dataclass
class LivingNode:
    """A node, as long as it lives."""

    bus: Bus
    eyes: Eyes
    task: asyncio.Task[None]
    sessions: list[Session] = field(default_factory=list)


class BusLife:
    """Some nodes; number 0 is never killed or frozen, so that somebody can always judge the others."""

    def __init__(self, loop: VirtualLoop, make: Callable[[int], Bus], nodes: int, bounds: Bounds) -> None:
        self.loop = loop
        self._make = make
        self.bounds = bounds
        self.stays: list[Stay] = []
        self._places: list[int] = []
        self._troubles: list[tuple[int | None, float, float, float]] = []
        self.eyes: list[Eyes] = []
        self.nodes: list[LivingNode | None] = [None] * nodes
        self._sessions = 0
        for place in range(nodes):
            self.start(place)

    @property
    def now_s(self) -> float:
        return self.loop.time()

    @property
    def alive(self) -> list[LivingNode]:
        """The nodes that live."""
        return [node for node in self.nodes if node is not None]

    def pass_time(self, seconds: float) -> None:
        """Let everybody live so long."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def _within(self, do: Callable[[], None]) -> None:
        """Do it in the loop."""

        async def done() -> None:
            do()

        self.loop.run_until_complete(done())

    def start(self, place: int) -> None:
        """Have a node at this place, if there is none."""
        if self.nodes[place] is None:
            eyes = Eyes(place, len(self.eyes), self.loop.time)
            self.eyes.append(eyes)
            bus = self._make(place)
            self._within(lambda: bus.start(eyes))
            self.nodes[place] = LivingNode(bus, eyes, self.loop.create_task(bus.run()))

    # ---- people

    def come(self, node: LivingNode, user: UserId, shown: Shown) -> None:
        """Open a session."""
        self._sessions += 1
        stay = Stay(user, self.now_s, self.now_s)
        session = Session(user, SessionId(f"session {self._sessions}"), shown, stay)
        node.sessions.append(session)
        self.stays.append(stay)
        self._places.append(node.eyes.place)
        self._within(lambda: node.bus.register(user, session.name, shown))

    def turn(self, node: LivingNode, session: Session, shown: Shown) -> None:
        """Have a session say something else of its user."""
        session.shown = shown
        self._within(lambda: node.bus.register(session.user, session.name, shown))

    def go(self, node: LivingNode, session: Session, departure: Departure) -> None:
        """End a session."""
        node.sessions.remove(session)
        session.stay.gone_s, session.stay.loss = self.now_s, LOSSES[departure]
        self._within(lambda: node.bus.unregister(session.user, session.name, departure))

    def look(self, node: LivingNode, users: Sequence[UserId]) -> None:
        """Have a node watch these users and nobody else."""

        async def ask() -> None:
            node.bus.unwatch(node.eyes.look(users))
            states = await node.bus.watch(users) if users else ()
            node.eyes.answered(states)

        self.loop.run_until_complete(ask())

    # ---- nodes

    def kill(self, place: int) -> None:
        """End a node as kill -9 does: nothing is said to anybody."""
        self._end(place, Loss.KILL)

    def stop(self, place: int) -> None:
        """End a node in good order."""
        node = self.nodes[place]
        self._end(place, Loss.CLOSE)
        if node is not None:
            self.loop.run_until_complete(node.bus.close())

    def _end(self, place: int, loss: Loss) -> None:
        node, self.nodes[place] = self.nodes[place], None
        if node is None:
            return
        for session in node.sessions:
            session.stay.gone_s, session.stay.loss = self.now_s, loss
        node.eyes.close()
        node.task.cancel()
        self.loop.run_until_complete(asyncio.gather(node.task, return_exceptions=True))

    def trouble(self, place: int | None, began_s: float, here_s: float, gone_s: float) -> None:
        """A node (None: all) was in trouble since `began_s`.

        From `here_s` on it sees and has what there is, from `gone_s` on nothing of what had gone lingers.
        """
        self._troubles.append((place, began_s, here_s, gone_s))

    def is_troubled(self, place: int) -> bool:
        """Whether the node there may not be itself yet."""
        return any(where in (None, place) and here_s > self.now_s for where, _, here_s, _ in self._troubles)

    # ---- the end

    def verdict(self) -> Verdict:
        """Weigh everything."""
        for place, began_s, here_s, gone_s in self._troubles:
            for stay, where in zip(self.stays, self._places, strict=True):
                if place in (None, where):
                    stay.uncertain.append((began_s, here_s))
                if place in (None, where) and stay.came_s <= here_s and stay.gone_s + LONGEST_S >= began_s:
                    stay.lingers.append((stay.came_s, gone_s))
            for eyes in self.eyes:
                for view in eyes.views:
                    if place in (None, eyes.place):
                        view.blind.append((began_s, here_s))
        self._troubles = []
        return judge(self.stays, [view for eyes in self.eyes for view in eyes.views], self.bounds, self.now_s)

    def close(self) -> None:
        """End everybody."""
        for place, node in enumerate(self.nodes):
            if node is not None:
                self.stop(place)
