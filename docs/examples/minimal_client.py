"""Print what is said in your matches and send the lines you type: `python minimal_client.py URL TOKEN MATCH`."""

import asyncio
import contextlib
import json
import random
import sys
import time
import uuid

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

STAY_AWAY = {1000, 1002, 1003, 1007, 1008, 1009, 1010, *range(4500, 5000)}


class Client:
    def __init__(self, url, token, show):
        self.url, self.token, self.show = url, token, show
        self.cursors, self.unsent, self.socket = {}, {}, None  # unsent: by client_id, oldest first

    async def run(self):
        failures = 0
        while True:
            started = time.monotonic()
            try:
                async with connect(self.url) as socket:
                    await tell(socket, type="hello", id="hello", token=self.token, cursors=self.cursors)
                    while True:
                        await self.receive(socket, json.loads(await socket.recv()))
            except ConnectionClosed as closed:
                if closed.rcvd and closed.rcvd.code in STAY_AWAY:
                    return closed.rcvd.code
            except (OSError, WebSocketException):
                pass  # refused, or not there: try again
            finally:
                self.socket = None
            failures = 0 if time.monotonic() - started > 10 else failures + 1
            await asyncio.sleep(random.uniform(0, min(20, 0.5 * 2**failures)))

    async def send(self, match, text):
        key = str(uuid.uuid4())
        self.unsent[key] = {"match": match, "client_id": key, "body": {"text": text}}
        if self.socket and len(self.unsent) == 1:  # one under way keeps the order
            await self.send_oldest()

    async def send_oldest(self):
        for key in list(self.unsent)[:1]:
            await tell(self.socket, type="message.send", id=key, **self.unsent[key])

    async def receive(self, socket, message):
        match message:
            case {"type": "welcome", "matches": matches}:
                self.socket = socket
                for each in matches:
                    self.cursors.setdefault(each["match"], [each["last_seq"], each["last_at"]])
                await self.send_oldest()
            case {"type": "ok" | "error", "id": key} if key in self.unsent:
                await self.answered(key, message)
            case {"type": "ok", "id": "sync", "matches": missed}:
                for match, page in missed.items():
                    await self.synced(match, page)
            case {"type": "gap", "match": match}:
                await self.sync(match)
            case {"type": "reset" | "match.left", "match": match}:
                self.cursors.pop(match, None)
            case {"type": "error"}:
                self.show(message)
            case {"match": _, "seq": _}:
                await self.apply(message)

    async def answered(self, key, message):
        if message["type"] == "ok":
            await self.apply({**self.unsent.pop(key), **message})
        elif "retry_after_ms" in message:
            await asyncio.sleep(message["retry_after_ms"] / 1000)
        else:
            self.show({**self.unsent.pop(key), **message})
        await self.send_oldest()

    async def synced(self, match, page):
        for entry in page["entries"]:
            await self.apply(entry)
        if page.get("reset") or page.get("left"):
            self.cursors.pop(match, None)
        elif not page["complete"]:
            await self.sync(match)

    async def apply(self, entry):
        match, seq = entry["match"], entry["seq"]
        have, _ = self.cursors.setdefault(match, [seq - 1, 0])
        if seq == have + 1:
            self.cursors[match] = [seq, entry["created_at"]]
            self.show(entry)
        elif seq > have + 1:
            await self.sync(match)

    async def sync(self, match):
        await tell(self.socket, type="sync", id="sync", cursors={match: self.cursors[match]})


async def tell(socket, **message):
    with contextlib.suppress(ConnectionClosed):  # run() sees it too, and says everything again
        await socket.send(json.dumps(message))


async def main(url, token, match):
    client = Client(url, token, show=print)
    running = asyncio.create_task(client.run())
    while line := await asyncio.to_thread(sys.stdin.readline):
        await client.send(match, line.rstrip())
    await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
