"""A thousand clients come back at once, each after some messages that it missed: until the last one holds them all."""

import asyncio
from statistics import median

from msgspec import Struct

from loadtest.api import Api
from loadtest.client import Client
from loadtest.clock import monotonic_us, wall_s
from loadtest.tokens import sign_token
from protocol.from_server import Message
from protocol.ids import MatchId, Micros, Seq
from tests.benchmarks.cluster.nodes import API_KEY, Nodes

MISSED = 20
APIS = 8


class Return(Struct, frozen=True):
    """From the first connect to the last missed message, in milliseconds; CPU time of one client in microseconds."""

    all_ms: float
    one_ms: float
    nodes_us: float
    postgres_us: float
    received: int
    expected: int


async def resume(nodes: Nodes, clients: int) -> Return:
    """Have users miss messages, then come back together."""
    await _fill(nodes, clients)
    before, began = nodes.used(), monotonic_us()
    back = await asyncio.gather(*(_come(nodes, number, began) for number in range(clients)))
    all_us, used = monotonic_us() - began, nodes.used().since(before)
    await asyncio.gather(*(client.close() for client, _, _ in back))
    return Return(
        all_us / 1000,
        median(took_us for _, took_us, _ in back) / 1000,
        used.nodes / clients,
        used.postgres / clients,
        sum(count for _, _, count in back),
        clients * MISSED,
    )


async def _fill(nodes: Nodes, clients: int) -> None:
    waiting = iter(range(clients))

    async def make(api: Api) -> None:
        for number in waiting:
            users = (f"back-{number}", f"writer-{number}")
            await api.put_match(f"back-{number}", users)
            for text in range(MISSED):
                await api.post(f"back-{number}", users[1], f"c{text}", f"missed {text}")

    apis = [Api(f"http://127.0.0.1:{nodes.ports[0]}", API_KEY) for _ in range(APIS)]
    await asyncio.gather(*map(make, apis))
    for api in apis:
        api.close()


async def _come(nodes: Nodes, number: int, began_us: int) -> tuple[Client, int, int]:
    """Connect with the cursor of the match's first entry; return when everything that was missed is there."""
    port = nodes.ports[number % len(nodes.ports)]
    token = sign_token(f"back-{number}", nodes.secret, int(wall_s()) + 3600)
    client = await Client.connect(f"ws://127.0.0.1:{port}/ws", token=token)
    await client.hello(cursors={MatchId(f"back-{number}"): (Seq(0), Micros(0))})
    count = 0
    for _ in range(MISSED):
        await client.next(Message)
        count += 1
    return client, monotonic_us() - began_us, count
