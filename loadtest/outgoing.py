"""The messages that one device wants stored, sent by the rules of docs/protocol.md.

One of each match is under way at a time, the oldest first, so that a refused one is not overtaken; after a loss, what has no
answer is sent again in the same order. Waiting here is part of what is measured: latency counts from when a message was due.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from loadtest.evidence import Book
from loadtest.scene import Scene, User
from protocol.errors import CATALOGUE
from protocol.from_client import Body, ClientMessage, MessageSend
from protocol.from_server import Error, Sent
from protocol.ids import ClientId, MatchId

_REFUSED_RETRY_S: Final = 1.0


class Wire(Protocol):
    """What is needed of a device."""

    is_ready: bool

    def tell(self, message: ClientMessage) -> None:
        """Send something."""

    def next_id(self) -> int:
        """Return an id that no request of this device has had."""


class Outgoing:
    """Call `say` at any time; `welcomed` and `lost` tell how the connection is."""

    __slots__ = ("_device", "_queues", "_scene", "_sending", "_user", "_wire", "book", "connection")

    def __init__(self, scene: Scene, user: User, device: int, wire: Wire) -> None:
        self._scene = scene
        self._user = user
        self._device = device
        self._wire = wire
        self._queues: dict[int, deque[int]] = {}
        # By match, those without an answer; the first is under way.
        self._sending: dict[int, int] = {}
        # The message that each request is about.
        self.book = Book()
        self.connection = 0
        # The number of the present one.

    def say(self, match: MatchId, due_us: int, key: int, length: int) -> None:
        """Send a message that was due at `due_us`, as soon as it may go."""
        place = self._user.matches[match]
        number = self.book.add(place, due_us, key, length)
        self._scene.meters.count("sent")
        if self._wire.is_ready:
            self._put(place, number)

    def welcomed(self) -> None:
        """Send again what has no answer."""
        for number in self.unanswered():
            self._put(self.book.match[number], number)

    def lost(self) -> None:
        """Forget what is under way: it may be stored or not."""
        self._sending.clear()
        self._queues.clear()

    def answered(self, request_id: int, hear: Callable[[], Sent]) -> tuple[int, Sent] | None:
        """Take an `ok` when it is to a message; return its number and what was said."""
        number = self._sending.pop(request_id, None)
        if number is None:
            return None
        sent = hear()
        if not self.book.seq[number]:
            self.book.acked(number, sent.seq, sent.created_at, self._scene.now_us())
            if sent.duplicate:
                self.book.duplicates.add(number)
            self._scene.meters.count("acked")
        self._next(number)
        return number, sent

    def refused(self, error: Error) -> bool:
        """Take an `error` when it is to a message: send that again later, or never; return whether it was."""
        number = self._sending.pop(error.id, None) if isinstance(error.id, int) else None
        if number is None:
            return False
        self._scene.meters.count(f"error {error.code}")
        if CATALOGUE[error.code].temporary:
            wait_s = _REFUSED_RETRY_S if error.retry_after_ms is None else error.retry_after_ms / 1000
            asyncio.get_running_loop().call_later(wait_s, self._again, number, self.connection)
        else:
            self.book.refused[number] = error.code
            self._next(number)
        return True

    @property
    def is_done(self) -> bool:
        """Whether nothing waits for its answer, on a connection that was welcomed."""
        return not self._queues

    def unanswered(self) -> list[int]:
        """Return the messages that have neither answer nor final refusal."""
        return [number for number, seq in enumerate(self.book.seq) if not seq and number not in self.book.refused]

    def client_id(self, number: int) -> ClientId:
        """Return the name of a message of the book."""
        return ClientId(self._scene.client_id(self._device, number, self.book.due_us[number]))

    def _put(self, place: int, number: int) -> None:
        queue = self._queues.get(place)
        if queue:
            queue.append(number)
        else:
            self._queues[place] = deque((number,))
            self._transmit(number)

    def _next(self, number: int) -> None:
        """Go on to the next of the match of a message that is done with."""
        place = self.book.match[number]
        queue = self._queues.get(place)
        if not queue or queue[0] != number:
            return
        queue.popleft()
        if queue:
            self._transmit(queue[0])
        else:
            del self._queues[place]

    def _again(self, number: int, connection: int) -> None:
        # On another connection it was sent again by `welcomed`.
        if self._wire.is_ready and connection == self.connection:
            self._transmit(number)

    def _transmit(self, number: int) -> None:
        request_id = self._wire.next_id()
        self._sending[request_id] = number
        self.book.transmitted(number, self.connection)
        body = Body(self._scene.texts(self.book.key[number], self.book.length[number]))
        match = self._user.match_names[self.book.match[number]]
        self._wire.tell(MessageSend(request_id, match, self.client_id(number), body))
