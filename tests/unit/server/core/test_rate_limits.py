"""Token buckets against a model that is too simple to be wrong."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import UserId
from server.core.rate_limits import RatePolicy, TokenBucket, UserBuckets

MESSAGES = RatePolicy(rate_per_s=5, burst=20)


def takes(bucket: TokenBucket, now: float, count: int) -> int:
    return sum(bucket.take(now) for _ in range(count))


@pytest.mark.parametrize("start", [0.0, 1_795_000_000.123])
def test_a_burst_passes_then_the_rate(start: float) -> None:
    bucket = TokenBucket(MESSAGES, start)
    assert takes(bucket, start, 30) == 20
    assert bucket.retry_after_ms(start) == 200
    assert takes(bucket, start + 0.1, 5) == 0
    assert takes(bucket, start + 0.2, 5) == 1
    assert takes(bucket, start + 2.2, 50) == 10
    assert takes(bucket, start + 3600, 50) == 20


def test_a_policy_says_what_it_allows() -> None:
    assert repr(MESSAGES) == "RatePolicy(rate_per_s=5, burst=20)"


def test_nothing_is_asked_to_wait_while_there_is_room() -> None:
    assert TokenBucket(MESSAGES, 0.0).retry_after_ms(0.0) == 0


def test_a_dear_request_takes_more() -> None:
    bucket = TokenBucket(MESSAGES, 0.0)
    assert bucket.take(0.0, cost=15)
    assert not bucket.take(0.0, cost=10)
    assert bucket.retry_after_ms(0.0, cost=10) == 1000
    assert bucket.take(0.0, cost=5)


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    bucket = TokenBucket(MESSAGES, 100.0)
    assert takes(bucket, 100.0, 20) == 20
    assert not bucket.take(0.0)
    assert not bucket.take(100.0)
    assert bucket.take(100.2)


# Times in sixteenths of a second are exact in floats, so the model may count in fractions.
steps = st.lists(st.tuples(st.integers(0, 64), st.sampled_from([1, 2, 5])), max_size=80)
policies = st.builds(RatePolicy, st.sampled_from([0.5, 1.0, 4.0, 5.0, 200.0]), st.sampled_from([1.0, 5.0, 20.0, 400.0]))


@given(policies, steps, st.sampled_from([0, 2**31]))
def test_it_takes_what_the_model_takes(policy: RatePolicy, steps: list[tuple[int, int]], start: int) -> None:
    bucket = TokenBucket(policy, start)
    now, level = Fraction(start), Fraction(policy.burst)
    for sixteenths, cost in steps:
        now += Fraction(sixteenths, 16)
        level = min(Fraction(policy.burst), level + Fraction(sixteenths, 16) * Fraction(policy.rate_per_s))
        assert bucket.take(float(now), cost) == (level >= cost)
        level -= cost if level >= cost else 0


@given(policies, st.lists(st.floats(0, 10), max_size=50), st.floats(0, 2e9))
def test_after_the_time_told_it_passes_and_one_tick_before_it_does_not(
    policy: RatePolicy, gaps: list[float], start: float
) -> None:
    bucket, now = TokenBucket(policy, start), start
    for gap in gaps:
        now += gap
        while bucket.take(now):
            pass
        wait_ms = bucket.retry_after_ms(now)
        assert wait_ms > 0
        assert wait_ms <= 1 or not bucket.take(now + (wait_ms - 1.1) / 1000)
        now += wait_ms / 1000
        assert bucket.take(now)


# ------------------------------------------------------------------------------------------- one bucket for each user


def emptied(bucket: TokenBucket, now: float) -> int:
    """Take until it is refused; return how many there were."""
    count = 0
    while bucket.take(now):
        count += 1
    return count


def test_all_connections_and_requests_of_a_user_share_a_bucket() -> None:
    buckets = UserBuckets(RatePolicy(1, 5))
    alice, bob = UserId("alice"), UserId("bob")
    assert buckets.bucket(alice, 0.0).take(0.0, 2)
    first = buckets.join(alice, 0.0)
    assert first is buckets.join(alice, 0.0)
    assert first is buckets.bucket(alice, 0.0)
    assert emptied(first, 0.0) == 3
    assert emptied(buckets.join(bob, 0.0), 0.0) == 5


def test_coming_back_is_no_way_to_a_full_bucket() -> None:
    buckets = UserBuckets(RatePolicy(1, 5))
    alice = UserId("alice")
    assert emptied(buckets.join(alice, 0.0), 0.0) == 5
    buckets.leave(alice)
    buckets.leave(alice)
    assert emptied(buckets.bucket(alice, 1.0), 1.0) == 1
    assert emptied(buckets.join(alice, 3.0), 3.0) == 2
    assert len(buckets) == 1


def test_who_has_gone_is_remembered_up_to_a_bound() -> None:
    buckets = UserBuckets(RatePolicy(1, 5), recent_max=10)
    for number in range(20):
        buckets.join(UserId(f"u{number}"), 0.0)
    assert len(buckets) == 20
    for number in range(20):
        buckets.leave(UserId(f"u{number}"))
    assert len(buckets) == 10
    buckets.bucket(UserId("another"), 0.0)
    assert len(buckets) == 10
