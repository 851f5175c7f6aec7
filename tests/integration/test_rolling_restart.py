"""Every node is stopped and started again, one after the other: nobody is shown offline, nothing is lost, calls go on."""

import asyncio
import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass

from loadtest.api import Api
from loadtest.client import Client
from loadtest.resuming import ResumingClient
from protocol.calls import CallEnded, CallPeerLeft, CallSeat
from protocol.close_codes import CloseCode
from protocol.from_server import Error, GoingAway, Push, Status
from tests.support.people import People, everything_that_came, people_on
from tests.support.private_cluster import Cluster, Crowd, private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis
from tests.support.private_server import PrivateServer
from tests.support.talkers import resume, talk


@dataclass(slots=True)
class Caller:
    """One of two who talk, and what they heard on connections that they left."""

    node: PrivateServer
    client: Client
    seat: CallSeat
    token: str
    heard: list[Push | Error]

    async def move(self, people: People, to: PrivateServer) -> None:
        """Sent away, be welcome elsewhere and take the seat there; then the old connection is closed."""
        old = self.client
        await old.next(GoingAway)
        assert old.welcome is not None
        new = people.leaves(await Client.connect(to.ws_url, token=self.token))
        await new.hello(session=old.welcome.session)
        assert (await resume(new, self.seat)).peer == self.seat.peer
        async with asyncio.timeout(60):
            assert await old.closed() in (CloseCode.REPLACED, CloseCode.GOING_AWAY)
        self.node, self.client = to, new
        self.heard += [push for _, push in old.pushes]


class Cast:
    """Two nodes and everybody on them."""

    def __init__(self, cluster: Cluster, stack: ExitStack, people: People, nodes: list[PrivateServer]) -> None:
        self.people, self.nodes = people, nodes
        self._cluster, self._stack = cluster, stack
        self.crowd = Crowd(people.api)
        self.callers: list[Caller] = []
        self.outputs: list[str] = []

    async def gather(self) -> None:
        """Have two talk from node to node, and pairs write to each other and watch each other."""
        for here, there in ((0, 1), (0, 0)):
            await self.crowd.pair(self.nodes[here], self.nodes[there])
        users = self.people.users("alice", "bob")
        match = await self.people.match(*users)
        tokens = [await self.people.api.token(user) for user in users]
        clients = [
            self.people.leaves(await Client.connect(node.ws_url, token=token))
            for node, token in zip(self.nodes, tokens, strict=True)
        ]
        for client in clients:
            await client.hello()
        seats = await talk(clients[0], clients[1], match)
        self.callers = [Caller(*each, heard=[]) for each in zip(self.nodes, clients, seats, tokens, strict=True)]

    async def restart_all(self) -> None:
        """Stop and start every node, while the others serve."""
        for client in self.crowd.clients:
            await client.until(lambda client=client: Status.ONLINE in statuses(client))  # type: ignore[misc]
            client.sees.clear()
        for number in range(len(self.nodes)):
            await self.crowd.all_more_acked()
            await self._restart(number)
        self.crowd.ask(self.people.leaves_api(Api(self.nodes[0].http_url, "dev")))
        await self.crowd.all_more_acked()

    async def _restart(self, number: int) -> None:
        gone, other = self.nodes[number], self.nodes[1 - number]
        here = [caller for caller in self.callers if caller.node is gone]
        self.crowd.move(gone, other)
        os.kill(gone.program.pid, signal.SIGTERM)
        await asyncio.gather(*(caller.move(self.people, other) for caller in here))
        assert await asyncio.to_thread(gone.program.wait_ended) == 0
        self.outputs.append(gone.program.output())
        self.nodes[number] = await asyncio.to_thread(self._stack.enter_context, self._cluster.node())

    async def still_talk(self) -> None:
        """The call was at no time over for anybody, and it is the one that began."""
        for caller in self.callers:
            caller.heard += await everything_that_came(caller.client)
            assert not [push for push in caller.heard if isinstance(push, CallEnded | CallPeerLeft)]
            seat = await resume(caller.client, caller.seat)
            assert (seat.state, len(seat.peers), seat.peers[0].state) == ("active", 1, "ok")


def statuses(client: ResumingClient) -> set[Status]:
    """Return all that a client was shown of the one whom it watches."""
    return {presence.status for presence in client.sees}


async def test_a_rolling_restart_is_seen_by_nobody(postgres: PrivatePostgres, redis_server: PrivateRedis) -> None:
    """All write, watch each other and call meanwhile; whoever is sent away is elsewhere before they leave."""
    cluster = private_cluster(postgres, redis_server, DRAIN_S="20")
    with ExitStack() as stack:
        nodes = [stack.enter_context(cluster.node()) for _ in range(2)]
        async with people_on(nodes[0]) as people:
            cast = Cast(cluster, stack, people, nodes)
            await cast.gather()
            report = await cast.crowd.live(cast.restart_all())
            assert report.faults == 0, report.render()
            assert report.unanswered == report.refused == 0
            await cast.still_talk()
        for client in cast.crowd.clients:
            assert statuses(client) <= {Status.ONLINE}
            assert client.log.connections > 1
        cast.outputs += [node.program.output() for node in cast.nodes]
    assert "Traceback" not in "".join(cast.outputs)
