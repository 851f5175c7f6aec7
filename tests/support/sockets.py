"""A transport and a loop in memory, for what works on sockets: nothing waits, everything can be looked at."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from typing_extensions import override

from server.gateway.handshake import Upgrade
from server.gateway.limits import SocketLimits
from server.gateway.websocket import Connection, SocketHost
from server.gateway.wheel import TimerWheel
from server.outbox import Flusher


@dataclass
class Call:
    """A call that waits in a MemoryLoop."""

    at: float
    callback: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Do not call."""
        self.is_cancelled = True


class MemoryLoop:
    """The calls that an event loop would make, made when the test says so."""

    def __init__(self, now: float = 1_000.0) -> None:
        """Begin at `now`."""
        self.now = now
        self.ready: list[Callable[[], None]] = []
        self.timers: list[Call] = []

    def time(self) -> float:
        """Tell the time."""
        return self.now

    def call_soon(self, callback: Callable[[], None], /) -> None:
        """Call at the next `tick`."""
        self.ready.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Call:
        """Call when `pass_time` has passed `delay`."""
        call = Call(self.now + delay, callback)
        self.timers.append(call)
        return call

    def tick(self) -> None:
        """Make the calls of one loop tick."""
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()

    def pass_time(self, seconds: float) -> None:
        """Make the calls of the next `seconds`, in their order."""
        end = self.now + seconds
        while True:
            due = [call for call in self.timers if call.at <= end and not call.is_cancelled]
            if not due:
                break
            call = min(due, key=lambda call: call.at)
            self.timers.remove(call)
            self.now = max(self.now, call.at)
            call.callback()
            self.tick()
        self.now = end
        self.tick()

    def freeze(self, seconds: float) -> None:
        """Let time pass in which the loop does nothing, as a blocked one would."""
        self.now += seconds


class MemoryTransport(asyncio.Transport):
    """Collects what is written. Over `high_bytes` unread it pauses its protocol; `read` is the peer reading."""

    def __init__(self, peer: object = ("192.0.2.7", 50_000)) -> None:
        """Connect to `peer`."""
        super().__init__()
        self.peer = peer
        self.writes: list[bytes] = []
        self.unread_bytes = 0
        self.is_stuck = False  # whether the peer reads nothing
        self.high_bytes = 64 * 1024
        self.is_paused = False
        self.is_eof = False
        self.is_aborted = False
        self.is_closed = False
        self.reads = True
        self.protocol: asyncio.BaseProtocol | None = None
        self.is_dead = False  # uvloop after connection_lost

    @property
    def output(self) -> bytes:
        """Everything that was written."""
        return b"".join(self.writes)

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_dead or self.is_eof or self.is_aborted:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        self.writes.append(bytes(data))
        if not self.is_stuck:
            return
        self.unread_bytes += len(data)
        if self.unread_bytes > self.high_bytes and not self.is_paused and self.protocol is not None:
            self.is_paused = True
            self.protocol.pause_writing()

    def read(self) -> None:
        """The peer reads all that it was sent."""
        self.is_stuck, self.unread_bytes = False, 0
        if self.is_paused and self.protocol is not None:
            self.is_paused = False
            self.protocol.resume_writing()

    @override
    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_bytes = self.high_bytes if high is None else high

    @override
    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.peer if name == "peername" else default

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    @override
    def is_closing(self) -> bool:
        return self.is_aborted or self.is_closed

    @override
    def write_eof(self) -> None:
        self.is_eof = True

    @override
    def close(self) -> None:
        self.is_closed = True

    @override
    def abort(self) -> None:
        self.is_aborted = True

    @override
    def pause_reading(self) -> None:
        self.reads = False

    @override
    def resume_reading(self) -> None:
        self.reads = True


@dataclass
class RecordingReceiver:
    """A session side that remembers what it was told, and does `act` on each message."""

    messages: list[bytes] = field(default_factory=list)
    ends: list[tuple[int, str]] = field(default_factory=list)
    act: Callable[[bytes], None] | None = None

    def received(self, payload: bytes) -> None:
        """Remember it."""
        self.messages.append(payload)
        if self.act is not None:
            self.act(payload)

    def lost(self, code: int, reason: str) -> None:
        """Remember it."""
        self.ends.append((code, reason))


UPGRADE = Upgrade("/ws", "", "chat.example", None, None, None, "192.0.2.7", None)


class Wire:
    """One open connection in memory, with everything around it."""

    def __init__(self, limits: SocketLimits | None = None, host: SocketHost | None = None) -> None:
        """Open it; a `host` of another wire makes two connections of one listener."""
        limits = limits or SocketLimits()
        self.loop = MemoryLoop()
        self.receiver = RecordingReceiver()
        if host is None:
            wheel = TimerWheel(self.loop.time)
            wheel.start(self.loop)
            flusher = Flusher(self.loop, bound_bytes=limits.outbox_max_bytes, high_water_bytes=limits.high_water_bytes)
            host = SocketHost(lambda connection, upgrade: self.receiver, limits, flusher, wheel)
        self.host = host
        self.transport = MemoryTransport()
        host.enter(UPGRADE.address)
        self.connection = Connection(self.transport, host, UPGRADE.address)
        self.transport.protocol = self.connection
        self.connection.open(UPGRADE)

    def feed(self, *chunks: bytes) -> None:
        """Have the peer send."""
        for chunk in chunks:
            self.connection.data_received(chunk)

    def lose(self) -> None:
        """Have the TCP connection end."""
        self.transport.is_dead = True
        self.connection.connection_lost(None)
