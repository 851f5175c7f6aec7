"""Programs that run for as long as we do: started, waited for, started again when they fall, ended in order.

The kernel ends each of them when this process dies in whatever way (`setpriv --pdeathsig`).
"""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# Where Debian keeps what is not for everybody's PATH.
EXTRA_PATH: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
READY_WITHIN_S: Final = 60.0
LOOK_S: Final = 0.05
LAST_LINES: Final = 10


class ClusterError(Exception):
    """Why the cluster cannot run; the text is for the person at the terminal."""


@dataclass(frozen=True)
class Recipe:
    """How one program is run. It is ready when it has logged `ready`, or, without one, when `port` answers."""

    name: str
    argv: tuple[str, ...]
    port: int
    ready: str = ""
    ends_on: signal.Signals = signal.SIGTERM
    # Of an account of its own, where the program refuses to be root.
    account: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class Program:
    """A recipe being run; everything that it prints is in `log`."""

    def __init__(self, recipe: Recipe, logs: Path) -> None:
        self.recipe = recipe
        self.log = logs / f"{recipe.name}.log"
        self.starts = 0
        self.started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    @property
    def pid(self) -> int:
        """The process id, for whoever wants to kill it."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def ended(self) -> str:
        """How it ended; empty while it runs, or when it never ran."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return ""
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def start(self) -> None:
        """Start it; returns before it is ready."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                (*_before(self.recipe), *self.recipe.argv),
                env=dict(self.recipe.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who end them in order
            )
        self.starts += 1
        self.started_at = time.monotonic()

    def wait_ready(self, stop: threading.Event) -> None:
        """Wait until it is ready, or `stop`; raise `ClusterError` with its last words when it ends instead."""
        until = time.monotonic() + READY_WITHIN_S
        while not self._is_ready() and not stop.wait(LOOK_S):
            if self.ended:
                raise ClusterError(f"{self.recipe.name} ended with {self.ended}:\n{self.last_words()}")
            if time.monotonic() > until:
                raise ClusterError(f"{self.recipe.name} is not ready after {READY_WITHIN_S:g} s:\n{self.last_words()}")

    def ask_to_end(self) -> None:
        """Tell it to end, also when somebody has frozen it."""
        if self._process is not None and not self.ended:
            self._process.send_signal(self.recipe.ends_on)
            self._process.send_signal(signal.SIGCONT)

    def wait_ended(self, within_s: float) -> None:
        """Wait until it has ended, and kill it when that takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """Return the last lines of its present life."""
        return "\n".join(self._said().splitlines()[-LAST_LINES:])

    def _said(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode("utf-8", "replace")

    def _is_ready(self) -> bool:
        if self.recipe.ready:
            return self.recipe.ready in self._said()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.recipe.port)) == 0


def _before(recipe: Recipe) -> tuple[str, ...]:
    ends_with_us = (find_program("setpriv"), f"--pdeathsig={recipe.ends_on.name.removeprefix('SIG')}")
    if not recipe.account:
        return ends_with_us
    return (*ends_with_us, f"--reuid={recipe.account}", f"--regid={recipe.account}", "--clear-groups", "env", "-C", "/")


def find_program(name: str) -> str:
    """Return the path of an installed program."""
    postgresql = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *EXTRA_PATH, *postgresql)))
    if found is None:
        raise ClusterError(f"{name} is not installed; `make cluster` installs what it needs")
    return found


def free_port(wanted: int = 0) -> int:
    """Return `wanted` when nothing listens there, else a loopback port that is free now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
        port: int = probe.getsockname()[1]
        return port
