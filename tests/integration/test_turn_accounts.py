"""A node and coturn share a Redis: secrets rotate without a restart, and what a call's relay carried is in its record."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from aioice import stun

from protocol.ids import UserId
from server.adapters.clock import SystemClock
from server.adapters.memory.limiter import MemoryLimiter
from server.ice import Participation
from server.relays import Relays, open_relays
from server.settings import from_environment
from server.telemetry import Telemetry
from tests.support import tokens
from tests.support.private_coturn import REALM, PrivateCoturn, private_coturn, redis_options
from tests.support.private_redis import PrivateRedis, private_redis
from turn.accounts import RelayUse
from turn.credentials import Credential
from turn.tool.allocation import Allocation, allocate
from turn.urls import parse_ice_url

NEW, OLD = "new-3f9a1c7d5e2b4860", "old-3f9a1c7d5e2b4860"
DATABASE = 2
QUESTION = b"x" * 1000


class Reports:
    """A `RelayReport` that remembers."""

    def __init__(self) -> None:
        self.uses: list[RelayUse] = []
        self.ended = asyncio.Event()

    def relayed(self, use: RelayUse) -> None:
        self.uses.append(use)
        if use.has_ended:
            self.ended.set()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrivateRedis, PrivateCoturn]]:
    folder: Path = tmp_path_factory.mktemp("coturn-redis")
    with private_redis(folder) as redis, private_coturn(folder, *redis_options(redis.port, DATABASE)) as coturn:
        yield redis, coturn


def open_with(shared: tuple[PrivateRedis, PrivateCoturn], secrets: str, telemetry: Telemetry) -> Relays:
    redis, coturn = shared
    clock = SystemClock()
    settings = from_environment(
        {
            "TOKEN_SECRETS": tokens.SECRET,
            "TURN_SERVER_URL": coturn.udp,
            "TURN_SECRETS": secrets,
            "TURN_REALM": REALM,
            "TURN_REDIS_URL": f"{redis.url}/{DATABASE}",
        }
    )
    return open_relays(settings, clock, MemoryLimiter(clock.micros), telemetry)


class Connected:
    """Runs what relays need until the block ends."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays

    async def __aenter__(self) -> None:
        self._running = [asyncio.create_task(each()) for each in self._relays.work]
        assert self._relays.coturn is not None
        async with asyncio.timeout(60):
            await self._relays.coturn.is_connected.wait()

    async def __aexit__(self, *_: object) -> None:
        for each in self._running:
            each.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._relays.close()


async def come(relays: Relays, call: str | None) -> Allocation:
    """Make an allocation with what the desk gives for `call`."""
    alice = UserId("alice")
    desk = relays.desk
    found = await (desk.for_participant(Participation(call, alice)) if call else desk.for_test(alice))
    server = found.servers[0]
    async with asyncio.timeout(60):
        return await allocate(
            parse_ice_url(server.urls[0]), Credential(server.username, server.credential), ssl.create_default_context()
        )


async def test_what_a_relay_carried_is_told_for_the_call(shared: tuple[PrivateRedis, PrivateCoturn]) -> None:
    telemetry, reports = Telemetry(), Reports()
    relays = open_with(shared, NEW, telemetry)
    relays.start(reports)
    async with Connected(relays):
        one, other = await come(relays, "call"), await come(relays, "call")
        await one.permit(other.relayed)
        await other.permit(one.relayed)
        await one.bind(other.relayed)
        await other.bind(one.relayed)
        async with asyncio.timeout(60):
            assert await one.ask(QUESTION) == QUESTION
        await one.close()
        async with asyncio.timeout(60):
            await reports.ended.wait()
        await other.close()
    use = next(each for each in reports.uses if each.has_ended)
    assert (use.call, use.user) == ("call", "alice")
    assert use.total_bytes > 2 * len(QUESTION)
    assert telemetry.relay_received_bytes > len(QUESTION)
    assert telemetry.relay_sent_bytes > len(QUESTION)


async def test_secrets_rotate_while_everything_runs(shared: tuple[PrivateRedis, PrivateCoturn]) -> None:
    """The node with the new one first makes it known; the old one, taken from Redis, is refused at once."""
    redis, _ = shared
    before = open_with(shared, OLD, Telemetry())
    after = open_with(shared, f"{NEW},{OLD}", Telemetry())
    async with Connected(before), Connected(after):
        for relays in (before, after):
            await (await come(relays, None)).close()
        with redis.client() as client:
            client.execute_command("SELECT", DATABASE)
            assert client.srem(f"turn/realm/{REALM}/secret", OLD) == 1
        await (await come(after, None)).close()
        with pytest.raises(stun.TransactionFailed):
            await come(before, None)
