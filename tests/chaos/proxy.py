"""The way between clients and nodes, as a load balancer is: any node for any connection, and it cuts, delays and stalls.

A node that does not listen costs the client its connection; one that is frozen accepts and says nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import cast

from typing_extensions import override


class Proxy:
    """Forwards every connection to the port that `choose` names; `delay_s` holds for what comes from then on."""

    def __init__(self, choose: Callable[[], int]) -> None:
        self._choose = choose
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self.links: dict[_Side, None] = {}
        self.port = 0
        self.delay_s = 0.0
        self.cuts = 0
        self.delayed = 0

    async def start(self) -> int:
        """Listen on a free loopback port and return it."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Side(self, accepted=True), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    def cut(self, share: float, chance: Random) -> int:
        """Cut about that share of all connections without a word; at least one when there is one."""
        links = list(self.links)
        chosen = chance.sample(links, max(1, round(len(links) * share))) if links else []
        for side in chosen:
            side.abort()
        self.cuts += len(chosen)
        return len(chosen)

    def close(self) -> None:
        """Cut everything and listen no more."""
        if self._server is not None:
            self._server.close()
        for side in list(self.links):
            side.abort()

    def opened(self, side: "_Side") -> None:
        """Connect a new client onwards."""
        self.links[side] = None
        task = asyncio.get_running_loop().create_task(self._connect(side))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, side: "_Side") -> None:
        loop = asyncio.get_running_loop()
        try:
            _, other = await loop.create_connection(lambda: _Side(self, accepted=False), "127.0.0.1", self._choose())
        except OSError:
            side.abort()
            return
        side.join(other)


class _Side(asyncio.Protocol):
    """One socket of a forwarded connection; what it reads is written to the other one, in order."""

    def __init__(self, proxy: Proxy, *, accepted: bool) -> None:
        self._proxy = proxy
        self._transport: asyncio.Transport | None = None
        self._other: _Side | None = None
        self._is_accepted = accepted
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, other: "_Side") -> None:
        """Forward to `other`, and from it."""
        self._other, other._other = other, self
        if self._transport is None:
            other.abort()
        self._pump()

    def abort(self) -> None:
        """Cut both sockets."""
        self._waiting.clear()
        for side in (self, self._other):
            if side is not None and side._transport is not None:
                side._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket; an accepted one is connected onwards."""
        self._transport = cast("asyncio.Transport", transport)
        if self._is_accepted:
            self._proxy.opened(self)

    @override
    def data_received(self, data: bytes) -> None:
        """Forward, now or when its time has come."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._proxy.delay_s
        self._proxy.delayed += self._proxy.delay_s > 0
        # What was held back before goes first, also when the way has become faster meanwhile.
        self._waiting.append((max(due, self._waiting[-1][0]) if self._waiting else due, data))
        self._pump()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side when all that was read has been written."""
        self._transport = None
        if self._is_accepted:
            self._proxy.links.pop(self, None)
        self._pump()

    def _pump(self) -> None:
        other, loop = self._other, asyncio.get_running_loop()
        if other is None or other._transport is None:
            return
        while self._waiting and self._waiting[0][0] <= loop.time():
            other._transport.write(self._waiting.popleft()[1])
        if self._waiting and self._timer is None:
            self._timer = loop.call_at(self._waiting[0][0], self._due)
        elif not self._waiting and self._transport is None:
            other._transport.close()

    def _due(self) -> None:
        self._timer = None
        self._pump()
