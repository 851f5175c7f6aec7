"""The first seconds of every TCP connection: its request head is read under a deadline, then it gets its protocol.

Guarantees: a head is whole within the deadline and its size, or the connection ends; a WebSocket upgrade becomes a
`Connection`, anything else goes to the HTTP stack with all bytes read so far. Refusals are written before the head is
parsed where the reason is a limit, and the client gets a moment to read them.
"""

import asyncio
import re
from contextlib import suppress
from functools import partial
from typing import assert_never, cast

from typing_extensions import override

from server.core.addresses import counted_as
from server.gateway.handshake import Accepted, PlainHttp, Refused, incomplete_problem, judge, refusal
from server.gateway.http_protocol import HttpFactory
from server.gateway.websocket import Connection, SocketHost
from server.gateway.wheel import Slot

_X_FORWARDED_FOR = re.compile(rb"\r\nx-forwarded-for:([^\r\n]*)", re.IGNORECASE)
_FORWARDED = re.compile(rb"\r\nforwarded:([^\r\n]*)", re.IGNORECASE)
LINGERING_MAX = 1_000
# Refused clients that may still read why; from then on they are cut at once.


class Door(asyncio.Protocol):
    """The protocol object of a connection until it is known what it wants."""

    __slots__ = ("_address", "_head", "_host", "_http", "_is_refused", "_limit_answer", "_peer", "_timer", "_transport")

    def __init__(self, host: SocketHost, http: HttpFactory | None) -> None:
        """Let WebSockets in at `host`; hand the rest to `http`, or refuse it with 404."""
        self._host = host
        self._http = http
        self._head: bytes | bytearray = b""
        self._peer = ""
        # What the socket is counted as; "" while only its proxy is known.
        self._address = ""
        self._limit_answer: bytes | None = None
        self._is_refused = False
        self._timer: Slot | None = None
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and decide by the limits before a byte of it is read."""
        # A stream server makes no other kind, but uvloop's does not say so by inheritance.
        transport = cast("asyncio.Transport", transport)
        host, self._transport = self._host, transport
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        host.gauges.accepted_total += 1
        # Whom a trusted proxy connects for is told in the head.
        self._address = "" if host.proxies.trusts(self._peer) else counted_as(self._peer)
        is_within = host.enter(self._address)
        if host.gauges.connections >= host.limits.connections_max:
            self._limit_answer = refusal(503, "The server is full.", "Retry-After: 5")
        elif not is_within:
            self._limit_answer = _too_many()
        host.gauges.pending_heads += 1
        self._timer = host.wheel.arm(host.wheel.now() + host.limits.head_timeout_s, self)
        if self._limit_answer is not None and host.gauges.lingering >= LINGERING_MAX:
            transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        """Collect the head; act when it is whole or hopeless."""
        if self._is_refused:
            return
        if self._host.is_draining:
            self._limit_answer = refusal(503, "The server is being stopped.", "Retry-After: 1")
        if self._limit_answer is not None:
            self._refuse(self._limit_answer)
            return
        start = max(0, len(self._head) - 3)
        if self._head:
            self._head += data
        else:
            self._head = data
        end = self._head.find(b"\r\n\r\n", start)
        if end >= 0:
            self._decide(bytes(self._head[: end + 4]), bytes(self._head[end + 4 :]))
            return
        problem = incomplete_problem(self._head, self._host.limits)
        if problem is not None:
            self._refuse(problem.response)
        elif not isinstance(self._head, bytearray):
            self._head = bytearray(self._head)

    @override
    def eof_received(self) -> None:
        """Half a head and no more: the transport closes itself."""

    @override
    def connection_lost(self, exc: Exception | None) -> None:  # asyncio names it
        """Leave no trace."""
        self._leave_head()
        if self._timer is not None:
            self._timer.disarm(self)
        if self._is_refused:
            self._host.gauges.lingering -= 1
        self._host.leave(self._address)

    def expired(self, now: float) -> None:  # noqa: ARG002  # whenever it is, it is too late
        """Cut a head that did not come in time, or a client that was refused and stays."""
        self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def _decide(self, head: bytes, rest: bytes) -> None:
        problem = incomplete_problem(head, self._host.limits) if len(head) > 1024 or head[:5] != b"GET /" else None
        client = self._client(head) if self._host.proxies else self._peer
        verdict = problem or judge(head, client, self._host.limits)
        match verdict:
            case Refused():
                self._refuse(verdict.response)
            case Accepted():
                self._upgrade(verdict, rest)
            case PlainHttp():
                self._hand_over(head + rest)
            case _:
                assert_never(verdict)

    def _client(self, head: bytes) -> str:
        """Find out for whom a trusted proxy has connected."""
        heard = [
            [value.decode("latin-1").strip() for value in line.findall(head)] for line in (_X_FORWARDED_FOR, _FORWARDED)
        ]
        return self._host.proxies.client(self._peer, *heard)

    def _upgrade(self, verdict: Accepted, rest: bytes) -> None:
        if not self._address and verdict.upgrade.address != self._peer:
            # Only now: of plain requests one connection of a proxy carries many clients'.
            self._host.leave(self._address)
            self._address = counted_as(verdict.upgrade.address)
            if not self._host.enter(self._address):
                self._refuse(_too_many())
                return
        transport = self._pass_on()
        connection = Connection(transport, self._host, self._address)
        transport.set_protocol(connection)
        transport.write(verdict.response)
        connection.open(verdict.upgrade)
        if rest:
            connection.data_received(rest)

    def _hand_over(self, data: bytes) -> None:
        if self._http is None:
            self._refuse(refusal(404, f"WebSocket connections are taken at {self._host.limits.path}."))
            return
        transport, host = self._pass_on(), self._host
        protocol = self._http(host.wheel, host.limits)
        host.gauges.http_connections += 1
        protocol.on_lost = partial(_http_lost, host, self._address)
        protocol.on_upgrade = partial(_begin_anew, host, self._http)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _pass_on(self) -> asyncio.Transport:
        """Let go of the transport: somebody else is its protocol from here on."""
        transport = self._transport
        assert transport is not None  # data came through it
        self._leave_head()
        if self._timer is not None:
            self._timer.disarm(self)
        self._timer = self._transport = None
        self._head = b""
        return transport

    def _refuse(self, response: bytes) -> None:
        """Answer, half-close, discard what still comes, cut after the close timeout."""
        transport, host = self._transport, self._host
        assert transport is not None  # data came through it
        self._leave_head()
        self._is_refused = True
        self._head = b""
        host.gauges.lingering += 1
        host.gauges.refused_total += 1
        transport.write(response)
        with suppress(OSError):  # asyncio's shutdown of a socket that the peer reset already
            transport.write_eof()
        if self._timer is not None:
            self._timer.disarm(self)
        self._timer = host.wheel.arm(host.wheel.now() + host.limits.close_timeout_s, self)

    def _leave_head(self) -> None:
        if not self._is_refused and self._transport is not None:
            self._host.gauges.pending_heads -= 1


def _too_many() -> bytes:
    return refusal(429, "Too many connections from this address.", "Retry-After: 30")


def _http_lost(host: SocketHost, address: str) -> None:
    host.gauges.http_connections -= 1
    host.leave(address)


def _begin_anew(host: SocketHost, http: HttpFactory, transport: asyncio.Transport, head: bytes) -> None:
    """Judge a head on a connection that was handed over before: proxies keep connections and use them for anything."""
    door = Door(host, http)
    transport.set_protocol(door)
    host.gauges.accepted_total -= 1  # it was counted
    door.connection_made(transport)
    door.data_received(head)
