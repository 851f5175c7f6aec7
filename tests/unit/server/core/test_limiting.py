"""The rules themselves; what every limiter makes of them is in tests/contracts/test_limiter.py."""

import pytest

from server.core.limiting import Bucket, FixedWindow, Rule, SlidingWindow, decide, lifetime_ms, quota_of

CASES: list[tuple[Rule, tuple[int, int], int]] = [
    (Bucket("b", 20, 40), (40, 2), 3_000),
    (Bucket("b", 1_000_000, 1), (1, 1), 1_000),
    (Bucket("b", 0.01, 3), (3, 300), 301_000),
    (SlidingWindow("s", 60, 60_000), (60, 60), 120_000),
    (FixedWindow("f", 5, 900_000), (5, 900), 900_000),
    (FixedWindow("f", 5, 1_500), (5, 2), 1_500),
]


@pytest.mark.parametrize("rule, quota, life_ms", CASES)
def test_quota_and_lifetime(rule: Rule, quota: tuple[int, int], life_ms: int) -> None:
    assert quota_of(rule) == quota
    assert lifetime_ms(rule) == life_ms


@pytest.mark.parametrize("rule, quota, _", CASES)
def test_a_count_that_is_forgotten_at_the_end_of_its_life_changes_nothing(
    rule: Rule, quota: tuple[int, int], _: int
) -> None:
    now = 1_795_000_000_000_000
    count, first = decide(rule, None, now, quota[0])
    assert (first.allowed, first.remaining) == (True, 0)
    later = now + lifetime_ms(rule) * 1_000
    assert decide(rule, count, later, quota[0])[1] == decide(rule, None, later, quota[0])[1]


def test_a_rate_that_has_no_even_tokens_is_rounded_down() -> None:
    """Never more than the rate, however long."""
    assert Bucket("b", 3, 1).token_us * 3 >= 1_000_000
