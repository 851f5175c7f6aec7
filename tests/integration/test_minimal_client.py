"""The client of the documentation, as it is printed there: it chats, comes back, and loses nothing on the way."""

import asyncio
import runpy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, cast

from protocol.from_server import Message
from tests.support.mortal_node import Node, node_in
from tests.support.people import people_on, texts_of
from tests.support.programs import ROOT

Shown = dict[str, object]


class MinimalClient(Protocol):
    """What the example has."""

    socket: object | None

    async def run(self) -> int:
        """Stay connected until the server says not to come back."""

    async def send(self, match: str, text: str) -> None:
        """Say something, now or when there is a connection."""


class Reader:
    """One person with the example on their machine."""

    def __init__(self, url: str, token: str) -> None:
        make = cast(
            "Callable[[str, str, Callable[[Shown], None]], MinimalClient]",
            runpy.run_path(str(ROOT / "docs/examples/minimal_client.py"))["Client"],
        )
        self.shown: list[Shown] = []
        self.client = make(url, token, self._show)
        self._news = asyncio.Event()

    def _show(self, entry: Shown) -> None:
        self.shown.append(entry)
        self._news.set()

    def texts(self) -> list[str]:
        return [cast("dict[str, str]", entry["body"])["text"] for entry in self.shown if "body" in entry]

    async def until_connected(self) -> None:
        """Wait for the welcome: what is said before it is no news."""
        async with asyncio.timeout(60):
            while self.client.socket is None:  # noqa: ASYNC110 - the example has no event
                await asyncio.sleep(0.01)

    async def until(self, number: int) -> None:
        """Wait until so many messages have been shown."""
        async with asyncio.timeout(60):
            while len(self.texts()) < number:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def readers(node: Node, *users: str) -> AsyncIterator[list[Reader]]:
    """Have the users of match `m1` run the example until the block ends."""
    async with people_on(node.server) as people:
        await people.api.put_match("m1", users)
        found = [Reader(node.server.ws_url, await people.api.token(user)) for user in users]
    running = [asyncio.create_task(reader.client.run()) for reader in found]
    try:
        yield found
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_it_loses_nothing_when_its_server_is_killed(tmp_path: Path) -> None:
    """What is said while nobody answers is sent later, in order, once; both see the log as it is stored."""
    async with node_in(tmp_path) as node, readers(node, "alice", "bob") as (alice, bob):
        await asyncio.gather(alice.until_connected(), bob.until_connected())
        await alice.client.send("m1", "one")
        await asyncio.gather(alice.until(1), bob.until(1))
        await node.kill()
        for text in ("two", "three", "four"):
            await alice.client.send("m1", text)
        await bob.client.send("m1", "and five")
        await node.restart()
        await asyncio.gather(alice.until(5), bob.until(5))
        async with people_on(node.server) as people:
            stored = texts_of([entry for entry in await people.api.log("m1") if isinstance(entry, Message)])
        assert alice.texts() == bob.texts() == stored
        assert [text for text in stored if text != "and five"] == ["one", "two", "three", "four"]
