"""uvicorn's HTTP protocol with the deadlines and bounds that it lacks.

Guarantees: a request, head and body, is complete within its deadline or the connection ends (stock uvicorn waits for
ever); a client that does not read its answer is cut after as long; head and body are bounded on every request of a
connection, a body already by what it announces; ambiguous requests (no Host or two, both or two lengths) are refused
before the application sees them. A proxy that keeps connections may ask for a WebSocket on one that has served requests: when it
is idle, it begins anew with that head.

uvicorn's protocol class is not documented API: its version is pinned, and the conformance cases run against it.
"""

import logging
from asyncio import Transport
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.requests import ClientDisconnect
from typing_extensions import override
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from server.gateway.handshake import refusal
from server.gateway.limits import SocketLimits
from server.gateway.wheel import Slot, TimerWheel

# A warning for each request that is no HTTP would let strangers fill the log.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

HttpFactory = Callable[[TimerWheel, SocketLimits], "DeadlineHTTP"]


def http_factory(config: Config, server_state: ServerState, app_state: dict[str, object]) -> HttpFactory:
    """Make protocols for a loaded uvicorn `config`; `app_state` is what the lifespan of the application yielded."""

    def make(wheel: TimerWheel, limits: SocketLimits) -> DeadlineHTTP:
        protocol = DeadlineHTTP(config, server_state, app_state)
        protocol.bound(wheel, limits)
        return protocol

    return make


class DeadlineHTTP(HttpToolsProtocol):
    """One HTTP connection; a subclass because uvicorn offers no other way in."""

    on_lost: Callable[[], None] | None = None
    # Takes the transport, and the head of an upgrade that came after other requests with what followed it.
    on_upgrade: Callable[[Transport, bytes], None] | None = None

    def bound(self, wheel: TimerWheel, limits: SocketLimits) -> None:
        """Set the deadlines and bounds; call before `connection_made`."""
        self._wheel = wheel
        self._limits = limits
        self._timer: Slot | None = None
        self._unread = _Unread(self)
        self._is_refused = False
        self._refusal = b""
        self._running: RequestResponseCycle | None = None
        self._has_served = False
        self._is_upgrading = False
        self.app = _without_disconnects(self.app)
        self._start()

    def _start(self) -> None:
        self._is_in_head = True
        # What answers the request that is being read, once its head is whole.
        self._reading: RequestResponseCycle | None = None
        self._fed_bytes = 0
        self._head_bytes = 0
        self._body_bytes = 0
        # The bytes of a head that may be an upgrade: one that comes alone, after others.
        self._head = b""

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        self._arm()
        if self._is_in_head:
            if self._head or (self._has_served and self._is_idle and not self._fed_bytes):
                self._head += data
            self._fed_bytes += len(data)
        super().data_received(data)
        # A header that has not ended is nowhere but in the parser, so count what goes in too.
        if self._is_in_head and self._fed_bytes > self._limits.head_max_bytes:
            self._refuse(431, f"The request head is over {self._limits.head_max_bytes} bytes.")

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arm()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.head_max_bytes or len(self.headers) >= self._limits.headers_max:
            self._refuse(431, "The request head is too large.")
            return
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._is_refused:
            return
        if self._head and self._get_upgrade() == b"websocket" and self.on_upgrade is not None:
            self._is_upgrading = True
            return
        needs_host = self.parser.get_http_version() != "1.0"
        problem = _problem(self.headers, self._limits.body_max_bytes, needs_host=needs_host)
        if problem is not None:
            self._refuse(*problem)
            return
        super().on_headers_complete()
        self._reading = self.cycle

    @override
    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._is_refused:
            return
        if self._body_bytes > self._limits.body_max_bytes:
            self._refuse(413, f"The body is over {self._limits.body_max_bytes} bytes.")
            return
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if self._is_refused or self._is_upgrading:
            return
        self._has_served = True
        self._disarm()
        self._start()
        super().on_message_complete()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread.watch()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread.forget()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @override
    def on_response_complete(self) -> None:
        self._running = None
        super().on_response_complete()
        if self._is_refused and self._running is None:
            self._answer_refused()
        if self.transport.get_write_buffer_size():
            self._unread.watch()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._unread.forget()
        self._let_go(self._running)
        super().connection_lost(exc)
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()

    @override
    def _unsupported_upgrade_warning(self) -> None:
        """Begin anew with the upgrade; one that came among other requests is answered as the plain one that it also is."""
        if not self._is_upgrading or self.on_upgrade is None:
            return
        self._disarm()
        self._unread.forget()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()
        self.on_upgrade(self.transport, self._head)

    @property
    def _is_idle(self) -> bool:
        return self._running is None and not self.pipeline

    def expired(self, now: float) -> None:  # noqa: ARG002  # whenever it is, it is too late
        """End a connection whose request, or reading of its refusal, took too long."""
        self._timer = None
        self.cut()

    def cut(self) -> None:
        """End the TCP connection; what is being answered is answered to nobody (uvloop raises on later writes)."""
        self._let_go(self._running)
        self.transport.abort()

    def _refuse(self, status: int, text: str) -> None:
        """Hear nothing more; answer this request when those before it are answered."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._refusal = refusal(status, text)
        self._unset_keepalive_if_required()
        self._disarm()
        if self._reading is not None:
            self._forget_request(self._reading)
        if self._running is None:
            self._answer_refused()

    def _forget_request(self, cycle: RequestResponseCycle) -> None:
        """Give up the request whose body is refused; one that has its answer already gets no second one."""
        self._let_go(cycle)
        if cycle is self._running:
            self._running = None
        else:
            # It is the newest of those that wait, unless it was answered before its body came.
            self.pipeline = deque(waiting for waiting in self.pipeline if waiting[0] is not cycle)
        if cycle.response_started:
            self._refusal = b""

    def _answer_refused(self) -> None:
        """Answer, half-close, and give the client a moment to read why before the connection is cut."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._refusal:
            self.transport.write(self._refusal)
        with suppress(OSError):  # asyncio's shutdown of a socket that the peer reset already
            self.transport.write_eof()
        self._timer = self._wheel.arm(self._wheel.now() + self._limits.close_timeout_s, self)

    @staticmethod
    def _let_go(cycle: RequestResponseCycle | None) -> None:
        """Have what is being answered end quietly: nobody hears it."""
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._wheel.arm(self._wheel.now() + self._limits.request_timeout_s, self)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.disarm(self)
            self._timer = None

    def arm(self, target: "_Unread") -> Slot:
        """Have `target` expire when the time for a request is over."""
        return self._wheel.arm(self._wheel.now() + self._limits.request_timeout_s, target)


class _Unread:
    """The deadline of a client that does not read: closing alone would wait for it for ever."""

    __slots__ = ("_protocol", "_timer")

    def __init__(self, protocol: DeadlineHTTP) -> None:
        self._protocol = protocol
        self._timer: Slot | None = None

    def watch(self) -> None:
        if self._timer is None:
            self._timer = self._protocol.arm(self)

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.disarm(self)
            self._timer = None

    def expired(self, now: float) -> None:  # noqa: ARG002  # whenever it is, it is too late
        self._timer = None
        if self._protocol.transport.get_write_buffer_size():
            self._protocol.cut()


def _without_disconnects(app: ASGI3Application) -> ASGI3Application:
    """Let a request end quietly whose client went away, or was cut, before its body was whole."""

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        with suppress(ClientDisconnect):
            await app(scope, receive, send)

    return run


def _problem(
    headers: Sequence[tuple[bytes, bytes]], body_max_bytes: int, *, needs_host: bool
) -> tuple[int, str] | None:
    """Say what makes a head ambiguous or its body too large (RFC 9112 sections 3.2 and 6.3)."""
    hosts = [value for name, value in headers if name == b"host"]
    lengths = [value for name, value in headers if name == b"content-length"]
    if len(hosts) > 1 or (needs_host and not hosts):
        return 400, "Exactly one Host header is needed."
    if len(lengths) > 1 or (lengths and any(name == b"transfer-encoding" for name, _ in headers)):
        return 400, "One length, told once."
    if lengths and (not lengths[0].isdigit() or len(lengths[0]) > 18):
        return 400, "Content-Length is a number."
    if lengths and int(lengths[0]) > body_max_bytes:
        return 413, f"The body is over {body_max_bytes} bytes."
    return None
