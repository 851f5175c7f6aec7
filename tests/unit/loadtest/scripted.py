"""A server that says what a test tells it to: the WebSocket is that of `websockets`, the words are the test's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
from websockets.asyncio.server import ServerConnection, serve

from protocol.close_codes import CloseCode
from protocol.codec import decode
from protocol.from_client import ClientMessage, Hello
from protocol.from_server import GoingAway, Limits, MatchSummary, ServerMessage, Timers, Welcome
from protocol.ids import RequestId, SessionId, UserId

TIMERS = Timers(
    25_000,
    10_000,
    3_000,
    8_000,
    2_000,
    60_000,
    500,
    45_000,
    30_000,
    30_000,
    30_000,
    14_400_000,
    15_000,
    2_000,
    100,
    10_000,
)
LIMITS = Limits(65_536, 4_000, 16_384, 200, 500, 100, 200, 50, 6, 5.0, 20)


class Talk:
    """One connection, seen from the server."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    async def hear(self) -> ClientMessage:
        """Wait for the next message."""
        payload = await self.connection.recv()
        return decode(payload.encode() if isinstance(payload, str) else payload)

    async def say(self, *messages: ServerMessage) -> None:
        """Send messages."""
        for message in messages:
            await self.connection.send(msgspec.json.encode(message).decode())

    async def greet(self, *matches: MatchSummary) -> Hello:
        """Answer the hello."""
        hello = await self.hear()
        assert isinstance(hello, Hello)
        await self.welcome(hello, *matches)
        return hello

    async def welcome(self, hello: Hello, *matches: MatchSummary) -> None:
        """Answer a hello that was heard."""
        await self.say(welcome(hello.id, *matches))


def welcome(request_id: RequestId, *matches: MatchSummary) -> Welcome:
    """Make a welcome."""
    return Welcome(request_id, UserId("alice"), SessionId("s1"), "e", TIMERS, LIMITS, matches, True)


Script = Callable[[Talk], Awaitable[None]]


async def stay(talk: Talk) -> None:
    """Say nothing until the client leaves."""
    await talk.connection.wait_closed()


class EarlyTakeover:
    """Scripts of a client that is sent away: the old connection is closed for the new one before that is welcomed."""

    def __init__(self) -> None:
        self._said_hello, self._kicked = asyncio.Event(), asyncio.Event()

    async def old(self, talk: Talk) -> None:
        """Send it away, and close the connection as soon as the hello is said elsewhere."""
        await talk.greet()
        await talk.say(GoingAway(0))
        await self._said_hello.wait()
        await talk.connection.close(CloseCode.REPLACED)
        self._kicked.set()

    async def new(self, talk: Talk) -> None:
        """Welcome it after that."""
        hello = await self._hear_hello(talk)
        await talk.welcome(hello)
        await stay(talk)

    async def falls(self, talk: Talk) -> None:
        """Fall after that, without a welcome."""
        await self._hear_hello(talk)
        talk.connection.transport.abort()

    async def _hear_hello(self, talk: Talk) -> Hello:
        hello = await talk.hear()
        assert isinstance(hello, Hello)
        self._said_hello.set()
        await self._kicked.wait()
        return hello


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[str]:
    """Serve: the first connection gets the first script, and so on; yield the address."""
    waiting = iter(scripts)

    async def play(connection: ServerConnection) -> None:
        await next(waiting)(Talk(connection))

    async with serve(play, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws"
