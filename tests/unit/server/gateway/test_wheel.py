"""Deadlines by the wheel: never early, at most a slot late, and what happens around a stall."""

import logging
from dataclasses import dataclass, field

import pytest

from server.gateway.wheel import Slot, TimerWheel
from tests.support.sockets import MemoryLoop


@dataclass(eq=False)
class Target:
    """Remembers when it expired; may do something then."""

    loop: MemoryLoop
    times: list[float] = field(default_factory=list)
    disarms: "tuple[Slot, Target] | None" = None
    is_faulty: bool = False

    def expired(self, now: float) -> None:
        """Remember."""
        self.times.append(now)
        if self.disarms is not None:
            self.disarms[0].disarm(self.disarms[1])
        if self.is_faulty:
            raise RuntimeError("planted")


@pytest.fixture
def loop() -> MemoryLoop:
    """A clock that the test moves."""
    return MemoryLoop(now=1_000.1)


@pytest.fixture
def wheel(loop: MemoryLoop) -> TimerWheel:
    """A wheel that the loop turns."""
    wheel = TimerWheel(loop.time)
    wheel.start(loop)
    return wheel


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.25, 1.0, 9.99, 3_600.0])
def test_a_deadline_expires_once_not_early_and_at_most_a_slot_late(
    loop: MemoryLoop, wheel: TimerWheel, after_s: float
) -> None:
    """Coarse is late, never early."""
    target, deadline = Target(loop), loop.now + after_s
    wheel.arm(deadline, target)
    loop.pass_time(after_s + 1.0)
    assert len(target.times) == 1
    assert deadline <= target.times[0] <= deadline + wheel.slot_s + 0.002
    assert len(wheel) == 0


def test_a_deadline_in_the_past_expires_at_the_next_turn(loop: MemoryLoop, wheel: TimerWheel) -> None:
    """And not inside `arm`."""
    target = Target(loop)
    wheel.arm(loop.now - 100, target)
    assert target.times == []
    loop.pass_time(wheel.slot_s)
    assert len(target.times) == 1


def test_a_disarmed_target_does_not_expire(loop: MemoryLoop, wheel: TimerWheel) -> None:
    """Disarming twice is harmless."""
    target = Target(loop)
    slot = wheel.arm(loop.now + 1, target)
    slot.disarm(target)
    slot.disarm(target)
    loop.pass_time(3)
    assert target.times == []


def test_a_target_may_disarm_another_of_the_same_slot(loop: MemoryLoop, wheel: TimerWheel) -> None:
    """What was disarmed a moment ago stays disarmed."""
    victim = Target(loop)
    first = Target(loop)
    deadline = loop.now + 1
    wheel.arm(deadline, first)
    first.disarms = (wheel.arm(deadline, victim), victim)
    loop.pass_time(3)
    assert (len(first.times), victim.times) == (1, [])


def test_the_fault_of_one_target_stops_no_other(
    loop: MemoryLoop, wheel: TimerWheel, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, with its traceback."""
    faulty, good = Target(loop, is_faulty=True), Target(loop)
    for target in (faulty, good):
        wheel.arm(loop.now + 1, target)
    with caplog.at_level(logging.ERROR):
        loop.pass_time(3)
    assert len(good.times) == 1
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_stalled_loop_reads_its_sockets_before_it_judges(loop: MemoryLoop, wheel: TimerWheel) -> None:
    """After 12 s of standstill the first turn only tells the time; the deadlines come with the next."""
    target = Target(loop)
    wheel.arm(loop.now + 5, target)
    loop.freeze(12)
    loop.pass_time(0)
    assert target.times == []
    assert wheel.time == loop.now
    loop.pass_time(2 * wheel.slot_s)
    assert len(target.times) == 1


def test_time_is_that_of_the_last_turn(loop: MemoryLoop, wheel: TimerWheel) -> None:
    """`now` is exact."""
    loop.pass_time(10)
    assert loop.now - wheel.slot_s <= wheel.time <= loop.now
    assert wheel.now() == loop.now


def test_a_far_jump_costs_what_is_armed_and_not_what_was_slept(loop: MemoryLoop, wheel: TimerWheel) -> None:
    """A laptop that slept for a year wakes up."""
    early, late = Target(loop), Target(loop)
    wheel.arm(loop.now + 10, late)
    wheel.arm(loop.now + 5, early)
    wheel.advance(loop.now + 365 * 86_400)
    assert (len(early.times), len(late.times)) == (1, 1)


def test_a_stopped_wheel_does_not_turn(loop: MemoryLoop, wheel: TimerWheel) -> None:
    """Stopping twice is harmless."""
    target = Target(loop)
    wheel.arm(loop.now + 1, target)
    wheel.stop()
    wheel.stop()
    loop.pass_time(5)
    assert target.times == []
