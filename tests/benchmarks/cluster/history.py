"""Pages of a history of two million messages, in a warm database and in one that has just been restarted."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
from msgspec import Struct

from loadtest.client import Client, Refused
from loadtest.clock import monotonic_us, wall_s
from loadtest.histogram import Histogram
from loadtest.tokens import sign_token
from protocol.ids import MatchId, Micros
from tests.benchmarks.cluster.nodes import Nodes

MATCH_MESSAGES = 100
DAYS = 40
PAGE = 50
READERS = 20

FILL_MATCHES = """
INSERT INTO duologue.matches (match_id, last_seq, last_at, messages, slots)
SELECT 'history-' || m, $2::bigint, $1::bigint + ($2::bigint - 1) * $3::bigint + m, $2::bigint, 2
FROM generate_series(1, $4::bigint) m
"""
FILL_MEMBERS = """
INSERT INTO duologue.members (match_no, user_id, slot, from_seq, from_at, delivered, read, read_n)
SELECT match_no, 'reader-' || (substr(match_id, 9)::bigint % $1::bigint) || CASE slot WHEN 1 THEN '' ELSE '-other' END, slot, 1, 0, 0, 0, 0
FROM duologue.matches, generate_series(1, 2) slot WHERE match_id LIKE 'history-%'
"""
FILL_ENTRIES = """
INSERT INTO duologue.entries (match_no, created_at, seq, n, kind, sender, client_id, body)
SELECT match_no, $1::bigint + (seq - 1) * $3::bigint + substr(match_id, 9)::bigint, seq, seq, 1, 1 + seq % 2, 'c' || seq,
       convert_to('{"text":"' || repeat('word ', 12) || seq || '"}', 'UTF8')
FROM duologue.matches, generate_series(1, $2::bigint) seq WHERE match_id LIKE 'history-%'
"""


class Times(Struct, frozen=True):
    """Milliseconds of one page, as a client on the socket sees it."""

    p50: float
    p99: float


async def fill(nodes: Nodes, messages: int) -> int:
    """Write so many messages, spread over forty days, by SQL; return how many matches there are."""
    matches = messages // MATCH_MESSAGES
    step_us = DAYS * 86_400_000_000 // MATCH_MESSAGES
    first = int((wall_s() - (DAYS + 1) * 86_400) * 1e6)
    database = await asyncpg.connect(nodes.database_url)
    try:
        await database.fetch("SELECT duologue.make_partitions($1::bigint, 3)", first)
        await database.execute(FILL_MATCHES, first, MATCH_MESSAGES, step_us, matches, timeout=600)
        await database.execute(FILL_MEMBERS, READERS, timeout=600)
        await database.execute(FILL_ENTRIES, first, MATCH_MESSAGES, step_us, timeout=600)
        await database.execute("ANALYZE duologue.entries, duologue.matches, duologue.members", timeout=600)
    finally:
        await database.close()
    return matches


async def read(nodes: Nodes, matches: int, pages: int, restart: Callable[[], Awaitable[None]] | None) -> Times:
    """Read pages of matches taken by chance, one at a time; after `restart`, or after as many that do not count."""
    clients = await asyncio.gather(*(_reader(nodes, number) for number in range(READERS)))
    if restart is None:
        await _turn(clients, matches, pages, random.Random(6))
    else:
        await restart()
        await _until_back(clients[0], matches)
    times = await _turn(clients, matches, pages, random.Random(7))
    await asyncio.gather(*(client.close() for client in clients))
    p50, p99 = times.quantiles((0.5, 0.99))
    return Times(p50 / 1000, p99 / 1000)


async def _turn(clients: Sequence[Client], matches: int, pages: int, chance: random.Random) -> Histogram:
    times = Histogram()
    for page in range(pages):
        number = page % READERS
        match, before = _somewhere(matches, number, chance)
        began = monotonic_us()
        await clients[number].history(match, before=before, limit=PAGE)
        times.record(monotonic_us() - began)
    return times


def _somewhere(matches: int, number: int, chance: random.Random) -> tuple[MatchId, Micros]:
    match = READERS * chance.randrange(matches // READERS) + number
    before = Micros(int((wall_s() - chance.randrange(DAYS) * 86_400) * 1e6))
    return MatchId(f"history-{match or READERS}"), before


async def _until_back(client: Client, matches: int) -> None:
    """Wait until the node has found its database again."""
    chance = random.Random(5)
    while True:
        try:
            match, before = _somewhere(matches, 0, chance)
            await client.history(match, before=before, limit=PAGE)
        except Refused:
            await asyncio.sleep(0.1)
        else:
            return


async def _reader(nodes: Nodes, number: int) -> Client:
    port = nodes.ports[0]
    token = sign_token(f"reader-{number}", nodes.secret, int(wall_s()) + 3600)
    client = await Client.connect(f"ws://127.0.0.1:{port}/ws", token=token)
    await client.hello()
    return client
