"""The life of a node: start, serve, end gracefully. The only place that starts tasks.

The end, after SIGTERM or SIGINT: accept nothing new, tell every client to go (spread, so that the other nodes are not
stormed), close those that stay, finish what the journal has accepted, close the store. A second signal ends at once.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from msgspec import Struct

from protocol.close_codes import CloseCode
from server.node import Node, make_node
from server.ports import Clock
from server.settings import Settings
from server.telemetry import event

_log = logging.getLogger(__name__)

SETTLE_S: Final = 0.25
# How often presence and typing are settled, and how often the end looks whether everybody has left.
RECONNECTS_PER_S: Final = 200
# Clients that are sent away per second, at most; fewer when the drain time allows.
STAY_S: Final = 3.0
# From the moment when the last client should have gone to closing those that stay: they connect elsewhere first.
CLOSING_S: Final = 3.0
LOOK_S: Final = 0.02


class AddressUnusable(Exception):
    """A node cannot listen where it should; the text is one line that tells the operator which address and why."""

    @classmethod
    def because(cls, error: Exception, **settings: str | int) -> "AddressUnusable":
        """Name the settings of the address with their values, and what the system said."""
        where = ", ".join(
            f"{name} {value[:60]!r}" if isinstance(value, str) else f"{name} {value}"
            for name, value in settings.items()
        )
        return cls(f"cannot listen on {where}: {(isinstance(error, OSError) and error.strerror) or error}")


class Supervision(Struct, frozen=True):
    """In what a worker differs from a node that runs alone, for which these defaults are."""

    signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)
    # Other workers listen on the same port.
    shares_port: bool = False
    # Called several times a second while the loop turns.
    pulse: Callable[[], None] = lambda: None


ALONE: Final = Supervision()


async def serve(
    settings: Settings, clock: Clock, announce: Callable[[str], None], supervision: Supervision = ALONE
) -> None:
    """Run a node until a signal ends it; `announce` is told the address when it is ready."""
    node = await make_node(settings, clock)
    stop = _on_signals(supervision.signals)
    try:
        address = await _start(node, settings, shares_port=supervision.shares_port)
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(_run(each)) for each in node.work]
            work.append(tasks.create_task(_settle(node, clock, supervision.pulse)))
            announce(address)
            await stop.wait()
            _log.info("stopping", extra=event(connections=len(node.listener.connections)))
            await _drain(node, settings.drain_s)
            for task in work:
                task.cancel()
    finally:
        node.listener.stop()
        if node.private is not None:
            node.private.stop()
        node.wheel.stop()
        await node.relays.close()
        await node.backends.close()
    _log.info("stopped")


async def _start(node: Node, settings: Settings, *, shares_port: bool) -> str:
    loop = asyncio.get_running_loop()
    node.wheel.start(loop)
    node.relays.start(node.exchange)
    try:
        await node.listener.start(settings.host, settings.port, reuse_port=shares_port)
    except (OSError, UnicodeError) as error:  # a name that no resolver takes is a UnicodeError
        raise AddressUnusable.because(error, HOST=settings.host, PORT=settings.port) from None
    if node.private is not None:
        try:
            await node.private.start(settings.metrics_host, settings.metrics_port)
        except (OSError, UnicodeError) as error:
            host, port = settings.metrics_host, settings.metrics_port
            raise AddressUnusable.because(error, METRICS_HOST=host, METRICS_PORT=port) from None
    # What was made so far stays: the collector need not look at it again, and every connection adds little garbage.
    gc.collect()
    gc.freeze()
    host, port = node.listener.address
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    await work()


async def _settle(node: Node, clock: Clock, pulse: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(SETTLE_S)
        pulse()
        node.router.settle(clock.now())


def _on_signals(numbers: Sequence[signal.Signals]) -> asyncio.Event:
    """Return the event that the first signal sets; the second finds the default handlers again."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stopped() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, stopped)
    return stop


async def _drain(node: Node, drain_s: float) -> None:
    node.health.is_draining = True
    node.listener.stop_accepting()
    spread_s = min(drain_s / 2, len(node.hub) / RECONNECTS_PER_S)
    node.router.leave(round(spread_s * 1000))
    await _until_gone(node, min(drain_s, spread_s + STAY_S))
    for connection in tuple(node.listener.connections):
        connection.close(CloseCode.GOING_AWAY, "this node is being stopped")
    for http in tuple(node.http.connections):
        http.shutdown()
    await _until_gone(node, CLOSING_S)
    await node.journal.drain()


async def _until_gone(node: Node, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            while node.listener.connections:  # noqa: ASYNC110 - a moment's look at the end is not worth an event
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        return
