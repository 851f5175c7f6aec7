"""Lanes of group commit: batches without a timer, answers in order, exactly once, whatever the store does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from protocol.errors import ErrorCode
from protocol.ids import MatchId, Seq, UserId
from server.core.calls import CallChanged, CallStale
from server.core.log import NOT_MEMBER, Appended, Mark, Marked, MembersSet, Refused
from server.journal import Journal
from server.lane import WAITING_BYTES, LaneLimits
from server.ports import StoreUnavailable
from server.telemetry import CommitWatch, Telemetry
from tests.support.call_rows import opened
from tests.support.clock import FakeClock
from tests.support.slow_store import HeldStore
from tests.support.stores import ALICE, BOB, M, World, post


@pytest.fixture
async def store() -> HeldStore:
    store = HeldStore(FakeClock())
    await store.set_members(M, (ALICE, BOB))
    store.calls.clear()
    await store.arrivals(1)
    return store


@asynccontextmanager
async def running(journal: Journal) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(lane()) for lane in journal.lanes]
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def waiting() -> asyncio.Future[object]:
    return asyncio.get_running_loop().create_future()


def mark(user: UserId, delivered: int, read: int) -> Mark:
    return Mark(M, user, Seq(delivered), Seq(read))


async def test_alone_a_message_waits_for_nobody(store: HeldStore) -> None:
    journal = Journal(store)
    async with running(journal):
        for name in "ab":
            done = waiting()
            journal.append(post(name), done.set_result)
            assert isinstance(await done, Appended)
    assert store.calls == [("append", 1), ("append", 1)]


async def test_what_came_during_the_last_call_is_the_next_batch(store: HeldStore) -> None:
    journal = Journal(store, limits=LaneLimits(batch=5))
    answers: list[object] = []
    store.door.clear()
    async with running(journal):
        journal.append(post("first"), answers.append)
        await store.arrivals(1)
        for number in range(8):
            journal.append(post(f"{number}"), answers.append)
        assert journal.queued == 8
        store.door.set()
        await journal.drain()
    assert store.calls == [("append", 1), ("append", 5), ("append", 3)]
    assert [a.message.seq for a in answers if isinstance(a, Appended)] == list(range(2, 11))
    assert (journal.batches, journal.batched, journal.queued) == (3, 9, 0)


async def test_changes_of_members_keep_their_place_between_messages(store: HeldStore) -> None:
    journal = Journal(store)
    answers: list[object] = []
    journal.append(post("a", BOB), answers.append)
    journal.set_members(M, (ALICE,), answers.append)
    journal.append(post("b", BOB), answers.append)
    journal.append(post("c"), answers.append)
    journal.set_members(M, (ALICE, BOB), answers.append)
    journal.append(post("d", BOB), answers.append)
    async with running(journal):
        await journal.drain()
    first, change, refused, second, again, third = answers
    assert isinstance(first, Appended) and isinstance(second, Appended) and isinstance(third, Appended)  # noqa: PT018
    assert isinstance(change, MembersSet) and isinstance(again, MembersSet)  # noqa: PT018
    assert refused == NOT_MEMBER
    assert change.entry is not None
    assert [first.message.seq, change.entry.seq, second.message.seq, third.message.seq] == [2, 3, 4, 6]


async def test_beyond_its_bound_a_lane_refuses_at_once(store: HeldStore) -> None:
    journal = Journal(store, limits=LaneLimits(queue=2))
    answers: list[object] = []
    for name in "abc":
        journal.append(post(name), answers.append)
    journal.set_members(M, (), answers.append)
    assert journal.is_full
    assert [(a.code, a.stored, a.retry_after_ms) for a in answers if isinstance(a, Refused)] == [
        (ErrorCode.UNAVAILABLE, "no", 1000)
    ] * 2
    async with running(journal):
        await journal.drain()
    assert journal.queued == 0
    assert (len(answers), journal.refused) == (4, 2)


async def test_the_bound_counts_bytes_too(store: HeldStore) -> None:
    journal = Journal(store, limits=LaneLimits(queue_bytes=WAITING_BYTES * 3))
    answers: list[object] = []
    journal.append(post("a", text="x" * WAITING_BYTES * 2), answers.append)
    journal.append(post("b"), answers.append)
    assert len(answers) == 1
    async with running(journal):
        await journal.drain()
        journal.append(post("b"), answers.append)
        await journal.drain()
    assert [type(a) for a in answers] == [Refused, Appended, Appended]


async def test_lanes_are_chosen_by_match_and_run_side_by_side(store: HeldStore) -> None:
    names = [f"m{number}" for number in range(20)]
    for name in names:
        await store.set_members(MatchId(name), (ALICE, BOB))
    store.calls.clear()
    await store.arrivals(len(names))
    journal = Journal(store, lanes=3)
    answers: list[object] = []
    store.door.clear()
    async with running(journal):
        for name in (*names, "\ud800"):
            journal.append(post("a", match=name), answers.append)
            journal.append(post("b", match=name), answers.append)
        await store.arrivals(3)
        store.door.set()
        await journal.drain()
    assert sum(size for _, size in store.calls) == 42
    assert len(answers) == 42


async def test_a_store_that_is_away_is_told_and_the_next_message_goes_through(
    store: HeldStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    journal = Journal(store)
    store.failures = [StoreUnavailable("gone", retry_after_ms=700)] * 3
    answers: list[object] = []
    async with running(journal):
        for name in "abc":
            journal.append(post(name), answers.append)
            await journal.drain()
        journal.set_members(M, (ALICE,), answers.append)
        await journal.drain()
    assert [(a.code, a.stored, a.retry_after_ms) for a in answers if isinstance(a, Refused)] == [
        (ErrorCode.UNAVAILABLE, "no", 700)
    ] * 3
    assert isinstance(answers[3], MembersSet)
    assert [record.message for record in caplog.records] == ["journal.unavailable", "journal.available"]


async def test_an_unknown_outcome_is_found_out_by_asking_again(store: HeldStore) -> None:
    """Nobody was told of what the first call stored, so it counts as new: those who have it drop it."""
    journal = Journal(store, limits=LaneLimits(retry_s=0))
    store.failures_after = [StoreUnavailable("cut", maybe_stored=True)] * 2
    answers: list[object] = []
    async with running(journal):
        journal.append(post("a"), answers.append)
        await journal.drain()
    (only,) = answers
    assert isinstance(only, Appended)
    assert (only.message.seq, only.duplicate) == (2, False)
    assert store.calls == [("append", 1)] * 3


async def test_an_outcome_that_stays_unknown_is_told_as_unknown(store: HeldStore) -> None:
    journal = Journal(store, limits=LaneLimits(retry_s=0, attempts=3))
    store.failures = [StoreUnavailable("cut", maybe_stored=True)] * 3
    answers: list[object] = []
    async with running(journal):
        journal.append(post("a"), answers.append)
        await journal.drain()
    assert [a.stored for a in answers if isinstance(a, Refused)] == ["unknown"]
    assert len(store.calls) == 3


async def test_a_later_attempt_that_did_nothing_says_nothing_of_the_first(store: HeldStore) -> None:
    """The connection was lost under the first, and could not be made again."""
    journal = Journal(store, limits=LaneLimits(retry_s=0, attempts=3))
    store.failures_after = [StoreUnavailable("cut", maybe_stored=True)]
    answers: list[object] = []
    async with running(journal):
        journal.append(post("a"), answers.append)
        await store.arrivals(1)
        store.failures = [StoreUnavailable("refused")] * 2
        await journal.drain()
    assert [a.stored for a in answers if isinstance(a, Refused)] == ["unknown"]
    assert len(store.calls) == 3


async def test_a_store_that_is_away_is_not_waited_for(store: HeldStore) -> None:
    """What comes is refused at once, with the time after which it may be back; what waits goes on waiting."""
    away_ms = 0
    journal = Journal(store, away_ms=lambda: away_ms)
    store.door.clear()
    answers: list[object] = []
    async with running(journal):
        journal.append(post("a"), answers.append)
        await store.arrivals(1)
        away_ms = 700
        journal.append(post("b"), answers.append)
        (refused,) = answers
        assert isinstance(refused, Refused)
        assert (refused.code, refused.stored, refused.retry_after_ms) == (ErrorCode.UNAVAILABLE, "no", 700)
        store.door.set()
        await journal.drain()
    assert isinstance(answers[1], Appended)


async def test_commits_are_measured(store: HeldStore) -> None:
    """How long each took and how much it held, and when what it pushed was written."""
    telemetry = Telemetry()
    clock = FakeClock()
    journal = Journal(store, watch=CommitWatch(telemetry, clock.now))
    async with running(journal):
        journal.append(post("a"), lambda _: clock.advance(0.004))
        await journal.drain()
        await asyncio.sleep(0)
    assert journal.depths == [0]
    assert (telemetry.commit_messages.count, telemetry.commit_messages.total) == (1, 1)
    assert telemetry.commit_seconds.count == telemetry.commit_to_socket_seconds.count == 1
    assert round(telemetry.commit_to_socket_seconds.total, 3) == 0.004


async def test_a_fault_in_the_store_ends_one_call_only(store: HeldStore, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(store)
    store.failures = [ZeroDivisionError()]
    answers: list[object] = []
    async with running(journal):
        journal.append(post("a"), answers.append)
        await journal.drain()
        journal.append(post("a"), answers.append)
        await journal.drain()
    first, second = answers
    assert isinstance(first, Refused)
    assert (first.code, first.stored) == (ErrorCode.INTERNAL, "unknown")
    assert isinstance(second, Appended)
    assert [record.message for record in caplog.records] == ["journal.store_failed"]


async def test_a_fault_in_one_callback_keeps_nobody_else_waiting(
    store: HeldStore, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    journal = Journal(store)
    answers: list[object] = []
    journal.append(post("a"), fail)
    journal.append(post("b"), answers.append)
    async with running(journal):
        await journal.drain()
    assert len(answers) == 1
    assert [record.message for record in caplog.records] == ["journal.callback_failed"]


async def test_marks_that_wait_become_one_at_their_maximum(store: HeldStore) -> None:
    await store.append([post(str(number)) for number in range(5)])
    store.calls.clear()
    journal = Journal(store)
    answers: list[object] = []
    for delivered, read in ((4, 1), (2, 3), (1, 2)):
        journal.mark(mark(BOB, delivered, read), answers.append)
    journal.mark(mark(ALICE, 1, 1), answers.append)
    async with running(journal):
        await journal.drain()
    assert store.calls == [("mark", 2)]
    *bobs, alice = answers
    assert [(m.receipt.delivered, m.receipt.read) for m in bobs if isinstance(m, Marked)] == [(4, 3)] * 3
    assert alice is None
    assert journal.mark_batches == 1


async def test_marks_wait_while_messages_keep_coming_but_not_for_ever(store: HeldStore) -> None:
    journal = Journal(store, limits=LaneLimits(batch=1, marks_every_s=3600))
    answers: list[object] = []
    async with running(journal):
        for number in range(3):
            journal.append(post(f"{number}"), answers.append)
            journal.mark(mark(BOB, 1 + number, 0), answers.append)
        await journal.drain()
        names = [name for name, _ in store.calls]
        # The first call finds a mark that has waited for ever, the later ones one that has not.
        assert names == ["append", "mark", "append", "append"]
        store.calls.clear()
        for number in range(3):
            journal.append(post(f"more {number}"), answers.append)
            journal.mark(mark(BOB, 2 + number, 0), answers.append)
        await journal.drain()
    assert [name for name, _ in store.calls] == ["append", "append", "append", "mark"]
    assert len(answers) == 12


async def test_marks_are_refused_when_too_many_wait_and_when_the_store_is_away(store: HeldStore) -> None:
    journal = Journal(store, limits=LaneLimits(queue=2))
    answers: list[object] = []
    for _ in range(3):
        journal.mark(mark(BOB, 1, 1), answers.append)
    store.failures = [StoreUnavailable("gone")]
    async with running(journal):
        await journal.drain()
    assert [a.code for a in answers if isinstance(a, Refused)] == [ErrorCode.UNAVAILABLE] * 3


@pytest.mark.parametrize("kind", ["append", "set_members", "mark"])
async def test_a_lane_that_is_cancelled_answers_everything(store: HeldStore, kind: str) -> None:
    def give(name: str) -> None:
        match kind:
            case "append":
                journal.append(post(name), answers.append)
            case "set_members":
                journal.set_members(M, (UserId(name),), answers.append)
            case _:
                journal.mark(mark(BOB, 1, 1), answers.append)

    journal = Journal(store)
    answers: list[object] = []
    store.door.clear()
    async with running(journal):
        give("under way")
        await store.arrivals(1)
        give("waiting")
    assert [a.stored for a in answers if isinstance(a, Refused)] == ["unknown", "no"]
    await journal.drain()
    give("too late")
    assert isinstance(answers[2], Refused)
    assert (len(answers), journal.queued) == (3, 0)


async def test_a_call_changes_in_order_with_the_messages_of_its_match(store: HeldStore) -> None:
    journal = Journal(store)
    places: list[int] = []

    def sent(outcome: Appended | Refused) -> None:
        assert isinstance(outcome, Appended)
        places.append(outcome.message.seq)

    def called(outcome: CallChanged | CallStale | Refused) -> None:
        assert isinstance(outcome, CallChanged)
        assert outcome.entry is not None
        places.append(outcome.entry.seq)

    store.door.clear()
    change = opened(World(store, FakeClock()))
    async with running(journal):
        journal.append(post("before"), sent)
        journal.change_call(change, called)
        journal.append(post("after"), sent)
        store.door.set()
        await journal.drain()
    assert places == [2, 3, 4]


async def test_a_call_is_refused_when_the_lane_has_ended(store: HeldStore) -> None:
    journal = Journal(store)
    async with running(journal):
        await asyncio.sleep(0)  # the lane has begun
    answers: list[object] = []
    journal.change_call(opened(World(store, FakeClock())), answers.append)
    assert [answer.code for answer in answers if isinstance(answer, Refused)] == [ErrorCode.UNAVAILABLE]
