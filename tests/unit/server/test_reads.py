"""Reader lanes: bounded, answered exactly once, welcomes together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from protocol.errors import ErrorCode
from protocol.ids import UserId
from server.core.log import MatchState, Refused
from server.ports import StoreUnavailable
from server.reads import WELCOMES_MAX, Reads
from server.views import Arrival
from tests.support.clock import FakeClock
from tests.support.slow_store import HeldStore
from tests.support.stores import ALICE, BOB, M


@pytest.fixture
async def store() -> HeldStore:
    store = HeldStore(FakeClock())
    await store.set_members(M, (ALICE, BOB))
    store.calls.clear()
    await store.arrivals(1)
    return store


class Inbox:
    """Collects answers; `enough` waits for a number of them."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self._came = asyncio.Event()

    def __call__(self, answer: object) -> None:
        self.answers.append(answer)
        self._came.set()

    async def enough(self, count: int) -> list[object]:
        while len(self.answers) < count:
            self._came.clear()
            await self._came.wait()
        return self.answers


@asynccontextmanager
async def running(reads: Reads) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(lane()) for lane in reads.lanes]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_read_is_answered_by_its_result(store: HeldStore) -> None:
    reads, inbox = Reads(store, 2), Inbox()
    async with running(reads):
        reads.submit(lambda: store.match(M), inbox)
        (state,) = await inbox.enough(1)
    assert isinstance(state, MatchState)
    assert reads.queued == 0


async def test_no_more_reads_than_lanes_at_once(store: HeldStore) -> None:
    reads, inbox = Reads(store, 2), Inbox()
    under_way = asyncio.Semaphore(0)
    door = asyncio.Event()

    async def read(number: int) -> int:
        under_way.release()
        await door.wait()
        return number

    async with running(reads):
        for number in range(5):
            reads.submit(partial(read, number), inbox)
        await under_way.acquire()
        await under_way.acquire()
        assert (reads.queued, under_way.locked()) == (3, True)
        door.set()
        assert sorted(map(str, await inbox.enough(5))) == list("01234")


async def test_welcomes_that_wait_are_read_together_each_user_once(store: HeldStore) -> None:
    reads, inbox = Reads(store, 2), Inbox()
    for user in (ALICE, BOB, ALICE, UserId("nobody")):
        reads.welcome(user, inbox)
    async with running(reads):
        answers = await inbox.enough(4)
    assert store.calls == [("welcome", 3)]
    pages = [arrival.page for arrival in answers if isinstance(arrival, Arrival)]
    assert sorted(len(page.matches) for page in pages) == [0, 1, 1, 1]


async def test_a_crowd_is_welcomed_in_several_calls_and_other_reads_go_on(store: HeldStore) -> None:
    reads, inbox = Reads(store, 1), Inbox()
    count = WELCOMES_MAX * 2 + 1
    reads.submit(lambda: store.match(M), inbox)
    for number in range(count):
        reads.welcome(UserId(f"{number}"), inbox)
    async with running(reads):
        await inbox.enough(count + 1)
    assert store.calls == [("welcome", WELCOMES_MAX), ("welcome", WELCOMES_MAX), ("welcome", 1)]


async def test_one_too_many_is_refused(store: HeldStore) -> None:
    reads, inbox = Reads(store, 1, queue_max=2), Inbox()
    reads.submit(lambda: store.match(M), inbox)
    reads.welcome(ALICE, inbox)
    reads.welcome(BOB, inbox)
    reads.submit(lambda: store.match(M), inbox)
    assert [a.code for a in inbox.answers if isinstance(a, Refused)] == [ErrorCode.UNAVAILABLE] * 2
    async with running(reads):
        await inbox.enough(4)


async def test_a_read_that_takes_too_long_is_refused(store: HeldStore) -> None:
    reads, inbox = Reads(store, 1, timeout_s=0), Inbox()
    store.door.clear()
    async with running(reads):
        reads.welcome(ALICE, inbox)
        (refused,) = await inbox.enough(1)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retry_after_ms) == (ErrorCode.UNAVAILABLE, 1000)


async def test_a_store_that_is_away_is_told_once_in_the_log(store: HeldStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    reads, inbox = Reads(store, 1), Inbox()
    store.failures = [StoreUnavailable("gone", retry_after_ms=300)] * 2
    async with running(reads):
        for count in (1, 2, 3):
            reads.welcome(ALICE, inbox)
            await inbox.enough(count)
    assert [a.retry_after_ms for a in inbox.answers if isinstance(a, Refused)] == [300, 300]
    assert [record.message for record in caplog.records] == ["reads.unavailable", "reads.available"]


async def test_a_fault_in_a_read_or_a_callback_ends_nothing_else(
    store: HeldStore, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    reads, inbox = Reads(store, 1), Inbox()
    store.failures = [ZeroDivisionError()]
    async with running(reads):
        reads.welcome(ALICE, inbox)
        await inbox.enough(1)
        reads.welcome(ALICE, fail)
        reads.welcome(BOB, inbox)
        refused, page = await inbox.enough(2)
    assert isinstance(refused, Refused)
    assert refused.code is ErrorCode.INTERNAL
    assert isinstance(page, Arrival)
    assert [record.message for record in caplog.records] == ["reads.store_failed", "reads.callback_failed"]


async def test_lanes_that_are_cancelled_answer_everything(store: HeldStore) -> None:
    reads, inbox = Reads(store, 1), Inbox()
    store.door.clear()
    async with running(reads):
        reads.welcome(ALICE, inbox)
        await store.arrivals(1)
        reads.welcome(BOB, inbox)
        reads.submit(lambda: store.match(M), inbox)
    reads.submit(lambda: store.match(M), inbox)
    assert [a.code for a in inbox.answers if isinstance(a, Refused)] == [ErrorCode.UNAVAILABLE] * 4


async def test_a_read_under_way_is_answered_when_its_lane_is_cancelled(store: HeldStore) -> None:
    reads, inbox = Reads(store, 1), Inbox()
    begun = asyncio.Event()

    async def read() -> int:
        begun.set()
        await asyncio.Event().wait()
        return 1

    async with running(reads):
        reads.submit(read, inbox)
        await begun.wait()
    assert isinstance(inbox.answers[0], Refused)
