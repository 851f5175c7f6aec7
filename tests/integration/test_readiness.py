"""A running node says that it is not ready, and why, as long as something that it needs is away; what needs nothing of it goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from loadtest.api import Api
from loadtest.client import Refused
from protocol.errors import ErrorCode
from protocol.from_server import Error, TypingSeen
from tests.support.people import People, came, numbers, people_on, type_in
from tests.support.private_cluster import Cluster, private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis, private_redis
from tests.support.private_server import PrivateServer

WITHIN_S = 60.0
SHORT_HORIZON = """
    CREATE OR REPLACE FUNCTION duologue.make_partitions(p_at bigint, p_months integer) RETURNS bigint
    LANGUAGE sql AS 'SELECT duologue.now_us() + 10 * 86400000000'
"""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """A Redis that is harmed."""
    with private_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(postgres: PrivatePostgres, victim: PrivateRedis) -> Cluster:
    return private_cluster(postgres, victim)


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[PrivateServer]:
    with cluster.node() as server:
        yield server


@pytest.fixture
async def people(node: PrivateServer) -> AsyncIterator[People]:
    async with people_on(node) as people:
        await until_ready(people.api)
        yield people
        await until_ready(people.api)
    assert "Traceback" not in node.program.output()


async def checks(api: Api) -> dict[str, str]:
    """Return what is wrong."""
    answer = await api.exchange("GET", "/readyz")
    ready = msgspec.json.decode(answer.body)
    assert ready["ready"] is (answer.status == 200)
    wrong = {name: said for name, said in ready["checks"].items() if said != "ok"}
    assert bool(wrong) is (answer.status != 200)
    return wrong


async def until_wrong(api: Api, what: str, how: str = "") -> str:
    """Wait until it is said that `what` is wrong, in words with `how` among them; return them."""
    async with asyncio.timeout(WITHIN_S):
        while how not in (said := (await checks(api)).get(what, "ok")) or said == "ok":  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(0.05)
    return said


async def until_ready(api: Api) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await checks(api):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.05)


@asynccontextmanager
async def without_database(cluster: Cluster) -> AsyncIterator[None]:
    """Let nobody in, and throw out who is in."""
    await cluster.postgres.run(f"ALTER DATABASE {cluster.database} ALLOW_CONNECTIONS false")
    await cluster.cut_database()
    try:
        yield
    finally:
        await cluster.postgres.run(f"ALTER DATABASE {cluster.database} ALLOW_CONNECTIONS true")


@asynccontextmanager
async def without_writes(cluster: Cluster) -> AsyncIterator[None]:
    """Let the database be read only, as one that was demoted is."""
    await cluster.postgres.run(f"ALTER DATABASE {cluster.database} SET default_transaction_read_only = on")
    await cluster.cut_database()
    try:
        yield
    finally:
        await cluster.postgres.run(f"ALTER DATABASE {cluster.database} RESET default_transaction_read_only")
        await cluster.cut_database()


async def test_the_numbers_tell_of_the_work(people: People) -> None:
    """Of commits, of reads, of the bus and of the lease."""
    alice, bob, match = await people.pair()
    await alice.send(match, "hello", "c1")
    await bob.history(match)
    async with asyncio.timeout(WITHIN_S):
        while not (now := await numbers(people.api))["bus_lag_seconds_count"]:  # noqa: ASYNC110 - a beat every 2 s
            await asyncio.sleep(0.05)
    for name in ("commit_seconds", "commit_messages", "commit_to_socket_seconds", "read_seconds"):
        assert now[f"{name}_count"] >= 1
        assert now[f'{name}_bucket{{le="+Inf"}}'] == now[f"{name}_count"]
    assert now["bus_routes_called"] >= 1
    assert now["bus_lease_age_seconds"] > 0
    assert now["partitions_end_seconds"] > 60 * 86_400
    assert {now[f'journal_lane_depth{{lane="{lane}"}}'] for lane in range(4)} == {0}
    assert {now[f'breaker_state{{dependency="{name}"}}'] for name in ("store", "redis")} == {0}
    assert now['bus_dropped{lane="durable"}'] == 0


async def test_a_node_without_its_redis_is_deaf(people: People, victim: PrivateRedis) -> None:
    await asyncio.to_thread(victim.kill)
    try:
        await until_wrong(people.api, "bus")
        assert (await numbers(people.api))["bus_deaf"] == 1
        assert set(await checks(people.api)) == {"bus"}
    finally:
        await asyncio.to_thread(victim.start)


async def test_a_node_without_its_database_refuses_at_once_and_relays_what_lasts_a_moment(
    people: People, cluster: Cluster
) -> None:
    """The breaker is open: nobody waits for a connection that is not there."""
    alice, bob, match = await people.pair()
    await alice.send(match, "before", "c1")
    async with without_database(cluster):
        await until_wrong(people.api, "store")
        async with asyncio.timeout(WITHIN_S):
            while (await numbers(people.api))['breaker_state{dependency="store"}'] == 0:
                await refused(alice.send(match, "meanwhile", "c2"))
        assert (await refused(alice.send(match, "meanwhile", "c3"))).stored == "no"
        await refused(alice.history(match))
        await came(bob, TypingSeen)
        await type_in(alice, match)
        async with asyncio.timeout(WITHIN_S):
            while not await came(bob, TypingSeen):  # noqa: ASYNC110 - it waits for company up to 100 ms
                await asyncio.sleep(0.01)
    await until_ready(people.api)
    assert not (await alice.send(match, "after", "c4")).duplicate
    assert (await numbers(people.api))['breaker_state{dependency="store"}'] == 0
    assert (await numbers(people.api))['breaker_opened{dependency="store"}'] >= 1


async def refused(asking: Awaitable[object]) -> Error:
    """Return how it was refused, and see that it says when to ask again."""
    with pytest.raises(Refused) as problem:
        await asking
    assert problem.value.code is ErrorCode.UNAVAILABLE
    assert problem.value.error.retry_after_ms
    return problem.value.error


async def test_a_database_that_only_reads_is_said_to_take_nothing(people: People, cluster: Cluster) -> None:
    """Reading goes on, and so does the breaker's: it answers."""
    alice, _, match = await people.pair()
    await alice.send(match, "before", "c1")
    async with without_writes(cluster):
        await until_wrong(people.api, "store", "read-only")
        assert (await refused(alice.send(match, "meanwhile", "c2"))).stored == "no"
        assert len((await alice.history(match)).messages) == 2
        assert (await numbers(people.api))['breaker_state{dependency="store"}'] == 0


async def test_partitions_that_end_soon_are_told(cluster: Cluster, people: People) -> None:
    """As on a database whose account may not make any."""
    await cluster.postgres.run(SHORT_HORIZON, database=cluster.database)
    with cluster.node() as server:
        api = Api(server.http_url, "dev")
        assert await until_wrong(api, "partitions") == "partitions for 9 more days only"
        assert 9 < (await numbers(api))["partitions_end_seconds"] / 86_400 < 10
        api.close()
