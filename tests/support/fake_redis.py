"""Something that answers like a Redis that nobody should meet: each command by its first word with ready bytes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import hiredis

OK = b"+OK\r\n"


def bulk(text: str) -> bytes:
    """Encode a bulk reply."""
    return b"$%d\r\n%b\r\n" % (len(text.encode()), text.encode())


@asynccontextmanager
async def fake_redis(replies: Mapping[str, bytes]) -> AsyncIterator[str]:
    """Listen until the block ends; yields the URL. A command without a reply ends the connection, an empty one waits."""
    writers: list[asyncio.StreamWriter] = []
    ended: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        ended.append(closed := asyncio.Event())
        parser = hiredis.Reader()
        try:
            while data := await reader.read(65_536):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    reply = replies.get(command[0].decode().upper())
                    if reply is None:
                        return
                    writer.write(reply)
        finally:
            writer.close()
            closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        for closed in ended:
            await closed.wait()
