"""What the limiter does when Redis is away, comes back, or has forgotten everything."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from server.adapters.memory.limiter import MemoryLimiter
from server.adapters.redis.client import make_client
from server.adapters.redis.limiter import RedisLimiter
from server.core.breaker import BreakerState
from server.core.limiting import FixedWindow
from tests.support.clock import FakeClock
from tests.support.guards import POLICY, redis_guard
from tests.support.people import fresh
from tests.support.private_redis import PrivateRedis, private_redis

AUTH = FixedWindow("auth", 5, 900_000)


class World:
    """A limiter on a Redis that may be harmed."""

    def __init__(self, server: PrivateRedis, client: Redis) -> None:
        self.server = server
        self.clock = FakeClock()
        self.local = MemoryLimiter(self.clock.micros)
        self.prefix = f"{fresh('test')}:"
        self.client = client
        self.limiter = RedisLimiter(client, self.prefix, fallback=self.local, guard=redis_guard(self.clock))

    async def takes(self, count: int) -> list[bool]:
        return [(await self.limiter.take("alice", AUTH)).allowed for _ in range(count)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with private_redis(tmp_path) as server:
        client = make_client(server.url, timeout_s=30)
        yield World(server, client)
        await client.aclose()


async def test_redis_tells_the_time_and_forgets_by_itself(world: World) -> None:
    """One key for each count, under the prefix, with a lifetime."""
    assert await world.takes(6) == [True] * 5 + [False]
    keys = world.server.say("KEYS", "*")
    assert keys == [f"{world.prefix}rl:auth:alice".encode()]
    left_ms = world.server.say("PTTL", f"{world.prefix}rl:auth:alice")
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 900_000
    assert len(world.local) == 0


async def test_nodes_of_one_prefix_count_together_and_of_two_apart(world: World) -> None:
    other = RedisLimiter(world.client, world.prefix, fallback=world.local, guard=redis_guard(world.clock))
    stranger = RedisLimiter(world.client, "another:", fallback=world.local, guard=redis_guard(world.clock))
    assert await world.takes(4) == [True] * 4
    assert [(await other.take("alice", AUTH)).allowed for _ in range(2)] == [True, False]
    assert (await stranger.take("alice", AUTH)).remaining == 4


async def test_without_redis_this_node_counts_alone_and_just_as_strictly(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert await world.takes(3) == [True] * 3
    world.server.kill()
    assert await world.takes(7) == [True] * 5 + [False] * 2
    world.server.start()
    assert await world.takes(1) == [False]  # not asked before the pause is over
    world.clock.advance(POLICY.pause_s)
    assert await world.takes(6) == [True] * 5 + [False]
    assert [record.message for record in caplog.records if record.name.endswith("redis.limiter")] == [
        "limits.by_this_node_alone",
        "limits.shared_again",
    ]


async def test_a_frozen_redis_holds_few_up(world: World) -> None:
    """The first wait for its time limit, those after them do not."""
    client = make_client(world.server.url, timeout_s=0.5)
    hasty = World(world.server, client)
    await hasty.limiter.take("carol", AUTH)
    world.server.freeze()
    assert await hasty.takes(6) == [True] * 5 + [False]
    assert hasty.limiter._guard.state is BreakerState.OPEN
    world.server.thaw()
    hasty.clock.advance(POLICY.pause_s)
    assert (await hasty.limiter.take("bob", AUTH)).remaining == 4
    await client.aclose()


async def test_an_emptied_redis_is_told_the_script_again(world: World) -> None:
    await world.takes(5)
    world.server.say("FLUSHALL")
    world.server.say("SCRIPT", "FLUSH")
    assert await world.takes(6) == [True] * 5 + [False]
    assert len(world.local) == 0


async def test_a_decision_is_one_call(world: World) -> None:
    await world.takes(1)
    world.server.say("CONFIG", "RESETSTAT")
    await world.takes(10)
    with world.server.client() as client:
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 10
