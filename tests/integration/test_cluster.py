"""Two nodes, one PostgreSQL, one Redis: whoever is on which node sees the same, also when a part of it dies."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import pytest

from loadtest.client import Client, Closed, Refused
from protocol.close_codes import CloseCode
from protocol.errors import ErrorCode
from protocol.from_client import Typing
from protocol.from_server import (
    AppEvent,
    Degraded,
    MatchLeft,
    MatchMade,
    MembersChanged,
    Message,
    PresenceChanged,
    ReceiptMoved,
    Status,
    TypingSeen,
)
from protocol.ids import MatchId
from tests.support.people import People, came, code_of, cursor_of, name_of, numbers, people_on, say, text_of, type_in
from tests.support.private_cluster import Cluster, Crowd, nodes_of, private_cluster
from tests.support.private_postgres import PrivatePostgres
from tests.support.private_redis import PrivateRedis, private_redis
from tests.support.private_server import PrivateServer

Nodes = tuple[PrivateServer, ...]
GONE_WITHIN_S = 60.0
# A node that was killed is found out by its lease (10 s), and its users are offline 2 s after that.


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """Run a Redis that tests may kill."""
    with private_redis(tmp_path_factory.mktemp("cluster-redis")) as redis:
        yield redis


@pytest.fixture(scope="module")
def cluster(postgres: PrivatePostgres, redis: PrivateRedis) -> Cluster:
    """Make a cluster on a database of its own."""
    return private_cluster(postgres, redis)


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Iterator[Nodes]:
    """Run two nodes for all tests."""
    with nodes_of(cluster, 2) as nodes:
        yield nodes


@pytest.fixture
async def here(nodes: Nodes) -> AsyncIterator[People]:
    """People on the first node; after each test neither node has a fault in its log."""
    async with people_on(nodes[0]) as people:
        yield people
    for node in nodes:
        assert "Traceback" not in node.program.output()


@pytest.fixture
async def there(nodes: Nodes) -> AsyncIterator[People]:
    """People on the second node."""
    async with people_on(nodes[1]) as people:
        yield people


async def apart(here: People, there: People) -> tuple[Client, Client, MatchId]:
    """Return two who are on different nodes, and their match."""
    alice, bob = here.users("alice", "bob")
    match = await here.match(alice, bob)
    return await here.come(alice), await there.come(bob), match


async def until_registered(client: Client) -> None:
    """Wait until the other nodes know where `client` is: an answer that asks the directory is proof of it."""
    await client.watch(name_of(client))


# ---- people


async def test_two_on_different_nodes_chat(here: People, there: People) -> None:
    """Both ways, in the same order for both."""
    alice, bob, match = await apart(here, there)
    for number in range(20):
        for writer, reader in ((alice, bob), (bob, alice)):
            sent = await writer.send(match, f"{number}", f"c{number}")
            message = await reader.next(Message)
            assert (message.seq, message.created_at, text_of(message)) == (sent.seq, sent.created_at, f"{number}")
    assert [entry.seq for entry in await here.api.log(match)] == list(range(1, 42))


async def test_a_message_of_the_backend_reaches_devices_on_any_node(here: People, there: People) -> None:
    alice, bob, match = await apart(here, there)
    posted = await there.api.post(match, name_of(alice), "c1", "hello")
    for client in (alice, bob):
        assert (await client.next(Message)).seq == posted.seq


async def test_what_is_written_in_one_go_arrives_in_order(here: People, there: People) -> None:
    alice, bob, match = await apart(here, there)
    sent = await say(alice, match, *(f"{number}" for number in range(300)))
    last = await bob.next(Message)
    while last.seq < sent[-1].seq:
        following = await bob.next(Message)
        assert following.seq == last.seq + 1
        last = following
    assert [before.seq + 1 == after.seq for before, after in pairwise(sent)] == [True] * 299


async def test_a_second_device_on_another_node_is_in_sync(here: People, there: People) -> None:
    """It gets what the first one sends; the first one gets nothing back."""
    alice, bob, match = await apart(here, there)
    laptop = await there.come(name_of(alice))
    sent = await alice.send(match, "hi", "c1")
    for client in (laptop, bob):
        assert (await client.next(Message)).seq == sent.seq
    assert await came(alice, Message) == []


async def test_who_comes_back_on_another_node_gets_what_was_missed(here: People, there: People) -> None:
    alice, bob, match = await apart(here, there)
    (first,) = await say(alice, match, "first")
    await bob.next(Message)
    await bob.close()
    missed = await say(alice, match, *"abc")
    bob = await here.come(name_of(bob), {match: cursor_of(first)})
    got = [await bob.next(Message) for _ in missed]
    assert [cursor_of(message) for message in got] == [cursor_of(sent) for sent in missed]


async def test_members_that_come_and_go_are_told_on_all_nodes(here: People, there: People) -> None:
    alice, bob, match = await apart(here, there)
    (carol_name,) = here.users("carol")
    carol = await there.come(carol_name)
    await until_registered(carol)
    await here.api.put_match(match, [name_of(alice), carol_name])
    made = await carol.next(MatchMade)
    assert {member.user for member in made.members} == {name_of(alice), carol_name}
    for client in (alice, bob):
        assert (await client.next(MembersChanged)).left == (name_of(bob),)
    assert (await bob.next(MatchLeft)).match == match
    await here.api.end_match(match)
    for client in (alice, carol):
        assert (await client.next(MatchLeft)).match == match


async def test_who_was_removed_on_another_node_says_nothing_more(here: People, there: People) -> None:
    """Neither messages, at once, nor that they are typing, from when they were told."""
    alice, bob, match = await apart(here, there)
    await type_in(bob, match)
    await alice.next(TypingSeen)
    await here.api.put_match(match, [name_of(alice), *here.users("carol")])
    with pytest.raises(Refused) as refused:
        await bob.send(match, "still here", "c1")
    assert code_of(refused.value) is ErrorCode.NOT_MEMBER
    await bob.next(MatchLeft)
    with pytest.raises(Refused) as refused:
        await bob.request(Typing(match, True, bob.next_id()), lambda _: None)
    assert code_of(refused.value) is ErrorCode.NOT_MEMBER


async def test_receipts_and_typing_cross(here: People, there: People) -> None:
    alice, bob, match = await apart(here, there)
    (sent,) = await say(alice, match, "hi")
    await bob.receipt(match, delivered=sent.seq)
    await bob.receipt(match, read=sent.seq)
    moved = await alice.next(ReceiptMoved, matching=lambda push: push.read == sent.seq)
    assert (moved.user, moved.delivered) == (name_of(bob), sent.seq)
    for on in (True, False):
        await type_in(bob, match, on=on)
        seen = await alice.next(TypingSeen, matching=lambda push, on=on: push.on is on)  # type: ignore[misc]
        assert (seen.match, seen.user) == (match, name_of(bob))


async def test_partners_on_other_nodes_are_seen_to_come_and_go(here: People, there: People) -> None:
    """Devices of one user on several nodes count as one user."""
    alice, bob, _ = await apart(here, there)
    await until_registered(bob)
    (watched,) = (await alice.watch(name_of(bob))).presence
    assert watched.status is Status.ONLINE
    tablet = await here.come(name_of(bob))
    await until_registered(tablet)
    await bob.close()
    await tablet.close()
    (offline,) = (await alice.next(PresenceChanged)).changes
    assert (offline.user, offline.status) == (name_of(bob), Status.OFFLINE)
    assert offline.v > watched.v
    await there.come(name_of(bob))
    (online,) = (await alice.next(PresenceChanged)).changes
    assert (online.status, online.v > offline.v) == (Status.ONLINE, True)


async def test_events_of_the_app_reach_devices_on_any_node(here: People, there: People) -> None:
    alice, bob, _ = await apart(here, there)
    for user, device in ((name_of(alice), alice), (name_of(bob), bob)):
        for people in (here, there):
            await people.api.event(user, "coupon", {"via": people.server.port})
            event = await device.next(AppEvent)
            assert (event.name, event.data) == ("coupon", {"via": people.server.port})


async def test_one_client_id_on_two_nodes_at_once_is_stored_once(here: People, there: People) -> None:
    alice, bob, match = await apart(here, there)
    laptop = await there.come(name_of(alice))
    for number in range(25):
        answers = await asyncio.gather(*(device.send(match, "hi", f"c{number}") for device in (alice, laptop)))
        assert len({cursor_of(answer) for answer in answers}) == 1
        assert sorted(answer.duplicate for answer in answers) == [False, True]
    assert len(await here.api.log(match)) == 26
    # Two nodes tell of them, each in its order; clients put them into the log's.
    assert sorted([(await bob.next(Message)).seq for _ in range(25)]) == list(range(2, 27))


# ---- sessions


async def sessions(people: People, user: str) -> list[dict[str, object]]:
    answer = await people.api.call("GET", f"/v1/users/{user}/sessions")
    return answer.read(dict[str, list[dict[str, object]]])["sessions"]


async def until_sessions(people: People, user: str, number: int) -> list[dict[str, object]]:
    async with asyncio.timeout(20):
        while len(found := await sessions(people, user)) != number:  # noqa: ASYNC110 - another process's news
            await asyncio.sleep(0.02)
    return found


async def test_sessions_of_all_nodes_are_listed_and_ended_from_any(here: People, there: People) -> None:
    """The other session stays; the token of the one that was ended is refused on every node."""
    (alice,) = here.users("alice")
    token = await here.api.token(alice)
    phone = here.leaves(await Client.connect(here.server.ws_url, token=token))
    welcome = await phone.hello(device="phone")
    laptop = await there.come(alice, device="laptop")
    for people in (here, there):
        found = await until_sessions(people, alice, 2)
        assert [each["device"] for each in found] == ["phone", "laptop"]
        assert len({each["node"] for each in found}) == 2
    await there.api.call("DELETE", f"/v1/users/{alice}/sessions/{welcome.session}")
    async with asyncio.timeout(20):
        assert await phone.closed() == CloseCode.TOKEN_INVALID
    for people in (here, there):
        again = people.leaves(await Client.connect(people.server.ws_url, token=token))
        with pytest.raises((Refused, Closed)):
            await again.hello()
    assert laptop.is_open
    await until_sessions(here, alice, 1)


async def test_signing_out_on_one_node_ends_the_sessions_on_all(here: People, there: People) -> None:
    (alice,) = here.users("alice")
    clients = [await people.come(alice) for people in (here, there, there)]
    await here.api.call("DELETE", f"/v1/users/{alice}/sessions")
    async with asyncio.timeout(20):
        assert [await client.closed() for client in clients] == [CloseCode.TOKEN_INVALID] * 3


async def test_a_ticket_of_one_node_is_good_on_another_once(here: People, there: People) -> None:
    (alice,) = here.users("alice")
    ticket = await here.api.ticket(alice)
    client = there.leaves(await Client.connect(there.server.ws_url, ticket=ticket))
    assert (await client.hello()).user == alice
    again = here.leaves(await Client.connect(here.server.ws_url, ticket=ticket))
    with pytest.raises((Refused, Closed)):
        await again.hello()


async def test_a_session_is_taken_over_on_another_node(here: People, there: People) -> None:
    """Only its own user's; and its user was never away."""
    alice, bob, _ = await apart(here, there)
    (carol_name,) = here.users("carol")
    await here.match(name_of(alice), carol_name)
    carol = await there.come(carol_name)
    await until_registered(carol)
    await alice.watch(name_of(bob), carol_name)
    assert bob.welcome is not None
    assert alice.welcome is not None
    moved = await here.come(name_of(bob), session=bob.welcome.session)
    async with asyncio.timeout(20):
        assert await bob.closed() == CloseCode.REPLACED
    (mallory,) = here.users("mallory")
    await there.come(mallory, session=alice.welcome.session)
    carol.abort()  # She left later: when she is told to be offline, bob would have been.
    (changed,) = (await alice.next(PresenceChanged)).changes
    assert (changed.user, changed.status) == (carol_name, Status.OFFLINE)
    assert alice.is_open
    assert moved.is_open


# ---- trouble


async def test_a_node_is_killed_in_mid_traffic(cluster: Cluster, here: People, nodes: Nodes) -> None:
    """Nothing acked is lost, all see the same; who was on it alone is offline when its lease is over."""
    crowd = Crowd(here.api)

    async def kill(doomed: PrivateServer) -> None:
        await crowd.all_more_acked()
        await asyncio.to_thread(doomed.program.kill)
        crowd.move(doomed, nodes[1])
        await crowd.all_more_acked()

    with cluster.node() as doomed:
        async with people_on(doomed) as others:
            alice, bob, _ = await apart(here, others)
            await until_registered(bob)
            (watched,) = (await alice.watch(name_of(bob))).presence
            assert watched.status is Status.ONLINE
            for other in (*nodes, doomed):
                await crowd.pair(doomed, other)
            report = await crowd.live(kill(doomed))
    assert (report.faults, report.unanswered) == (0, 0), report.render()
    gone = await alice.next(PresenceChanged, within_s=GONE_WITHIN_S)
    assert [(each.user, each.status) for each in gone.changes] == [(name_of(bob), Status.OFFLINE)]


async def test_redis_comes_back_empty_in_mid_traffic(
    here: People, there: People, nodes: Nodes, redis: PrivateRedis
) -> None:
    """Clients are told; who is on one node writes on; what could not cross is told when it can."""
    crowd = Crowd(here.api)
    neighbours = await crowd.pair(nodes[0], nodes[0])
    for _ in range(2):
        await crowd.pair(*nodes)
    watchers = [await people.come(people.users("watcher")[0]) for people in (here, there)]

    async def empty() -> None:
        await crowd.all_more_acked()
        await asyncio.to_thread(redis.kill)
        for watcher in watchers:
            assert (await watcher.next(Degraded)).active
        (late_name,) = here.users("late")
        nobody_knows = await here.api.call("GET", f"/v1/presence?users={late_name}")
        assert b'"unknown"' in nobody_knows.body
        late = await here.come(late_name)
        await here.match(late_name, name_of(watchers[0]))
        assert [each.status for each in (await late.watch(name_of(watchers[0]))).presence] == [Status.UNKNOWN]
        assert (await late.next(Degraded)).active
        held = [client.cursor(crowd.match_of(client))[0] for client in neighbours]
        await crowd.all_more_acked()
        now = [client.cursor(crowd.match_of(client))[0] for client in neighbours]
        assert all(after >= before + 40 for before, after in zip(held, now, strict=True))
        await asyncio.to_thread(redis.restart_empty)
        for watcher in (*watchers, late):
            assert not (await watcher.next(Degraded)).active
        await crowd.all_more_acked()
        news = await late.next(PresenceChanged)
        assert [(each.user, each.status) for each in news.changes] == [(name_of(watchers[0]), Status.ONLINE)]

    before = [(await numbers(people.api))["repairs"] for people in (here, there)]
    report = await crowd.live(empty())
    assert (report.faults, report.unanswered) == (0, 0), report.render()
    after = [(await numbers(people.api))["repairs"] for people in (here, there)]
    assert all(more > less for more, less in zip(after, before, strict=True))


async def test_the_database_cuts_its_connections_in_mid_traffic(here: People, cluster: Cluster, nodes: Nodes) -> None:
    """Whatever was under way is found out by asking again."""
    crowd = Crowd(here.api)
    for _ in range(3):
        await crowd.pair(*nodes)

    async def cut() -> None:
        for _ in range(4):
            await crowd.all_more_acked()
            await cluster.cut_database()
        await crowd.all_more_acked()

    report = await crowd.live(cut())
    assert (report.faults, report.unanswered) == (0, 0), report.render()
