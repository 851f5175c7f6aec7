"""The one public port: accepts connections and keeps the books about them.

Guarantees: every accepted socket is a door, a WebSocket or an HTTP connection, counted as one of them until it is gone;
`connections` iterates in the order of their coming; a lack of file descriptors costs no busy loop and ends no listener.
"""

import asyncio
import logging
import socket
from typing import Final

from server.core.addresses import TrustedProxies
from server.gateway.door import Door
from server.gateway.http_protocol import HttpFactory
from server.gateway.limits import SocketGauges, SocketLimits
from server.gateway.websocket import AcceptSocket, Connection, SocketHost
from server.gateway.wheel import TimerWheel
from server.outbox import Flusher

logger = logging.getLogger(__name__)

BACKLOG: Final = 4096


def make_flusher(loop: asyncio.AbstractEventLoop, limits: SocketLimits) -> Flusher:
    """Make the flusher of all outboxes of a loop, bounded as `limits` say."""
    return Flusher(
        loop,
        bound_bytes=limits.outbox_max_bytes,
        high_water_bytes=limits.high_water_bytes,
        hold_s=limits.ephemeral_hold_s,
        keys_max=limits.ephemeral_keys_max,
        typing_expires_s=limits.typing_expires_s,
    )


class Listener:
    """Sockets in; see the module. Make it in the running loop that will serve it."""

    def __init__(
        self,
        accept: AcceptSocket,
        *,
        http: HttpFactory | None = None,
        limits: SocketLimits | None = None,
        wheel: TimerWheel | None = None,
        flusher: Flusher | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Give upgrades to `accept` and plain requests to `http`; a `wheel` of one's own is started by its owner.

        A `flusher` of one's own is made with `make_flusher` from the same limits. `proxies` are believed.
        """
        self._loop = asyncio.get_running_loop()
        self.limits = limits or SocketLimits()
        self._owns_wheel = wheel is None
        # Not `or`: a wheel without deadlines is empty, and so false.
        self.wheel = TimerWheel(self._loop.time) if wheel is None else wheel
        self.flusher = make_flusher(self._loop, self.limits) if flusher is None else flusher
        self._host = SocketHost(accept, self.limits, self.flusher, self.wheel, proxies)
        self._http = http
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> dict[Connection, None]:
        """The open WebSockets, oldest first."""
        return self._host.connections

    @property
    def gauges(self) -> SocketGauges:
        """What is open, and how many came."""
        return self._host.gauges

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None, "not started"
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self, host: str, port: int, *, reuse_port: bool = False, backlog: int = BACKLOG) -> None:
        """Bind and listen; OSError tells why it cannot."""
        infos = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, number, _, address = infos[0]
        sock = socket.socket(family, kind, number)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
            await self.start_on(sock, backlog=backlog)
        except BaseException:
            sock.close()
            raise

    async def start_on(self, sock: socket.socket, *, backlog: int = BACKLOG) -> None:
        """Listen on a socket that is bound already."""
        sock.setblocking(False)
        # Linux hands both options on to the accepted sockets: no system call per connection.
        if self.limits.send_buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.send_buffer_bytes)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._owns_wheel:
            self.wheel.start(self._loop)
        self._server = await self._loop.create_server(self._door, sock=sock, backlog=backlog)

    def stop_accepting(self) -> None:
        """Take no new connection; heads that are still being read are answered 503. The open ones stay."""
        self._host.is_draining = True
        if self._server is not None:
            self._server.close()

    def abort_all(self) -> None:
        """Cut every WebSocket that is left."""
        for connection in tuple(self.connections):
            connection.abort()

    def stop(self) -> None:
        """Stop accepting, cut what is left, turn the wheel no more (HTTP connections end with uvicorn's state)."""
        self.stop_accepting()
        self.abort_all()
        if self._owns_wheel:
            self.wheel.stop()

    def _door(self) -> Door:
        return Door(self._host, self._http)
