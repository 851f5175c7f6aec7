"""coturn's Redis: secrets come there and stay, messages are heard, and a Redis that goes away comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.adapters.coturn_redis import CoturnRedis, CoturnRedisSettings
from server.ports import BusUnusable
from tests.support.private_redis import PrivateRedis, private_redis

SECRET = "planted-3f9a1c7d5e2b"
KEY = "turn/realm/calls.test/secret"
CHANNEL = "turn/realm/calls.test/user/1:a/allocation/000000000000000001/traffic"


class Heard:
    """What came; `until` waits for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []
        self._came = asyncio.Event()

    def __call__(self, channel: str, text: str) -> None:
        self.messages.append((channel, text))
        self._came.set()

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not is_true():
                self._came.clear()
                await self._came.wait()


@asynccontextmanager
async def listening(
    server: PrivateRedis, heard: Heard, silence_s: float = 30.0, secrets: tuple[str, ...] = (SECRET,)
) -> AsyncIterator[CoturnRedis]:
    settings = CoturnRedisSettings(f"{server.url}/2", "calls.test", secrets, silence_s, pause_s=0.02)
    coturn = CoturnRedis(settings, heard)
    running = asyncio.create_task(coturn.run())
    try:
        async with asyncio.timeout(60):
            await coturn.is_connected.wait()
        yield coturn
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await coturn.close()


def members(server: PrivateRedis) -> set[bytes]:
    with server.client() as client:
        client.execute_command("SELECT", 2)
        found: set[bytes] = set(client.execute_command("SMEMBERS", KEY))
        return found


async def test_secrets_are_put_beside_those_that_are_there(redis_server: PrivateRedis) -> None:
    with redis_server.client() as client:
        client.execute_command("SELECT", 2)
        client.sadd(KEY, "old")
    async with listening(redis_server, Heard()):
        assert members(redis_server) == {b"old", SECRET.encode()}
    with redis_server.client() as client:
        client.flushall()
    async with listening(redis_server, Heard(), secrets=()):
        assert members(redis_server) == set()


async def test_messages_of_the_realm_are_heard(redis_server: PrivateRedis) -> None:
    heard = Heard()
    async with listening(redis_server, heard):
        redis_server.say("PUBLISH", CHANNEL.replace("calls.test", "other.test"), "foreign")
        redis_server.say("PUBLISH", CHANNEL, b"\xff")
        redis_server.say("PUBLISH", CHANNEL, "rcvp=1")
        await heard.until(lambda: len(heard.messages) == 2)
    assert heard.messages == [(CHANNEL, "\ufffd"), (CHANNEL, "rcvp=1")]


async def test_silence_is_no_loss(redis_server: PrivateRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Asked twice whether it lives, it says so, and messages come as before."""
    heard = Heard()
    async with listening(redis_server, heard, silence_s=0.1) as coturn, asyncio.timeout(60):
        while not heard.messages:
            losses = caplog.text.count("coturn_redis.lost")
            asked = pings(redis_server)
            while pings(redis_server) < asked + 2:  # noqa: ASYNC110 - another process: there is no event
                await asyncio.sleep(0.02)
            # A busy machine's answer may come too late: then it is to be asked twice more.
            if caplog.text.count("coturn_redis.lost") == losses:
                redis_server.say("PUBLISH", CHANNEL, "still")
                await asyncio.sleep(0.02)
        assert coturn.is_connected.is_set()


def pings(server: PrivateRedis) -> int:
    """Count how often a Redis was asked whether it lives."""
    with server.client() as client:
        asked: dict[str, int] = client.info("commandstats").get("cmdstat_ping", {"calls": 0})
    return asked["calls"]


async def test_a_cut_connection_is_made_again(redis_server: PrivateRedis, caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    async with listening(redis_server, heard):
        redis_server.cut_readers()
        async with asyncio.timeout(60):
            while not heard.messages:
                redis_server.say("PUBLISH", CHANNEL, "again")
                await asyncio.sleep(0.02)
    assert "coturn_redis.lost" in [record.message for record in caplog.records]
    assert "planted" not in caplog.text


async def test_an_emptied_redis_gets_the_secrets_again(tmp_path: Path) -> None:
    with private_redis(tmp_path) as server:
        async with listening(server, Heard()):
            server.restart_empty()
            async with asyncio.timeout(60):
                while members(server) != {SECRET.encode()}:  # noqa: ASYNC110 - another process: there is no event
                    await asyncio.sleep(0.02)


async def test_a_frozen_redis_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with private_redis(tmp_path) as server:
        heard = Heard()
        async with listening(server, heard, silence_s=0.05) as coturn:
            server.freeze()
            async with asyncio.timeout(60):
                while coturn.is_connected.is_set():  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.02)
            server.thaw()
            async with asyncio.timeout(60):
                await coturn.is_connected.wait()
    assert "planted" not in caplog.text


def test_an_address_that_cannot_be_used(redis_server: PrivateRedis) -> None:
    with pytest.raises(BusUnusable):
        CoturnRedis(CoturnRedisSettings("http://planted", "r", ()), print)
    assert "planted" not in repr(CoturnRedisSettings("redis://:planted@x", "r", (SECRET,)))
