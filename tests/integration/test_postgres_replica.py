"""A read replica answers only what is certainly not older than what this node and the client know."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from msgspec import Struct

from loadtest.api import Api
from protocol.from_server import Message
from protocol.ids import MatchId, Seq, UserId
from server.adapters.postgres.store import PostgresStore
from server.ports import StoreUnusable
from tests.support.clock import FakeClock
from tests.support.people import numbers, people_on, texts_of
from tests.support.private_cluster import private_cluster
from tests.support.private_postgres import PrivatePostgres, private_postgres, streaming_replica
from tests.support.private_redis import PrivateRedis
from tests.support.stores import ALICE, BOB, CAROL, M, World, post, seqs, stored


async def caught_up(primary: asyncpg.Connection, replica: asyncpg.Connection) -> None:
    position = await primary.fetchval("SELECT pg_current_wal_insert_lsn()::text")
    async with asyncio.timeout(60):
        while not await replica.fetchval(  # noqa: ASYNC110 - another server's progress has no event
            "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position
        ):
            await asyncio.sleep(0.005)


class Replicated(Struct):
    """A store with a replica that can be held back."""

    store: PostgresStore
    world: World
    primary: asyncpg.Connection
    replica: asyncpg.Connection

    async def caught_up(self) -> None:
        """Wait until the replica has everything."""
        await caught_up(self.primary, self.replica)

    async def pause(self) -> None:
        await self.caught_up()
        await self.replica.execute("SELECT pg_wal_replay_pause()")
        async with asyncio.timeout(60):
            while await self.replica.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def resume(self) -> None:
        await self.replica.execute("SELECT pg_wal_replay_resume()")
        await self.caught_up()

    async def page(self, *, before: int | None = None, match: str = M) -> tuple[list[int], bool]:
        """Read a page; tell its places and whether the replica gave it."""
        count = self.store.from_replica
        page = await self.world.page(ALICE, before=before, match=match)
        return seqs(page.entries), self.store.from_replica > count

    async def welcome(self, *users: str) -> tuple[list[list[tuple[str, int]]], bool]:
        """Read the summaries of users; tell matches and newest places, and whether the replica gave them."""
        count = self.store.from_replica
        pages = await self.store.welcome([UserId(user) for user in users], 10)
        return [[(s.match, s.last_seq) for s in page.matches] for page in pages], self.store.from_replica > count


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[PrivatePostgres, PrivatePostgres]]:
    with private_postgres() as primary, streaming_replica(primary) as replica:
        yield primary, replica


@pytest.fixture
async def replicated(pair: tuple[PrivatePostgres, PrivatePostgres]) -> AsyncIterator[Replicated]:
    primary, replica, clock = await pair[0].admin(), await pair[1].admin(), FakeClock()
    await (await PostgresStore.open(pair[0].url(), clock, allow_unsafe=True)).close()
    await primary.execute("DELETE FROM duologue.matches; DELETE FROM duologue.members; DELETE FROM duologue.entries")
    await caught_up(primary, replica)
    opened = await PostgresStore.open(
        pair[0].url(), clock, allow_unsafe=True, now=clock.micros, replica_url=pair[1].url()
    )
    replicated = Replicated(opened, World(opened, clock), primary, replica)
    yield replicated
    await replicated.resume()
    await opened.close()
    await primary.close()
    await replica.close()


async def test_a_page_comes_from_the_replica_when_it_has_what_is_known(replicated: Replicated) -> None:
    await replicated.world.make(ALICE, BOB)
    await replicated.world.post(post("a"))
    await replicated.caught_up()
    assert await replicated.page() == ([2, 1], True)
    await replicated.pause()
    (b,) = await replicated.world.post(post("b"))
    assert await replicated.page() == ([3, 2, 1], False)
    assert await replicated.page(before=b.message.created_at) == ([2, 1], False)
    await replicated.resume()
    assert await replicated.page() == ([3, 2, 1], True)


async def test_what_is_not_known_is_read_from_the_primary_once(
    replicated: Replicated, pair: tuple[PrivatePostgres, PrivatePostgres]
) -> None:
    """Another node may have stored more than this one heard of."""
    await replicated.world.make(ALICE, BOB)
    url = pair[0].url()
    other = await PostgresStore.open(url, FakeClock(), allow_unsafe=True, replica_url=url)
    world = Replicated(other, World(other, replicated.world.clock), replicated.primary, replicated.replica)
    assert await world.page() == ([1], False)
    assert await world.page() == ([1], True)
    other.saw(M, Seq(2))
    assert await world.page() == ([1], False)
    await other.close()


async def test_a_client_that_knows_more_than_the_replica_is_answered_by_the_primary(replicated: Replicated) -> None:
    await replicated.world.make(ALICE, BOB)
    await replicated.pause()
    await replicated.primary.execute("SELECT duologue.append(NULL, NULL, 0, '{m}', '{alice}', '{x}', '{NULL}', '{x}')")
    at = await replicated.primary.fetchval("SELECT last_at FROM duologue.matches")
    assert await replicated.page(before=at) == ([1], False)
    assert await replicated.page(before=at - 1) == ([1], False)


async def test_summaries_come_from_the_replica_when_all_that_is_known_is_there(replicated: Replicated) -> None:
    await replicated.world.make(ALICE, BOB)
    assert await replicated.welcome(ALICE, BOB) == ([[("m", 1)], [("m", 1)]], False)
    await replicated.caught_up()
    assert await replicated.welcome(ALICE, BOB) == ([[("m", 1)], [("m", 1)]], True)
    await replicated.pause()
    await replicated.world.post(post("a"))
    assert await replicated.welcome(ALICE) == ([[("m", 2)]], False)
    await replicated.resume()
    assert await replicated.welcome(ALICE) == ([[("m", 2)]], True)


async def test_a_match_that_the_replica_does_not_have_yet_is_not_left_out(replicated: Replicated) -> None:
    await replicated.world.make(ALICE, BOB)
    await replicated.welcome(ALICE, CAROL)
    await replicated.pause()
    await replicated.world.make(ALICE, CAROL, match="n")
    replicated.world.clock.advance(1)
    await replicated.world.make(BOB)
    assert await replicated.welcome(ALICE) == ([[("n", 1)]], False)
    assert await replicated.welcome(CAROL) == ([[("n", 1)]], False)
    await replicated.resume()
    assert await replicated.welcome(ALICE, CAROL) == ([[("n", 1)], [("n", 1)]], True)


async def test_a_replica_that_is_gone_is_no_reason_to_refuse(
    replicated: Replicated, pair: tuple[PrivatePostgres, PrivatePostgres]
) -> None:
    await replicated.world.make(ALICE, BOB)
    await replicated.welcome(ALICE)
    await replicated.caught_up()
    assert await replicated.page() == ([1], True)
    await replicated.replica.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'duologue'"
    )
    for _ in range(2):
        places, _ = await replicated.page()
        assert places == [1]


async def test_what_another_node_stored_is_never_missing_from_a_page(
    pair: tuple[PrivatePostgres, PrivatePostgres], redis_server: PrivateRedis, replicated: Replicated
) -> None:
    """Who has seen a message finds it in the history, on a node that did not store it and whose replica does not have it yet."""
    cluster = private_cluster(pair[0], redis_server)
    with cluster.node():
        pass  # makes the tables, which the replica then gets
    await replicated.caught_up()
    with cluster.node() as here, cluster.node(DATABASE_READ_REPLICA_URL=pair[1].url(cluster.database)) as there:
        async with people_on(here, there) as people:
            api = people.leaves_api(Api(there.http_url, "dev"))
            alice, bob, match = await people.pair()
            await alice.send(match, "one", "c1")
            await bob.next(Message)
            await bob.history(match)
            await replicated.caught_up()
            await bob.history(match)
            by_replica = (await numbers(api))["reads_by_replica"]
            assert by_replica >= 1
            await replicated.pause()
            await alice.send(match, "two", "c2")
            await bob.next(Message)
            assert texts_of((await bob.history(match)).messages) == ["two", "one"]
            assert (await numbers(api))["reads_by_replica"] == by_replica
            await replicated.resume()
            assert texts_of((await bob.history(match)).messages) == ["two", "one"]
            assert (await numbers(api))["reads_by_replica"] == by_replica + 1


async def test_a_standby_is_no_primary(pair: tuple[PrivatePostgres, PrivatePostgres]) -> None:
    with pytest.raises(StoreUnusable, match="name the primary"):
        await PostgresStore.open(pair[1].url(), FakeClock(), allow_unsafe=True)


async def test_a_promotion_changes_the_epoch() -> None:
    """Also of a store that was open: its next connection, or its next batch, tells."""
    with private_postgres() as first:
        before = await PostgresStore.open(first.url(), FakeClock(), allow_unsafe=True)
        old = before.epoch
        await before.set_members(MatchId("m"), (ALICE, BOB))
        with streaming_replica(first) as second:
            connection = await second.admin()
            await connection.execute("SELECT pg_promote()")
            await connection.close()
            after = await PostgresStore.open(second.url(), FakeClock(), allow_unsafe=True)
            assert after.epoch != old
            assert after.epoch.rpartition("-")[0] == old.rpartition("-")[0]
            assert stored((await after.append([post("a")]))[0]).message.seq == 2
            await after.close()
        assert before.epoch == old
        await before.close()
