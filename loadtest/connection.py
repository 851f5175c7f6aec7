"""One WebSocket connection of a client on a bare asyncio.Protocol: cheap enough to hold thousands in one process.

Hands every text message over as the bytes it came in; answers pings and close frames; tells the close code. It decodes
nothing, so that what is measured with it is the server. No extension is offered.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Final, cast
from urllib.parse import urlsplit

from loadtest.frames import CLOSE, PING, PONG, TEXT, BadFrame, client_frame, split, text_frame
from loadtest.tls import port_of
from protocol.close_codes import CloseCode

# The sample of RFC 6455 1.3. A constant key is legal towards our server and saves a hash a connect.
_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
_ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_HEAD_MAX_BYTES: Final = 16 * 1024

TextHandler = Callable[[bytes], None]


class HandshakeRefused(Exception):
    """The server answered the upgrade with another status than 101."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body


class Connection(asyncio.Protocol):
    """A client's side of one socket. `closed` resolves to the close code, 1006 when the socket was just gone."""

    __slots__ = (
        "_code",
        "_is_open",
        "_request",
        "_tail",
        "_transport",
        "bytes_in",
        "closed",
        "on_text",
        "opened",
        "reason",
    )

    def __init__(self, request: bytes, on_text: TextHandler) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._tail = b""
        self._is_open = False
        self._transport: asyncio.Transport | None = None
        self._code: int = CloseCode.ABNORMAL
        self.on_text = on_text
        self.reason = ""
        self.bytes_in = 0
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[int] = loop.create_future()

    def send_text(self, payload: bytes) -> None:
        """Send one text message at once; silently nothing on a connection that is gone."""
        self.write(text_frame(payload))

    def write(self, data: bytes) -> None:
        """Send bytes as they are: ready frames, several at once, or a broken one."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Stop reading, as a reader too slow does."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    async def close(self, code: int = CloseCode.NORMAL) -> int:
        """Say goodbye and wait for the end; return the code that the server answered."""
        self.write(client_frame(CLOSE, int(code).to_bytes(2)))
        return await asyncio.shield(self.closed)

    def abort(self) -> None:
        """Cut the socket without a word, as a lost network does."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # type: ignore[explicit-override]  # new in Python 3.12
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def connection_lost(self, _: Exception | None) -> None:  # type: ignore[explicit-override]  # new in Python 3.12
        self._transport = None
        if not self.opened.done():
            self.opened.set_exception(HandshakeRefused(0, b"the socket was closed"))
        if not self.closed.done():
            self.closed.set_result(self._code)

    def data_received(self, data: bytes) -> None:  # type: ignore[explicit-override]  # new in Python 3.12
        self.bytes_in += len(data)
        if self._tail:
            data = self._tail + data
        if not self._is_open:
            data = self._read_head(data)
        if self._is_open:
            self._read_frames(data)

    def _read_frames(self, data: bytes) -> None:
        try:
            frames, end = split(data)
        except BadFrame:
            self._code = CloseCode.PROTOCOL_ERROR
            self.abort()
            return
        self._tail = data[end:]
        for opcode, payload in frames:
            if opcode == TEXT:
                self.on_text(payload)
            else:
                self._control(opcode, payload)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.write(client_frame(PONG, payload))
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2]) if payload else CloseCode.NORMAL
            self.reason = payload[2:].decode(errors="replace")
            self.write(client_frame(CLOSE, payload))
            if self._transport is not None:
                self._transport.close()

    def _read_head(self, data: bytes) -> bytes:
        """Return what follows the answer to the upgrade, nothing while it is not whole."""
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            self._tail = data
            if len(data) > _HEAD_MAX_BYTES:
                self.abort()
            return b""
        self._tail = b""
        if head[9:12] == b"101" and _ACCEPT in head:
            self._is_open = True
            self.opened.set_result(None)
            return rest
        self.opened.set_exception(HandshakeRefused(int(head[9:12]), rest))
        self.abort()
        return b""


async def open_connection(
    url: str,
    on_text: TextHandler,
    *,
    headers: Mapping[str, str] | None = None,
    query: str = "",
    local_address: str = "",
    tls: ssl.SSLContext | None = None,
) -> Connection:
    """Connect to `url` (ws://host:port/path) and upgrade; raise `HandshakeRefused` or `OSError`.

    `local_address` is the address of this machine to connect from; else the system's choice. `tls` encrypts (`loadtest.tls.trust`).
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", port_of(parts)
    request = _upgrade_request(f"{parts.path}?{query}" if query else parts.path, parts.netloc, headers or {})
    loop, local = asyncio.get_running_loop(), (local_address, 0) if local_address else None
    _, connection = await loop.create_connection(
        lambda: Connection(request, on_text), host, port, local_addr=local, ssl=tls
    )
    try:
        await connection.opened
    except BaseException:
        connection.abort()
        raise
    return connection


def _upgrade_request(target: str, host: str, headers: Mapping[str, str]) -> bytes:
    fields = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": _KEY,
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode()
