"""People on all nodes who write to each other while things break, and what there is to weigh afterwards."""

import asyncio
import random
from collections.abc import Awaitable, Sequence

from loadtest.api import Api
from loadtest.checker import check
from loadtest.findings import Report
from loadtest.resuming import Identity, ResumingClient
from protocol.from_client import Body
from protocol.from_server import Entry
from protocol.ids import MatchId, UserId
from tests.proof.node import token
from tests.proof.traffic import PHRASES

USERS = 12
GROUPS = 2
GROUP_SIZE = 5
TABLETS = 6
ACKED_WITHIN_S = 45.0
# A commit that its own node could not route is taken over after 15 s; a frozen node's after its lease.
HELD_WITHIN_S = 45.0


class Crowd:
    """Twelve people: pairs in a ring, two groups, and second devices that only read.

    Those never ask for what they missed, and nobody cuts their way to a node that is neither killed nor frozen, so that
    no resume brings it: what they hold in the end the nodes told them by themselves.
    """

    def __init__(self, url: str, quiet_url: str, chance: random.Random) -> None:
        self.chance = chance
        users = [f"user-{number}" for number in range(USERS)]
        self.matches = {f"pair-{number}": [users[number], users[(number + 1) % USERS]] for number in range(USERS)}
        self.matches |= {
            f"group-{number}": users[number :: USERS // GROUP_SIZE][:GROUP_SIZE] for number in range(GROUPS)
        }
        self.writers = [self._client(url, user, "", patient=False) for user in users]
        self.clients = [
            *self.writers,
            *(self._client(quiet_url, user, "tablet", patient=True) for user in users[:TABLETS]),
        ]
        self._written = 0

    def _client(self, url: str, user: str, device: str, *, patient: bool) -> ResumingClient:
        identity = Identity(url, UserId(user), lambda: token(user), device)
        return ResumingClient(identity, random.Random(self.chance.random()).random, patient=patient)

    async def make(self, api: Api) -> None:
        """Make the matches."""
        for match, members in self.matches.items():
            await api.put_match(match, members)

    async def write(self, client: ResumingClient, until_s: float, pause_s: float) -> None:
        """Write into the client's matches until the loop's time is `until_s`, with pauses of about `pause_s`."""
        mine = self._of(client)
        while asyncio.get_running_loop().time() < until_s:
            self._written += 1
            text = f"{self._written} {self.chance.choice(PHRASES)}"
            client.submit(self.chance.choice(mine), f"c{self._written}", Body(text))
            await asyncio.sleep(pause_s * 2 * self.chance.random())

    async def acked(self) -> int:
        """Wait until everything has its answer, or for as long as that may take; return how much has none."""
        await _all([client.until_all_acked(ACKED_WITHIN_S) for client in self.clients])
        return sum(client.log.unacked for client in self.clients)

    async def weigh(self, api: Api) -> tuple[Report, dict[MatchId, Sequence[Entry]]]:
        """Give everybody the time to catch up by themselves, then weigh what they saw against the store's log."""
        stored: dict[MatchId, Sequence[Entry]] = {MatchId(match): await api.log(match) for match in self.matches}
        await _all(
            [
                client.until_held(match, stored[MatchId(match)][-1].seq, HELD_WITHIN_S)
                for client in self.clients
                for match in self._of(client)
            ],
        )
        for client in self.clients:  # One that never heard of a match has missed all of it.
            for match in self._of(client):
                client.log.shown.setdefault(MatchId(match), [])
        return check([client.log for client in self.clients], stored), stored

    def _of(self, client: ResumingClient) -> list[str]:
        return [match for match, members in self.matches.items() if client.log.user in members]


async def _all(waiting: Sequence[Awaitable[None]]) -> None:
    """Wait for all, each as long as it takes; what was too late is found by the counts afterwards."""
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        if outcome is not None and not isinstance(outcome, TimeoutError):
            raise outcome
