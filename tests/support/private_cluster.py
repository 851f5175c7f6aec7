"""Nodes of a test's own on one database and one Redis, and people who write to each other while something breaks."""

import asyncio
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Final

from loadtest.api import Api
from loadtest.checker import check
from loadtest.findings import Report
from loadtest.resuming import Identity, ResumingClient
from loadtest.tokens import sign_token
from protocol.from_client import Body
from protocol.from_server import Entry
from protocol.ids import MatchId, UserId
from tests.support.people import UNLIMITED, fresh
from tests.support.private_postgres import OWNER, PrivatePostgres, run_program
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import PrivateServer, private_server
from tests.support.programs import find_program

SECRET: Final = "cluster-hs256-51d0c7b86e2f4a93b7d4e8f1a2c6"
SETTLE_WITHIN_S: Final = 40.0
PAUSE_S: Final = 0.02


class Cluster:
    """Nodes that share a database and a Redis."""

    def __init__(self, postgres: PrivatePostgres, redis: PrivateRedis, database: str, **settings: str) -> None:
        self.postgres, self.redis, self.database = postgres, redis, database
        self._settings = settings

    @contextmanager
    def node(self, **settings: str) -> Iterator[PrivateServer]:
        """Run one more node until the block ends."""
        with private_server(None, port=None, dev=True, **self.settings(**settings)) as server:
            yield server

    def settings(self, **settings: str) -> dict[str, str]:
        """Return what a node of this cluster is told by its environment."""
        shared = {
            "DATABASE_URL": self.postgres.url(self.database),
            "DATABASE_DURABILITY": "waived",  # the tests' PostgreSQL does not sync
            "REDIS_URL": self.redis.url,
            "REDIS_PREFIX": f"{self.database}:",
            "TOKEN_SECRETS": SECRET,
        }
        return shared | UNLIMITED | self._settings | settings

    async def cut_database(self) -> None:
        """End every connection of the nodes to the database, in the middle of whatever they do."""
        ours = f"datname = '{self.database}' AND pid <> pg_backend_pid()"
        await self.postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")


def private_cluster(postgres: PrivatePostgres, redis: PrivateRedis, **settings: str) -> Cluster:
    """Make a cluster without nodes, on a database of its own."""
    database = fresh("cluster").replace("-", "_")
    where = ("-h", "127.0.0.1", "-p", str(postgres.port), "-U", OWNER)
    run_program(find_program("createdb"), *where, "-T", "template0", database)
    return Cluster(postgres, redis, database, **settings)


class Crowd:
    """Pairs of resuming clients, each in one match, that write until trouble is over; then accounts are settled."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.identities: list[Identity] = []
        self.clients: list[ResumingClient] = []
        self._match_of: dict[int, MatchId] = {}
        self._numbers = count(1)

    async def pair(self, here: PrivateServer, there: PrivateServer) -> tuple[ResumingClient, ResumingClient]:
        """Add two who are on these nodes, and watch each other."""
        match = MatchId(fresh("match"))
        alice, bob = UserId(fresh("alice")), UserId(fresh("bob"))
        await self._api.put_match(match, (alice, bob))
        return self._add(here, alice, match, bob), self._add(there, bob, match, alice)

    def _add(self, server: PrivateServer, user: UserId, match: MatchId, *watched: UserId) -> ResumingClient:
        identity = Identity(server.ws_url, user, lambda: sign_token(user, SECRET, int(time.time()) + 3600))
        client = ResumingClient(identity, lambda: 0.5, watched=watched)
        self.identities.append(identity)
        self.clients.append(client)
        self._match_of[id(client)] = match
        return client

    def move(self, gone: PrivateServer, to: PrivateServer) -> None:
        """Let the clients of a node find another one, as behind a load balancer."""
        for identity in self.identities:
            if identity.url == gone.ws_url:
                identity.url = to.ws_url

    def ask(self, api: Api) -> None:
        """Read the logs there: the node that was asked is gone."""
        self._api = api

    def match_of(self, client: ResumingClient) -> MatchId:
        """Return the match that `client` is in."""
        return self._match_of[id(client)]

    async def all_more_acked(self, count: int = 20) -> None:
        """Wait until each client has so many more answers."""

        def answers(client: ResumingClient) -> int:
            return len(client.log.submitted) - client.log.unacked

        wanted = [(client, answers(client) + count) for client in self.clients]
        for client, number in wanted:
            await client.until(lambda client=client, number=number: answers(client) >= number)  # type: ignore[misc]

    async def live(self, trouble: Awaitable[None]) -> Report:
        """Let all write until `trouble` is over, settle, and weigh what everybody saw against the store."""
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(client.run())
            writers = [group.create_task(self._write(client)) for client in self.clients]
            try:
                await trouble
            finally:
                for writer in writers:
                    writer.cancel()
            report = await self._settle()
            for client in self.clients:
                await client.stop()
        return report

    async def _write(self, client: ResumingClient) -> None:
        while True:
            number = next(self._numbers)
            client.submit(self.match_of(client), f"c{number}", Body(f"message {number}"))
            await asyncio.sleep(PAUSE_S)

    async def _settle(self) -> Report:
        for client in self.clients:
            await client.until_all_acked(SETTLE_WITHIN_S)
        stored = await self._stored()
        for client in self.clients:
            match = self.match_of(client)
            await client.until_held(match, stored[match][-1].seq, SETTLE_WITHIN_S)
        return check([client.log for client in self.clients], stored)

    async def _stored(self) -> Mapping[MatchId, Sequence[Entry]]:
        return {match: await self._api.log(match) for match in dict.fromkeys(self._match_of.values())}


@contextmanager
def nodes_of(cluster: Cluster, number: int) -> Iterator[tuple[PrivateServer, ...]]:
    """Run so many nodes until the block ends."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(cluster.node()) for _ in range(number))
