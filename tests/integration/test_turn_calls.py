"""A call through a relay, as the server brokers it: credentials for each side, accepted by coturn, and counted in the record."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from loadtest.client import Client, Refused
from protocol.calls import CallIce, CallIceServers, CallId
from protocol.errors import ErrorCode
from protocol.ids import UserId
from tests.support.api import Api
from tests.support.people import People, code_of, fresh, name_of, people_on, unlimited_server
from tests.support.private_coturn import REALM, PrivateCoturn, private_coturn, redis_options
from tests.support.private_redis import private_redis
from tests.support.private_server import PrivateServer
from tests.support.talkers import hang_up, talk
from turn.credentials import Credential, subject_of
from turn.tool.allocation import Allocation, allocate
from turn.urls import parse_ice_url

BACKENDS = ("embedded",)
DATABASE = 2
WITHIN_S = 60.0
decode = msgspec.json.Decoder(CallIceServers).decode


@pytest.fixture(scope="module")
def relayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrivateServer, PrivateCoturn]]:
    """Run a server and a coturn that share a Redis; coturn has no secret but what the server puts there."""
    folder = tmp_path_factory.mktemp("relayed")
    with private_redis(folder) as redis, private_coturn(folder, *redis_options(redis.port, DATABASE)) as coturn:
        more = {"TURN_REALM": REALM, "TURN_REDIS_URL": f"{redis.url}/{DATABASE}", "CALL_ICE_PER_MIN": "6"}
        with unlimited_server(None, **coturn.settings, **more) as server:
            yield server, coturn


@pytest.fixture
async def people(relayed: tuple[PrivateServer, PrivateCoturn]) -> AsyncIterator[People]:
    async with people_on(relayed[0]) as people, asyncio.timeout(WITHIN_S):
        while "coturn_redis.connected" not in relayed[0].program.output():  # noqa: ASYNC110 - another process's log
            await asyncio.sleep(0.02)
        yield people


async def ice(client: Client, call: CallId | None) -> CallIceServers:
    """Ask for ICE servers."""
    return await client.request(CallIce(client.next_id(), call), decode)


@asynccontextmanager
async def relay_of(client: Client, call: CallId) -> AsyncIterator[Allocation]:
    """Have an allocation as this participant's browser would."""
    (server,) = (await ice(client, call)).ice_servers
    credential = Credential(server.username or "", server.credential or "")
    allocation = await allocate(parse_ice_url(server.urls[0]), credential, ssl.create_default_context())
    try:
        yield allocation
    finally:
        await allocation.close()


def bytes_of(people: People, call: CallId) -> dict[str, int]:
    """Read from the record what each participant's relay carried."""
    record = Api(people.server.port).call("GET", f"/v1/calls/{call}").json
    participants = msgspec.convert(record["participants"], list[dict[str, object]])
    return {str(part["user"]): int(str(part["relay_bytes"])) for part in participants}


async def test_a_call_is_relayed_and_counted(people: People) -> None:
    alice, bob, match = await people.pair()
    seat, _ = await talk(alice, bob, match)
    async with asyncio.timeout(WITHIN_S):
        async with relay_of(alice, seat.call) as one, relay_of(bob, seat.call) as other:
            await one.permit(other.relayed)
            await other.permit(one.relayed)
            await one.bind(other.relayed)
            await other.bind(one.relayed)
            for _ in range(20):
                assert await one.ask(b"x" * 1000) == b"x" * 1000
        await hang_up(alice, seat.call)
        # coturn tells it about a second after the allocation's end.
        while not all((carried := bytes_of(people, seat.call)).values()):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    assert carried.keys() == {name_of(alice), name_of(bob)}
    assert all(40_000 < each < 100_000 for each in carried.values())


async def test_names_tell_nobody_and_lists_are_counted(
    people: People, relayed: tuple[PrivateServer, PrivateCoturn]
) -> None:
    """The relay's log has a user's opaque name, the server's log no credential."""
    server, coturn = relayed
    alice = await people.come(fresh("alice"))
    servers = await ice(alice, None)
    (relay,) = servers.ice_servers
    assert relay.username is not None
    assert relay.username.endswith(f":{subject_of(coturn.secret, UserId(name_of(alice)))}")
    assert 3590 < servers.ttl_s <= 3600
    assert not servers.degraded
    for _ in range(5):
        await ice(alice, None)
    with pytest.raises(Refused) as refused:
        await ice(alice, None)
    assert code_of(refused.value) is ErrorCode.RATE_LIMITED
    for secret in (coturn.secret, str(relay.credential)):
        assert secret not in server.program.output()
