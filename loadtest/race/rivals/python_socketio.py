"""python-socketio on uvicorn with its Redis manager, as its documentation shows it: `python … PORT REDIS_URL`.

A text goes to everybody else of its room. Nothing is stored; nobody learns whether it arrived.
"""

import sys

import socketio
import uvicorn

port, redis_url = int(sys.argv[1]), sys.argv[2]
server = socketio.AsyncServer(
    async_mode="asgi", client_manager=socketio.AsyncRedisManager(redis_url), transports=["websocket"]
)


@server.on("enter")
async def enter(sid, room):
    await server.enter_room(sid, room)


@server.on("say")
async def say(sid, room, text):
    await server.emit("said", text, room=room, skip_sid=sid)


uvicorn.run(
    socketio.ASGIApp(server),
    host="127.0.0.1",
    port=port,
    log_level="warning",
    ws="websockets",
    ws_per_message_deflate=False,
)
