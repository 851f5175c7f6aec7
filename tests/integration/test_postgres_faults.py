"""What the PostgreSQL store answers when backends, locks, answers or the whole server go missing, and that it recovers."""

import asyncio
import os
import signal
from itertools import count

import asyncpg
import pytest

from server.adapters.guard import Guard
from server.adapters.postgres.address import read_address
from server.adapters.postgres.connections import Connections, Connector, Timeouts
from server.adapters.postgres.errors import ERRORS
from server.adapters.postgres.statements import read
from server.adapters.postgres.store import PostgresStore
from server.core.breaker import BreakerState
from server.core.log import Append, Appended, MatchState, Refused
from server.ports import StoreUnavailable
from tests.support.clock import FakeClock
from tests.support.postgres_stores import Clustered
from tests.support.private_postgres import SETTINGS, private_postgres, running_cluster
from tests.support.programs import free_port
from tests.support.stores import ALICE, BOB, CAROL, M, World, post, seqs, stored

LOCK = "SELECT FROM duologue.matches WHERE match_id = $1 FOR UPDATE"
TERMINATE = "SELECT pg_terminate_backend($1)"
TERMINATE_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'duologue'"


async def slow(clustered: Clustered, **seconds: float) -> PostgresStore:
    """Open a store with other time-outs, one connection for writes and one for reads."""
    return await PostgresStore.open(
        clustered.url,
        clustered.clock,
        allow_unsafe=True,
        now=clustered.clock.micros,
        lanes=1,
        readers=1,
        timeouts=Timeouts(**seconds),
    )


async def begin(store: PostgresStore, *appends: Append) -> "asyncio.Task[list[Appended | Refused]]":
    async def append() -> list[Appended | Refused]:
        return list(await store.append(appends))

    return asyncio.get_running_loop().create_task(append())


async def insist(store: PostgresStore, append: Append) -> Appended:
    """Do what the journal does: repeat what may have been stored."""
    while True:
        try:
            return stored((await store.append([append]))[0])
        except StoreUnavailable as error:
            if not error.maybe_stored:
                raise


async def insist_on_match(store: PostgresStore) -> MatchState | None:
    """Read it again when a busy machine took too long once."""
    try:
        return await store.match(M)
    except StoreUnavailable:
        return await store.match(M)


async def test_connections_that_were_cut_are_replaced(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    for number in range(5):
        await clustered.admin.execute(TERMINATE_ALL)
        outcome = await insist(clustered.store, post(f"{number}"))
        assert outcome.message.seq == number + 2
        assert (await clustered.world.page(limit=1)).entries == (outcome.message,)


async def test_a_write_whose_backend_is_terminated_may_be_stored_and_is_stored_once(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    async with clustered.admin.transaction():
        await clustered.admin.fetch(LOCK, M)
        writing = await begin(clustered.store, post("a"))
        (backend,) = await clustered.until_waiting()
        await clustered.admin.execute(TERMINATE, backend)
        with pytest.raises(StoreUnavailable) as caught:
            await writing
    assert caught.value.maybe_stored
    for duplicate in (False, True, True):
        (outcome,) = await clustered.world.post(post("a"))
        assert (outcome.message.seq, outcome.duplicate) == (2, duplicate)


async def test_a_lock_that_is_not_given_up_is_waited_for_so_long_and_nothing_is_stored(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    store = await slow(clustered, lock_s=0.05)
    async with clustered.admin.transaction():
        await clustered.admin.fetch(LOCK, M)
        with pytest.raises(StoreUnavailable) as caught:
            await store.append([post("a")])
    assert not caught.value.maybe_stored
    assert "55P03" in caught.value.reason
    assert isinstance((await store.append([post("a")]))[0], Appended)
    await store.close()


async def test_an_answer_that_does_not_come_may_be_stored(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    store = await slow(clustered, answer_s=1.5)
    async with clustered.admin.transaction():
        await clustered.admin.fetch(LOCK, M)
        with pytest.raises(StoreUnavailable) as caught:
            await store.append([post("a")])
    assert caught.value.maybe_stored
    await insist(store, post("a"))
    assert seqs((await clustered.world.page()).entries) == [2, 1]
    await store.close()


async def test_when_every_connection_is_busy_one_waits_so_long(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    store = await slow(clustered, free_s=0.05)
    async with clustered.admin.transaction():
        await clustered.admin.fetch(LOCK, M)
        first = await begin(store, post("a"))
        await clustered.until_waiting()
        with pytest.raises(StoreUnavailable, match="busy") as caught:
            await store.append([post("b")])
    assert not caught.value.maybe_stored
    assert len(await first) == 1
    await store.close()


async def test_closing_waits_for_what_is_under_way_and_refuses_what_waits(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    store = await slow(clustered)
    async with clustered.admin.transaction():
        await clustered.admin.fetch(LOCK, M)
        first = await begin(store, post("a"))
        await clustered.until_waiting()
        second = await begin(store, post("b"))
        closing = asyncio.get_running_loop().create_task(store.close())
        await asyncio.sleep(0)
    await closing
    assert isinstance((await first)[0], Appended)
    with pytest.raises(StoreUnavailable, match="closed"):
        await second


async def test_a_write_that_is_given_up_leaves_a_store_that_works(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    async with clustered.admin.transaction():
        await clustered.admin.fetch(LOCK, M)
        writing = await begin(clustered.store, post("a"))
        await clustered.until_waiting()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert len(await clustered.world.post(post("a"), post("b"))) == 2


async def test_a_deadlock_with_a_stranger_is_tried_again(clustered: Clustered) -> None:
    """Our own functions lock in one order; an operator's transaction may not."""
    await clustered.world.make(ALICE, BOB)
    await clustered.world.make(ALICE, BOB, match="n")
    store = await slow(clustered, lock_s=60, statement_s=60, answer_s=90)
    # A backend looks for a deadlock once, a second after it began to wait: the store's is to find this one.
    await clustered.admin.execute("SET deadlock_timeout = '60s'; SET lock_timeout = '5s'")
    for attempt in count():
        async with clustered.admin.transaction():
            await clustered.admin.fetch(LOCK, "n")
            writing = await begin(store, post(f"a{attempt}"), post(f"b{attempt}", match="n"))
            await clustered.until_waiting()
            # On a busy machine it may have looked before there was one.
            was_found = await gets_lock(clustered.admin, M)
        assert len(await writing) == 2
        if was_found:
            break
    await store.close()


async def gets_lock(admin: asyncpg.Connection, match: str) -> bool:
    """Wait for the lock of a match; tell whether it came in time."""
    try:
        await admin.fetch(LOCK, match)
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def test_a_read_whose_backend_is_terminated_is_read_again(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    async with clustered.admin.transaction():
        await clustered.admin.execute("LOCK TABLE duologue.members IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.get_running_loop().create_task(clustered.world.page(ALICE))
        (backend,) = await clustered.until_waiting()
        await clustered.admin.execute(TERMINATE, backend)
        await clustered.until_waiting()
    assert seqs((await reading).entries) == [1]


async def test_what_may_be_run_twice_is_where_the_connection_was_gone(clustered: Clustered) -> None:
    """As the look that /readyz takes: nobody is told of a fault that a new connection does not have."""
    for _ in range(5):
        await clustered.store.check()
        await clustered.admin.execute(TERMINATE_ALL)
        await clustered.store.check()


async def test_one_lost_connection_casts_doubt_on_those_that_wait(clustered: Clustered) -> None:
    """Their backends are told to go as well, and one of them takes its time."""
    guard = Guard("store", FakeClock().now)
    pool = Connections(Connector(read_address(clustered.url), Timeouts(answer_s=2.0), is_pooled=False), 2, guard)
    both = await asyncio.gather(*(read(pool, "SELECT pg_backend_pid(), pg_sleep(0.2)") for _ in range(2)))
    ((last,),) = await read(pool, "SELECT pg_backend_pid()")
    (frozen,) = {pid for ((pid, _),) in both} - {last}
    os.kill(frozen, signal.SIGSTOP)
    try:
        await clustered.admin.execute(TERMINATE, last)
        await clustered.admin.execute(TERMINATE, frozen)
        ((new,),) = await read(pool, "SELECT pg_backend_pid()")
        assert new not in {last, frozen}
    finally:
        os.kill(frozen, signal.SIGCONT)
        await pool.close()


async def test_a_read_that_takes_too_long_is_refused(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    for seconds in ({"statement_s": 1.0}, {"answer_s": 1.0}):
        store = await slow(clustered, **seconds)
        async with clustered.admin.transaction():
            await clustered.admin.execute("LOCK TABLE duologue.members IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable) as caught:
                await store.match(M)
        assert not caught.value.maybe_stored
        assert await insist_on_match(store) is not None
        await store.close()


async def test_a_server_that_crashes_and_comes_back_has_everything_that_was_answered() -> None:
    with private_postgres(is_durable=True) as cluster:
        clock = FakeClock()
        store = await PostgresStore.open(cluster.url(), clock)
        world = World(store, clock)
        await world.make(ALICE, BOB)
        sent = await world.post(post("a"), post("b"))
        cluster.program.kill()
        with pytest.raises(StoreUnavailable):
            await store.append([post("c")])
        with pytest.raises(StoreUnavailable):
            await store.history(M, ALICE, before=None, after=None, limit=9)
        with pytest.raises(StoreUnavailable):
            await store.routes_within(1e9)
        with running_cluster(cluster.folder, SETTINGS, cluster.port):
            sent += await world.post(post("c"))
            assert (await world.page(ALICE, limit=3)).entries == tuple(o.message for o in reversed(sent))
            await store.close()


async def test_faults_of_the_schema_refuse_and_do_not_end_the_store(clustered: Clustered) -> None:
    await clustered.world.make(ALICE, BOB)
    await clustered.admin.execute("ALTER TABLE duologue.blocks RENAME TO hidden")
    try:
        with pytest.raises(StoreUnavailable, match="42P01") as caught:
            await clustered.store.set_members(M, (ALICE, CAROL))
    finally:
        await clustered.admin.execute("ALTER TABLE duologue.hidden RENAME TO blocks")
    assert not caught.value.maybe_stored
    assert (await clustered.world.make(ALICE, CAROL)).entry is not None


async def test_a_database_that_gives_no_answers_is_not_waited_for_again_and_again(clustered: Clustered) -> None:
    """Three who got none are enough; one who tries later, and is answered, ends it. A refusal is an answer."""
    clock = FakeClock()
    guard = Guard("store", clock.now)
    address = read_address(clustered.url)
    deaf = Connections(Connector(address, Timeouts(answer_s=0.05), is_pooled=False), 2, guard)
    hearing = Connections(Connector(address, Timeouts(), is_pooled=False), 1, guard)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await deaf.fetch("SELECT pg_sleep(600)")
    with pytest.raises(StoreUnavailable, match="store does not answer"):
        await hearing.fetch("SELECT 1")
    assert guard.opened == 1
    clock.advance(10)
    with pytest.raises(asyncpg.PostgresError):
        await hearing.fetch("SELECT 1/0")
    assert guard.state is BreakerState.CLOSED
    assert [row[0] for row in await hearing.fetch("SELECT 1")] == [1]
    for pool in (deaf, hearing):
        await pool.close()


async def test_a_database_that_is_not_there_opens_the_breaker() -> None:
    """A connection that was only lost does not: the next one is made."""
    guard = Guard("store", FakeClock().now)
    gone = Connections(
        Connector(read_address(f"postgresql://127.0.0.1:{free_port()}/x"), Timeouts(), is_pooled=False), 2, guard
    )
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="cannot connect"):
            await gone.fetch("SELECT 1")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await gone.fetch("SELECT 1")
    await gone.close()


async def test_connections_that_are_cut_do_not_open_the_breaker(clustered: Clustered) -> None:
    guard = Guard("store", FakeClock().now)
    pool = Connections(Connector(read_address(clustered.url), Timeouts(), is_pooled=False), 1, guard)
    for _ in range(5):
        with pytest.raises(ERRORS):
            await pool.fetch("SELECT pg_terminate_backend(pg_backend_pid())")
    assert [row[0] for row in await pool.fetch("SELECT 1")] == [1]
    assert guard.state is BreakerState.CLOSED
    await pool.close()
