"""What the contestants run: relaying in rooms of two, fan-outs, idle connections and connecting; each window is measured alone.

Two kinds of load. Closed: the next text leaves when the last one has arrived, so that the server works as hard as it can
and the CPU time of a delivery is what it costs. Open: texts leave by the clock, whatever becomes of those before, so that
a delivery's time counts from when it was due.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Protocol

from msgspec import Struct

from loadtest.clock import monotonic_us
from loadtest.connection import Connection, open_connection
from loadtest.frames import CLOSE, client_frame
from loadtest.histogram import Histogram
from loadtest.race.speech import Hears, Say, Speech, sent_at_us

WARM_S: Final = 0.3
DRAIN_WITHIN_S: Final = 10.0
AT_ONCE: Final = 64


class Load(Protocol):
    """Something that keeps a server busy. `received` reaches `expected` soon after `stop()` when nothing is lost."""

    received: int
    expected: int

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Say nothing new."""


class Seat(Struct, eq=False):
    """One member of a room, connected."""

    connection: Connection
    say: Say
    hears: Hears
    alive: Callable[[bytes], bytes | None]

    def listen(self, heard: Callable[[bytes], None]) -> None:
        """Have `heard` called with what others say; signs of life are given."""
        connection, hears, alive = self.connection, self.hears, self.alive

        def on_text(payload: bytes) -> None:
            if hears(payload):
                heard(payload)
            elif (sign := alive(payload)) is not None:
                connection.write(sign)

        connection.on_text = on_text


class Rally:
    """Pairs in which every text is answered by one; one text is under way in each pair."""

    def __init__(self, pairs: Sequence[Sequence[Seat]]) -> None:
        self.received = 0
        self.expected = 0
        self._is_running = False
        self._pairs = pairs

    def start(self) -> None:
        """Say the first text of each pair."""
        self._is_running = True
        for pair in self._pairs:
            for seat in pair:
                seat.listen(self._answering(seat))
        for first, _ in self._pairs:
            self._say(first)

    def stop(self) -> None:
        """Let each ball drop."""
        self._is_running = False

    def _answering(self, seat: Seat) -> Callable[[bytes], None]:
        def heard(_: bytes) -> None:
            self.received += 1
            if self._is_running:
                self._say(seat)

        return heard

    def _say(self, seat: Seat) -> None:
        self.expected += 1
        seat.connection.write(seat.say(next_number(), 0))


class Crowd:
    """One speaks, all others of the room listen; the next text leaves when the last one has reached everybody.

    With `together` so many leave in one write, and the next so many when all of them have arrived.
    """

    def __init__(self, room: Sequence[Seat], *, together: int = 1) -> None:
        self.received = 0
        self.expected = 0
        self._together = together
        self._is_running = False
        self._speaker, *self._listeners = room

    def start(self) -> None:
        """Say the first text."""
        self._is_running = True
        self._speaker.listen(lambda _: None)
        for listener in self._listeners:
            listener.listen(self._heard)
        self._say()

    def stop(self) -> None:
        """Say nothing more."""
        self._is_running = False

    def _say(self) -> None:
        self.expected += self._together * len(self._listeners)
        self._speaker.connection.write(b"".join(self._speaker.say(next_number(), 0) for _ in range(self._together)))

    def _heard(self, _: bytes) -> None:
        self.received += 1
        if self.received == self.expected and self._is_running:
            self._say()


class Metronome:
    """Rooms in turn, a text each beat, sent when it is due and not when the last one arrived; deliveries are timed."""

    def __init__(self, rooms: Sequence[Sequence[Seat]], texts_per_s: float) -> None:
        self.received = 0
        self.expected = 0
        self.times = Histogram()
        self._rooms = rooms
        self._beat_s = 1 / texts_per_s
        self._timer: asyncio.TimerHandle | None = None
        self._beats = 0
        self._began_us = 0

    def start(self) -> None:
        """Begin to beat."""
        for first, *others in self._rooms:
            first.listen(lambda _: None)
            for seat in others:
                seat.listen(self._heard)
        self._began_us, self._beats = monotonic_us(), 0
        self._tick()

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        while (due_us := self._began_us + round(self._beats * self._beat_s * 1e6)) <= monotonic_us():
            speaker, *listeners = self._rooms[self._beats % len(self._rooms)]
            self.expected += len(listeners)
            speaker.connection.write(speaker.say(next_number(), due_us))
            self._beats += 1
        self._timer = asyncio.get_running_loop().call_later(self._beat_s / 2, self._tick)

    def _heard(self, payload: bytes) -> None:
        self.received += 1
        self.times.record(monotonic_us() - sent_at_us(payload))


_numbers = iter(range(1, 1 << 62))


def next_number() -> int:
    """Return a number that no other text of this run has."""
    return next(_numbers)


async def settle(load: Load) -> None:
    """Wait until all that was said has arrived, or will not."""
    until_us = monotonic_us() + round(DRAIN_WITHIN_S * 1e6)
    # Asking 100 times a second keeps the counting in the hot path free of an event.
    while load.received < load.expected and monotonic_us() < until_us:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def seat_all(speech: Speech, port: int, rooms: dict[str, list[str]]) -> dict[str, list[Seat]]:
    """Connect every member of every room and have them enter."""
    permits = asyncio.Semaphore(AT_ONCE)

    async def seat(user: str, room: str) -> Seat:
        async with permits:
            path, _, query = speech.path(room).partition("?")
            connection = await open_connection(f"ws://127.0.0.1:{port}{path}", lambda _: None, query=query)
            await speech.enter(connection, user, room)
        seat = Seat(connection, speech.says(user, room), speech.hears(user), speech.alive)
        seat.listen(lambda _: None)
        return seat

    everybody = [(user, room) for room, users in rooms.items() for user in users]
    seats = await asyncio.gather(*(seat(user, room) for user, room in everybody))
    ends = [0]
    for users in rooms.values():
        ends.append(ends[-1] + len(users))
    return {room: list(seats[start:end]) for room, (start, end) in zip(rooms, pairwise(ends), strict=True)}


async def leave_all(seats: Sequence[Seat]) -> None:
    """Say goodbye, and cut those who do not answer."""
    for seat in seats:
        seat.connection.write(client_frame(CLOSE, (1000).to_bytes(2)))
    try:
        async with asyncio.timeout(DRAIN_WITHIN_S):
            await asyncio.gather(*(asyncio.shield(seat.connection.closed) for seat in seats))
    except TimeoutError:
        for seat in seats:
            seat.connection.abort()
