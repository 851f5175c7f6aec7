"""Time and chance as the machine has them."""

import time

from server.adapters.clock import SystemClock


def test_time_goes_on() -> None:
    clock = SystemClock()
    assert clock.now() <= clock.now()
    assert abs(clock.micros() - time.time() * 1_000_000) < 60_000_000


def test_chance_is_not_repeated() -> None:
    clock = SystemClock()
    ids = {clock.random_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 22 and each.replace("-", "").replace("_", "").isalnum() for each in ids)
    assert len({clock.random_bytes(32) for _ in range(10)}) == 10
    assert all(0 <= clock.jitter(3.0) <= 3.0 for _ in range(100))
