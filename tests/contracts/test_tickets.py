"""Every keeper of tickets: one use, thirty seconds, one winner; what was never issued gives nothing."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

import pytest
from msgspec import Struct

from protocol.ids import UserId
from server.adapters.memory.tickets import MemoryTickets
from server.adapters.redis.client import make_client
from server.adapters.redis.tickets import RedisTickets
from server.core.tokens import Claims
from server.ports import StoreUnavailable, Tickets
from tests.support.clock import FakeClock
from tests.support.guards import redis_guard
from tests.support.people import fresh
from tests.support.private_redis import PrivateRedis

ALICE = Claims(UserId("alice"), 2_000.25, 1_000.5, "token-1")
BARE = Claims(UserId("☃ a:b*c"), 2_000.0)


class World(Struct):
    """Tickets, and a way to let time pass for them."""

    tickets: Tickets
    pass_time: Callable[[float], Awaitable[None]]


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    numbers = count(1)

    def chance(size: int) -> bytes:
        return next(numbers).to_bytes(size, "big")

    if request.param == "memory":
        clock = FakeClock()

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        yield World(MemoryTickets(clock.now, chance), advance)
        return
    server = request.getfixturevalue("redis_server")
    assert isinstance(server, PrivateRedis)
    client, prefix = make_client(server.url, timeout_s=5), f"{fresh('test')}:"

    async def age(seconds: float) -> None:
        async for key in client.scan_iter(f"{prefix}*"):
            left_ms = await client.pttl(key) - round(seconds * 1000)
            await (client.pexpire(key, left_ms) if left_ms > 0 else client.delete(key))

    yield World(RedisTickets(client, prefix, chance, redis_guard()), age)
    await client.aclose()


@pytest.mark.parametrize("claims", [ALICE, BARE], ids=["alice", "bare"])
async def test_a_ticket_gives_its_claims_once(world: World, claims: Claims) -> None:
    ticket = await world.tickets.issue(claims)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", ticket)
    assert await world.tickets.redeem(ticket) == claims
    assert await world.tickets.redeem(ticket) is None


async def test_of_many_who_come_at_once_one_gets_in(world: World) -> None:
    ticket = await world.tickets.issue(ALICE)
    outcomes = await asyncio.gather(*(world.tickets.redeem(ticket) for _ in range(20)))
    assert sum(outcome is not None for outcome in outcomes) == 1


@pytest.mark.parametrize("age_s, claims", [(25.0, ALICE), (30.0, None), (3600.0, None)])
async def test_a_ticket_dies_after_thirty_seconds(world: World, age_s: float, claims: Claims | None) -> None:
    ticket = await world.tickets.issue(ALICE)
    await world.pass_time(age_s)
    assert await world.tickets.redeem(ticket) == claims


@pytest.mark.parametrize(
    "ticket",
    ["", "x", "A" * 43, "A" * 42 + "é", "A" * 42 + "\ud800", "A" * 44, "*" * 43, "B" * 100_000],
    ids=lambda text: ascii(text[-50:]),
)
async def test_what_was_never_issued_gives_nothing(world: World, ticket: str) -> None:
    await world.tickets.issue(ALICE)
    assert await world.tickets.redeem(ticket) is None


# ---- Redis alone


async def test_redis_keeps_no_ticket_only_its_hash(redis_server: PrivateRedis) -> None:
    client, prefix = make_client(redis_server.url, timeout_s=5), f"{fresh('test')}:"
    ticket = await RedisTickets(client, prefix, lambda size: b"\x07" * size, redis_guard()).issue(ALICE)
    keys = [key async for key in client.scan_iter(f"{prefix}*")]
    assert len(keys) == 1
    assert ticket.encode() not in keys[0]
    await client.aclose()


async def test_what_another_version_kept_is_unknown(redis_server: PrivateRedis) -> None:
    client, prefix = make_client(redis_server.url, timeout_s=5), f"{fresh('test')}:"
    tickets = RedisTickets(client, prefix, lambda size: b"\x07" * size, redis_guard())
    ticket = await tickets.issue(ALICE)
    (key,) = [key async for key in client.scan_iter(f"{prefix}*")]
    await client.set(key, b"something else")
    assert await tickets.redeem(ticket) is None
    await client.aclose()


async def test_without_redis_tickets_are_unavailable() -> None:
    client = make_client("redis://127.0.0.1:1")
    tickets = RedisTickets(client, "test:", lambda size: b"\x07" * size, redis_guard())
    with pytest.raises(StoreUnavailable, match="Redis"):
        await tickets.issue(ALICE)
    with pytest.raises(StoreUnavailable, match="Redis"):
        await tickets.redeem("A" * 43)
    await client.aclose()
