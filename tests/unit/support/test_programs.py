"""The process helper keeps its word, because every test of a real server stands on it."""

import os
import select
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count

import pytest

from tests.support import programs
from tests.support.programs import END_WITHIN_S, ProgramError, find_program, free_port, running

SAYS_READY = "import signal; print('ready', flush=True); signal.pause()"
ENDS_EARLY = "print('no such setting'); raise SystemExit(2)"
IS_GRACEFUL = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye')))
print('ready', flush=True)
signal.pause()
"""

RUNS_ANOTHER = f"""
import os, signal, sys
from tests.support.programs import running
with running([sys.executable, "-c", {SAYS_READY!r}], ready="ready", environment=os.environ) as program:
    program.process.send_signal(signal.SIGSTOP)
    print("it runs:", program.pid, flush=True)
    signal.pause()
"""


def python(code: str) -> list[str]:
    """Return the command line that runs `code`."""
    return [sys.executable, "-c", code]


def test_waits_for_the_ready_line_and_stops_the_program() -> None:
    """After the block nothing of the program is left."""
    with running(python(IS_GRACEFUL), ready="ready", environment=os.environ) as program:
        assert program.process.poll() is None
    assert program.process.returncode == 0
    assert program.output() == "ready\nbye"


def test_a_program_that_ends_early_fails_with_what_it_printed() -> None:
    """The reason is in the failure, not in a timeout."""
    with (
        pytest.raises(ProgramError, match=r"(?s)ended with 2.*no such setting"),
        running(python(ENDS_EARLY), ready="ready", environment=os.environ),
    ):
        pytest.fail("it was never ready")


def test_a_frozen_program_is_ended_too() -> None:
    """A test that stops a node and fails must not leave it behind."""
    with running(python(SAYS_READY), ready="ready", environment=os.environ) as program:
        program.process.send_signal(signal.SIGSTOP)
        assert program.stop() == -signal.SIGTERM


def test_a_failing_block_kills_the_program() -> None:
    """Whatever the block raises comes out, and the program is gone."""
    with (
        pytest.raises(ZeroDivisionError),
        running(python(SAYS_READY), ready="ready", environment=os.environ) as program,
    ):
        raise ZeroDivisionError
    assert program.process.returncode == -signal.SIGKILL


def test_nothing_outlives_a_run_that_is_killed() -> None:
    """Not even what the run had frozen, which no signal but this one ends."""
    with running(python(RUNS_ANOTHER), ready="it runs", environment=os.environ) as run:
        other = os.pidfd_open(int(run.output().split()[-1]))
        try:
            os.kill(run.pid, signal.SIGKILL)
            assert select.select([other], [], [], END_WITHIN_S)[0], "it still runs"
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(other, signal.SIGKILL)
            os.close(other)
        assert run.wait_ended() == -signal.SIGKILL


def test_a_program_outlives_the_thread_that_asked_for_it() -> None:
    """Threads of a loop end with it; what a test started in one is the test's."""
    with ExitStack() as stack:
        program_of = running(python(IS_GRACEFUL), ready="ready", environment=os.environ)
        with ThreadPoolExecutor(1) as thread:
            program = thread.submit(stack.enter_context, program_of).result()
        assert program.stop() == 0


def test_find_program_says_what_to_do() -> None:
    """A missing program names the command that installs it."""
    assert subprocess.run([find_program("no-such-shell", "sh"), "-c", ":"], check=True).returncode == 0
    with pytest.raises(ProgramError, match="make setup"):
        find_program("no-such-program")


def test_free_ports_differ() -> None:
    """Two servers started together do not meet."""
    assert len({free_port() for _ in range(20)}) == 20


def test_no_port_that_somebody_listens_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of somebody else keeps its port."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            free = gone.getsockname()[1]
        monkeypatch.setattr(programs, "PORTS", (theirs.getsockname()[1], free))
        monkeypatch.setattr(programs, "_ports_tried", count())
        assert free_port() == free


def test_no_port_that_another_run_was_given() -> None:
    """Test runs beside each other do not meet either, also before their servers listen."""
    port = free_port()
    from_there = (
        "from itertools import count; from tests.support import programs as p; "
        f"p._ports_tried = count(p.PORTS.index({port})); print(p.free_port())"
    )
    ran = subprocess.run(python(from_there), cwd=programs.ROOT, capture_output=True, text=True, check=True)
    assert int(ran.stdout) != port
