"""One WebSocket connection: frames in, messages out, and the end of it.

Guarantees: a complete, final, masked text frame within the limit, while no message is in pieces, takes the express lane:
unmasked and handed over in place. Every other complete frame, and every bad header, goes to `websockets`'
`ServerProtocol`, so that control frames, fragments, errors and closing keep its semantics; in the plain state all
connections of a listener share one, because between frames it remembers nothing. Payloads are valid UTF-8 in both lanes
(msgspec does not look into the fields that it skips, and other clients would have to close on them). The receiver is
told of the end exactly once.

Refuses: binary messages (1003), text that is not UTF-8 (1007), messages over the size or fragment limit (1009, without
allocating what a header announces), floods of control frames (4009). It reads nothing while its own output is stuck.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from typing_extensions import override
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from protocol.close_codes import CloseCode
from protocol.limits import REASON_MAX_BYTES
from server.core.addresses import TrustedProxies
from server.gateway.frames import BAD, HEADER_MAX_BYTES, PING, cut_reason, is_utf8, span
from server.gateway.handshake import Upgrade
from server.gateway.limits import SocketGauges, SocketLimits
from server.gateway.wheel import Slot, TimerWheel
from server.outbox import Flusher, Outbox

logger = logging.getLogger(__name__)
_silent = logging.getLogger(f"{__name__}.websockets")
_silent.setLevel(logging.CRITICAL)

_OPEN: Final = 0
_CLOSING: Final = 1  # we sent a close frame and wait for the peer's
_ENDED: Final = 2  # nothing is sent or heard any more; the TCP connection is being closed

LATE_FRAMES_MAX: Final = 128
# What may still be under way when we close is judged; from then on only the peer's close frame is looked for.

_PROTOCOL_OPEN: Final = State.OPEN
_NO_STATUS: Final = 1005


class Receiver(Protocol):
    """The session side of one connection."""

    def received(self, payload: bytes) -> None:
        """Take one whole text message: within the size limit, valid UTF-8. Not called after `close`."""

    def lost(self, code: int, reason: str) -> None:
        """Learn that the connection is over; called exactly once, however it ended; nothing is sent any more.

        The code is the one that was sent or received first, 1005 for a close frame without, 1006 for no close frame.
        """


class _Nobody:
    """Whom a connection talks to when its receiver was told the end."""

    __slots__ = ()

    def received(self, payload: bytes) -> None:
        """Drop it."""

    def lost(self, code: int, reason: str) -> None:
        """Drop it: it was told."""


_NOBODY: Final = _Nobody()


class SocketHost:
    """What all connections of one listener share."""

    __slots__ = (
        "_addresses",
        "_spare",
        "accept",
        "connections",
        "flusher",
        "gauges",
        "is_draining",
        "limits",
        "proxies",
        "wheel",
    )

    def __init__(
        self,
        accept: "AcceptSocket",
        limits: SocketLimits,
        flusher: Flusher,
        wheel: TimerWheel,
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Give every accepted upgrade to `accept`; believe `proxies` whose connections they pass on."""
        self.proxies = proxies or TrustedProxies()
        self.accept = accept
        self.limits = limits
        self.flusher = flusher
        self.wheel = wheel
        self.gauges = SocketGauges()
        # A dict, because it is iterated: the order must not depend on addresses in memory.
        self.connections: dict[Connection, None] = {}
        self.is_draining = False
        self._addresses: dict[str, int] = {}
        self._spare: ServerProtocol | None = None

    def enter(self, address: str) -> bool:
        """Count a socket of `address`; False when it is one too many (it is counted all the same: `leave` follows).

        "" stands for sockets whose client is not known, however many.
        """
        count = self._addresses.get(address, 0) + 1
        self._addresses[address] = count
        return not 0 < self.limits.connections_per_address_max < count or not address

    def leave(self, address: str) -> None:
        """Undo `enter`."""
        count = self._addresses[address] - 1
        if count:
            self._addresses[address] = count
        else:
            del self._addresses[address]

    def take_protocol(self) -> ServerProtocol:
        """Lend a ServerProtocol that is open and between messages."""
        spare, self._spare = self._spare, None
        if spare is not None:
            return spare
        return ServerProtocol(state=_PROTOCOL_OPEN, max_size=self.limits.message_max_bytes, logger=_silent)

    def give_back(self, protocol: ServerProtocol) -> None:
        """Keep one ServerProtocol, in the plain state, for the next frame of anybody."""
        self._spare = protocol


class Connection(asyncio.Protocol):
    """The protocol object of one open WebSocket. Idle it holds a transport, an outbox and a place in the wheel."""

    __slots__ = (
        "_address",
        "_controls",
        "_controls_since",
        "_fragments",
        "_heard",
        "_host",
        "_late_bytes",
        "_late_frames",
        "_need",
        "_pinged_at",
        "_protocol",
        "_receiver",
        "_state",
        "_tail",
        "_timer",
        "_transport",
        "_verdict",
        "outbox",
    )

    def __init__(self, transport: asyncio.Transport, host: SocketHost, address: str) -> None:
        """Take over `transport`; the handshake is done and the socket is counted under `address`."""
        self._transport = transport
        self._host = host
        self._address = address
        self._receiver: Receiver = _NOBODY
        self.outbox = Outbox(transport, host.flusher)
        self._state = _OPEN
        # Only while a message is in pieces or the connection is closing; else the host's spare one serves.
        self._protocol: ServerProtocol | None = None
        self._fragments: list[bytes] | None = None
        self._tail: bytes | bytearray = b""
        self._need = 0
        self._late_bytes = self._late_frames = 0
        self._heard = host.wheel.time
        self._pinged_at = 0.0  # no ping is out
        self._controls = 0
        self._controls_since = 0.0
        self._verdict: tuple[int, str] | None = None
        self._timer: Slot | None = None

    # ------------------------------------------------------------------------------------- for the session side

    @property
    def is_open(self) -> bool:
        """Whether messages still come and go."""
        return self._state == _OPEN

    def open(self, upgrade: Upgrade) -> None:
        """Make the receiver and begin; its fault ends the connection with 1011."""
        host = self._host
        host.connections[self] = None
        host.gauges.open_sockets += 1
        host.gauges.upgraded_total += 1
        limits = host.limits
        self._transport.set_write_buffer_limits(high=limits.high_water_bytes)
        self._arm(host.wheel.now() + limits.ping_after_s - host.wheel.slot_s)
        try:
            receiver = host.accept(self, upgrade)
        except Exception as fault:  # noqa: BLE001  # the session's fault ends this connection, and no other
            self._fault(fault)
            return
        if self._state == _ENDED:
            receiver.lost(*(self._verdict or (int(CloseCode.ABNORMAL), "")))
        else:
            self._receiver = receiver

    def close(self, code: int, reason: str = "") -> None:
        """Send what is queued (unless the reader is behind), then a close frame; end when answered or timed out."""
        if self._state != _OPEN:
            return
        self._state = _CLOSING
        reason = cut_reason(reason, REASON_MAX_BYTES)
        self._verdict = (code, reason)
        protocol = self._own_protocol()
        protocol.send_close(code, reason)
        self._write(protocol)
        if not self._transport.is_closing():
            self._transport.resume_reading()  # a slow reader's answer is heard again

    def abort(self) -> None:
        """End the TCP connection without a word."""
        if self._state != _ENDED:
            self._state = _ENDED
            self.outbox.shut()
        self._transport.abort()

    # ---------------------------------------------------------------------------------------- for the event loop

    @override
    def data_received(self, data: bytes) -> None:
        """Split off complete frames; keep an incomplete one until the rest of it is there."""
        tail = self._tail
        if tail:
            tail += data
            if len(tail) < self._need:
                return
            data = bytes(tail)
            self._tail = b""
        try:
            self._consume(data)
        except Exception as fault:  # noqa: BLE001  # the session's fault ends this connection, and no other
            self._fault(fault)

    @override
    def eof_received(self) -> None:
        """The peer sends no more; the transport closes itself when its buffer is written, or is made to."""
        self._end(int(CloseCode.ABNORMAL), "")
        self._arm(self._host.wheel.now() + self._host.limits.close_timeout_s)

    @override
    def pause_writing(self) -> None:
        """The peer does not read: stop listening to it, so that it cannot make us pile up answers."""
        self.outbox.pause()
        if self._state == _OPEN:
            self._transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        """The peer caught up."""
        self.outbox.resume()
        self._transport.resume_reading()

    @override
    def connection_lost(self, exc: Exception | None) -> None:  # asyncio names it
        """Leave no trace."""
        self._end(int(CloseCode.ABNORMAL), "")
        self._disarm()
        host = self._host
        if host.connections.pop(self, False) is None:
            host.gauges.open_sockets -= 1
            host.leave(self._address)
        self._protocol = self._fragments = None
        self._tail = b""

    def expired(self, now: float) -> None:
        """Ping a silent peer, give up a dead one, end a closing one."""
        self._timer = None
        if self._state == _OPEN:
            self._keep_alive(now)
        else:
            self._transport.abort()

    # ------------------------------------------------------------------------------------------------- receiving

    def _consume(self, data: bytes) -> None:
        size, position = len(data), 0
        limit = self._host.limits.message_max_bytes
        while True:
            if self._protocol is None and self._state == _OPEN:
                position = self._express(data, position, limit)
            if position == size or self._state == _ENDED:
                return
            if self._state == _CLOSING:
                self._late_frames += 1
                if self._late_frames > LATE_FRAMES_MAX:
                    self._skip_to_close(data[position:])
                    return
            need = span(data, position, self._budget_bytes(limit))
            if need == BAD:
                self._feed(data[position : position + HEADER_MAX_BYTES])
                return
            if size - position < need:
                self._tail, self._need = bytearray(data[position:]), need
                return
            self._heard = self._host.wheel.time
            self._feed(data[position : position + need])
            position += need

    def _skip_to_close(self, data: bytes) -> None:
        """Look for nothing but the peer's close frame (RFC 6455 section 1.4: what follows a close may be discarded).

        A flood that was under way when we closed would keep the loop busy for seconds if each frame were judged.
        """
        self._late_bytes += len(data)
        if self._late_bytes > self._host.limits.outbox_max_bytes:
            self.abort()
            return
        size, position = len(data), 0
        while position < size:
            need = span(data, position, self._host.limits.message_max_bytes)
            if need == BAD:
                self._feed(data[position : position + HEADER_MAX_BYTES])
                return
            if size - position < need:
                self._tail, self._need = bytearray(data[position:]), need
                return
            if data[position] & 0x0F == Opcode.CLOSE:
                self._feed(data[position : position + need])
                return
            position += need

    def _express(self, data: bytes, position: int, limit: int) -> int:
        """Hand over every plain text frame from `position` on; return where something else, or nothing, begins.

        Inlined and repetitive on purpose: this is what each message costs.
        """
        size, start = len(data), position
        received = self._receiver.received
        while size - position >= 6:
            second = data[position + 1]
            if data[position] != 0x81 or second < 128:
                break
            body = position + 6
            if second < 254:
                end = body + second - 128
            elif second == 254 and size - position >= 8:
                length = (data[position + 2] << 8) | data[position + 3]
                if length > limit:
                    break
                body += 2
                end = body + length
            else:
                break
            if end > size:
                break
            payload = apply_mask(data[body:end], data[body - 4 : body])
            if not payload.isascii() and not is_utf8(payload):
                self._fail(int(CloseCode.INVALID_TEXT), "text is not UTF-8")
                return end
            position = end
            received(payload)
            if self._state:
                break
        if position > start:
            self._heard = self._host.wheel.time
        return position

    def _budget_bytes(self, limit: int) -> int:
        """What the next frame may hold: ServerProtocol counts the pieces of an open message against the limit."""
        if self._protocol is None or self._protocol.current_size is None:
            return limit
        return limit - self._protocol.current_size

    def _feed(self, frame: bytes) -> None:
        """Have ServerProtocol take one complete frame, or the header that it will fail."""
        protocol = self._protocol
        if protocol is None:
            protocol = self._host.take_protocol()
        protocol.receive_data(frame)
        events = protocol.events_received()
        self._protocol = protocol
        if self._state == _OPEN:
            message = self._assemble(events)
            self._settle(protocol)
            if message is not None and self._state == _OPEN:
                self._receiver.received(message)
        else:
            self._settle(protocol)

    def _assemble(self, events: Sequence[object]) -> bytes | None:
        """Act on the frame that ServerProtocol found good; return the message that it completes."""
        for event in events:
            assert isinstance(event, Frame)  # heads do not come here
            match event.opcode:
                case Opcode.PING | Opcode.PONG:
                    self._count_control()
                case Opcode.BINARY:
                    self._fail(int(CloseCode.UNSUPPORTED_DATA), "messages are text")
                case Opcode.TEXT | Opcode.CONT:
                    return self._add_fragment(event)
                case Opcode.CLOSE:
                    pass
        return None

    def _add_fragment(self, frame: Frame) -> bytes | None:
        fragments = self._fragments
        if fragments is None:
            fragments = self._fragments = []
        fragments.append(bytes(frame.data))
        if not frame.fin:
            if len(fragments) >= self._host.limits.fragments_max:
                self._fail(int(CloseCode.MESSAGE_TOO_BIG), "too many fragments")
            return None
        self._fragments = None
        message = b"".join(fragments)
        if is_utf8(message):
            return message
        self._fail(int(CloseCode.INVALID_TEXT), "text is not UTF-8")
        return None

    def _count_control(self) -> None:
        limits, time = self._host.limits, self._host.wheel.time
        if time - self._controls_since > limits.control_window_s:
            self._controls_since, self._controls = time, 0
        self._controls += 1
        if self._controls > limits.control_frames_max:
            self._fail(int(CloseCode.TOO_MANY_FRAMES), "too many control frames")

    # --------------------------------------------------------------------------------------------------- ending

    def _fail(self, code: int, reason: str) -> None:
        """Fail the connection as RFC 6455 section 7.1.7 has it: a close frame, and nothing is heard any more."""
        protocol = self._own_protocol()
        protocol.fail(code, reason)
        self._settle(protocol)

    def _fault(self, fault: Exception) -> None:
        """A bug of ours or of the session side: log it once, tell the client no more than that."""
        logger.error("a connection failed", exc_info=fault)
        if self._state == _OPEN:
            self._fail(int(CloseCode.INTERNAL_ERROR), "internal error")
        else:
            self.abort()

    def _own_protocol(self) -> ServerProtocol:
        if self._protocol is None:
            self._protocol = self._host.take_protocol()
        return self._protocol

    def _settle(self, protocol: ServerProtocol) -> None:
        """Write what ServerProtocol answers; give it back when it remembers nothing of this connection."""
        if protocol.writes:
            self._write(protocol)
        if protocol is self._protocol and protocol.state is _PROTOCOL_OPEN and protocol.current_size is None:
            self._protocol = None
            self._host.give_back(protocol)

    def _write(self, protocol: ServerProtocol) -> None:
        is_open = protocol.state is _PROTOCOL_OPEN
        if not is_open:
            self.outbox.finish()
        transport = self._transport
        for data in protocol.data_to_send():
            if transport.is_closing():
                break
            if data:
                transport.write(data)
            else:
                self._half_close(protocol)
        if not is_open:
            self._arm(self._host.wheel.now() + self._host.limits.close_timeout_s)
        elif transport.get_write_buffer_size() > self._host.limits.outbox_max_bytes:
            self.abort()  # pings, and nobody reads the pongs

    def _half_close(self, protocol: ServerProtocol) -> None:
        """End our side only: closing at once would reset the connection and could take the close frame with it."""
        with suppress(OSError):  # asyncio's shutdown of a socket that the peer reset already
            self._transport.write_eof()
        close = protocol.close_sent if protocol.close_rcvd is None or protocol.parser_exc else protocol.close_rcvd
        if close is None:
            self._end(_NO_STATUS, "")
        else:
            self._end(int(close.code), close.reason)

    def _end(self, code: int, reason: str) -> None:
        """Tell the receiver, once; our own close, where there was one, is the reason that counts."""
        self._state = _ENDED
        self.outbox.shut()
        receiver, self._receiver = self._receiver, _NOBODY
        if self._verdict is None:
            self._verdict = (code, reason)
        try:
            receiver.lost(*self._verdict)
        except Exception:  # the session's fault must not keep this connection in the books
            logger.exception("a receiver failed at the end of its connection")

    # --------------------------------------------------------------------------------------------------- timing

    def _keep_alive(self, now: float) -> None:
        """Deadlines count from the last frame and are rounded down, so that a loss shows within the promised time."""
        limits = self._host.limits
        ping_at = self._heard + limits.ping_after_s - self._host.wheel.slot_s
        if self._heard >= self._pinged_at:
            self._pinged_at = 0.0
        if ping_at > now:
            self._arm(ping_at)
        elif not self._pinged_at:
            self._pinged_at = now
            if not self.outbox.is_paused:
                self._transport.write(PING)
            self._arm(now + limits.ping_timeout_s - self._host.wheel.slot_s)
        elif self.outbox.is_paused:
            self._give_up(int(CloseCode.SLOW_READER), "slow reader")
        else:
            self._give_up(int(CloseCode.PING_TIMEOUT), "ping timeout")

    def _give_up(self, code: int, reason: str) -> None:
        """The peer is taken for dead: nobody waits for its answer, but should it live it learns why."""
        self._verdict = (code, reason)
        self._fail(code, reason)

    def _arm(self, deadline: float) -> None:
        self._disarm()
        self._timer = self._host.wheel.arm(deadline, self)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.disarm(self)
            self._timer = None


AcceptSocket = Callable[[Connection, Upgrade], Receiver]
# Called once for each upgrade, after the 101 was written; the receiver may use the outbox and `close` from then on.
