"""What stands before a dependency tells what came of asking it."""

import asyncio
import logging

import pytest

from server.adapters.guard import PATIENCE_S, Guard
from server.core.breaker import BreakerPolicy, BreakerState
from server.ports import StoreUnavailable
from tests.support.clock import FakeClock


async def test_calls_that_only_wait_are_evidence_enough() -> None:
    """Unless another one that began later was answered."""
    clock = FakeClock()
    guard = Guard("store", clock.now)
    waiting = guard.began()
    clock.advance(PATIENCE_S / 2)
    guard.succeeded()
    clock.advance(PATIENCE_S)
    assert (guard.retry_after_ms(), guard.opened) == (0, 0)
    guard.ended(waiting)
    waiting = guard.began()
    clock.advance(PATIENCE_S)
    assert (guard.retry_after_ms(), guard.opened) == (500, 1)
    with pytest.raises(StoreUnavailable):
        guard.check()
    clock.advance(1)
    guard.check()
    guard.ended(waiting)
    guard.succeeded()
    assert (guard.retry_after_ms(), guard.state) == (0, BreakerState.CLOSED)


async def test_it_opens_and_closes_by_what_came_of_the_calls(caplog: pytest.LogCaptureFixture) -> None:
    """Each is logged once; callers are told when to ask again."""
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    guard = Guard("store", clock.now, BreakerPolicy(failures=2, pause_s=1.0))
    for _ in range(2):
        guard.check()
        with pytest.raises(OSError, match="gone"), guard.asking(OSError):
            raise OSError("gone")
    assert (guard.state, guard.opened, guard.allows()) == (BreakerState.OPEN, 1, False)
    with pytest.raises(StoreUnavailable, match="store does not answer") as refused:
        guard.check()
    assert refused.value.retry_after_ms == 1000
    assert not refused.value.maybe_stored
    clock.advance(1)
    guard.check()
    with pytest.raises(asyncio.CancelledError), guard.asking(OSError):
        raise asyncio.CancelledError
    guard.check()
    with guard.asking(OSError):
        pass
    assert guard.state is BreakerState.CLOSED
    assert [record.message for record in caplog.records] == ["breaker.opened", "breaker.closed"]
