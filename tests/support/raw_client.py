"""A WebSocket client without opinions: it sends any bytes, and reads what the server answers frame by frame."""

import base64
import hashlib
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x37\xfa\x21\x3d"

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Answer(NamedTuple):
    """A frame from the server."""

    opcode: int
    payload: bytes


class Response(NamedTuple):
    """A response head from the server."""

    status: int
    headers: dict[str, str]
    body: bytes


def head(*lines: str, target: str = "/ws", key: bytes | None = KEY, replace: Sequence[str] = ()) -> bytes:
    """Build an upgrade request; `lines` are added, headers named in `replace` are left out."""
    default = {"Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    if key is not None:
        default["Sec-WebSocket-Key"] = key.decode()
    kept = [f"{name}: {value}" for name, value in default.items() if name not in replace]
    return "\r\n".join([f"GET {target} HTTP/1.1", *kept, *lines, "", ""]).encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = MASK, rsv: int = 0) -> bytes:
    """Build a frame as a client does, unless told otherwise."""
    first, size, masked = (0x80 if fin else 0) | rsv | opcode, len(payload), 0 if mask is None else 0x80
    if size < 126:
        header = bytes([first, masked | size])
    elif size < 65_536:
        header = bytes([first, masked | 126]) + size.to_bytes(2, "big")
    else:
        header = bytes([first, masked | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return header + payload
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return header + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


def accept_for(key: bytes) -> str:
    """Compute what a server must answer to a key (RFC 6455 section 1.3)."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


class RawClient:
    """A TCP connection with a timeout on everything."""

    def __init__(self, address: tuple[str, int], *, timeout_s: float = 60.0, receive_buffer_bytes: int = 0) -> None:
        """Connect."""
        self.socket = socket.socket()
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send; a server that has closed already is no error here."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def upgrade(self, request: bytes | None = None) -> Self:
        """Shake hands."""
        self.send(head() if request is None else request)
        response = self.response()
        assert response.status == 101, response
        return self

    def more(self) -> bool:
        """Read what comes next; False at the end of the stream."""
        try:
            data = self.socket.recv(65_536)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def response(self) -> Response:
        """Read a response with its body."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.more():
                raise EOFError(f"no response: {self.buffer!r}")
        top, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(self.buffer) < length and self.more():
            pass
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Response(int(status.split()[1]), headers, body)

    def take(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        while len(self.buffer) < count:
            if not self.more():
                raise EOFError(f"ended after {self.buffer[:80]!r}")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def answer(self) -> Answer:
        """Read one frame; a server's frame is final, unmasked and without reserved bits."""
        first, size = self.take(2)
        assert first & 0xF0 == 0x80, f"fin and reserved bits: {first:#x}"
        assert size < 128, "a server must not mask"
        if size == 126:
            size = int.from_bytes(self.take(2), "big")
        elif size == 127:
            size = int.from_bytes(self.take(8), "big")
        return Answer(first & 0x0F, self.take(size))

    def closed_with(self) -> int:
        """Skip to the server's close frame and return its code (1005: none), then see the stream end."""
        while True:
            answer = self.answer()
            if answer.opcode == CLOSE:
                break
        self.at_end()
        return int.from_bytes(answer.payload[:2], "big") if answer.payload else 1005

    def at_end(self) -> bytes:
        """Read to the end of the stream; return what else came."""
        while self.more():
            pass
        rest, self.buffer = self.buffer, b""
        return rest

    def pings(self, payload: bytes = b"still there?") -> bool:
        """Send a ping and look for its pong, past anything else."""
        self.send(frame(PING, payload))
        while True:
            answer = self.answer()
            if answer == Answer(PONG, payload):
                return True
            assert answer.opcode in (TEXT, PONG, PING), answer
