"""How each contestant is spoken to: entering a room, saying something there, and knowing what others said.

All of them carry the same text, `@` and the time when it was sent, padded to one length, so that what is measured is what a
server does with it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from loadtest.api import Api
from loadtest.connection import Connection
from loadtest.frames import text_frame
from loadtest.tokens import sign_token
from protocol.from_client import Body, Hello, MessageSend, Typing
from protocol.ids import ClientId, MatchId

TEXT_CHARS: Final = 120
TIME_DIGITS: Final = 16
TOKEN_TTL_S: Final = 3600
PATIENCE_S: Final = 30.0
APIS: Final = 8
_NUMBER: Final = 1_111_111_111
_TIME: Final = "2" * TIME_DIGITS

Say = Callable[[int, int], bytes]
# From the number of a text and the time in microseconds to the frame that says it.
Hears = Callable[[bytes], bool]
# Whether a text message is something that another member said.


class NotEntered(Exception):
    """A contestant did not let somebody in; the text says what it answered."""


class Speech(Protocol):
    """A contestant's protocol. Frames come from templates, so that the load client stays cheap."""

    async def prepare(self, rooms: Mapping[str, Sequence[str]]) -> None:
        """Make the rooms and their members, where they have to be made."""

    def path(self, room: str) -> str:
        """Return where members of `room` connect."""

    async def enter(self, connection: Connection, user: str, room: str) -> None:
        """Make a connection that is open a member of `room`; raise `NotEntered`."""

    def says(self, user: str, room: str) -> Say:
        """Return what builds the frames in which `user` says something in `room`."""

    def hears(self, user: str) -> Hears:
        """Return what knows what others said from everything else that `user` is sent."""

    def alive(self, payload: bytes) -> bytes | None:
        """Return the frame that a message asks for as a sign of life, if it does."""


class Duologue(Struct, frozen=True):
    """Ours: every text is authorised, stored in one order, and acknowledged."""

    url: str
    key: str
    secret: str
    now_s: int

    async def prepare(self, rooms: Mapping[str, Sequence[str]]) -> None:
        """Make a match of each room."""
        waiting = iter(rooms.items())

        async def make(api: Api) -> None:
            for room, users in waiting:
                await api.put_match(room, users)

        apis = [Api(self.url, self.key) for _ in range(APIS)]
        await asyncio.gather(*map(make, apis))
        for api in apis:
            api.close()

    def path(self, room: str) -> str:  # noqa: ARG002 - one address for all
        """Return the one address."""
        return "/ws"

    async def enter(self, connection: Connection, user: str, room: str) -> None:  # noqa: ARG002 - members are known
        """Say hello with a token."""
        hello = Hello(1, token=sign_token(user, self.secret, self.now_s + TOKEN_TTL_S))
        await answered(connection, text_frame(msgspec.json.encode(hello)), b'{"type":"welcome"')

    def says(self, user: str, room: str) -> Say:
        """Send a message with a client_id of its own."""
        body = Body(f"@{_TIME}".ljust(TEXT_CHARS, "."))
        return _template(msgspec.json.encode(MessageSend(_NUMBER, MatchId(room), ClientId(f"{user}-{_NUMBER}"), body)))

    def hears(self, user: str) -> Hears:  # noqa: ARG002 - the server does not tell it to the sender
        """Know a message."""
        return lambda payload: payload.startswith(b'{"type":"message"')

    def alive(self, payload: bytes) -> bytes | None:  # noqa: ARG002 - control frames do that
        """Need no sign."""
        return None


class DuologueSignals(Struct, frozen=True):
    """Ours without a store: typing is authorised, and the latest wins. It has no text."""

    messages: Duologue

    async def prepare(self, rooms: Mapping[str, Sequence[str]]) -> None:
        """Make a match of each room."""
        await self.messages.prepare(rooms)

    def path(self, room: str) -> str:
        """Return the one address."""
        return self.messages.path(room)

    async def enter(self, connection: Connection, user: str, room: str) -> None:
        """Say hello with a token."""
        await self.messages.enter(connection, user, room)

    def says(self, user: str, room: str) -> Say:  # noqa: ARG002 - typing is the connection's own user's
        """Tell of typing."""
        frame = text_frame(msgspec.json.encode(Typing(MatchId(room), True)))
        return lambda _number, _time: frame

    def hears(self, user: str) -> Hears:  # noqa: ARG002 - as with messages
        """Know somebody's typing."""
        return lambda payload: payload.startswith(b'{"type":"typing"')

    def alive(self, payload: bytes) -> bytes | None:
        """Need no sign."""
        return self.messages.alive(payload)


class Relay(Struct, frozen=True):
    """Servers that pass on what comes to everybody else of the same path."""

    prefix: str

    async def prepare(self, rooms: Mapping[str, Sequence[str]]) -> None:
        """Need nothing made."""

    def path(self, room: str) -> str:
        """Return the room's path."""
        return f"{self.prefix}{room}"

    async def enter(self, connection: Connection, user: str, room: str) -> None:
        """Be in by connecting."""

    def says(self, user: str, room: str) -> Say:  # noqa: ARG002 - nobody signs
        """Send the text alone."""
        return _template(f"@{_TIME}".ljust(TEXT_CHARS, ".").encode())

    def hears(self, user: str) -> Hears:  # noqa: ARG002 - it comes from others only
        """Know a text."""
        return lambda payload: payload.startswith(b"@")

    def alive(self, payload: bytes) -> bytes | None:  # noqa: ARG002 - control frames do that
        """Need no sign."""
        return None


class SocketIo(Struct, frozen=True):
    """Socket.IO 4: Engine.IO packets, then events of the application."""

    async def prepare(self, rooms: Mapping[str, Sequence[str]]) -> None:
        """Need nothing made."""

    def path(self, room: str) -> str:  # noqa: ARG002 - rooms are entered later
        """Return the one address."""
        return "/socket.io/?EIO=4&transport=websocket"

    async def enter(self, connection: Connection, user: str, room: str) -> None:  # noqa: ARG002 - nobody asks for a name
        """Connect to the namespace and enter the room, which is acknowledged."""
        await answered(connection, text_frame(b"40"), b"40{")
        await answered(connection, text_frame(f'420["enter","{room}"]'.encode()), b"430")

    def says(self, user: str, room: str) -> Say:  # noqa: ARG002 - nobody signs
        """Emit the text to the room."""
        return _template(f'42["say","{room}","{f"@{_TIME}".ljust(TEXT_CHARS, ".")}"]'.encode())

    def hears(self, user: str) -> Hears:  # noqa: ARG002 - it comes from others only
        """Know the event."""
        return lambda payload: payload.startswith(b'42["said"')

    def alive(self, payload: bytes) -> bytes | None:
        """Answer Engine.IO's pings."""
        return text_frame(b"3") if payload == b"2" else None


class Centrifugo(Struct, frozen=True):
    """Centrifugo's JSON protocol: written from its documentation; no binary was at hand to see it live."""

    async def prepare(self, rooms: Mapping[str, Sequence[str]]) -> None:
        """Need nothing made."""

    def path(self, room: str) -> str:  # noqa: ARG002 - channels are subscribed to later
        """Return the one address."""
        return "/connection/websocket"

    async def enter(self, connection: Connection, user: str, room: str) -> None:  # noqa: ARG002 - anonymous
        """Connect and subscribe."""
        await answered(connection, text_frame(b'{"id":1,"connect":{}}'), b'{"id":1,"connect"')
        subscribe = msgspec.json.encode({"id": 2, "subscribe": {"channel": room}})
        await answered(connection, text_frame(subscribe), b'{"id":2,"subscribe"')

    def says(self, user: str, room: str) -> Say:
        """Publish the text, signed, because publishers are told it, too."""
        data = {"by": user, "text": f"@{_TIME}".ljust(TEXT_CHARS, ".")}
        return _template(msgspec.json.encode({"id": _NUMBER, "publish": {"channel": room, "data": data}}))

    def hears(self, user: str) -> Hears:
        """Know a publication that is another's."""
        own = f'"by":"{user}"'.encode()
        return lambda payload: b'"pub":' in payload and own not in payload

    def alive(self, payload: bytes) -> bytes | None:
        """Answer its pings, which are empty."""
        return text_frame(b"{}") if payload == b"{}" else None


def sent_at_us(payload: bytes) -> int:
    """Read from something said when it was sent."""
    start = payload.index(b"@") + 1
    return int(payload[start : start + TIME_DIGITS])


async def answered(connection: Connection, frame: bytes, beginning: bytes) -> None:
    """Send a frame and wait for the message that begins like this; raise `NotEntered`."""
    found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    others: list[bytes] = []

    def on_text(payload: bytes) -> None:
        if not payload.startswith(beginning):
            others.append(payload)
        elif not found.done():
            found.set_result(None)

    connection.on_text = on_text
    connection.write(frame)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await found
    except TimeoutError:
        raise NotEntered(f"no {beginning!r} but {others[:3]!r}") from None


def _template(sample: bytes) -> Say:
    """Return what puts a number and a time where `_NUMBER` and `_TIME` are."""
    text = sample.replace(b"%", b"%%").replace(_TIME.encode(), b"%(time)016d")
    text = text.replace(str(_NUMBER).encode(), b"%(number)d")

    def say(number: int, time_us: int) -> bytes:
        return text_frame(text % {b"number": number, b"time": time_us})

    return say
