"""Every list of sessions: each node's are seen by all nodes, oldest first, and a node that is gone is forgotten."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec import Struct
from redis.asyncio import Redis

from protocol.ids import Micros, SessionId, UserId
from server.adapters.memory.sessions import MemorySessions
from server.adapters.redis.client import make_client
from server.adapters.redis.sessions import LIFETIME_MS, WRITTEN_AT_ONCE, RedisSessions
from server.core.sessions import SessionInfo
from server.core.tokens import Claims
from server.ports import Sessions, StoreUnavailable
from tests.support.guards import redis_guard
from tests.support.people import fresh
from tests.support.private_redis import PrivateRedis

ALICE = UserId("alice")


class World(Struct):
    """Two nodes; `settle` lets what they noted be seen."""

    here: Sessions
    there: Sessions
    settle: Callable[[], Awaitable[None]]


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        here = MemorySessions("n1")

        async def nothing() -> None:
            return

        yield World(here, MemorySessions("n2", here), nothing)
        return
    server = request.getfixturevalue("redis_server")
    assert isinstance(server, PrivateRedis)
    client, prefix = make_client(server.url, timeout_s=5), f"{fresh('test')}:"
    one, two = RedisSessions(client, prefix, "n1", redis_guard()), RedisSessions(client, prefix, "n2", redis_guard())

    async def write() -> None:
        await one.write()
        await two.write()

    yield World(one, two, write)
    await client.aclose()


def info(on: Sessions, session: str, user: str = ALICE, at: int = 1, device: str | None = None) -> SessionInfo:
    claims = Claims(UserId(user), 2_000.0, 1_000.0, "t1")
    return SessionInfo(UserId(user), SessionId(session), device, Micros(at), on.node, claims)


async def test_sessions_are_seen_on_every_node_oldest_first(world: World) -> None:
    first, second, third = (
        info(world.there, "s1", at=1, device="phone"),
        info(world.here, "s2", at=2),
        info(world.there, "s3", at=3),
    )
    world.here.add(second)
    world.there.add(third)
    world.there.add(first)
    world.there.add(info(world.there, "s4", "bob"))
    await world.settle()
    for node in (world.here, world.there):
        assert list(await node.of(ALICE)) == [first, second, third]
    assert list(await world.here.of(UserId("nobody"))) == []
    assert (world.here.node, world.there.node) == ("n1", "n2")


async def test_what_is_removed_is_seen_no_more(world: World) -> None:
    for session in ("s1", "s2", "s3"):
        world.there.add(info(world.there, session))
    await world.settle()
    world.there.remove(ALICE, SessionId("s2"))
    world.there.remove(ALICE, SessionId("never"))
    world.there.remove(UserId("nobody"), SessionId("s1"))
    await world.settle()
    assert {session.session for session in await world.here.of(ALICE)} == {"s1", "s3"}
    for session in ("s1", "s3"):
        world.there.remove(ALICE, SessionId(session))
    await world.settle()
    assert list(await world.here.of(ALICE)) == []


async def test_a_session_with_a_new_token_is_the_same_session(world: World) -> None:
    world.there.add(info(world.there, "s1"))
    old = info(world.there, "s1")
    newer = SessionInfo(ALICE, old.session, None, old.connected_at, old.node, Claims(ALICE, 9_000.0, 8_000.0, "t2"))
    world.there.add(newer)
    await world.settle()
    assert list(await world.here.of(ALICE)) == [newer]


async def test_names_are_only_text(world: World) -> None:
    for user in ("a:b", "a*", "[a]", "☃", "{x}"):
        session = info(world.there, f"s:{user}*", user, device="d\u202e:*")
        world.there.add(session)
        await world.settle()
        assert list(await world.here.of(UserId(user))) == [session]


# ---- Redis alone


@pytest.fixture
async def client(redis_server: PrivateRedis) -> AsyncIterator[Redis]:
    client = make_client(redis_server.url, timeout_s=5)
    yield client
    await client.aclose()


async def test_what_is_not_written_anew_is_forgotten(client: Redis) -> None:
    """A node that died: its sessions end with their lifetime, also beside those of a node that lives."""
    prefix = f"{fresh('test')}:"
    dead, alive = (
        RedisSessions(client, prefix, "dead", redis_guard()),
        RedisSessions(client, prefix, "alive", redis_guard()),
    )
    dead.add(info(dead, "s1"))
    alive.add(info(alive, "s2"))
    await dead.write()
    await alive.write()
    (key,) = [key async for key in client.scan_iter(f"{prefix}*")]
    assert 0 < await client.pttl(key) <= LIFETIME_MS
    kept = await client.hget(key, "s1")
    assert isinstance(kept, bytes)
    await client.hset(key, "s1", b"%013d" % 1 + kept[13:])
    watching = RedisSessions(client, prefix, "watching", redis_guard())
    assert {session.session for session in await watching.of(ALICE)} == {"s2"}
    await client.hset(key, "s3", b"another version's")
    assert {session.session for session in await watching.of(ALICE)} == {"s2"}


async def test_a_node_that_leaves_takes_its_sessions_along(client: Redis) -> None:
    prefix = f"{fresh('test')}:"
    sessions = RedisSessions(client, prefix, "n1", redis_guard())
    for number in range(WRITTEN_AT_ONCE + 5):
        sessions.add(info(sessions, f"s{number}", f"u{number}"))
    await sessions.write()
    assert len([key async for key in client.scan_iter(f"{prefix}*")]) == WRITTEN_AT_ONCE + 5
    await sessions.close()
    assert [key async for key in client.scan_iter(f"{prefix}*")] == []


async def test_changes_are_written_soon_and_everything_anew(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what Redis lost meanwhile."""
    monkeypatch.setattr("server.adapters.redis.sessions.REFRESH_S", 0.05)
    prefix = f"{fresh('test')}:"
    sessions, others = (
        RedisSessions(client, prefix, "n1", redis_guard()),
        RedisSessions(client, prefix, "n2", redis_guard()),
    )
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sessions.run())
        sessions.add(info(sessions, "s1"))
        for _ in range(2):
            async with asyncio.timeout(20):
                while not await others.of(ALICE):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)  # another task's doing, seen through Redis
            await client.delete(f"{prefix}ss:{ALICE}")
        task.cancel()


async def test_a_redis_that_was_emptied_knows_the_script_again(client: Redis) -> None:
    sessions = RedisSessions(client, f"{fresh('test')}:", "n1", redis_guard())
    sessions.add(info(sessions, "s1"))
    await sessions.write()
    await client.script_flush()
    sessions.add(info(sessions, "s2"))
    await sessions.write()
    others = RedisSessions(client, sessions._prefix, "n2", redis_guard())
    assert {session.session for session in await others.of(ALICE)} == {"s1", "s2"}


async def test_without_redis_the_list_is_unavailable_and_nothing_piles_up() -> None:
    client = make_client("redis://127.0.0.1:1")
    sessions = RedisSessions(client, "test:", "n1", redis_guard())
    sessions.add(info(sessions, "s1"))
    await sessions.write()
    with pytest.raises(StoreUnavailable, match="Redis"):
        await sessions.of(ALICE)
    await client.aclose()
