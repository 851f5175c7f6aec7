"""The usual way to compare with: `websockets.serve` on uvloop, relaying each message to all others of the same path.

No sessions, no tokens, no store; no deflate and no pings, which would make it dearer. `python -m … PORT`.
"""

import asyncio
import contextlib
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

Room = dict[ServerConnection, None]
rooms: dict[str, Room] = {}


async def relay(connection: ServerConnection) -> None:
    """Pass on what comes until the connection ends."""
    assert connection.request is not None
    room = rooms.setdefault(connection.request.path, {})
    room[connection] = None
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await pass_on(message, connection, room)
    del room[connection]


async def pass_on(message: str | bytes, sender: ServerConnection, room: Room) -> None:
    """Send to the one other, or broadcast to many, as the package's documentation advises."""
    others = [each for each in room if each is not sender]
    if len(others) == 1:
        await others[0].send(message)
    else:
        broadcast(others, message)


async def main(port: int) -> None:
    """Serve for ever."""
    async with serve(relay, "127.0.0.1", port, compression=None, ping_interval=None, backlog=4096):
        print("ready", flush=True)
        await asyncio.Event().wait()


uvloop.run(main(int(sys.argv[1])))
