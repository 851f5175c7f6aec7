"""Real talk, replayed as a match of its speakers, arrives complete and in order, whatever happens to the listener.

The sample in tests/data is ours; CHAT_LOG_DIR=/a/folder adds every `.txt` in it (logs of IRC channels, for example).
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from loadtest.api import Api
from loadtest.checker import check
from loadtest.client import Client
from loadtest.resuming import Identity, ResumingClient
from protocol.from_client import Body
from protocol.from_server import Message
from protocol.ids import MatchId, UserId
from tests.support.chat_log import Line, read
from tests.support.private_server import PrivateServer, private_server
from tests.support.programs import ROOT

FOLDERS = [ROOT / "tests/data", *map(Path, filter(None, [os.environ.get("CHAT_LOG_DIR")]))]
LOGS = sorted(log for folder in FOLDERS for log in folder.glob("*.txt"))
MATCH = MatchId("channel")
CUTS = 20
SEED = 7
# A channel has more than 50 speakers, and they do not keep to 5 messages a second.
SETTINGS = {
    "MAX_MEMBERS": "10000",
    "MESSAGE_RATE_PER_S": "100000",
    "MESSAGE_BURST": "100000",
    "MAX_CONNECTIONS_PER_ADDRESS": "10000",
}


class Channel:
    """A server with one match whose members are the speakers of a log and two listeners."""

    def __init__(self, server: PrivateServer, lines: list[Line], chance: random.Random) -> None:
        self.lines = lines
        self.chance = chance
        self.api = Api(server.http_url, "dev")
        self._server = server
        self._speakers: dict[str, Client] = {}

    async def make(self) -> None:
        await self.api.put_match(MATCH, sorted({"late", "cut", *(line.nick for line in self.lines)}))

    async def listener(self, user: str) -> ResumingClient:
        token = await self.api.token(user)
        return ResumingClient(Identity(self._server.ws_url, UserId(user), lambda: token), self.chance.random)

    async def say(self, number: int, stack: AsyncExitStack) -> None:
        """Post line `number` as its speaker, who connects to say the first one."""
        nick, text = self.lines[number]
        if nick not in self._speakers:
            client = self._speakers[nick] = await Client.connect(self._server.ws_url, token=await self.api.token(nick))
            stack.push_async_callback(client.close)
            await client.hello()
        await self._speakers[nick].send(MATCH, text, f"line-{number}")


@asynccontextmanager
async def channel(lines: list[Line], folder: Path) -> AsyncIterator[Channel]:
    with private_server(folder / "replay.db", port=None, dev=True, **SETTINGS) as server:
        talk = Channel(server, lines, random.Random(SEED))
        await talk.make()
        yield talk
        talk.api.close()


def texts(client: ResumingClient) -> list[Line]:
    """Return what the client showed."""
    entries = [entry for entry in client.log.shown[MATCH] if isinstance(entry, Message)]
    return [Line(entry.sender, msgspec.json.decode(entry.body, type=Body).text) for entry in entries]


@pytest.fixture(params=LOGS, ids=lambda log: log.stem)
def lines(request: pytest.FixtureRequest) -> list[Line]:
    """Read each log."""
    log: Path = request.param
    return read(log.read_text(errors="replace"))


async def test_a_log_arrives_complete_and_in_order(lines: list[Line], tmp_path: Path) -> None:
    """At one whose socket is cut 20 times, and at one who comes when half is said."""
    assert len(lines) > 100
    async with channel(lines, tmp_path) as talk, asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        cut, late = await talk.listener("cut"), await talk.listener("late")
        group.create_task(cut.run())
        await cut.until(lambda: cut.is_ready)
        moments = set(talk.chance.sample(range(1, len(talk.lines)), CUTS))
        for number in range(len(talk.lines)):
            if number in moments:
                await cut.until(lambda: cut.is_ready)
                cut.cut()
            if number == len(talk.lines) // 2:
                group.create_task(late.run())
            await talk.say(number, stack)
        stored = {MATCH: await talk.api.log(MATCH)}
        for client in (cut, late):
            await client.until_held(MATCH, stored[MATCH][-1].seq)
            await client.stop()
        assert texts(cut) == talk.lines
        assert texts(late) == talk.lines
        assert cut.log.connections == CUTS + 1
        report = check([cut.log, late.log], stored)
        assert report.faults == 0, report.render()
