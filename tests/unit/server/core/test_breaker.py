"""When nothing is asked of what does not answer, and when it is tried again."""

from server.core.breaker import Breaker, BreakerPolicy, BreakerState

POLICY = BreakerPolicy(failures=3, pause_s=1.0, pause_max_s=4.0)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(POLICY.failures):
        assert breaker.allows(at)
        breaker.failed(at)
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(POLICY)
    for _ in range(10):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.succeeded()
    assert (breaker.state, breaker.opened, breaker.allows(0.0)) == (BreakerState.CLOSED, 0, True)


def test_open_nothing_goes_until_the_pause_is_over_and_then_one_call() -> None:
    breaker = opened()
    assert (breaker.state, breaker.opened) == (BreakerState.OPEN, 1)
    assert [breaker.allows(at) for at in (0.0, 0.9, 1.0, 1.1)] == [False, False, True, False]
    assert breaker.state is BreakerState.TRYING


def test_one_answer_closes_it() -> None:
    breaker = opened()
    assert breaker.allows(1.0)
    breaker.succeeded()
    assert (breaker.state, breaker.allows(1.0), breaker.allows(1.0)) == (BreakerState.CLOSED, True, True)


def test_each_try_that_fails_makes_the_pause_longer_up_to_a_bound() -> None:
    breaker, at = opened(), 1.0
    for pause_s in (2.0, 4.0, 4.0):
        assert breaker.allows(at)
        breaker.failed(at)
        assert not breaker.allows(at + pause_s - 0.1)
        at += pause_s
    assert breaker.opened == 1
    assert breaker.allows(at)
    breaker.succeeded()
    for _ in range(POLICY.failures):
        breaker.failed(at)
    assert (breaker.opened, breaker.allows(at + 1.0)) == (2, True)


def test_what_was_under_way_when_it_opened_changes_nothing() -> None:
    breaker = opened()
    breaker.failed(0.9)
    assert breaker.allows(1.0)


def test_a_try_that_tells_nothing_makes_room_for_another() -> None:
    """At once when it says so, else after a while."""
    breaker = opened()
    assert breaker.allows(1.0)
    breaker.gave_up()
    assert breaker.allows(1.0)
    assert not breaker.allows(4.9)
    assert breaker.allows(5.0)


def test_it_can_be_opened_without_failures_once() -> None:
    breaker = Breaker(POLICY)
    breaker.trip(0.0)
    breaker.trip(0.5)
    assert (breaker.opened, breaker.refuses(0.9), breaker.refuses(1.0)) == (1, True, False)


def test_asking_whether_a_call_may_go_takes_no_turn() -> None:
    breaker = opened()
    assert not breaker.refuses(1.0)
    assert breaker.allows(1.0)
    assert breaker.refuses(1.0)


def test_callers_are_told_when_to_come_back() -> None:
    breaker = opened()
    assert breaker.retry_after_ms(0.0) == 1000
    assert breaker.retry_after_ms(0.9) == 1000
    assert breaker.allows(1.0)
    breaker.failed(1.0)
    assert breaker.retry_after_ms(1.0) == 2000
