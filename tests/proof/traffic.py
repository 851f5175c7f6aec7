"""People who write to each other while things break, and the settling of accounts afterwards."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from loadtest.checker import check
from loadtest.findings import Report
from loadtest.resuming import ResumingClient
from protocol.from_client import Body
from protocol.from_server import Entry
from protocol.ids import MatchId
from tests.proof.node import Node

PHRASES: Final = (
    "hi",
    "ok",
    "Are you there?",
    "See you at the library at 5, second floor, by the window.",
    "¿Cómo estás? Мне нравится. 你好，明天见！",
    "👩🏽‍🎓👍🏿 e\u0301 ﷽ \u202eabc\u202c",
    "line one\nline two\ttabbed",
    '{"type":"message","seq":1} <script>alert(1)</script> \'; DROP TABLE entries; --',
    "long " * 300,
)
SETTLE_WITHIN_S: Final = 30.0


class Crowd:
    """Clients and the matches they are in; every one of them resumes by itself."""

    def __init__(self, node: Node, chance: random.Random) -> None:
        self.node = node
        self.chance = chance
        self.settle_within_s = SETTLE_WITHIN_S
        self.clients: list[ResumingClient] = []
        self.matches: dict[str, list[str]] = {}
        self._of: dict[int, list[str]] = {}
        self._numbers = iter(range(1, 1_000_000))

    async def make(self, matches: dict[str, list[str]]) -> None:
        """Make the matches."""
        self.matches |= matches
        api = self.node.api()
        for match, members in matches.items():
            await api.put_match(match, members)
        api.close()

    def add(self, user: str, device: str = "", *, node: Node | None = None, patient: bool = False) -> ResumingClient:
        """Add a device of `user`, on `node` if it is another; a `patient` one asks for nothing that it misses."""
        identity = (node or self.node).identity(user, device)
        client = ResumingClient(identity, self.chance.random, patient=patient)
        self._of[id(client)] = [match for match, members in self.matches.items() if user in members]
        self.clients.append(client)
        return client

    async def live(self, *doing: Awaitable[None]) -> Report:
        """Let all clients live while `doing` happens, settle, and weigh what everybody saw against the store."""
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(client.run())
            await asyncio.gather(*doing)
            report = await self._settle()
            for client in self.clients:
                await client.stop()
        return report

    async def write(self, client: ResumingClient, messages: int, pause_s: float) -> None:
        """Write `messages` into the client's matches, with pauses of about `pause_s`."""
        for _ in range(messages):
            self.say(client, self.chance.choice(self._of[id(client)]))
            await asyncio.sleep(pause_s * 2 * self.chance.random())

    def say(self, client: ResumingClient, match: str) -> None:
        """Write one message."""
        number = next(self._numbers)
        client.submit(match, f"c{number}", Body(f"{number} {self.chance.choice(PHRASES)}"))

    async def _settle(self) -> Report:
        for client in self.clients:
            await client.until_all_acked(self.settle_within_s)
        stored = await self.stored()
        for client in self.clients:
            for match in self._of[id(client)]:
                await client.until_held(match, stored[MatchId(match)][-1].seq, self.settle_within_s)
        return check([client.log for client in self.clients], stored)

    async def stored(self) -> dict[MatchId, Sequence[Entry]]:
        """Read every log through the public API."""
        api = self.node.api()
        logs: dict[MatchId, Sequence[Entry]] = {MatchId(match): await api.log(match) for match in self.matches}
        api.close()
        return logs


async def kill_often(node: Node, chance: random.Random, times: int, tell: Callable[[str], None]) -> None:
    """Kill the server `times` at moments that chance chooses, and start it again each time."""
    for number in range(times):
        await asyncio.sleep(chance.uniform(0.3, 1.2))
        tell(f"kill -9, number {number + 1} of {times}")
        await node.kill()
        await node.start()


async def cut_often(clients: Sequence[ResumingClient], chance: random.Random, times: int, pause_s: float) -> None:
    """Cut sockets without a word, each time one that chance chooses."""
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0, 2 * pause_s))
        chance.choice(clients).cut()
