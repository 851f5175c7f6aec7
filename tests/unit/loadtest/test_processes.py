"""What the kernel tells of processes."""

import os
import socket
import subprocess
import sys

from loadtest.processes import busy_us, listeners, pinned, usage


def test_one_can_see_oneself() -> None:
    """CPU time only grows."""
    before = usage([os.getpid()])
    assert before is not None
    assert before.rss_bytes > 1_000_000
    sum(range(2_000_000))
    after = usage([os.getpid(), os.getpid()])
    assert after is not None
    assert after.cpu_us > before.cpu_us * 2
    assert busy_us() > 0


def test_who_is_gone_is_not_seen() -> None:
    """And nobody is no usage."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert usage([gone.pid]) is None
    assert usage([]) is None


def test_a_server_is_found_by_its_port() -> None:
    """Only who listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert listeners(port) == [os.getpid()]
    assert listeners(port) == []


def test_a_program_runs_on_its_core() -> None:
    """Where there is more than one."""
    core = min(os.sched_getaffinity(0))
    argv = pinned([sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"], core)
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"[{core}]"
