"""Every limiter decides alike: as simple models do that remember every request, and as the promises of the port say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.adapters.memory.limiter import MemoryLimiter
from server.adapters.redis.client import make_client
from server.adapters.redis.limiter import RedisLimiter
from server.core.limiting import Bucket, Decision, FixedWindow, Rule, SlidingWindow, quota_of
from server.ports import Limiter
from tests.support.clock import FakeClock
from tests.support.guards import redis_guard
from tests.support.people import fresh
from tests.support.private_redis import PrivateRedis

KINDS = ("memory", "redis", "redis away")
API = Bucket("api", 2, 40)
SLOW = Bucket("slow", 0.1, 2)
ODD = Bucket("odd", 0.3, 7)
MINTS = SlidingWindow("mints", 10, 60_000)
AUTH = FixedWindow("auth", 5, 900_000)
# All live for longer than a test takes: Redis ends a count's life by its own clock, whatever the test's says.
LONG: tuple[Rule, ...] = (SlidingWindow("odd window", 3, 70_007), FixedWindow("one", 1, 100_000))
RULES: tuple[Rule, ...] = (API, SLOW, ODD, MINTS, AUTH, *LONG)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def redis_url(kind: str, request: pytest.FixtureRequest) -> str:
    """Return the address of a Redis; one where nobody listens for the limiter that has to do without."""
    if kind != "redis":
        return "redis://127.0.0.1:1"
    server = request.getfixturevalue("redis_server")
    assert isinstance(server, PrivateRedis)
    return server.url


@asynccontextmanager
async def opened(kind: str, url: str, clock: FakeClock) -> AsyncIterator[Limiter]:
    local = MemoryLimiter(clock.micros)
    if kind == "memory":
        yield local
        return
    client = make_client(url, timeout_s=5)
    yield RedisLimiter(client, f"{fresh('test')}:", fallback=local, guard=redis_guard(clock), micros=clock.micros)
    await client.aclose()


@pytest.fixture
async def limiter(kind: str, redis_url: str, clock: FakeClock) -> AsyncIterator[Limiter]:
    async with opened(kind, redis_url, clock) as limiter:
        yield limiter


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def window_ms(rule: Rule) -> int:
    return quota_of(rule)[1] * 1_000


# ---- models: they remember every request that was allowed


class Model:
    """Says what a rule allows, from the list of what it allowed."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.allowed: list[tuple[int, int]] = []

    def take(self, now_us: int, cost: int) -> bool:
        is_allowed = self._room(now_us) >= cost
        if is_allowed:
            self.allowed.append((now_us, cost))
        return is_allowed

    def _room(self, now_us: int) -> Fraction:
        match self.rule:
            case Bucket():
                return self._level(self.rule, now_us)
            case SlidingWindow():
                return self.rule.limit - self._used(self.rule, now_us // 1000)
            case FixedWindow():
                return Fraction(self.rule.limit - self._held(self.rule, now_us // 1000))

    def _level(self, rule: Bucket, now_us: int) -> Fraction:
        level, last_us = Fraction(rule.burst), self.allowed[0][0] if self.allowed else now_us
        for at, cost in [*self.allowed, (now_us, 0)]:
            level = min(Fraction(rule.burst), level + Fraction(at - last_us, rule.token_us)) - cost
            last_us = at
        return level

    def _used(self, rule: SlidingWindow, now: int) -> Fraction:
        window, index = rule.window_ms, now // rule.window_ms
        counts = [sum(cost for at, cost in self.allowed if at // 1000 // window == index - back) for back in (0, 1)]
        return counts[0] + counts[1] * Fraction(window - now % window, window)

    def _held(self, rule: FixedWindow, now: int) -> int:
        began: int | None = None
        held = 0
        for at_us, cost in self.allowed:
            at = at_us // 1000
            if began is None or at >= began + rule.window_ms:
                began, held = at, 0
            held += cost
        return held if began is not None and now < began + rule.window_ms else 0


steps = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 3), st.booleans()), min_size=1, max_size=60)


def check_promises(rule: Rule, decision: Decision) -> None:
    limit, window_s = quota_of(rule)
    assert decision.limit == limit
    assert 0 <= decision.remaining <= limit
    assert 0 <= decision.reset_s <= 2 * window_s
    assert (decision.retry_after_ms == 0) == decision.allowed
    assert decision.retry_after_ms <= 2 * window_ms(rule)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_it_decides_as_the_model_does(rule: Rule, kind: str, redis_url: str) -> None:
    """Whatever is asked when; and after the time to wait the same request passes, for windows not a millisecond before."""
    limit = quota_of(rule)[0]

    async def play(limiter: Limiter, clock: FakeClock, key: str, script: list[tuple[float, int, bool]]) -> None:
        model = Model(rule)
        for pause, cost, waits in script:
            clock.advance(round(pause * window_ms(rule) * 400) / 1_000_000)
            cost = min(cost, limit)
            decision = await limiter.take(key, rule, cost)
            check_promises(rule, decision)
            assert decision.allowed == model.take(clock.wall_us, cost)
            if not decision.allowed and waits:
                if not isinstance(rule, Bucket):
                    clock.advance((decision.retry_after_ms - 1) / 1000)
                    assert not (await limiter.take(key, rule, cost)).allowed
                    clock.advance(0.001)
                else:
                    clock.advance(decision.retry_after_ms / 1000)
                assert (await limiter.take(key, rule, cost)).allowed
                assert model.take(clock.wall_us, cost)

    with asyncio.Runner() as runner:
        clock = FakeClock()
        manager = opened(kind, redis_url, clock)
        tested = runner.run(manager.__aenter__())

        @settings(max_examples=60)
        @given(steps)
        def plays(script: list[tuple[float, int, bool]]) -> None:
            runner.run(play(tested, clock, fresh("key"), script))

        try:
            plays()
        finally:
            runner.run(manager.__aexit__(None, None, None))


# ---- promises, one by one


async def test_a_bucket_gives_its_burst_and_then_its_rate(limiter: Limiter, clock: FakeClock) -> None:
    assert [(await limiter.take("alice", API)).allowed for _ in range(41)] == [True] * 40 + [False]
    refused = await limiter.take("alice", API)
    assert (refused.remaining, refused.reset_s, refused.retry_after_ms) == (0, 20, 500)
    clock.advance(10)
    assert sum([(await limiter.take("alice", API)).allowed for _ in range(30)]) == 20


async def test_five_failures_in_a_window_from_the_first(limiter: Limiter, clock: FakeClock) -> None:
    for left in (4, 3, 2, 1, 0):
        decision = await limiter.take("192.0.2.1", AUTH)
        assert (decision.allowed, decision.remaining) == (True, left)
        clock.advance(60)
    refused = await limiter.take("192.0.2.1", AUTH)
    assert (refused.allowed, refused.retry_after_ms, refused.reset_s) == (False, 600_000, 600)
    clock.advance(599.999)
    assert not (await limiter.take("192.0.2.1", AUTH)).allowed
    clock.advance(0.001)
    assert (await limiter.take("192.0.2.1", AUTH)).remaining == 4


async def test_a_sliding_window_has_no_edge_to_wait_for(limiter: Limiter, clock: FakeClock) -> None:
    """A fixed one would give twice its limit around its border."""
    clock.wall_us -= clock.wall_us % 60_000_000
    clock.advance(59)
    assert sum([(await limiter.take("alice", MINTS)).allowed for _ in range(12)]) == 10
    clock.advance(1.5)
    assert not (await limiter.take("alice", MINTS)).allowed
    clock.advance(30)
    assert sum([(await limiter.take("alice", MINTS)).allowed for _ in range(12)]) == 5


async def test_keys_and_rules_are_apart(limiter: Limiter) -> None:
    names = ["alice", "bob", "a:b*c[d]?{e}", "", "☃", "alice\n"]
    for rule in (AUTH, FixedWindow("other", 5, 900_000)):
        for name in names:
            assert (await limiter.take(name, rule)).remaining == 4


async def test_a_refusal_costs_nothing(limiter: Limiter) -> None:
    for rule in (Bucket("b", 1, 5), SlidingWindow("s", 5, 60_000), FixedWindow("f", 5, 60_000)):
        await limiter.take("alice", rule, 3)
        assert not (await limiter.take("alice", rule, 4)).allowed
        assert (await limiter.take("alice", rule, 2)).remaining == 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
async def test_a_clock_that_steps_back_gives_nothing_and_locks_nobody_out(
    limiter: Limiter, clock: FakeClock, rule: Rule
) -> None:
    limit, window_s = quota_of(rule)
    for _ in range(limit):
        await limiter.take("alice", rule)
    clock.wall_us -= 3_600_000_000
    assert not (await limiter.take("alice", rule)).allowed
    clock.advance(2 * window_s + 1)
    assert (await limiter.take("alice", rule)).allowed


async def test_a_cost_is_from_one_to_the_limit(limiter: Limiter) -> None:
    for cost in (0, -1, 41):
        with pytest.raises(ValueError, match="cost"):
            await limiter.take("alice", API, cost)


async def test_of_many_who_ask_at_once_no_more_than_the_limit_pass(limiter: Limiter) -> None:
    decisions = await asyncio.gather(*(limiter.take("alice", AUTH) for _ in range(50)))
    assert sum(decision.allowed for decision in decisions) == 5


async def test_the_memory_of_one_node_is_bounded(clock: FakeClock) -> None:
    """Who asks often is not forgotten."""
    limiter = MemoryLimiter(clock.micros, keys_max=10)
    for number in range(100):
        await limiter.take(f"u{number}", AUTH)
        await limiter.take("alice", FixedWindow("often", 1_000, 60_000))
    assert len(limiter) == 10
    assert (await limiter.take("alice", FixedWindow("often", 1_000, 60_000))).remaining == 899
    assert (await limiter.take("u0", AUTH)).remaining == 4
