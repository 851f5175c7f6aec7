"""What runs out: readers' patience, file descriptors, disk. Others go on, memory is bounded, and it comes back by itself."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.attacked import IDLE, Attacked, attacked, read_metrics, rss_kib
from tests.support.chatter import Chatter, Message
from tests.support.private_server import PrivateServer, inherited
from tests.support.programs import free_port, running
from tests.support.raw_client import RawClient

FAST = {
    "MESSAGE_RATE_PER_S": "100000",
    "MESSAGE_BURST": "100000",
    "FRAME_RATE_PER_S": "100000",
    "FRAME_BURST": "100000",
}
OUTBOX_BYTES = 262_144
SLOW_READERS = 10


def post(number: int, size: int = 12_000) -> Message:
    """Make a large message."""
    body = {"data": {"x": "x" * size}}
    return {"type": "message.send", "id": number, "match": "busy", "client_id": f"c{number}", "body": body}


def test_69_slow_readers_of_a_busy_match_are_cut_and_nobody_else_is() -> None:
    """69: each with 4008, none of them costs more than its bound, and the one who reads misses nothing."""
    settings = {**FAST, "OUTBOX_MAX_BYTES": str(OUTBOX_BYTES), "SEND_BUFFER_BYTES": "16384", "CLOSE_TIMEOUT_S": "0.3",
                "PRESENCE_DEBOUNCE_MS": "0"}  # fmt: skip
    with attacked(settings) as server, ExitStack() as stack:
        server.api.make_match("busy", "writer", "reader", "slow")
        writer, reader = (stack.enter_context(Chatter.of(server.api, user)) for user in ("writer", "reader"))
        slow = [stack.enter_context(Chatter(server.port, receive_buffer_bytes=4_096)) for _ in range(SLOW_READERS)]
        token = server.api.token("slow")
        for chatter in slow:
            chatter.hello(token)
        before = server.grown_kib()
        count = 0
        while server.metric("slow_readers_closed") < SLOW_READERS:
            for _ in range(10):
                count += 1
                assert writer.ask(post(count))["type"] == "ok"
                assert reader.push("message")["client_id"] == f"c{count}"
            assert count < 500
        # What waits is one frame for all of them, plus what their transports hold.
        assert server.grown_kib() - before < 2 * SLOW_READERS * OUTBOX_BYTES // 1024 + 8 * 1024
        assert {chatter.closed_with() for chatter in slow} <= {4008, 1006}
        back = stack.enter_context(Chatter(server.port))
        back.hello(token, cursors={"busy": [0, 0]})
        assert back.push("members")["seq"] == 1
        assert back.push("message")["client_id"] == "c1"


def test_answers_that_nobody_reads_stop_the_asking() -> None:
    """A client that asks for pages and reads none is not listened to until it reads; it does not grow the server."""
    with attacked({**FAST, "CLOSE_TIMEOUT_S": "0.3", "PING_AFTER_S": "0.5", "PING_TIMEOUT_S": "0.5"}) as server:
        api = server.api
        api.make_match("busy", "writer", "reader")
        for number in range(20):
            api.call("POST", "/v1/matches/busy/messages", {**post(number), "sender": "writer"})
        before = server.grown_kib()
        with Chatter(server.port, receive_buffer_bytes=4_096) as greedy:
            greedy.hello(api.token("reader"))
            for number in range(300):
                greedy.say({"type": "history", "id": number, "match": "busy", "limit": 20})
            assert api.call("GET", "/healthz").status == 200
            assert server.left_over() == {}
        assert server.grown_kib() - before < 8 * 1024


@contextmanager
def few_descriptors(count: int) -> Iterator[Attacked]:
    """Run a server that may open only so many files."""
    port = free_port()
    environment = {**inherited(), "PORT": str(port), "DATABASE_URL": "memory:", "HEAD_TIMEOUT_S": "30"}
    argv = ["sh", "-c", f'ulimit -n {count} && exec "$0" -m server --dev', sys.executable]
    with running(argv, ready=f":{port}", environment=environment) as program:
        yield Attacked(PrivateServer(port, program), rss_kib(program.pid))


def welcomed_at_last(server: Attacked, user: str) -> Chatter:
    """Connect; while the ends of others are still under way connections are closed as they come, and clients try again."""
    waited = threading.Event()
    for _ in range(200):
        try:
            return Chatter.of(server.api, user)
        except (EOFError, ConnectionError, AssertionError):
            waited.wait(0.02)  # there is no event: it is another process that has to see the sockets' ends
    raise AssertionError("nobody gets in any more")


def cpu_s(pid: int) -> float:
    """Read the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_lack_of_file_descriptors_ends_nothing() -> None:
    """Those who are in are served, the loop does not spin, and when descriptors are free again there is room again."""
    with few_descriptors(64) as server, ExitStack() as outer:
        inside = outer.enter_context(Chatter.of(server.api, "alice"))
        with ExitStack() as stack:
            for _ in range(150):
                stack.enter_context(RawClient(server.address))
            before = cpu_s(server.server.program.pid)
            assert all(inside.is_alive() for _ in range(200))
            assert cpu_s(server.server.program.pid) - before < 2
        with welcomed_at_last(server, "bob") as late:
            assert late.is_alive()
        assert inside.is_alive()
        outer.close()
        assert server.left_over() == {}
        assert server.problems() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 2 MB, for those who may."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount; tests/integration has the same with a limit on the size of files")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_answers_unavailable_until_there_is_space(small_disk: Path) -> None:
    """ENOSPC: `stored` says no and it is true, history and typing go on, and space ends it without a restart."""
    with attacked({**FAST, "PRESENCE_DEBOUNCE_MS": "0"}, small_disk / "duologue.db") as server:
        server.api.make_match("busy", "writer", "reader")
        with Chatter.of(server.api, "writer") as writer, Chatter.of(server.api, "reader") as reader:
            ballast = small_disk / "ballast"
            room = os.statvfs(small_disk)
            ballast.write_bytes(bytes(room.f_bavail * room.f_frsize))
            count, refused = fill(writer)
            assert (refused["code"], refused["stored"]) == ("unavailable", "no")
            assert isinstance(refused["retry_after_ms"], int)
            over_http = server.api.call("POST", "/v1/matches/busy/messages", {**post(count + 1), "sender": "writer"})
            assert (over_http.status, over_http.code) == (503, "unavailable")
            assert over_http.headers["retry-after"]
            page = reader.ask({"type": "history", "id": 1, "match": "busy", "limit": 1})["messages"]
            assert isinstance(page, list)
            assert page[0].get("client_id", f"c{count - 1}") == f"c{count - 1}"
            writer.say({"type": "typing", "match": "busy", "on": True})
            assert reader.push("typing")["on"] is True
            ballast.unlink()
            sent = writer.ask(post(count))
            assert (sent["type"], sent["duplicate"]) == ("ok", False), sent
            assert reader.push("message")["client_id"] == f"c{count}"


def fill(writer: Chatter) -> tuple[int, Message]:
    """Post until it is refused; return which message that was, and the refusal."""
    for count in range(500):
        answer = writer.ask(post(count))
        if answer["type"] == "error":
            return count, answer
    raise AssertionError("the disk was not full")


def test_gauges_are_known_to_be_zero() -> None:
    """What every other test here waits for exists and is told."""
    with attacked({}) as server:
        numbers = read_metrics(Api(server.port))
        assert {name: numbers[name] for name in IDLE} == IDLE
