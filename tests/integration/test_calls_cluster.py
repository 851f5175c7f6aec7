"""Calls between nodes on one PostgreSQL and one Redis: rings, signals, time-outs, and what they stand on going away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from loadtest.client import Client, Refused
from protocol.calls import (
    CallCancelled,
    CallEnded,
    CallEntry,
    CallOutcome,
    CallPeerJoined,
    CallPeerState,
    CallReason,
    CallSignalled,
    CallSnapshot,
    CallState,
)
from protocol.errors import ErrorCode
from protocol.from_server import Degraded
from protocol.ids import MatchId
from tests.support.people import People, came, name_of, people_on
from tests.support.private_cluster import Cluster, nodes_of, private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis, private_redis
from tests.support.private_server import PrivateServer
from tests.support.talkers import accept, hang_up, resume, rings, signal, start, talk

A = TypeVar("A")
# For the tests that wait until a call has rung for too long; for the others it must not be over.
QUICK = {"CALL_RING_S": "3", "CALL_UNREACHABLE_S": "3", "CALL_CALLER_GRACE_S": "2"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """Run a Redis that a test here takes away."""
    with private_redis(tmp_path_factory.mktemp("calls-redis")) as redis:
        yield redis


@pytest.fixture(scope="module")
def cluster(postgres: PrivatePostgres, redis: PrivateRedis) -> Cluster:
    """Make a cluster on a database of its own."""
    return private_cluster(postgres, redis)


@pytest.fixture(scope="module")
def here_node(cluster: Cluster) -> Iterator[PrivateServer]:
    with cluster.node() as node:
        yield node


@pytest.fixture(scope="module")
def there_node(cluster: Cluster) -> Iterator[PrivateServer]:
    with cluster.node() as node:
        yield node


@pytest.fixture(scope="module")
def quick_cluster(postgres: PrivatePostgres, redis: PrivateRedis) -> Cluster:
    """Make another one, on which no call rings for long: all nodes of a cluster end all calls, each by its settings."""
    return private_cluster(postgres, redis, **QUICK)


@pytest.fixture(scope="module")
def quick_nodes(quick_cluster: Cluster) -> Iterator[tuple[PrivateServer, ...]]:
    with nodes_of(quick_cluster, 2) as nodes:
        yield nodes


@pytest.fixture
async def here(here_node: PrivateServer) -> AsyncIterator[People]:
    async with people_on(here_node) as people:
        yield people
    assert "Traceback" not in here_node.program.output()


@pytest.fixture
async def there(there_node: PrivateServer) -> AsyncIterator[People]:
    async with people_on(there_node) as people:
        yield people
    assert "Traceback" not in there_node.program.output()


@pytest.fixture
async def quick(quick_nodes: tuple[PrivateServer, ...]) -> AsyncIterator[tuple[People, People]]:
    """People on the two nodes of the other cluster."""
    async with people_on(quick_nodes[0]) as here, people_on(quick_nodes[1]) as there:
        yield here, there
    for node in quick_nodes:
        assert "Traceback" not in node.program.output()


async def apart(here: People, there: People) -> tuple[Client, Client, MatchId]:
    """Return two who are on different nodes, and their match."""
    alice, bob = here.users("alice", "bob")
    match = await here.match(alice, bob)
    return await here.come(alice), await there.come(bob), match


async def test_a_call_between_nodes(here: People, there: People) -> None:
    """It rings on both nodes, one device answers, the others stop; signals arrive as they were sent, at one device alone."""
    alice, phone, match = await apart(here, there)
    tablet, watch = await here.come(name_of(phone)), await there.come(name_of(phone))
    first = await start(alice, match)
    for device in (phone, tablet, watch):
        assert (await rings(device)).call == first.call
    second = await accept(phone, first.call)
    for device in (tablet, watch):
        assert (await device.next(CallCancelled)).reason is CallReason.ANSWERED_ELSEWHERE
    assert (await alice.next(CallPeerJoined)).peer.peer == second.peer
    for n in range(1, 31):
        await signal(alice, first.call, second.peer, n)
        await signal(phone, first.call, first.peer, n)
    for client in (alice, phone):
        assert [(await client.next(CallSignalled)).n for _ in range(30)] == list(range(1, 31))
    for device in (tablet, watch):
        assert not await came(device, CallSignalled)
    await hang_up(phone, first.call)
    assert (await alice.next(CallEnded)).by == name_of(phone)


async def test_both_start_at_once_on_two_nodes(here: People, there: People) -> None:
    alice, bob, match = await apart(here, there)
    seats = await asyncio.gather(start(alice, match), start(bob, match))
    assert len({seat.call for seat in seats}) == 1
    assert sorted(seat.glare for seat in seats) == [False, True]


async def test_devices_on_two_nodes_answer_at_once(here: People, there: People) -> None:
    alice, phone, match = await apart(here, there)
    tablet = await here.come(name_of(phone))
    seat = await start(alice, match)
    for device in (phone, tablet):
        await rings(device)
    answers = await asyncio.gather(accept(phone, seat.call), accept(tablet, seat.call), return_exceptions=True)
    assert sum(isinstance(answer, Exception) for answer in answers) == 1
    (loser,) = [
        device for device, answer in zip((phone, tablet), answers, strict=True) if isinstance(answer, Exception)
    ]
    assert (await loser.next(CallCancelled)).reason is CallReason.ANSWERED_ELSEWHERE
    await alice.next(CallPeerJoined)
    assert not await came(alice, CallPeerJoined)


async def test_nobody_rings_for_ever(quick: tuple[People, People]) -> None:
    alice, bob, match = await apart(*quick)
    await start(alice, match)
    await rings(bob)
    assert (await bob.next(CallCancelled)).reason is CallReason.NO_ANSWER
    assert (await alice.next(CallEnded)).reason is CallReason.NO_ANSWER
    entry = await bob.next(CallEntry, matching=lambda entry: entry.state is CallOutcome.MISSED)
    assert entry.n == 1


async def test_the_node_of_a_seat_is_killed(cluster: Cluster, here: People) -> None:
    """The other one talks on; who was on it comes back on another node, resumes, and hears what was sent meanwhile."""
    with cluster.node() as doomed:
        async with people_on(doomed) as there:
            alice, bob, match = await apart(here, there)
            first, second = await talk(alice, bob, match)
            doomed.program.kill()
            await bob.closed()
            back = await here.come(name_of(bob))
            assert (await back.next(CallSnapshot)).call == first.call
            seat = await resume(back, second)
            assert seat.peer == second.peer
            state = await alice.next(CallPeerState)
            assert (state.peer, state.state) == (second.peer, "ok")
            await signal(alice, first.call, second.peer, 1)
            assert (await back.next(CallSignalled)).n == 1
            assert not await came(alice, CallEnded)
            await hang_up(back, first.call)
            assert (await alice.next(CallEnded)).reason is CallReason.HANGUP


async def test_the_node_of_a_caller_is_killed_while_it_rings(
    quick_cluster: Cluster, quick: tuple[People, People]
) -> None:
    """The ring ends by its own time on whatever node lives."""
    with quick_cluster.node() as doomed:
        async with people_on(doomed) as here:
            alice, bob, match = await apart(here, quick[1])
            await start(alice, match)
            await rings(bob)
            doomed.program.kill()
            await alice.closed()
            assert (await bob.next(CallCancelled)).reason is CallReason.NO_ANSWER
            missed = await bob.next(CallEntry, matching=lambda entry: entry.state is CallOutcome.MISSED)
            assert missed.n == 1


async def test_a_caller_who_is_gone_stops_the_ring_on_another_node(quick: tuple[People, People]) -> None:
    alice, bob, match = await apart(*quick)
    await start(alice, match)
    await rings(bob)
    alice.abort()
    assert (await bob.next(CallCancelled)).reason in (CallReason.CANCELLED, CallReason.NO_ANSWER)


async def test_both_nodes_of_a_call_go(cluster: Cluster, here: People) -> None:
    """One is killed, the other is stopped in order: both people take their seats on a third, and talk on."""
    with cluster.node() as doomed, cluster.node(DRAIN_S="1") as leaving:
        async with people_on(doomed) as some, people_on(leaving) as others:
            alice, bob, match = await apart(some, others)
            tablet = await here.come(name_of(alice))
            first, second = await talk(alice, bob, match)
            doomed.program.kill()
            assert await asyncio.to_thread(leaving.program.stop) == 0
            for client in (alice, bob):
                await client.closed()
            alice, bob = [await here.come(name_of(client)) for client in (alice, bob)]
            for client, seat in ((alice, first), (bob, second)):
                assert (await client.next(CallSnapshot)).call == first.call
                assert (await resume(client, seat)).peer == seat.peer
            both_back = lambda told: (told.peer, told.state) == (second.peer, "ok")  # noqa: E731
            await alice.next(CallPeerState, matching=both_back)
            await signal(alice, first.call, second.peer, 1)
            assert (await bob.next(CallSignalled)).n == 1
            await hang_up(bob, first.call)
            assert (await alice.next(CallEnded)).reason is CallReason.HANGUP
            ended = await tablet.next(CallEntry, matching=lambda entry: entry.duration_ms is not None)
            assert ended.state is CallOutcome.COMPLETED


async def test_a_call_outlives_redis(here: People, there: People, redis: PrivateRedis) -> None:
    """Those on one node signal on without it; what could not cross is said again when the seats are told to ask."""
    alice, bob, match = await apart(here, there)
    first, second = await talk(alice, bob, match)
    neighbours = here.users("carol", "dave")
    carol, dave = [await here.come(user) for user in neighbours]
    theirs, others = await talk(carol, dave, await here.match(*neighbours))
    for client in (alice, bob):
        await client.next(CallEntry, matching=lambda entry: entry.state is CallOutcome.ONGOING)
    await asyncio.to_thread(redis.kill)
    for client in (alice, bob):
        assert (await client.next(Degraded)).active
    await signal(carol, theirs.call, others.peer, 1)
    assert (await dave.next(CallSignalled)).n == 1
    await signal(alice, first.call, second.peer, 1)
    await asyncio.to_thread(redis.restart_empty)
    for client, seat, other in ((alice, first, second), (bob, second, first)):
        assert (await client.next(CallSnapshot)).call == first.call
        assert (await resume(client, seat, {other.peer: 0})).state is CallState.ACTIVE
    told = await alice.next(CallPeerState, matching=lambda told: told.have is not None)
    assert (told.peer, told.state, told.have) == (second.peer, "ok", 0)
    await signal(alice, first.call, second.peer, 1)
    assert (await bob.next(CallSignalled)).n == 1
    for client, seat in ((bob, first), (dave, theirs)):
        await hang_up(client, seat.call)
    for client in (alice, carol):
        assert (await client.next(CallEnded)).reason is CallReason.HANGUP


async def test_the_database_cuts_its_connections_while_it_rings(cluster: Cluster, here: People, there: People) -> None:
    """One answers all the same, once."""
    alice, bob, match = await apart(here, there)
    seat = await start(alice, match)
    await rings(bob)
    await cluster.cut_database()
    answered = await persist(lambda: accept(bob, seat.call, "the same key"))
    assert (await alice.next(CallPeerJoined)).peer.peer == answered.peer
    await cluster.cut_database()
    await persist(lambda: hang_up(alice, seat.call))
    assert (await bob.next(CallEnded)).reason is CallReason.HANGUP


async def test_the_database_cuts_its_connections_and_nobody_answers(
    quick_cluster: Cluster, quick: tuple[People, People]
) -> None:
    """The ring ends by its time."""
    carol, dave, match = await apart(*quick)
    await start(carol, match)
    await rings(dave)
    await quick_cluster.cut_database()
    assert (await dave.next(CallCancelled)).reason is CallReason.NO_ANSWER
    assert (await carol.next(CallEnded)).reason is CallReason.NO_ANSWER


async def persist(ask: Callable[[], Awaitable[A]]) -> A:
    """Ask again for as long as the server says that it may."""
    while True:
        try:
            return await ask()
        except Refused as refused:
            if refused.error.code is not ErrorCode.UNAVAILABLE:
                raise
            await asyncio.sleep((refused.error.retry_after_ms or 0) / 1000)
