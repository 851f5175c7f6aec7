"""People who come and go on real nodes while others watch them: what they did is the truth, what was shown the evidence.

Both are kept for `tests.support.presence_judge`. Everything here happens on sockets; times are the loop's seconds.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from loadtest.client import Client, Closed, Refused, decode_watching
from loadtest.connection import HandshakeRefused
from protocol.from_client import PresenceWatch
from protocol.from_server import Presence, PresenceChanged, Push
from protocol.ids import UserId
from tests.support.presence_judge import FOR_EVER, Loss, Shown, Stay, View

CONNECT_WITHIN_S: Final = 15.0
AGAIN_S: Final = 0.2
# Of those whose node was killed under them: only they show whether the others find out.
STAYS_AWAY: Final = 0.5
STAYS_S: Final = (4.0,)
AWAYS_S: Final = (0.0, 0.3, 1.0, 5.0)


@dataclass
class Visit:
    """One connection of one user."""

    client: Client
    stay: Stay
    node: int

    @property
    def is_over(self) -> bool:
        return self.stay.gone_s < FOR_EVER


@dataclass
class Gathering:
    """`url` tells where a node is, `token` who somebody is."""

    url: Callable[[int], str]
    token: Callable[[str], str]
    stays: list[Stay] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    # How those are lost whose connection to a node breaks.
    loss: Callable[[int], Loss] = lambda _: Loss.CLOSE
    _watchers: list[Client] = field(default_factory=list)

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    # ---- coming and going

    async def arrive(self, user: str, node: int) -> Visit:
        """Connect and be welcomed; raise `OSError` when the node does not let anybody in."""
        client = Client(token=self.token(user))
        stay = Stay(user, FOR_EVER, loss=Loss.CLOSE)
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await client.open(self.url(node))
                stay.came_s = self.now_s()
                self.stays.append(stay)
                visit = Visit(client, stay, node)
                client._open_connection().closed.add_done_callback(partial(self._ended, visit))
                await client.hello()
        except (Closed, Refused, HandshakeRefused) as problem:
            self.leave_at_once(client, stay)
            raise OSError(str(problem)) from problem
        except OSError:
            self.leave_at_once(client, stay)
            raise
        stay.here_s = self.now_s()
        self.visits.append(visit)
        return visit

    def leave_at_once(self, client: Client, stay: Stay) -> None:
        """Nobody knows how far a hello got that nobody answered."""
        stay.gone_s = min(stay.gone_s, self.now_s())
        if client.is_open:
            client.abort()

    async def leave(self, visit: Visit, loss: Loss) -> None:
        """End a visit in one of the ways that a client has."""
        if visit.is_over:
            return
        visit.stay.gone_s, visit.stay.loss = self.now_s(), loss
        if loss is Loss.GOODBYE:
            await visit.client.close()
        elif loss is Loss.SILENCE:
            visit.client.pause()
        else:
            visit.client.abort()

    def _ended(self, visit: Visit, _: "asyncio.Future[int]") -> None:
        if not visit.is_over:
            visit.stay.gone_s, visit.stay.loss = self.now_s(), self.loss(visit.node)

    async def live(
        self,
        user: str,
        node: Callable[[], int],
        chance: random.Random,
        until_s: float,
        *,
        stays_s: Sequence[float] = STAYS_S,
        aways_s: Sequence[float] = AWAYS_S,
    ) -> None:
        """Come and go by goodbyes and closes; stays and absences last up to as long as one of those, by chance."""
        while (now_s := self.now_s()) < until_s:
            try:
                visit = await self.arrive(user, node())
            except OSError:
                await asyncio.sleep(AGAIN_S)
                continue
            stay_s = 0.2 + chance.choice(stays_s) * chance.random()
            await asyncio.sleep(min(stay_s, max(0.0, until_s - now_s)))
            if visit.stay.loss is Loss.KILL and chance.random() < STAYS_AWAY:
                await asyncio.sleep(max(0.0, until_s - self.now_s()))
            await self.leave(visit, chance.choice((Loss.GOODBYE, Loss.CLOSE)))
            away_s = chance.choice(aways_s) * chance.random()
            await asyncio.sleep(min(away_s, max(0.0, until_s - self.now_s())))

    # ---- watching

    async def watch(self, name: str, user: str, node: int, users: Sequence[str]) -> View:
        """Watch `users` until the connection ends; raise `OSError`."""
        view = View(name, self.now_s())
        client = Client(token=self.token(user), on_push=partial(self._pushed, view))
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def take(payload: bytes) -> None:
            self._seen(view, decode_watching(payload).presence, is_news=False)
            if not answered.done():
                answered.set_result(None)

        def refuse(problem: Refused | Closed) -> None:
            if not answered.done():
                answered.set_exception(OSError(str(problem)))

        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await client.open(self.url(node))
                client._open_connection().closed.add_done_callback(partial(self._blinded, view))
                await client.hello()
                # Not awaited by a coroutine: news may come in the same read as the answer.
                client.ask(PresenceWatch(client.next_id(), tuple(map(UserId, users))), take, refuse)
                await answered
        except (Closed, Refused, HandshakeRefused) as problem:
            raise OSError(str(problem)) from problem
        finally:
            if not answered.done() and client.is_open:
                client.abort()
        self.views.append(view)
        self._watchers.append(client)
        return view

    def _pushed(self, view: View, push: Push) -> None:
        if isinstance(push, PresenceChanged):
            self._seen(view, push.changes, is_news=True)

    def _seen(self, view: View, changes: Sequence[Presence], *, is_news: bool) -> None:
        view.shown += [Shown(self.now_s(), change, is_news=is_news) for change in changes]

    def _blinded(self, view: View, _: "asyncio.Future[int]") -> None:
        view.ended_s = self.now_s()

    # ---- the end

    async def end(self) -> None:
        """Let everybody go."""
        for client in (*(visit.client for visit in self.visits), *self._watchers):
            if client.is_open:
                client.abort()
                await client.closed()
