"""The load: the same sockets and the same counting towards our server and towards its peers; what is said on them is the race's."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from loadtest.connection import Connection, open_connection
from loadtest.frames import text_frame
from loadtest.processes import busy_us
from loadtest.race.course import WARM_S, Load, Seat, settle
from loadtest.tokens import sign_token
from protocol.from_client import Hello
from tests.benchmarks.measure import Window, own_cpu_us
from tests.benchmarks.targets import TOKEN_SECRET, Target

T = TypeVar("T")

CONCURRENT_CONNECTS = 64

MakeFrame = Callable[[int], bytes]
# From the number of a message, so that each has a client_id of its own.


def seat(connection: Connection, make: MakeFrame, marker: bytes) -> Seat:
    """Return somebody who says what `make` builds, and hears the texts that begin with `marker`."""
    return Seat(connection, lambda number, _: make(number), lambda payload: payload.startswith(marker), _no_sign)


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
    await settle(load)
    return finish(load.received - received_before, load.expected - expected_before, count)


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


def _no_sign(_: bytes) -> None:
    """Need no sign of life: control frames give them."""


def _ignore(_: bytes) -> None:
    return
