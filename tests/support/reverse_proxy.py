"""A reverse proxy as small as one can be: adds who asks to the head of each connection and passes the bytes on.

One request a connection, or one upgrade; `claims` stands for the client addresses that a real one would see.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

from msgspec import Struct, field


class ReverseProxy(Struct):
    """Where it listens, and which address its next clients have (`appends` beside what they say of themselves)."""

    port: int
    target: int
    client: str = "203.0.113.7"
    _clients: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        self._clients.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
            with closing(server_writer):
                server_writer.write(self._told(head))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_pass_on(reader, server_writer))
                    tasks.create_task(_pass_on(server_reader, writer))

    def cut(self) -> None:
        """Cut what is left of its clients: over TLS a close waits for theirs."""
        for writer in self._clients:
            writer.transport.abort()

    def _told(self, head: bytes) -> bytes:
        """Append the client to X-Forwarded-For, as nginx's `$proxy_add_x_forwarded_for` does."""
        lines = head[:-4].split(b"\r\n")
        said = [line.partition(b":")[2].strip() for line in lines if line.lower().startswith(b"x-forwarded-for:")]
        kept = [line for line in lines if not line.lower().startswith(b"x-forwarded-for:")]
        chain = b", ".join([*said, self.client.encode()])
        return b"\r\n".join([*kept, b"X-Forwarded-For: " + chain, b"", b""])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def reverse_proxy(target: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[ReverseProxy]:
    """Run one in front of the server at port `target` until the block ends; with `tls` it speaks that to its clients."""
    proxy = ReverseProxy(0, target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield proxy
        finally:
            proxy.cut()
