"""A way to a server that plants faults: of the messages pushed to clients it drops, doubles, swaps or delays one in so many.

It can also keep news of presence and the end of rings to itself, tell a wrong number of unread messages, and push a message that
nobody sent and nobody stored. Everything else passes as it is, the HTTP API too. What it did is counted, so that a test can compare it with what was found.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec

from loadtest.frames import TEXT, Frame, split
from protocol.codec import encode_body
from protocol.from_client import Body
from protocol.from_server import Message, Welcome
from protocol.ids import ClientId, Micros, Ordinal, Seq

Fault = Literal["none", "drop", "double", "swap", "delay", "presence", "ring", "unread", "invent"]
MESSAGE = b'{"type":"message",'
# Which texts a fault is planted into.
MARKS: dict[Fault, bytes] = {
    "presence": b'{"type":"presence",',
    "ring": b'{"type":"call.cancelled",',
    "unread": b'{"type":"ok",',
    "invent": b'{"type":"welcome",',
}


UNREAD = b'"unread":'
UNREAD_TOLD = re.compile(UNREAD + rb"(\d+)")


class FaultyRelay:
    """Plants `fault` into one of `one_in` pushed messages while `is_on`."""

    def __init__(self, port: int, fault: Fault, one_in: int, delay_s: float = 0.0) -> None:
        self._port = port
        self._fault = fault
        self._one_in = one_in
        self._delay_s = delay_s
        self._messages = 0
        self.planted = 0
        self.is_on = True
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection both ways."""
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(_pour(reader, there_writer))
            group.create_task(self._answers(there_reader, writer))

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (EOFError, OSError):
            writer.close()
            return
        writer.write(head)
        if b" 101 " not in head.split(b"\r\n")[0]:
            await _pour(reader, writer)
            return
        await self._frames(reader, writer)

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tail, held = b"", b""
        try:
            while data := await reader.read(65_536):
                tail += data
                frames, end = split(tail)
                position = 0
                for frame in frames:
                    size = _size(frame)
                    raw = tail[position : position + size]
                    position += size
                    out, held = await self._treat(frame, raw, held)
                    writer.write(out)
                assert position == end
                tail = tail[end:]
        except OSError:
            pass
        finally:
            writer.close()

    async def _treat(self, frame: Frame, raw: bytes, held: bytes) -> tuple[bytes, bytes]:
        """Return what goes on now, and what waits for the next message to overtake it."""
        mark = MARKS.get(self._fault, MESSAGE)
        if frame[0] != TEXT or not frame[1].startswith(mark) or (self._fault == "unread" and UNREAD not in frame[1]):
            return raw, held
        if held:
            return raw + held, b""
        self._messages += 1
        if not self.is_on or self._fault == "none" or self._messages % self._one_in:
            return raw, b""
        self.planted += 1
        match self._fault:
            case "drop" | "presence" | "ring":
                return b"", b""
            case "unread":
                return _framed(UNREAD_TOLD.sub(_one_more, frame[1])), b""
            case "invent":
                return raw + b"".join(map(_framed, _invented(frame[1]))), b""
            case "double":
                return raw + raw, b""
            case "swap":
                return b"", raw
            case "delay":
                await asyncio.sleep(self._delay_s)
        return raw, b""


@asynccontextmanager
async def faulty_relay(
    port: int, fault: Fault = "none", one_in: int = 1000, delay_s: float = 0.0
) -> AsyncIterator[FaultyRelay]:
    """Relay to a server on `port` until the block ends."""
    relay = FaultyRelay(port, fault, one_in, delay_s)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    async with server:
        yield relay


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except OSError:
        pass
    finally:
        writer.close()


def _one_more(told: re.Match[bytes]) -> bytes:
    return UNREAD + str(int(told[1]) + 1).encode()


def _invented(welcome: bytes) -> Iterator[bytes]:
    """Make the next message of each match of a welcome."""
    heard = msgspec.json.decode(welcome, type=Welcome)
    for match in heard.matches:
        sender = next(each.user for each in match.members if each.user != heard.user)
        seq, created_at, n = Seq(match.last_seq + 1), Micros(match.last_at + 1), Ordinal(1)
        yield msgspec.json.encode(
            Message(match.match, seq, created_at, n, sender, ClientId("of-nobody"), encode_body(Body("never sent")))
        )


def _framed(payload: bytes) -> bytes:
    """Make a frame of a server's."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    return bytes((0x81, 126)) + length.to_bytes(2) + payload


def _size(frame: Frame) -> int:
    """Return how long an unmasked frame is on the wire."""
    length = len(frame[1])
    return length + (2 if length < 126 else 4 if length < 1 << 16 else 10)
