"""The load: the same sockets and the same counting towards our server and towards its peers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from loadtest.connection import Connection, open_connection
from loadtest.frames import text_frame
from loadtest.processes import busy_us
from loadtest.tokens import sign_token
from protocol.from_client import Hello
from tests.benchmarks.measure import Window, own_cpu_us
from tests.benchmarks.targets import TOKEN_SECRET, Target

T = TypeVar("T")

WARM_S = 0.3
DRAIN_WITHIN_S = 5.0
CONCURRENT_CONNECTS = 64

MakeFrame = Callable[[int], bytes]
# From the number of a message, so that each has a client_id of its own.


class Load(Protocol):
    """Something that keeps a target busy. `received` reaches `expected` soon after `stop()` when nothing is lost."""

    received: int
    expected: int

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Send nothing new."""


class PingPong:
    """Pairs of connections in which every message received is answered by one; one message under way in each pair."""

    def __init__(
        self, pairs: Sequence[tuple[Connection, Connection]], makers: Sequence[MakeFrame], marker: bytes
    ) -> None:
        """`makers` has one for each connection, in order; only texts that begin with `marker` count."""
        self.received = 0
        self.expected = 0
        self._number = 0
        self._running = False
        self._firsts = [(pair[0], make) for pair, make in zip(pairs, makers[::2], strict=True)]
        for connection, make in zip((each for pair in pairs for each in pair), makers, strict=True):
            connection.on_text = self._answering(connection, make, marker)

    def start(self) -> None:
        """Send the first message of each pair."""
        self._running = True
        for connection, make in self._firsts:
            self._send(connection, make)

    def stop(self) -> None:
        """Let each ball drop."""
        self._running = False

    def _send(self, connection: Connection, make: MakeFrame) -> None:
        self._number += 1
        self.expected += 1
        connection.write(make(self._number))

    def _answering(self, connection: Connection, make: MakeFrame, marker: bytes) -> Callable[[bytes], None]:
        def on_text(payload: bytes) -> None:
            if payload.startswith(marker):
                self.received += 1
                if self._running:
                    self._send(connection, make)

        return on_text


class FanOut:
    """One sender and many receivers; `together` messages leave in one write when all of the last ones have arrived."""

    def __init__(
        self, sender: Connection, receivers: Sequence[Connection], make: MakeFrame, *, together: int, marker: bytes
    ) -> None:
        self.received = 0
        self.expected = 0
        self._number = 0
        self._running = False
        self._sender = sender
        self._receivers = len(receivers)
        self._make = make
        self._together = together
        for receiver in receivers:
            receiver.on_text = self._counting(marker)
        sender.on_text = _ignore

    def start(self) -> None:
        """Send the first messages."""
        self._running = True
        self._send()

    def stop(self) -> None:
        """Send nothing more."""
        self._running = False

    def _send(self) -> None:
        numbers = range(self._number + 1, self._number + self._together + 1)
        self._number += self._together
        self.expected += self._together * self._receivers
        self._sender.write(b"".join(map(self._make, numbers)))

    def _counting(self, marker: bytes) -> Callable[[bytes], None]:
        def on_text(payload: bytes) -> None:
            if payload.startswith(marker):
                self.received += 1
                if self.received == self.expected and self._running:
                    self._send()

        return on_text


class Stopwatch:
    """Reads all clocks now, and again when stopped."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before = self._read()

    def stop(self) -> Callable[[int, int, int], Window]:
        """Return what makes the window, once it is known what was received, expected and counted."""
        after = self._read()
        cpu_us, own_us, busy, wall_us = (now - then for now, then in zip(after, self._before, strict=True))
        others = max(0.0, (busy - cpu_us - own_us) / wall_us)
        return lambda received, expected, count: Window(cpu_us, wall_us, own_us, received, expected, count, others)

    def _read(self) -> tuple[float, float, float, float]:
        return self._target.cpu_us(), own_cpu_us(), busy_us(), time.perf_counter() * 1e6


async def window(target: Target, load: Load, seconds: float) -> Window:
    """Run `load` and measure its middle."""
    received_before, expected_before = load.received, load.expected
    load.start()
    await asyncio.sleep(WARM_S)
    stopwatch, count = Stopwatch(target), load.received
    await asyncio.sleep(seconds)
    count = load.received - count
    finish = stopwatch.stop()
    load.stop()
    await _drain(load)
    return finish(load.received - received_before, load.expected - expected_before, count)


async def _drain(load: Load) -> None:
    deadline = time.perf_counter() + DRAIN_WITHIN_S
    # A benchmark, not a test: asking 100 times a second keeps the counting in the hot path free of an event.
    while load.received < load.expected and time.perf_counter() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def open_all(target: Target, users: Sequence[str], path: Callable[[int], str]) -> list[Connection]:
    """Connect all `users`, on our server with token and welcome, on a peer to the room `path(number)`."""
    permits = asyncio.Semaphore(CONCURRENT_CONNECTS)
    expires_at_s = int(time.time()) + 3600

    async def open_one(number: int, user: str) -> Connection:
        async with permits:
            token = sign_token(user, TOKEN_SECRET, expires_at_s) if target.is_duologue else ""
            return await open_user(target, token, path(number))

    return await gather([open_one(number, user) for number, user in enumerate(users)])


async def open_user(target: Target, token: str, path: str) -> Connection:
    """Connect; on our server also say hello and wait for the welcome."""
    connection = await open_connection(target.url(path), _ignore)
    if target.is_duologue:
        welcomed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        connection.on_text = lambda payload: None if welcomed.done() else welcomed.set_result(payload)
        connection.write(text_frame(msgspec.json.encode(Hello(1, token=token))))
        answer = await asyncio.wait_for(welcomed, 30)
        if not answer.startswith(b'{"type":"welcome"'):
            raise RuntimeError(f"no welcome but {answer[:200]!r}")
        connection.on_text = _ignore
    return connection


async def close_all(connections: Sequence[Connection]) -> None:
    """Say goodbye on all of them and wait until the sockets are gone."""
    permits = asyncio.Semaphore(CONCURRENT_CONNECTS)

    async def close_one(connection: Connection) -> int:
        async with permits:
            return await connection.close()

    await gather([close_one(connection) for connection in connections])


async def gather(calls: Sequence[Awaitable[T]]) -> list[T]:
    """Await all of them; the results in order."""
    return list(await asyncio.gather(*calls))


def _ignore(_: bytes) -> None:
    return
