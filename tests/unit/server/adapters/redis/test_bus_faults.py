"""What the bus over Redis does when the reader is cut, and when Redis is emptied, killed, frozen, restarted or failed over.

Each test ends with traffic in both directions: whatever happened, the bus is whole again, and what may have been missed
has been reported to `repair`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from protocol.close_codes import CloseCode
from protocol.from_server import Status
from protocol.ids import SessionId, UserId
from server.adapters.clock import SystemClock
from server.adapters.redis.bus import RedisBus
from server.adapters.redis.scripts import REAP
from server.core.notices import Kick
from server.core.presence import Departure
from tests.support.bus_nodes import PATIENT, QUICK, WITHIN_S, Buses, BusNode, ending, redis_buses
from tests.support.private_redis import PrivateRedis, private_redis, sentinel_trio

KICK = Kick(UserId("somebody"), CloseCode.REPLACED, "")


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    with private_redis(tmp_path_factory.mktemp("victim")) as server:
        yield server


@pytest.fixture
async def pair(victim: PrivateRedis) -> AsyncIterator[tuple[BusNode, BusNode]]:
    """Two nodes that watch each other's users, and give a busy machine time."""
    async with ending(redis_buses(victim)) as buses:
        yield await two(buses)


@pytest.fixture
async def quick_pair(victim: PrivateRedis) -> AsyncIterator[tuple[BusNode, BusNode]]:
    """Two that soon notice what stands still: for tests that wait until they do."""
    async with ending(redis_buses(victim, QUICK)) as buses:
        yield await two(buses)


async def two(buses: Buses) -> tuple[BusNode, BusNode]:
    a, b = await buses.node(), await buses.node()
    await a.register(("alice", "1"))
    await b.register(("bob", "2"))
    await a.watch("bob")
    await b.watch("alice")
    return a, b


def redis_of(node: BusNode) -> RedisBus:
    assert isinstance(node.bus, RedisBus)
    return node.bus


async def works(a: BusNode, b: BusNode, name: str = "after") -> None:
    """Prove that frames, notices and presence get through, both ways."""
    await a.whole()
    await b.whole()
    for one, other, user in ((a, b, "bob"), (b, a, "alice")):
        one.route(f"to {user} {name}", user)
        one.bus.announce(KICK)
        one.bus.batch_ended(1000)
        await other.ear.frame(f"to {user} {name}".encode())
        await one.ear.until(lambda ear: 1000 in ear.routed_ids)
        await other.ear.until(lambda ear: KICK in ear.notices)
        one.come(f"{user} {name}", "x")
        await other.watch(f"{user} {name}")
        await one.settled()
        assert (await other.watch(f"{user} {name}"))[f"{user} {name}"].status is Status.ONLINE
        assert one.bus.trouble == ""


async def repaired(node: BusNode, times: int, since_before: float) -> None:
    """Wait for the repair and check that it reaches back behind `since_before` and not much further than it has to."""
    await node.ear.until(lambda ear: len(ear.repairs) >= times)
    assert since_before - PATIENT.slack_s - 5 < node.ear.repairs[times - 1] <= since_before


def now() -> float:
    return SystemClock().now()


# ---- the reader


async def test_a_cut_reader_is_noticed_and_all_that_it_missed_is_repaired(
    pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = pair
    name, before = redis_of(b).node, now()
    repairs = len(b.ear.repairs)
    for number in range(300):
        a.route(f"{number}", "bob")
        a.bus.batch_ended(number)
        if number == 100:
            await asyncio.to_thread(victim.cut_readers)
        await asyncio.sleep(0)
    await repaired(b, repairs + 1, before)
    await works(a, b)
    numbers = [int(frame) for frame in b.ear.frames if frame.isdigit()]
    assert numbers == sorted(set(numbers))
    assert a.ear.routed_ids[:300] == list(range(300))
    assert redis_of(b).node == name
    assert b.ear.alive == [True]


async def test_a_reader_that_is_too_slow_for_its_buffer_is_cut_and_repaired(
    pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = pair
    victim.say("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100kb 0 0")
    before, repairs = now(), len(b.ear.repairs)
    a.route(b"x" * 8_000_000, "bob")
    a.bus.batch_ended(1)
    await repaired(b, repairs + 1, before)
    victim.say("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")
    await works(a, b)


async def test_a_gap_in_the_counter_is_repaired(pair: tuple[BusNode, BusNode], victim: PrivateRedis) -> None:
    a, b = pair
    bus, repairs = redis_of(b), len(b.ear.repairs)
    await works(a, b, "before")
    (key,) = [k for k in _keys(victim, b"*bn") if victim.say("HEXISTS", k, bus.node)]
    victim.say("HINCRBY", key, bus.node, 1)
    await b.ear.until(lambda ear: len(ear.repairs) > repairs)
    assert bus.counters.gaps == 1
    await works(a, b)


async def test_a_counter_that_went_back_makes_a_new_incarnation(
    pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = pair
    bus, repairs = redis_of(b), len(b.ear.repairs)
    name = bus.node
    await works(a, b, "before")
    (key,) = [k for k in _keys(victim, b"*bn") if victim.say("HEXISTS", k, name)]
    victim.say("HDEL", key, name)
    await b.ear.until(lambda ear: len(ear.repairs) > repairs)
    assert bus.node != name
    await works(a, b)


def _keys(server: PrivateRedis, pattern: bytes) -> list[bytes]:
    keys = server.say("KEYS", pattern)
    assert isinstance(keys, list)
    return keys


async def test_what_nobody_understands_is_counted_and_passed_over(
    pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = pair
    (channel,) = [c for c in _channels(victim) if redis_of(b).node.encode() in c]
    for nonsense in (b"", b"\xff", b"\x92\x09\x01", b'\x93\x01\xc0\x91\x93\xc0\xc4\x10{"type":"later"}\xc0'):
        victim.say("PUBLISH", channel, nonsense)
    await works(a, b)
    assert redis_of(b).counters.not_understood == 4


def _channels(server: PrivateRedis) -> list[bytes]:
    channels = server.say("PUBSUB", "CHANNELS")
    assert isinstance(channels, list)
    return channels


# ---- commands


async def test_cut_commands_lose_nothing_that_was_not_reported_as_lost(
    pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = pair
    for number in range(600):
        a.route(f"{number}", "bob")
        a.bus.batch_ended(number)
        if number % 200 == 100:
            await asyncio.to_thread(victim.cut_commands)
        if number % 10 == 0:
            await asyncio.sleep(0.001)
    await a.ear.until(lambda ear: 599 in ear.routed_ids)
    await works(a, b)
    assert a.ear.routed_ids[:600] == list(range(600))
    # The readers were not touched, and a call whose answer was cut off is not done twice.
    assert [int(frame) for frame in b.ear.frames if frame.isdigit()] == list(range(600))


async def test_scripts_that_redis_forgot_are_loaded_again(pair: tuple[BusNode, BusNode], victim: PrivateRedis) -> None:
    a, b = pair
    repairs = len(a.ear.repairs)
    for name in ("first", "second"):
        victim.say("SCRIPT", "FLUSH")
        await works(a, b, name)
    assert len(a.ear.repairs) == repairs


async def test_a_call_that_always_fails_does_not_stop_the_others(
    pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = pair
    repairs = len(b.ear.repairs)
    (key,) = [k for k in _keys(victim, b"*c:bob") if victim.say("HLEN", k)]
    backup = victim.say("HGETALL", key)
    assert isinstance(backup, dict)
    victim.say("DEL", key)
    victim.say("SET", key, "of another kind")
    a.route("x", "bob")
    a.bus.announce(KICK)
    a.bus.batch_ended(1)
    # The notice is not lost without a word: the others notice a gap.
    await b.ear.until(lambda ear: len(ear.repairs) > repairs)
    a.bus.batch_ended(2)
    await a.ear.until(lambda ear: 2 in ear.routed_ids)
    assert 1 not in a.ear.routed_ids
    assert redis_of(a).counters.script_errors == 1
    victim.say("DEL", key)
    victim.say("HSET", key, *(part for pair_of in backup.items() for part in pair_of))
    await works(a, b)


async def test_a_server_that_cannot_write_is_trouble_until_it_can(
    quick_pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = quick_pair
    victim.say("CONFIG", "SET", "maxmemory", "1")
    try:
        await a.ear.until(lambda ear: ear.alive[-1] is False)
        async with asyncio.timeout(WITHIN_S):
            while "OOM" not in a.bus.trouble:  # noqa: ASYNC110 - a busy machine finds something else wrong first
                await asyncio.sleep(0.01)
    finally:
        victim.say("CONFIG", "SET", "maxmemory", "0")
    await a.ear.until(lambda ear: ear.alive[-1] is True)
    await b.ear.until(lambda ear: ear.alive[-1] is True)
    await works(a, b)


# ---- Redis forgets


async def test_an_emptied_redis_is_filled_again(pair: tuple[BusNode, BusNode], victim: PrivateRedis) -> None:
    a, b = pair
    # Each gives the others two renewals' time to notice; on a busy machine it may be over before they ran.
    while await apart_s(a, b, victim) > 1.5 * PATIENT.renew_s:
        continue
    await works(a, b)
    # All is told again after a while; nobody was shown as gone who was there all the time.
    for node in (a, b):
        await node.ear.status("nobody", Status.OFFLINE)
        changes = [change for change in node.ear.changes if change.user in {"alice", "bob"}]
        assert {change.status for change in changes} == {Status.ONLINE}


async def apart_s(a: BusNode, b: BusNode, victim: PrivateRedis) -> float:
    """Empty Redis, and return how long after one node the other one had registered everybody again."""
    for node in (a, b):
        node.ear.changes.clear()
    names, before = {redis_of(a).node, redis_of(b).node}, now()

    async def whole_again_at(node: BusNode, repairs: int) -> float:
        await repaired(node, repairs + 1, before)
        return now()

    victim.say("FLUSHALL")
    first, second = await asyncio.gather(*(whole_again_at(node, len(node.ear.repairs)) for node in (a, b)))
    assert not names & {redis_of(a).node, redis_of(b).node}
    return abs(first - second)


async def test_a_redis_restarted_empty_is_filled_again(pair: tuple[BusNode, BusNode], victim: PrivateRedis) -> None:
    a, b = pair
    before = now()
    repairs = len(a.ear.repairs), len(b.ear.repairs)
    await asyncio.to_thread(victim.restart_empty)
    await repaired(a, repairs[0] + 1, before)
    await repaired(b, repairs[1] + 1, before)
    await works(a, b)


async def test_a_redis_restarted_from_an_old_file_is_not_believed(
    quick_pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = quick_pair
    await a.register(("carol", "was here when it was saved"))
    await b.watch("carol", "dave")
    victim.say("SAVE")
    await a.unregister(("carol", "was here when it was saved"))
    await b.ear.status("carol", Status.OFFLINE)
    await a.register(("dave", "came later"))
    await works(a, b, "before")
    before, repairs = now(), len(b.ear.repairs)
    await asyncio.to_thread(victim.restart_old)
    await repaired(b, repairs + 1, before)
    await works(a, b)
    # The old file said that carol was online; the node that said so is reaped.
    await b.ear.status("carol", Status.OFFLINE)
    await b.ear.status("dave", Status.ONLINE)


# ---- Redis stands still


async def test_a_frozen_redis_makes_the_nodes_deaf_until_it_returns(
    quick_pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = quick_pair
    before, repairs = now(), len(b.ear.repairs)
    victim.freeze()
    try:
        a.route("waits", "bob")
        a.bus.batch_ended(1)
        a.route("is dropped", "bob", key=("typing",))
        await a.ear.until(lambda ear: ear.alive[-1] is False)
        await b.ear.until(lambda ear: ear.alive[-1] is False)
        assert a.bus.trouble
        assert (await a.watch("bob"))["bob"].status is Status.UNKNOWN
        a.go("alice", "1")
        a.come("alice", "3")
        await asyncio.sleep(1.5 * QUICK.lease_s)
    finally:
        victim.thaw()
    await a.ear.until(lambda ear: ear.alive[-1] is True)
    await repaired(b, repairs + 1, before)
    await works(a, b)
    # Sent before the lease was over, answered never: nobody knows, so it is not reported as routed.
    assert set(a.ear.routed_ids) <= {1, 1000}
    assert b.ear.frames.count(b"is dropped") <= 1


async def test_a_short_stall_changes_nothing(pair: tuple[BusNode, BusNode], victim: PrivateRedis) -> None:
    a, b = pair
    names = redis_of(a).node, redis_of(b).node
    victim.say("CLIENT", "PAUSE", 150)
    for number in range(20):
        a.route(f"{number}", "bob")
        a.bus.batch_ended(number)
    await works(a, b)
    assert a.ear.routed_ids[:20] == list(range(20))
    assert [int(frame) for frame in b.ear.frames if frame.isdigit()] == list(range(20))
    assert (redis_of(a).node, redis_of(b).node) == names
    assert a.ear.alive == b.ear.alive == [True]


# ---- a node stands still


async def test_a_frozen_node_is_reaped_and_comes_back_as_another(
    quick_pair: tuple[BusNode, BusNode], victim: PrivateRedis
) -> None:
    a, b = quick_pair
    name, repairs, before = redis_of(b).node, len(b.ear.repairs), now()
    await a.watch("bob")
    # As if frozen: nothing of it runs, but its name and its sessions stay.
    await b.stop()
    gone = await a.ear.status("bob", Status.OFFLINE)
    # When the node last renewed its lease: not when the lease was over, nor when somebody noticed.
    assert gone.last_seen is not None
    assert gone.last_seen <= gone.v - QUICK.lease_s * 1_000_000
    assert abs(gone.last_seen - SystemClock().micros()) < 60_000_000
    await a.settled()
    assert redis_of(a).counters.reaped >= 1
    assert not [key for key in _keys(victim, b"*" + name.encode()) if b":n:" in key]
    b.task = asyncio.create_task(b.bus.run())
    await a.ear.status("bob", Status.ONLINE)
    await repaired(b, repairs + 1, before)
    assert redis_of(b).node != name
    await works(a, b)


async def test_what_is_reaped_shortens_no_grace(pair: tuple[BusNode, BusNode], victim: PrivateRedis) -> None:
    """Carol is on her way from one node to a third; on the node that died she had only begun to connect."""
    a, b = pair
    a.come("carol", "1")
    b.bus.register(UserId("carol"), SessionId("2"), None)
    await a.settled()
    await b.settled()
    assert (await a.watch("carol"))["carol"].status is Status.ONLINE
    a.bus.unregister(UserId("carol"), SessionId("1"), Departure.HANDOFF)
    name = redis_of(b).node
    await b.stop()
    (nodes,) = [key for key in _keys(victim, b"*nodes") if victim.say("ZSCORE", key, name) is not None]
    victim.say("ZADD", nodes, 0, name)
    prefix = nodes.removesuffix(b"nodes")
    assert victim.say("EVALSHA", REAP.digest, 0, prefix, redis_of(a).node, 100, 60_000) == len(
        ("bob", "carol", "again")
    )
    assert (await a.watch("carol"))["carol"].status is Status.ONLINE


async def test_a_node_that_stopped_for_a_moment_keeps_its_name(pair: tuple[BusNode, BusNode]) -> None:
    a, b = pair
    name, repairs = redis_of(b).node, len(b.ear.repairs)
    await b.stop()
    a.route("missed", "bob")
    a.bus.batch_ended(1)
    await a.ear.until(lambda ear: ear.routed_ids == [1])
    b.task = asyncio.create_task(b.bus.run())
    await b.ear.until(lambda ear: len(ear.repairs) > repairs)
    assert redis_of(b).node == name
    await works(a, b)
    assert b"missed" not in b.ear.frames


# ---- Sentinel


async def test_the_bus_follows_sentinel_to_another_master(tmp_path: Path) -> None:
    with sentinel_trio(tmp_path) as trio:
        settings = structs.replace(PATIENT, url=trio.url)
        async with ending(redis_buses(trio.master, settings)) as buses:
            a, b = await two(buses)
            await works(a, b, "before")
            repairs = len(a.ear.repairs), len(b.ear.repairs)
            trio.master_now().kill()
            await a.ear.until(lambda ear: len(ear.repairs) > repairs[0])
            await b.ear.until(lambda ear: len(ear.repairs) > repairs[1])
            await works(a, b)
