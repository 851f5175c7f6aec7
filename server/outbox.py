"""What waits to be sent to one connection, and the one flush per loop tick that sends it.

Guarantees: durable frames leave in the order of `send`, at the next tick, all frames of one tick in one `write`
(uvloop's `write` is a system call each: eight frames a flush cost 0.8 µs each instead of 6). Ephemeral frames keep only
the latest of each key and wait at most the flusher's hold time, or until something durable takes them along.

A connection at which nobody looks is spared typing and presence (`hold_back`), until somebody does (`give_back`).

Refuses: growth. When what waits here and in the transport would pass the bound, `send` answers False, and the caller
closes the connection as a slow reader. While the transport is paused, ephemeral frames coalesce and are not written;
those that are only worth telling at the moment (`send_passing`) do not wait for a slow reader at all.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Final, Protocol

from server.core.held_back import HeldBack
from server.core.latest import RECEIPT, TYPING, Key, tells_less

logger = logging.getLogger(__name__)

_EMPTY: Final[tuple[bytes, ...]] = ()


class Sink(Protocol):
    """The part of a transport that an outbox writes to."""

    def write(self, data: bytes) -> None:
        """Hand `data` to the socket; what it does not take now is buffered."""

    def get_write_buffer_size(self) -> int:
        """Tell how many bytes are buffered."""

    def abort(self) -> None:
        """End the connection at once."""


class Scheduler(Protocol):
    """The part of an event loop that a flusher needs."""

    def time(self) -> float:
        """Read the monotonic clock, in seconds."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Call at the next tick."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> object:
        """Call after `delay` seconds."""


def frame_text(payload: bytes) -> bytes:
    """Build the server's text frame around `payload`: final, unmasked, uncompressed (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def payload_of(framed: bytes) -> bytes:
    """Return what `frame_text` was given."""
    size = framed[1]
    return framed[2 if size < 126 else 4 if size == 126 else 10 :]


class Flusher:
    """Writes all outboxes of one loop that have something to send, once per tick."""

    __slots__ = (
        "_dirty",
        "_loop",
        "_waiting",
        "ample_bytes",
        "bound_bytes",
        "hold_s",
        "keys_max",
        "now",
        "typing_expires_s",
    )

    def __init__(
        self,
        loop: Scheduler,
        *,
        bound_bytes: int = 1 << 20,
        high_water_bytes: int = 64 * 1024,
        hold_s: float = 0.1,
        keys_max: int = 256,
        typing_expires_s: float = 8.0,
    ) -> None:
        """Bound each outbox by `bound_bytes` and `keys_max`; `high_water_bytes` is the mark of its transport."""
        self._loop = loop
        self._dirty: list[Outbox] = []
        self._waiting: dict[Outbox, None] = {}
        self.bound_bytes = bound_bytes
        # Up to here nobody has to ask the transport: one that is not paused holds no more than its high-water mark.
        self.ample_bytes = max(0, bound_bytes - high_water_bytes)
        self.hold_s = hold_s
        self.keys_max = keys_max
        self.typing_expires_s = typing_expires_s
        self.now = loop.time

    def send_all(self, outboxes: Iterable["Outbox"], frame: bytes) -> Sequence["Outbox"]:
        """Queue one durable frame for many; return those that are too slow (a fan-out without a call per recipient)."""
        dirty = self._dirty
        if not dirty:
            self._loop.call_soon(self.flush)
        slow: list[Outbox] = []
        size = len(frame)
        for outbox in outboxes:
            queued = outbox._queued_bytes + size
            if queued > outbox._ample_bytes or outbox._latest is not None:
                if not outbox.send(frame):
                    slow.append(outbox)
                continue
            outbox._queued_bytes = queued
            queue = outbox._queue
            if queue:
                queue.append(frame)  # type: ignore[union-attr]  # only the empty queue is a tuple
            else:
                outbox._queue = [frame]
                dirty.append(outbox)
        return slow

    def mark(self, outbox: "Outbox") -> None:
        """Have `outbox` flushed at the next tick; marking it twice is harmless."""
        if not self._dirty:
            self._loop.call_soon(self.flush)
        self._dirty.append(outbox)

    def hold(self, outbox: "Outbox") -> None:
        """Have `outbox` flushed when the hold time is over, together with all that began to wait meanwhile."""
        if self.hold_s <= 0:
            self.mark(outbox)
            return
        if not self._waiting:
            self._loop.call_later(self.hold_s, self._flush_waiting)
        self._waiting[outbox] = None

    def forget(self, outbox: "Outbox") -> None:
        """Keep no reference to an outbox that was shut."""
        self._waiting.pop(outbox, None)

    def flush(self) -> None:
        """Write every dirty outbox; a dead socket does not stop the others."""
        dirty, self._dirty = self._dirty, []
        for outbox in dirty:
            if outbox._ahead is not None or outbox._latest is not None or outbox._on_drained is not None:
                outbox.flush()
                continue
            queue = outbox._queue
            sink = outbox._sink
            if not queue or sink is None:
                continue
            outbox._queue = _EMPTY
            outbox._queued_bytes = 0
            try:
                sink.write(queue[0] if len(queue) == 1 else b"".join(queue))
            except Exception:  # noqa: BLE001  # see Outbox._failed
                outbox._failed()

    def _flush_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if not self._dirty:
            self._loop.call_soon(self.flush)
        self._dirty.extend(waiting)


class Outbox:
    """The bounded two-lane queue of one connection. Idle, it owns no container."""

    __slots__ = (
        "_ahead",
        "_ample_bytes",
        "_flusher",
        "_held_back",
        "_latest",
        "_on_drained",
        "_queue",
        "_queued_bytes",
        "_sink",
    )

    def __init__(self, sink: Sink, flusher: Flusher) -> None:
        """Write to `sink`, whose owner calls `pause`, `resume` and, when nothing may be sent any more, `shut`."""
        self._sink: Sink | None = sink
        self._flusher = flusher
        self._queue: list[bytes] | tuple[bytes, ...] = _EMPTY
        self._queued_bytes = 0
        # Below it `send` asks nobody; -1 while paused or shut, so that every frame takes the careful way.
        self._ample_bytes = flusher.ample_bytes
        self._latest: dict[Key, bytes] | None = None
        # While nobody looks.
        self._held_back: HeldBack | None = None
        self._ahead: list[bytes] | None = None
        # Whom to call when all is written, and whether what is held counts.
        self._on_drained: list[tuple[Callable[[], None], bool]] | None = None

    @property
    def is_paused(self) -> bool:
        """Whether the reader is behind: the transport holds more than its high-water mark."""
        return self._ample_bytes < 0

    @property
    def queued_bytes(self) -> int:
        """Bytes of durable frames that were not handed to the transport yet."""
        return self._queued_bytes

    def send(self, frame: bytes) -> bool:
        """Queue a durable frame; False when it would pass the bound (it is not queued: close as a slow reader).

        After the end of the connection frames are swallowed, which is not slowness: the answer is True.
        """
        queued = self._queued_bytes + len(frame)
        if queued > self._ample_bytes and (self._sink is None or self._overflows(queued)):
            return self._sink is None
        if self._latest is not None:
            queued += self._take_latest()
        self._queued_bytes = queued
        if self._queue:
            self._queue.append(frame)  # type: ignore[union-attr]  # only the empty queue is a tuple
        else:
            self._queue = [frame]
            self._flusher.mark(self)
        return True

    def send_latest(self, key: Key, frame: bytes) -> bool:
        """Queue an ephemeral frame in place of an earlier one of `key`; False when there are too many keys (dropped).

        A receipt takes the place of none that tells more.
        """
        if self._sink is None:
            return True
        if self._held_back is not None and self._held_back.put(key, frame, self._flusher.now()):
            return True
        if self._latest is None:
            self._latest = {key: frame}
            self._flusher.hold(self)
            return True
        waiting = self._latest.get(key)
        if waiting is None and len(self._latest) >= self._flusher.keys_max:
            return False
        if waiting is not None and key[0] == RECEIPT and _tells_less(frame, waiting):
            return True  # It was stored before the one that waits, on a node that is further away.
        self._latest[key] = frame
        return True

    def send_passing(self, key: Key, frame: bytes) -> None:
        """Queue an ephemeral frame that is worth nothing later: none for a reader who has not taken what came before.

        So it never leaves behind a durable frame that came after it.
        """
        sink = self._sink
        is_ready = self._ample_bytes >= 0 and self._ahead is None
        if self._held_back is not None or (sink is not None and is_ready and not sink.get_write_buffer_size()):
            self.send_latest(key, frame)

    def hold(self) -> None:
        """Keep what `send` queues from now on behind what `send_ahead` writes, until `release`."""
        if self._ahead is None:
            self._ahead = list(self._queue)
            self._queue = _EMPTY

    def send_ahead(self, frame: bytes) -> bool:
        """Queue a durable frame in front of what is held; the answer is that of `send`."""
        if self._ahead is None:
            return self.send(frame)
        queued = self._queued_bytes + len(frame)
        if queued > self._ample_bytes and (self._sink is None or self._overflows(queued)):
            return self._sink is None
        self._queued_bytes = queued
        self._ahead.append(frame)
        self._flusher.mark(self)
        return True

    def release(self) -> None:
        """Let what was held go, in order, behind what was sent ahead."""
        if self._ahead is None:
            return
        ahead, self._ahead = self._ahead, None
        self._queue = [*ahead, *self._queue]
        self._flusher.mark(self)

    def when_drained(self, callback: Callable[[], None], *, ahead: bool = False) -> None:
        """Call `callback` once, in a later tick: as soon as all is written and the transport is not paused.

        Not before `release`, unless only what is sent `ahead` matters.
        """
        if self._sink is None:
            return
        if self._on_drained is None:
            self._on_drained = []
        self._on_drained.append((callback, ahead))
        self._flusher.mark(self)

    def drop_held(self) -> None:
        """Forget what was queued since `hold`, and go on as usual."""
        self._queued_bytes -= sum(map(len, self._queue))
        self._queue, self._latest = _EMPTY, None
        self._flusher.forget(self)
        self.release()

    def drop_latest(self, key: Key) -> None:
        """Forget the ephemeral frame of `key`, if it still waits: something newer says it all."""
        if self._latest is not None:
            self._latest.pop(key, None)
        if self._held_back is not None:
            self._held_back.drop(key)

    def hold_back(self) -> None:
        """Nobody looks: keep typing and presence to oneself, the newest of each, until `give_back`."""
        if self._held_back is None and self._sink is not None:
            self._held_back = HeldBack(self._flusher.typing_expires_s, self._flusher.keys_max)

    def watch_only(self, users: Collection[str]) -> None:
        """Hold no presence of others back: they are watched no more."""
        if self._held_back is not None:
            self._held_back.keep(users)

    def forget_users(self, users: Collection[str]) -> None:
        """Hold nothing of these users back: a block stands between."""
        if self._held_back is not None:
            self._held_back.forget(users)

    def give_back(self) -> bool:
        """Somebody looks: send what was held back and still holds, at the next tick; the answer is that of `send`."""
        held, self._held_back = self._held_back, None
        if held is None or self._sink is None:
            return True
        self._flusher.mark(self)
        return all(self._give(key, frame) for key, frame in held.give_back(self._flusher.now()))

    def _give(self, key: Key, frame: bytes) -> bool:
        if _is_passing(key):
            self.send_passing(key, frame)
            return True
        # Where too many keys wait it goes as a durable frame, which takes them along: no change is lost.
        return self.send_latest(key, frame) or self.send(frame)

    def flush(self) -> None:
        """Write now what may leave: what is ahead while holding, else all; ephemeral frames only to a ready reader."""
        frames = self._leaving()
        sink = self._sink
        if frames and sink is not None:
            try:
                sink.write(b"".join(frames))
            except Exception:  # noqa: BLE001  # see _failed
                self._failed()
        self._tell_drained()

    def pause(self) -> None:
        """The transport went over its high-water mark."""
        self._ample_bytes = -1
        if self._latest is not None:
            self._latest = {key: frame for key, frame in self._latest.items() if not _is_passing(key)}

    def resume(self) -> None:
        """The transport went under its low-water mark."""
        if self._sink is None:
            return
        self._ample_bytes = self._flusher.ample_bytes
        if self._latest is not None or self._on_drained is not None:
            self._flusher.mark(self)

    def finish(self) -> None:
        """Write the durable frames that wait, then shut.

        A paused reader does not get them: it resumes by its cursors anyway, and hears so why it was closed.
        """
        if not self.is_paused:
            self._latest = None
            self.release()
            self.flush()
        self.shut()

    def shut(self) -> None:
        """Drop what waits, and swallow everything from now on."""
        if self._latest is not None:
            self._flusher.forget(self)
        self._sink = None
        self._queue = _EMPTY
        self._queued_bytes = 0
        self._ample_bytes = -1
        self._latest = self._ahead = self._on_drained = self._held_back = None

    def _overflows(self, queued: int) -> bool:
        sink = self._sink
        return sink is not None and queued + sink.get_write_buffer_size() > self._flusher.bound_bytes

    def _take_latest(self) -> int:
        """Queue the ephemeral frames that came before this durable one; return their bytes."""
        if self._ahead is not None or self.is_paused or self._latest is None:
            return 0
        frames, self._latest = list(self._latest.values()), None
        if self._queue:
            self._queue.extend(frames)  # type: ignore[union-attr]  # only the empty queue is a tuple
        else:
            self._queue = frames
            self._flusher.mark(self)
        return sum(map(len, frames))

    def _leaving(self) -> Sequence[bytes]:
        if self._ahead is not None:
            frames: Sequence[bytes] = self._ahead
            self._ahead = []
            self._queued_bytes -= sum(map(len, frames))
            return frames
        frames, self._queue, self._queued_bytes = self._queue, _EMPTY, 0
        if self._latest is not None and not self.is_paused:
            frames = [*frames, *self._latest.values()]
            self._latest = None
        return frames

    def _tell_drained(self) -> None:
        if self._on_drained is None or self.is_paused:
            return
        is_holding = self._ahead is not None
        due = [callback for callback, ahead in self._on_drained if ahead or not is_holding]
        self._on_drained = [
            (callback, ahead) for callback, ahead in self._on_drained if is_holding and not ahead
        ] or None
        try:
            for callback in due:
                callback()
        except Exception:  # the fault of one connection ends that connection, and no other
            logger.exception("a connection's drained callback failed")
            if self._sink is not None:
                self._sink.abort()

    def _failed(self) -> None:
        """Shut an outbox whose transport refuses writes.

        uvloop raises RuntimeError on a write after connection_lost (asyncio is silent); nothing else is expected, but
        whatever it is, it concerns this socket, and the flush loop goes on to the next.
        """
        sink = self._sink
        self.shut()
        if sink is not None:
            sink.abort()


def _is_passing(key: Key) -> bool:
    return key[0] == TYPING


@lru_cache(maxsize=64)
def _tells_less(receipt: bytes, other: bytes) -> bool:
    """Compare two framed receipts, which are the same two in the outboxes of everybody who is told."""
    return tells_less(payload_of(receipt), payload_of(other))
