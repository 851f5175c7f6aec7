"""A real listener on a free port, in a thread with a uvloop loop of its own, with an echo behind it."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from typing_extensions import override

from server.gateway.handshake import Upgrade
from server.gateway.http_protocol import http_factory
from server.gateway.limits import SocketLimits
from server.gateway.listener import Listener
from server.gateway.websocket import Connection
from server.outbox import frame_text


@dataclass
class Echo:
    """A session side that sends back what it gets, and closes as slow whoever does not read that."""

    connection: Connection
    upgrade: Upgrade
    ends: list[tuple[int, str]]
    everybody: dict[Connection, None]

    def received(self, payload: bytes) -> None:
        """Send it back; `fault` is a bug of ours, `close` a close of ours, what begins with `all` goes to everybody."""
        if payload == b"fault":
            raise RuntimeError("planted")
        if payload == b"close":
            self.connection.close(4000, "as asked")
            return
        for connection in tuple(self.everybody) if payload.startswith(b"all") else (self.connection,):
            if not connection.outbox.send(frame_text(payload)):
                connection.close(4008, "slow reader")

    def lost(self, code: int, reason: str) -> None:
        """Remember it."""
        del self.everybody[self.connection]
        self.ends.append((code, reason))


class Problems(logging.Handler):
    """What a test does not want to see in the log: tracebacks and errors."""

    def __init__(self) -> None:
        """Collect."""
        super().__init__(logging.INFO)
        self.texts: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.texts.append(self.format(record))


@dataclass
class Listening:
    """A running listener as a test sees it."""

    address: tuple[str, int]
    limits: SocketLimits
    listener: Listener
    loop: asyncio.AbstractEventLoop
    problems: Problems
    ends: list[tuple[int, str]] = field(default_factory=list)

    def connections(self) -> int:
        """Count the sockets of every kind that are open."""
        return self.listener.gauges.connections

    def run(self, callback: Callable[[], object]) -> None:
        """Call `callback` in the listener's loop, and wait until that was done."""
        done = threading.Event()

        def call() -> None:
            callback()
            done.set()

        self.loop.call_soon_threadsafe(call)
        assert done.wait(5)


async def answer(request: Request) -> PlainTextResponse:
    """Say what was asked."""
    body = await request.body()
    return PlainTextResponse(f"{request.method} {request.url.path} {len(body)}")


def plain_app() -> Starlette:
    """An application that answers everything but what it does not know."""
    methods = ["GET", "HEAD", "POST", "PUT"]
    return Starlette(routes=[Route("/", answer, methods=methods), Route("/hello", answer, methods=methods)])


@contextmanager
def listening(limits: SocketLimits | None = None) -> Iterator[Listening]:
    """Run a listener until the block ends."""
    limits = limits or SocketLimits()
    problems = Problems()
    logging.getLogger().addHandler(problems)
    started: list[Listening] = []
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        ends: list[tuple[int, str]] = []
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        config = uvicorn.Config(plain_app(), ws="none", lifespan="off", log_config=None, access_log=False)
        config.load()
        factory = http_factory(config, uvicorn.Server(config).server_state, {})
        everybody: dict[Connection, None] = {}

        def accept(connection: Connection, upgrade: Upgrade) -> Echo:
            everybody[connection] = None
            return Echo(connection, upgrade, ends, everybody)

        listener = Listener(accept, http=factory, limits=limits)
        await listener.start("127.0.0.1", 0)
        started.append(Listening(listener.address, limits, listener, loop, problems, ends))
        stop.append(lambda: loop.call_soon_threadsafe(stopping.set))
        ready.set()
        await stopping.wait()
        listener.stop()
        await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: uvloop.run(main()), name="listener")
    thread.start()
    try:
        assert ready.wait(10), "the listener did not start"
        yield started[0]
    finally:
        for end in stop:
            end()
        thread.join(10)
        logging.getLogger().removeHandler(problems)
