"""What stands before a dependency tells what came of asking it."""

import asyncio
import logging

import pytest

from server.adapters.guard import Guard
from server.core.breaker import BreakerPolicy, BreakerState
from server.ports import StoreUnavailable
from tests.support.clock import FakeClock


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
