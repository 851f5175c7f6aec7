"""The line between the coordinator and an agent: frames of MessagePack over TCP, opened by proof of a shared token.

Both sides prove that they know the token without sending it (HMAC-SHA256 over both sides' random numbers). What follows is
neither encrypted nor signed and holds users' tokens: between machines, use a private network or a tunnel.
"""

import asyncio
import hashlib
import hmac
from typing import Final, Generic, TypeVar

import msgspec

from loadtest.clock import fresh_secret
from loadtest.jobs import FromAgent, ToAgent

In = TypeVar("In")
Out = TypeVar("Out")

FRAME_MAX_BYTES: Final = 512 * 1024 * 1024
_GREETING_MAX_BYTES: Final = 4096
_GREETING_WITHIN_S: Final = 10.0


class LinkRefused(Exception):
    """The other side does not know the token, or is no load tester."""


class Link(Generic[In, Out]):
    """One open line. `hear` returns None when the other side has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: object) -> None:
        self._reader = reader
        self._writer = writer
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder: msgspec.msgpack.Decoder[In] = msgspec.msgpack.Decoder(kind)

    def tell(self, message: Out) -> None:
        """Send a message; it leaves soon."""
        data = self._encode(message)
        self._writer.write(len(data).to_bytes(4) + data)

    async def hear(self) -> In | None:
        """Wait for the next message."""
        data = await _read_frame(self._reader, FRAME_MAX_BYTES)
        return None if data is None else self._decoder.decode(data)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def call_agent(host: str, port: int, token: str) -> Link[FromAgent, ToAgent]:
    """Open a line to an agent; raise `LinkRefused` or `OSError`."""
    reader, writer = await asyncio.open_connection(host, port)
    await _prove(reader, writer, token, mine=b"coordinator", theirs=b"agent")
    return Link(reader, writer, FromAgent)


async def answer_coordinator(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str
) -> Link[ToAgent, FromAgent]:
    """Take a call; raise `LinkRefused`, having told nothing."""
    await _prove(reader, writer, token, mine=b"agent", theirs=b"coordinator")
    return Link(reader, writer, ToAgent)


async def _prove(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, *, mine: bytes, theirs: bytes
) -> None:
    """Exchange random numbers and proofs. The sides' names are in the proofs, so that none can be sent back."""
    number = fresh_secret().encode()
    try:
        async with asyncio.timeout(_GREETING_WITHIN_S):
            _write_frame(writer, number)
            other = await _read_frame(reader, _GREETING_MAX_BYTES) or b""
            _write_frame(writer, _proof(token, mine, number, other))
            proof = await _read_frame(reader, _GREETING_MAX_BYTES) or b""
    except (TimeoutError, OSError, ValueError):
        proof, other = b"", b""
    if other == number or not hmac.compare_digest(proof, _proof(token, theirs, other, number)):
        writer.close()
        raise LinkRefused("the other side does not know the token")


def _proof(token: str, name: bytes, own: bytes, other: bytes) -> bytes:
    return hmac.digest(token.encode(), b"\0".join((b"duologue-loadtest", name, own, other)), hashlib.sha256)


def _write_frame(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(len(data).to_bytes(4) + data)


async def _read_frame(reader: asyncio.StreamReader, most_bytes: int) -> bytes | None:
    try:
        size = int.from_bytes(await reader.readexactly(4))
        if size > most_bytes:
            raise ValueError("a frame too large")
        return await reader.readexactly(size)
    except (EOFError, ConnectionError):
        return None
