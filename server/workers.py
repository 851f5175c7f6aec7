"""`--workers N`: N nodes on one port, each a process with its own loop, lease and connections, and the parent that keeps them.

Guarantees: the kernel shares connections out (SO_REUSEPORT); the first worker is ready before the others start, so that what
cannot work is told once and ends the start. From then on a worker that ends unasked, or whose loop stands still, is
replaced, later each time while it keeps falling. SIGTERM and SIGINT end all of them gracefully; when the parent dies in
whatever way, the kernel tells the workers to end gracefully, too.

The parent runs no loop and opens nothing, so that a worker forked from it at any time starts from a clean state.
"""

import ctypes
import gc
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import uvloop
from msgspec import structs

from server.app import AddressUnusable, Supervision, serve
from server.ports import Clock
from server.settings import Settings
from server.telemetry import event

_log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
HUNG_S: Final = 30.0
# Without a sign of life; workers give several a second.
STOOD_STILL_S: Final = 5.0
# Between two looks: the parent was stopped itself (a frozen container, say), so silence says nothing about the workers.
BACK_OFF_S: Final = 0.5
BACK_OFF_MAX_S: Final = 30.0
CALM_S: Final = 60.0
# A worker that served for so long begins again with the shortest back-off.
END_SLACK_S: Final = 10.0
# Beyond the drain time: closing, and committing what was accepted.
AT_ONCE_S: Final = 2.0
NEVER: Final = float("inf")
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


def supervise(settings: Settings, clock: Clock, announce: Callable[[str], None]) -> int:
    """Run `settings.workers` nodes until a signal ends them; `announce` is told the address when all are ready.

    Return the exit code: 0, that of a worker that could not start, 1 when one did not end well, 128 and the signal's
    number when a second signal ended them at once. It returns in every worker, too.
    """
    try:
        return _Parent(settings, clock, announce).run()
    except _Forked as forked:
        worker, parent, pipe, settings = forked.index, forked.parent, forked.pipe, forked.settings
    _end_with(parent)
    return _work(_settings_of(worker, settings), clock, pipe)


class _Forked(BaseException):
    """Raised in a new worker, out of the parent's life; no `finally` on the way belongs to it."""

    def __init__(self, index: int, parent: int, pipe: int, settings: Settings) -> None:
        super().__init__(index)
        self.index, self.parent, self.pipe, self.settings = index, parent, pipe, settings


def _end_with(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before that
        sys.exit(1)


def _settings_of(worker: int, settings: Settings) -> Settings:
    port = settings.metrics_port
    return structs.replace(
        settings, node_name=f"{settings.node_name}-{worker}", metrics_port=port + worker if port else 0
    )


def _work(settings: Settings, clock: Clock, pipe: int) -> int:
    def give_sign() -> None:
        # A parent that reads nothing or is gone must not stop us: the kernel tells when it is.
        with suppress(OSError):
            os.write(pipe, b".")

    supervision = Supervision(signals=(signal.SIGTERM,), shares_port=True, pulse=give_sign)
    uvloop.run(serve(settings, clock, lambda _: give_sign(), supervision))
    return 0


class _Worker:
    """What the parent knows of one place among its workers; `pid` is 0 while nobody has it."""

    __slots__ = ("falls", "heard_at", "index", "is_ready", "pid", "pipe", "start_at", "started_at")

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid = 0
        self.pipe = -1
        self.is_ready = False
        self.falls = 0
        self.start_at = NEVER
        self.started_at = self.heard_at = 0.0

    def fell(self, now: float) -> float:
        """Count an end that nobody asked for; return after how many seconds to start again."""
        self.falls = 1 if now - self.started_at >= CALM_S else self.falls + 1
        pause_s = min(BACK_OFF_MAX_S, BACK_OFF_S * 2.0 ** (self.falls - 1))
        self.start_at = now + pause_s
        return pause_s


class _Parent:
    """Starts, watches, replaces and ends the workers."""

    def __init__(self, settings: Settings, clock: Clock, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._now = clock.now
        self._announce = announce
        self._workers = [_Worker(index) for index in range(settings.workers)]
        self._is_announced = False
        # What to return when nobody is left; None while nobody was told to end.
        self._exit: int | None = None
        self._patience_ends = NEVER
        self._looked_at = self._now()
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()

    def run(self) -> int:
        """Return the exit code when the last worker has gone."""
        # Bound but not listening it takes no connection; it only holds the number that PORT=0 was given.
        kept = _reserve(self._settings)
        host, port = kept.getsockname()[:2]
        self._settings = structs.replace(self._settings, host=host, port=port)
        self._hear_signals()
        gc.collect()
        gc.freeze()
        self._workers[0].start_at = self._now()
        while self._exit is None or self._living():
            self._start_due()
            for number in self._look():
                self._signalled(number)
            self._reap()
            self._kill_silent()
        kept.close()
        return self._exit

    # ---- what it hears

    def _hear_signals(self) -> None:
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        # The number of each signal arrives at `wake`, which ends the wait; the handlers have nothing to do.
        for number in (*_STOPS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno())

    def _look(self) -> Iterator[int]:
        """Wait a moment for signals and signs of life; give the signals."""
        ready = self._selector.select(LOOK_S)
        now = self._now()
        if now - self._looked_at > STOOD_STILL_S:
            for worker in self._workers:
                worker.heard_at = now
        self._looked_at = now
        for key, _ in ready:
            worker = key.data
            if worker is None:
                yield from self._wake.recv(4096)
            else:
                self._hear(worker, now)

    def _hear(self, worker: _Worker, now: float) -> None:
        if not os.read(worker.pipe, 65_536):
            self._forget_pipe(worker)  # its end is told by SIGCHLD
            return
        worker.heard_at = now
        if worker.is_ready:
            return
        worker.is_ready = True
        _log.info("worker.ready", extra=event(worker=worker.index, pid=worker.pid))
        if not self._is_announced and self._exit is None:
            self._next_is_ready(now)

    def _next_is_ready(self, now: float) -> None:
        if all(worker.is_ready for worker in self._workers):
            self._is_announced = True
            host, port = self._settings.host, self._settings.port
            self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        elif sum(worker.is_ready for worker in self._workers) == 1:
            for worker in self._workers[1:]:
                worker.start_at = now

    def _signalled(self, number: int) -> None:
        if number not in _STOPS:
            return
        if self._exit is None:
            _log.info("stopping", extra=event(workers=len(self._living())))
            self._end_all(0, self._settings.drain_s + END_SLACK_S)
        else:
            # The second one ends a worker at once, as it does with a node alone.
            self._end_all(128 + number, AT_ONCE_S)

    def _end_all(self, code: int, within_s: float) -> None:
        self._exit = code
        self._patience_ends = self._now() + within_s
        for worker in self._living():
            os.kill(worker.pid, signal.SIGTERM)

    # ---- the workers' lives

    def _living(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.pid]

    def _start_due(self) -> None:
        now = self._now()
        for worker in self._workers:
            if self._exit is None and not worker.pid and worker.start_at <= now:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        parent, (theirs, ours) = os.getpid(), os.pipe()[::-1]
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            self._leave_to_worker()
            os.set_blocking(theirs, False)
            raise _Forked(worker.index, parent, theirs, self._settings)
        os.close(theirs)
        worker.pid, worker.pipe, worker.is_ready = pid, ours, False
        worker.start_at, worker.started_at, worker.heard_at = NEVER, self._now(), self._now()
        self._selector.register(ours, selectors.EVENT_READ, worker)
        _log.info("worker.started", extra=event(worker=worker.index, pid=pid))

    def _leave_to_worker(self) -> None:
        """In the worker: let go of what only the parent needs."""
        signal.set_wakeup_fd(-1)
        # Ctrl-C reaches all processes of the terminal: the parent alone answers it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self._wake.close()
        self._waker.close()
        for other in self._workers:
            if other.pipe >= 0:
                os.close(other.pipe)

    def _reap(self) -> None:
        for worker in self._living():
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: _Worker, code: int) -> None:
        pid, was_ready = worker.pid, worker.is_ready
        worker.pid, worker.is_ready = 0, False
        self._forget_pipe(worker)
        told: dict[str, object] = {"worker": worker.index, "pid": pid, "ended": _how(code)}
        if self._exit is not None:
            if code and (was_ready or code != -signal.SIGTERM) and self._exit == 0:
                _log.error("worker.ended", extra=event(**told))
                self._exit = 1
        elif self._is_announced:
            _log.warning("worker.ended", extra=event(**told, again_in_s=worker.fell(self._now())))
        else:
            # What is wrong it has told itself, and it is so for the others.
            _log.debug("worker.not_started", extra=event(**told))
            self._end_all(code if code > 0 else 1, END_SLACK_S)

    def _forget_pipe(self, worker: _Worker) -> None:
        if worker.pipe >= 0:
            self._selector.unregister(worker.pipe)
            os.close(worker.pipe)
            worker.pipe = -1

    def _kill_silent(self) -> None:
        """End those whose loop stands still, which the kernel would go on giving connections, and those that do not end."""
        now = self._now()
        for worker in self._living():
            if now > self._patience_ends:
                _log.error("worker.stays", extra=event(worker=worker.index, pid=worker.pid))
            elif worker.is_ready and now - worker.heard_at > HUNG_S:
                _log.error("worker.hung", extra=event(worker=worker.index, pid=worker.pid, silent_s=HUNG_S))
            else:
                continue
            os.kill(worker.pid, signal.SIGKILL)


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _reserve(settings: Settings) -> socket.socket:
    """Bind the address for this deployment; raise `AddressUnusable` when another one has it.

    Two that share ports by SO_REUSEPORT would get each other's clients without a word, so it is tried alone first.
    """
    try:
        infos = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, number, _, address = infos[0]
        with socket.socket(family, kind, number) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            address = alone.getsockname()
        kept = socket.socket(family, kind, number)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except (OSError, UnicodeError) as error:
        raise AddressUnusable.because(error, HOST=settings.host, PORT=settings.port) from None
    return kept
