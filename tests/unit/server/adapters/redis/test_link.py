"""Connecting: which servers are refused for good, which are hoped for, and with what words."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from msgspec import structs
from redis.exceptions import ResponseError

from server.adapters.clock import SystemClock
from server.adapters.redis.bus import RedisBus, RedisBusSettings
from server.adapters.redis.channel import ChannelLost, RedisChannel, open_channel
from server.adapters.redis.endpoint import RedisEndpoint
from server.adapters.redis.link import RedisAway, RedisLink
from server.adapters.redis.scripts import SETTLE
from server.ports import BusUnusable
from tests.support.bus_nodes import PATIENT, QUICK, ending, redis_buses
from tests.support.fake_redis import OK, bulk, fake_redis
from tests.support.private_redis import PrivateRedis, private_redis, private_tls_redis
from tests.support.programs import free_port

INFO = "redis_version:{version}\r\nrun_id:x\r\ncluster_enabled:{cluster}\r\nrole:{role}\r\n"


def info(version: str = "7.0.15", cluster: int = 0, role: str = "master") -> bytes:
    return bulk(INFO.format(version=version, cluster=cluster, role=role))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    with private_redis(tmp_path_factory.mktemp("link")) as running:
        yield running


async def open_link(url: str, timeout_s: float = PATIENT.command_timeout_s) -> RedisLink:
    return await RedisLink.open(RedisEndpoint(url), "link:", timeout_s)


async def check(url: str, settings: RedisBusSettings = PATIENT) -> None:
    bus = RedisBus(_at(url, settings), SystemClock())
    await bus.check()
    await bus.close()


# ---- for good


@pytest.mark.parametrize(
    "replies, why",
    [
        ({"INFO": info("6.0.16")}, "version 6.0.16; the bus needs 6.2 or newer"),
        ({"INFO": info("")}, "the bus needs 6.2"),
        ({"INFO": info(cluster=1)}, "is a cluster"),
        ({"INFO": b"-ERR unknown command 'INFO'\r\n"}, "INFO.*unknown command"),
        ({"INFO": b"-NOPERM this user has no permissions\r\n"}, "INFO.*NOPERM"),
        ({"INFO": b":1\r\n"}, "INFO"),
        ({"INFO": info(), "SCRIPT": OK, "EVALSHA": b"-ERR unknown command 'EVALSHA'\r\n"}, "does not run Lua"),
        ({"INFO": b"-NOAUTH Authentication required.\r\n"}, "NOAUTH"),
    ],
)
async def test_a_server_that_will_never_do_is_refused(replies: dict[str, bytes], why: str) -> None:
    async with fake_redis(replies) as url:
        with pytest.raises(BusUnusable, match=why) as refused:
            await check(url)
        assert "\n" not in str(refused.value)


async def test_a_real_cluster_is_refused(tmp_path: Path) -> None:
    with (
        private_redis(tmp_path, "--cluster-enabled", "yes") as cluster,
        pytest.raises(BusUnusable, match="is a cluster"),
    ):
        await check(cluster.url)


async def test_wrong_credentials_are_refused_without_being_shown(server: PrivateRedis) -> None:
    for url in (f"redis://nobody:hunter2@127.0.0.1:{server.port}", f"unix://nobody:hunter2@{server.socket}"):
        with pytest.raises(BusUnusable, match=r"WRONGPASS|invalid username") as refused:
            await check(url)
        assert "hunter2" not in str(refused.value)
    with pytest.raises(BusUnusable, match="out of range"):
        await check(f"{server.url}/99")


async def test_missing_rights_are_refused_and_enough_rights_do(server: PrivateRedis) -> None:
    place = f"127.0.0.1:{server.port}"
    server.say("ACL", "SETUSER", "weak", "on", ">pw", "~*", "&*", "+info")
    with pytest.raises(BusUnusable, match=r"does not run Lua .*NOPERM"):
        await check(f"redis://weak:pw@{place}")
    rights = ("+info", "+script|load", "+evalsha", "+@read", "+@write", "+publish", "+subscribe", "+time")
    server.say("ACL", "SETUSER", "enough", "on", ">pw", "~*", "&*", *rights)
    async with ending(redis_buses(server, _at(f"redis://enough:pw@{place}"))) as buses:
        a, b = await buses.node(), await buses.node()
        await b.register(("bob", "1"))
        a.route("x", "bob")
        await b.ear.frame(b"x")


async def test_missing_rights_to_a_channel_are_trouble_in_words(server: PrivateRedis) -> None:
    server.say("ACL", "SETUSER", "mute", "on", ">pw", "~*", "resetchannels", "+@all")
    async with ending(redis_buses(server, _at(f"redis://mute:pw@127.0.0.1:{server.port}", QUICK))) as buses:
        node = buses.start()
        await node.ear.until(lambda ear: ear.alive == [False])
        assert "NOPERM" in node.bus.trouble


def _at(url: str, settings: RedisBusSettings = PATIENT) -> RedisBusSettings:
    return structs.replace(settings, url=url)


# ---- hoped for


@pytest.mark.parametrize(
    "replies, why",
    [
        ({}, "[Cc]losed"),
        ({"INFO": b"-LOADING Redis is loading the dataset in memory\r\n"}, "[Ll]oading"),
        ({"INFO": info(role="slave")}, "replica"),
        ({"INFO": info(), "SCRIPT": OK, "EVALSHA": b"-OOM command not allowed\r\n"}, "OOM"),
        ({"INFO": b"nonsense\r\n"}, "."),
    ],
)
async def test_a_server_that_cannot_now_may_later(replies: dict[str, bytes], why: str) -> None:
    async with fake_redis(replies) as url:
        with pytest.raises(RedisAway, match=why):
            await open_link(url)
        await check(url)


async def test_a_server_that_does_not_answer_now_may_later() -> None:
    async with fake_redis({"INFO": b""}) as url:
        with pytest.raises(RedisAway, match=r"no answer within 0\.3 s"):
            await open_link(url, 0.3)
        await check(url, QUICK)


async def test_nobody_there_is_no_reason_to_refuse() -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    with pytest.raises(RedisAway, match="Connect"):
        await open_link(url)
    await check(url)


async def test_a_server_that_evicts_is_warned_of(server: PrivateRedis, caplog: pytest.LogCaptureFixture) -> None:
    server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    await check(server.url)
    server.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert [record.message for record in caplog.records] == ["bus.evicts"]


# ---- calls


async def test_errors_are_replies_and_states_of_the_server_end_the_connection(server: PrivateRedis) -> None:
    link = await open_link(server.url)
    wrong, pong = await link.call([("GET",), ("PING",)])
    assert isinstance(wrong, ResponseError)
    assert pong == b"PONG"
    server.say("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(RedisAway, match="OOM"):
            await link.call([("SET", "link:a", "b")])
    finally:
        server.say("CONFIG", "SET", "maxmemory", "0")
    await link.close()


async def test_a_call_without_an_answer_is_not_made_again(server: PrivateRedis) -> None:
    endpoint = RedisEndpoint(server.url)
    address = await endpoint.locate()
    link = RedisLink(await endpoint.connect(address), address, 0.3)
    server.say("DEL", "link:n")
    server.say("CLIENT", "PAUSE", 60_000, "WRITE")
    with pytest.raises(RedisAway, match=r"no answer within 0\.3 s"):
        await link.call([("INCR", "link:n")])
    server.say("CLIENT", "UNPAUSE")
    assert server.say("GET", "link:n") in {None, b"1"}


async def test_a_forgotten_script_is_loaded_in_the_middle_of_others(server: PrivateRedis) -> None:
    link = await open_link(server.url)
    server.say("SCRIPT", "FLUSH")
    settle = ("EVALSHA", SETTLE.digest, 0, "link:", "n", 1)
    assert await link.call([("ECHO", "1"), settle, ("ECHO", "2"), settle]) == [b"1", 0, b"2", 0]
    await link.close()


# ---- the reader


async def test_a_reader_that_is_refused_says_why() -> None:
    async with fake_redis({"AUTH": b"-WRONGPASS no\r\n"}) as url:
        with pytest.raises(ChannelLost, match="refused: WRONGPASS no"):
            await _open_channel(url.replace("://", "://:pw@"))
    async with fake_redis({"SUBSCRIBE": b"nonsense"}) as url:
        with pytest.raises(ChannelLost, match="no RESP"):
            await _open_channel(url)
    async with fake_redis({}) as url:
        with pytest.raises(ChannelLost, match="cut off"):
            await _open_channel(url)
    with pytest.raises(ChannelLost, match="Connect"):
        await _open_channel(f"redis://127.0.0.1:{free_port()}")


async def test_a_reader_hears_in_order_and_is_told_of_its_end_once() -> None:
    said = b"".join(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n%d\r\n" % n for n in range(3))
    subscribed = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    heard: list[bytes] = []
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with fake_redis({"SUBSCRIBE": subscribed + said + subscribed + b"-ERR enough\r\n"}) as url:
        channel = await _open_channel(url, heard, lost)
        assert "enough" in await lost
        assert heard == [b"0", b"1", b"2"]
        channel.connection_lost(None)
        channel.close()


async def test_a_reader_that_is_closed_hears_and_tells_nothing(server: PrivateRedis) -> None:
    heard: list[bytes] = []
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    channel = await _open_channel(server.url, heard, lost)
    channel.close()
    channel.data_received(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n")
    channel.connection_lost(ConnectionResetError("reset"))
    assert heard == []
    assert not lost.done()


async def _open_channel(
    url: str, heard: list[bytes] | None = None, lost: asyncio.Future[str] | None = None
) -> RedisChannel:
    endpoint = RedisEndpoint(url)
    on_message = (heard if heard is not None else []).append
    on_lost = (lost or asyncio.get_running_loop().create_future()).set_result
    return await open_channel(endpoint, await endpoint.locate(), b"c", on_message, on_lost)


# ---- other ways to connect


async def test_the_bus_works_through_a_socket_and_in_another_database(server: PrivateRedis) -> None:
    async with ending(redis_buses(server, _at(f"{server.unix_url}?db=3"))) as buses:
        a, b = await buses.node(), await buses.node()
        await b.register(("bob", "1"))
        a.route("x", "bob")
        await b.ear.frame(b"x")


async def test_the_bus_works_over_tls_and_believes_no_stranger(tmp_path: Path) -> None:
    with private_tls_redis(tmp_path) as (secure, url):
        with pytest.raises(RedisAway, match="certificate"):
            await open_link(url)
        trusting = _at(f"{url}?ssl_ca_certs={tmp_path / 'localhost.crt'}")
        async with ending(redis_buses(secure, trusting)) as buses:
            a, b = await buses.node(), await buses.node()
            await b.register(("bob", "1"))
            a.route(b"x" * 300_000, "bob")
            await b.ear.frame(b"x" * 300_000)


def test_the_bus_works_on_the_loop_that_the_server_runs_on(server: PrivateRedis) -> None:
    async def meet() -> None:
        async with ending(redis_buses(server)) as buses:
            a, b = await buses.node(), await buses.node()
            await b.register(("bob", "1"))
            a.route("x", "bob")
            await b.ear.frame(b"x")
            await asyncio.to_thread(server.cut_readers)
            await a.ear.until(lambda ear: bool(ear.repairs))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(meet())


async def test_a_node_whose_redis_has_gone_ends_without_goodbye(tmp_path: Path) -> None:
    with private_redis(tmp_path) as gone:
        buses = redis_buses(gone)
        node = await buses.node()
        await node.register(("alice", "1"))
        gone.kill()
        await node.leave()
        assert node.ear.alive == [True]
