"""Start a program for a test, wait until it says that it is ready, and leave nothing of it behind.

A run that is ended by a signal leaves nothing either: the kernel kills what it started (prctl(2), PR_SET_PDEATHSIG).
A program that ends before it is ready, or that is not ready in time, fails the test with what it printed. No polling:
a thread reads the output, so that a full pipe can never stop the program either.
"""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
# Where Debian keeps what is not for everybody's PATH.
EXTRA_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/postgresql/15/bin")
READY_WITHIN_S = 90.0
END_WITHIN_S = 60.0
# Not from 32768 on: the kernel gives those to connections, also between `free_port` and the start of a server.
PORTS = range(15_000, 32_000)
# Runs at the same time begin far from each other.
_ports_tried = count(os.getpid() * 101)
# "This process" is to Linux the thread that started a program, and threads of a loop end with it; this one stays.
_starter = ThreadPoolExecutor(1, "starts programs")


class ProgramError(Exception):
    """A program is missing, ended early or did not do in time what it was asked for."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a loopback port that nothing listens on and that no other call returns, of this test run or of another.

    It stays so until this process ends, also while its server is down.
    """
    for number in _ports_tried:
        port = PORTS[number % len(PORTS)]
        if _is_free(port, kind) and _is_reserved(port):
            return port
    raise AssertionError("counting ended")


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_reserved(port: int) -> bool:
    """Take the port for this process, by a name that only one can have and that Linux frees when its owner ends."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as name:
        try:
            name.bind(f"\0duologue-tests-port-{port}")
        except OSError:
            return False
        name.detach()  # held from here to the end of the process
    return True


def find_program(*names: str) -> str:
    """Return the path of the first of `names` that is installed; `make setup` installs what the tests need."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *EXTRA_PATH))
    for name in names:
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    raise ProgramError(f"{names[0]} is not installed; `make setup` installs what the tests need")


@dataclass(slots=True)
class Program:
    """A started program and all that it printed so far (standard output and error in one)."""

    process: subprocess.Popen[bytes]
    ready: str
    _lines: list[str] = field(default_factory=list)
    _is_ready_or_ended: threading.Event = field(default_factory=threading.Event)
    _reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The process id, for signals and for reading /proc."""
        return self.process.pid

    def output(self) -> str:
        """Return what the program printed so far."""
        return "\n".join(self._lines)

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Wait for the line that contains `ready`."""
        self._reader = threading.Thread(target=self._read, name=f"output of {self.pid}", daemon=True)
        self._reader.start()
        if not self._is_ready_or_ended.wait(within_s):
            raise ProgramError(f"not ready within {within_s} s; it printed:\n{self.output()}")
        if not any(self.ready in line for line in self._lines):
            raise ProgramError(f"ended with {self.process.wait()} before it was ready; it printed:\n{self.output()}")

    def wait_ended(self, within_s: float = END_WITHIN_S) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        try:
            exit_code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"still running after {within_s} s; it printed:\n{self.output()}") from None
        if self._reader is not None:
            self._reader.join(within_s)
        return exit_code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the program to end, also when a test has frozen it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
        return self.wait_ended()

    def kill(self) -> None:
        """End the program and all its children at once, as a power cut would; nothing is flushed."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.wait_ended()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line.decode(errors="replace").rstrip("\n"))
            if self.ready in self._lines[-1]:
                self._is_ready_or_ended.set()
        self._is_ready_or_ended.set()


def start(argv: Sequence[str], *, environment: Mapping[str, str], output: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start `argv` from the root of the checkout; the kernel kills it, frozen or not, when this process ends in whatever way."""

    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            (find_program("setpriv"), "--pdeathsig=KILL", *argv),
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for pytest, which then ends this in order
        )

    return _starter.submit(popen).result()


@contextmanager
def running(argv: Sequence[str], *, ready: str, environment: Mapping[str, str]) -> Iterator[Program]:
    """Run `argv` from the root of the checkout until the block ends; ready when it prints a line with `ready`."""
    process = start(argv, environment=environment, output=subprocess.PIPE)
    program = Program(process, ready)
    try:
        program.wait_ready()
        yield program
        program.stop()
    finally:
        program.kill()
        assert process.stdout is not None
        process.stdout.close()
