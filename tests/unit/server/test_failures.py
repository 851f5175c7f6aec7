"""Failed authentications: what counts, what waits, and how several nodes count together."""

import asyncio

import pytest

from protocol.close_codes import CloseCode
from protocol.errors import ErrorCode
from protocol.ids import UserId
from server.adapters.memory.limiter import MemoryLimiter
from server.core.limiting import FixedWindow
from server.core.tokens import Claims, TokenRefused
from server.failures import TOLD_MAX, Failures
from tests.support.clock import FakeClock
from tests.support.switchboard import Client, Switchboard, running
from tests.support.tokens import sign

RULE = FixedWindow("auth", 5, 900_000)
HERE, THERE = "192.0.2.1", "192.0.2.2"
ALICE = UserId("alice")
BAD = TokenRefused(ErrorCode.TOKEN_INVALID, "wrong signature")
REVOKED = TokenRefused(ErrorCode.TOKEN_INVALID, "revoked", subject=ALICE)


def node(clock: FakeClock, shared: MemoryLimiter | None = None) -> Failures:
    return Failures(RULE, clock.micros, shared)


def waits_ms(failures: Failures, address: str = HERE) -> int:
    try:
        failures.check_address(address)
    except TokenRefused as refused:
        return refused.retry_after_ms if refused.code is ErrorCode.RATE_LIMITED and refused.retry_after_ms else -1
    return 0


def test_the_sixth_waits_until_the_window_ends() -> None:
    clock = FakeClock()
    failures = node(clock)
    for _ in range(5):
        assert waits_ms(failures) == 0
        assert failures.failed(HERE, BAD) is BAD
    assert waits_ms(failures) == 900_000
    assert waits_ms(failures, THERE) == 0
    clock.advance(900)
    assert waits_ms(failures) == 0


@pytest.mark.parametrize("code", [ErrorCode.TOKEN_EXPIRED, ErrorCode.RATE_LIMITED])
def test_what_is_no_failure_is_not_counted(code: ErrorCode) -> None:
    failures = node(FakeClock())
    for _ in range(50):
        failures.failed(HERE, TokenRefused(code, "no failure", subject=ALICE))
    assert len(failures) == 0


def test_without_an_address_only_the_subject_counts() -> None:
    failures = node(FakeClock())
    for _ in range(50):
        failures.failed("", BAD)
    assert len(failures) == 0
    assert waits_ms(failures, "") == 0


def test_ipv6_counts_by_its_network() -> None:
    failures = node(FakeClock())
    for number in range(5):
        failures.failed(f"2001:db8:1:2::{number + 1}", BAD)
    assert waits_ms(failures, "2001:db8:1:2:ffff::1")
    assert not waits_ms(failures, "2001:db8:1:3::1")


def test_a_subject_is_counted_from_wherever_and_a_newer_token_is_taken() -> None:
    clock = FakeClock()
    failures = node(clock)
    now_s = clock.wall_us / 1e6
    for number in range(5):
        assert failures.failed(f"192.0.2.{number}", REVOKED) is REVOKED
    sixth = failures.failed("192.0.2.9", REVOKED)
    assert (sixth.code, sixth.retry_after_ms) == (ErrorCode.RATE_LIMITED, 900_000)
    with pytest.raises(TokenRefused) as waiting:
        failures.check_subject(Claims(ALICE, now_s + 600, now_s - 1))
    assert waiting.value.code is ErrorCode.RATE_LIMITED
    failures.check_subject(Claims(ALICE, now_s + 600, now_s + 1))
    failures.check_subject(Claims(UserId("bob"), now_s + 600, now_s - 1))


async def test_several_nodes_count_together() -> None:
    """A block that they add up to holds on a node from its next failure on."""
    clock = FakeClock()
    shared = MemoryLimiter(clock.micros)
    one, two = node(clock, shared), node(clock, shared)
    for _ in range(3):
        one.failed(HERE, BAD)
    await one.tell()
    two.failed(HERE, BAD)
    await two.tell()
    assert not waits_ms(two)
    two.failed(HERE, BAD)
    await two.tell()
    assert waits_ms(two)
    assert not waits_ms(one)
    one.failed(HERE, BAD)
    await one.tell()
    assert waits_ms(one)


async def test_the_shared_count_is_told_in_the_background() -> None:
    clock = FakeClock()
    shared = MemoryLimiter(clock.micros)
    failures = node(clock, shared)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(failures.run())
        for _ in range(2):
            failures.failed(HERE, BAD)
            for _ in range(10):  # turns of the loop, more than it takes
                await asyncio.sleep(0)
        task.cancel()
    assert (await shared.take(f"address:{HERE}", RULE)).remaining == 2


async def test_a_flood_is_counted_here_and_told_up_to_a_bound() -> None:
    failures = node(clock := FakeClock(), MemoryLimiter(clock.micros))
    for number in range(TOLD_MAX + 100):
        failures.failed(f"10.0.{number // 250}.{number % 250}", BAD)
    assert len(failures._untold) == TOLD_MAX
    await failures.tell()


# ---- on a node


async def hello(board: Switchboard, address: str, **credentials: object) -> tuple[Client, object, object]:
    """Say hello from an address; return the connection, the answer's code and when to try again."""
    client = board.connect(address=address)
    answer, *_ = await client.ask(type="hello", id=1, **credentials)
    return client, answer.get("code", answer["type"]), answer.get("retry_after_ms")


async def test_on_the_socket_good_tokens_wait_too_and_open_connections_go_on() -> None:
    async with running(Switchboard(failures_max=5)) as board:
        good = board.token("alice")
        before, said, _ = await hello(board, HERE, token=good)
        assert said == "welcome"
        bad: list[dict[str, object]] = [{"token": "rubbish"}, {"ticket": "x"}, {"token": sign({}, "k" * 32)}]
        for number in range(5):
            client, said, _ = await hello(board, HERE, **bad[number % 3])
            assert said in ("token_invalid", "ticket_invalid")
            assert client.line.closed is not None
            assert client.line.closed[0] == CloseCode.TOKEN_INVALID
        for credentials in ({"token": good}, {"ticket": await board.tickets.issue(Claims(ALICE, 2e9))}):
            client, said, retry_after_ms = await hello(board, HERE, **credentials)
            assert (said, retry_after_ms) == ("rate_limited", 900_000)
            assert client.line.closed is not None
            assert client.line.closed[0] == CloseCode.TOO_MANY_FAILURES
        _, said, _ = await hello(board, THERE, token=good)
        assert said == "welcome"
        assert (await before.ask(type="auth.refresh", id=2, token=board.token("alice")))[0]["type"] == "ok"
        await board.advance(900)
        _, said, _ = await hello(board, HERE, token=board.token("alice"))
        assert said == "welcome"


async def test_expired_tokens_lock_nobody_out() -> None:
    async with running(Switchboard(failures_max=5)) as board:
        expired = board.token("alice", ttl_s=1)
        await board.advance(2)
        for _ in range(20):
            _, said, _ = await hello(board, HERE, token=expired)
            assert said == "token_expired"
        _, said, _ = await hello(board, HERE, token=board.token("alice"))
        assert said == "welcome"
