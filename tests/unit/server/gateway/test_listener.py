"""What a listener does at its limits and at its end: each case has a real one of its own, on a free port."""

import asyncio
import socket
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from server.gateway.handshake import Upgrade
from server.gateway.limits import SocketLimits
from server.gateway.listener import Listener
from server.gateway.websocket import Connection
from server.gateway.wheel import TimerWheel
from tests.support.listening import Listening, listening
from tests.support.raw_client import CLOSE, PING, PONG, TEXT, Answer, RawClient, frame, head
from tests.support.sockets import RecordingReceiver


def settled(server: Listening) -> bool:
    """Wait until nothing is open."""
    waited = threading.Event()
    for _ in range(6_000):
        if server.connections() == 0 and server.ends is not None:
            return True
        waited.wait(0.01)  # the sockets' ends are events of the kernel, in another thread's loop
    return False


def test_one_connection_too_many_is_503() -> None:
    """In all: the answer says when to come back, and those who are in stay in."""
    with listening(SocketLimits(connections_max=2, close_timeout_s=0.3)) as server, ExitStack() as stack:
        inside = [stack.enter_context(RawClient(server.address)).upgrade() for _ in range(2)]
        with RawClient(server.address) as late:
            late.send(head())
            response = late.response()
            assert (response.status, response.headers["retry-after"]) == (503, "5")
            assert late.at_end() == b""
        assert all(client.pings() for client in inside)
        stack.close()
        assert settled(server)
        with RawClient(server.address) as again:
            assert again.upgrade().pings()


def test_one_connection_too_many_of_an_address_is_429() -> None:
    """HTTP connections count too; a place that gets free is free."""
    limits = SocketLimits(connections_per_address_max=2, close_timeout_s=0.3)
    with listening(limits) as server, RawClient(server.address) as first:
        first.upgrade()
        with RawClient(server.address) as second:
            second.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert second.response().status == 200
            with RawClient(server.address) as third:
                third.send(b"anything at all")
                response = third.response()
                assert (response.status, response.headers["retry-after"]) == (429, "30")
        first.socket.close()
        assert settled(server)
        with RawClient(server.address) as again:
            assert again.upgrade().pings()


def test_c69_a_client_that_never_reads_in_a_busy_room_is_cut_and_others_are_not() -> None:
    """69: what waits passes the bound; it is closed as slow, and cut after the close timeout."""
    limits = SocketLimits(outbox_max_bytes=256 * 1024, close_timeout_s=0.3)
    with listening(limits) as server, RawClient(server.address) as other:
        other.upgrade()
        with RawClient(server.address, receive_buffer_bytes=4_096) as slow:
            slow.upgrade()
            while server.connections() == 2 and not server.ends:
                other.send(frame(TEXT, b"all" + b"x" * 60_000))
                assert other.answer().opcode == TEXT
            assert settled_to(server, 1)
        assert server.ends == [(4008, "slow reader")]
        assert other.pings()
        assert server.problems.texts == []


def test_a_client_that_does_not_read_its_own_answers_is_closed_as_slow() -> None:
    """Its socket is not read while its output is stuck, so nothing piles up; silence then ends it."""
    limits = SocketLimits(ping_after_s=0.5, ping_timeout_s=0.5, close_timeout_s=0.3)
    with listening(limits) as server, RawClient(server.address, receive_buffer_bytes=4_096) as slow:
        slow.upgrade()
        slow.socket.settimeout(0.2)
        with suppress(TimeoutError, ConnectionResetError):
            slow.socket.sendall(frame(TEXT, b"x" * 60_000) * 200)
        assert settled_to(server, 0)
        assert server.ends == [(4008, "slow reader")]


def settled_to(server: Listening, count: int) -> bool:
    """Wait until so many connections are open."""
    waited = threading.Event()
    for _ in range(6_000):
        if server.connections() == count:
            return True
        waited.wait(0.01)  # see settled
    return False


def test_a_silent_peer_is_pinged_and_given_up() -> None:
    """A peer that answers pings stays; one that does not is told 4003 and cut."""
    limits = SocketLimits(ping_after_s=0.3, ping_timeout_s=1.0, close_timeout_s=0.3)
    with listening(limits) as server, RawClient(server.address) as client:
        client.upgrade()
        for _ in range(2):
            assert client.answer() == Answer(PING, b"")
            client.send(frame(PONG))
        assert client.answer() == Answer(PING, b"")
        assert client.answer() == Answer(CLOSE, (4003).to_bytes(2, "big") + b"ping timeout")
        assert client.at_end() == b""
        client.socket.close()
        assert settled(server)
        assert server.ends == [(4003, "ping timeout")]


def test_a_fault_of_the_session_ends_that_connection_only() -> None:
    """The client is told 1011 and no more, the log has one traceback."""
    with listening(SocketLimits(close_timeout_s=0.3)) as server, RawClient(server.address) as other:
        other.upgrade()
        with RawClient(server.address) as client:
            client.upgrade()
            client.send(frame(TEXT, b"fault"))
            assert client.answer() == Answer(CLOSE, (1011).to_bytes(2, "big") + b"internal error")
        assert other.pings()
        assert len(server.problems.texts) == 1
        assert "planted" in server.problems.texts[0]


def test_a_close_of_ours_is_flushed_answered_and_ended() -> None:
    """Section 7.1.2: what was queued first, then the close frame; data that still comes is ignored."""
    with listening() as server, RawClient(server.address) as client:
        client.upgrade()
        client.send(frame(TEXT, b"one") + frame(TEXT, b"close") + frame(TEXT, b"two"))
        assert client.answer() == Answer(TEXT, b"one")
        assert client.answer() == Answer(CLOSE, (4000).to_bytes(2, "big") + b"as asked")
        client.send(frame(CLOSE, (4000).to_bytes(2, "big")))
        assert client.at_end() == b""
        client.socket.close()
        assert settled(server)
        assert server.ends == [(4000, "as asked")]


def test_a_close_of_ours_that_is_not_answered_times_out() -> None:
    """Section 7.1.1."""
    with listening(SocketLimits(close_timeout_s=0.3)) as server, RawClient(server.address) as client:
        client.upgrade()
        client.send(frame(TEXT, b"close"))
        assert client.answer().opcode == CLOSE
        assert client.at_end() == b""
        assert settled(server)
        assert server.ends == [(4000, "as asked")]


def test_a_listener_that_stopped_accepting_keeps_its_connections() -> None:
    """Drain: the open ones go on, a head that was being read is answered 503, new ones are refused by the kernel."""
    with listening() as server, RawClient(server.address) as inside, RawClient(server.address) as between:
        inside.upgrade()
        between.send(b"GET /ws HTTP/1.1\r\n")
        assert settled_to(server, 2)
        server.run(server.listener.stop_accepting)
        with pytest.raises(OSError, match="refused"):
            RawClient(server.address)
        between.send(b"Host: h\r\n\r\n")
        assert between.response().status == 503
        assert inside.pings()


def serves_again(address: tuple[str, int]) -> bool:
    """Connect until the descriptors of those who left are free again."""
    for _ in range(200):
        with RawClient(address) as client, suppress(EOFError):
            return client.upgrade().pings()
    return False


def test_a_listener_that_is_full_of_descriptors_neither_spins_nor_ends() -> None:
    """EMFILE in accept: little CPU while it lasts, and service again after."""
    program = """
        import resource, sys, threading, time
        from tests.support.listening import listening
        from tests.support.raw_client import RawClient
        with listening() as server:
            used = len(__import__("os").listdir("/proc/self/fd"))
            print(server.address[1], flush=True)
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, 4096))
            assert sys.stdin.readline() == "measure\\n"
            before = time.process_time()
            threading.Event().wait(0.5)
            print(time.process_time() - before, flush=True)
            sys.stdin.readline()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process, ExitStack() as stack:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stack.callback(process.kill)
        address = ("127.0.0.1", int(process.stdout.readline()))
        clients = [stack.enter_context(RawClient(address)) for _ in range(40)]
        print("measure", file=process.stdin, flush=True)
        assert float(process.stdout.readline()) < 0.25  # of 0.5 s; it is 0.001 where nothing spins
        for client in clients:
            client.socket.close()
        assert serves_again(address)
        process.stdin.write("end\n")
        process.stdin.close()
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()


async def test_an_address_in_use_is_an_error_and_leaves_no_socket() -> None:
    """Two listeners on one port need `reuse_port` both."""

    def nobody(connection: Connection, upgrade: Upgrade) -> RecordingReceiver:
        return RecordingReceiver()

    first = Listener(nobody)
    await first.start("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        await Listener(nobody).start(*first.address)
    first.stop()
    loop = asyncio.get_running_loop()
    wheel = TimerWheel(loop.time)
    limits = SocketLimits(send_buffer_bytes=0)
    shared = [Listener(nobody, limits=limits, wheel=wheel) for _ in range(2)]
    port = 0
    for listener in shared:
        await listener.start("127.0.0.1", port, reuse_port=True)
        port = listener.address[1]
    for listener in shared:
        listener.stop()


async def test_a_listener_serves_on_a_unix_socket(tmp_path: Path) -> None:
    """A proxy on the same host: no address, no address limit. On asyncio's own loop, too."""
    receiver = RecordingReceiver()
    upgrades: list[Upgrade] = []

    def accept(connection: Connection, upgrade: Upgrade) -> RecordingReceiver:
        upgrades.append(upgrade)
        receiver.act = lambda payload: connection.close(4000, payload.decode())
        return receiver

    listener = Listener(accept, limits=SocketLimits(connections_per_address_max=1))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "duologue.sock"))
    await listener.start_on(sock)
    streams = [await asyncio.open_unix_connection(str(tmp_path / "duologue.sock")) for _ in range(2)]
    for reader, writer in streams:
        writer.write(head("Authorization: Bearer abc", target="/ws?ticket=t") + frame(TEXT, b"enough"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.read() == b"\x88\x08" + (4000).to_bytes(2, "big") + b"enough"
        writer.close()
        await writer.wait_closed()
    assert [(one.query, one.authorization, one.address) for one in upgrades] == [("ticket=t", "Bearer abc", "")] * 2
    listener.stop()


async def test_a_wheel_that_is_given_is_used_although_it_is_empty() -> None:
    """An empty wheel is false; one of the listener's own would never turn, and no deadline would ever come."""
    wheel = TimerWheel(asyncio.get_running_loop().time)
    assert Listener(lambda connection, upgrade: RecordingReceiver(), wheel=wheel).wheel is wheel
