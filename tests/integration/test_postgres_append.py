"""What only PostgreSQL can get wrong in `append`: many nodes at once, months, blocks, rows that it will not hold."""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

import pytest

from protocol.from_server import Entry, Message
from protocol.ids import MatchId, Micros, Seq, UserId
from protocol.limits import DEDUP_DAYS
from server.adapters.memory.store import MemoryStore
from server.core.log import CONFLICT, NO_SUCH_REPLY, UNSTORABLE, Append, Mark, Refused
from server.core.people import BLOCKED
from server.ports import Store
from tests.support.clock import DAY_US
from tests.support.postgres_stores import Clustered
from tests.support.stores import ALICE, BOB, CAROL, M, post, seqs, stored

ROOMS = [f"room {number}" for number in range(5)]


def at(moment: str) -> int:
    return round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000


async def test_nodes_that_send_the_same_batches_at_once_make_one_log(clustered: Clustered) -> None:
    """Every batch is sent twice by different nodes, as after a time-out; rooms are hot, so that nearly all wait."""
    stores = [clustered.store, await clustered.open(), await clustered.open()]
    for room in ROOMS:
        await clustered.world.make(ALICE, BOB, match=room)
    chance = random.Random(3)
    batches = [
        [post(f"{b}-{i}", chance.choice((ALICE, BOB)), chance.choice(ROOMS)) for i in range(20)] for b in range(30)
    ]
    twice = [batch for batch in batches for _ in range(2)]
    chance.shuffle(twice)
    answers = await asyncio.gather(*(stores[n % 3].append(batch) for n, batch in enumerate(twice)))
    places: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for outcome in (stored(outcome) for outcomes in answers for outcome in outcomes):
        message = outcome.message
        places.setdefault((message.match, message.client_id), set()).add((message.seq, message.created_at))
    assert len(places) == 600
    assert all(len(found) == 1 for found in places.values())
    total = 0
    for room in ROOMS:
        entries = await whole_log(clustered.store, room)
        total += len(entries) - 1
        assert seqs(entries) == list(range(1, len(entries) + 1))
        times = [entry.created_at for entry in entries]
        assert times == sorted(set(times))
        assert [entry.n for entry in entries if isinstance(entry, Message)] == list(range(1, len(entries)))
    assert total == 600
    for store in stores[1:]:
        await store.close()


async def whole_log(store: Store, match: str) -> list[Entry]:
    entries: list[Entry] = []
    after = Micros(0)
    while True:
        page = await store.history(MatchId(match), None, before=None, after=after, limit=200)
        assert not isinstance(page, Refused)
        entries += page.entries
        if page.complete:
            return entries
        after = entries[-1].created_at


async def test_a_message_sent_again_in_the_next_month_is_stored_once(clustered: Clustered) -> None:
    world = clustered.world
    clustered.clock.wall_us = at("2026-11-30T23:59:59")
    await world.make(ALICE, BOB)
    (first,) = await world.post(post("a"))
    clustered.clock.wall_us = at("2026-12-02")
    (again,) = await world.post(post("a"))
    assert (again.duplicate, again.message) == (True, first.message)
    assert list(await clustered.store.append([post("a", text="other")])) == [CONFLICT]
    clustered.clock.wall_us = first.message.created_at + DEDUP_DAYS * DAY_US
    outcomes = await world.post(post("b"), post("a"), post("c", BOB))
    assert [(o.message.seq, o.duplicate) for o in outcomes] == [(3, False), (2, True), (4, False)]
    clustered.clock.wall_us += 1
    (anew,) = await world.post(post("a"))
    assert (anew.message.seq, anew.duplicate) == (5, False)


async def test_a_batch_over_the_end_of_a_month_goes_to_both(clustered: Clustered) -> None:
    world = clustered.world
    await world.make(ALICE, BOB)
    clustered.clock.wall_us = at("2026-12-01") - 2
    outcomes = await world.post(
        post("a"), post("b"), post("a"), post("c"), post("d", reply_to=5)
    )  # a reply to itself is refused
    assert [(o.message.seq, o.duplicate) for o in outcomes] == [(2, False), (3, False), (2, True), (4, False)]
    assert outcomes[3].message.created_at == at("2026-12-01")
    (again,) = await world.post(post("c"))
    assert again.duplicate
    assert seqs((await world.page(ALICE, after=0)).entries) == [1, 2, 3, 4]


async def test_a_month_that_is_missing_is_made(clustered: Clustered) -> None:
    world = clustered.world
    await world.make(ALICE, BOB)
    await clustered.admin.execute("DROP TABLE IF EXISTS duologue.entries_203107, duologue.entries_203108")
    clustered.clock.wall_us = at("2031-07-05")
    assert len(await world.post(post("a"))) == 1
    clustered.clock.wall_us = at("2031-08-05")
    await world.make(ALICE, BOB, CAROL)
    assert seqs((await world.page(ALICE)).entries) == [3, 2, 1]
    horizon = await clustered.store.make_partitions()
    assert horizon > clustered.clock.wall_us - 6 * 365 * DAY_US


async def test_what_lies_far_back_is_found_by_its_seq(clustered: Clustered) -> None:
    """Replies and receipts name a seq; there is no index for it."""
    world = clustered.world
    await world.make(ALICE, BOB)
    for number in range(6):
        clustered.clock.wall_us += number * 10 * DAY_US
        await world.post(*(post(f"{number}-{i}") for i in range(100)))
        await world.make(*((ALICE, BOB, CAROL) if number % 2 else (ALICE, BOB)))
    last = (await world.state()).last_seq
    entries = {int(entry.seq): entry for entry in await whole_log(clustered.store, M)}
    for seq in [*range(1, 12), *range(95, 110), 250, 399, 400, 401, last - 1, last]:
        (outcome,) = await clustered.store.append([post(f"reply {seq}", BOB, reply_to=seq)])
        assert (outcome != NO_SUCH_REPLY) == isinstance(entries[seq], Message), seq
    state = await world.state()
    read_n = 0
    for seq in map(Seq, range(1, 120)):
        await clustered.store.mark([Mark(M, ALICE, seq, seq)])
        (page,) = await clustered.store.welcome([ALICE], 1)
        entry = entries[seq]
        read_n = entry.n if isinstance(entry, Message) else read_n
        assert page.matches[0].unread <= state.messages - read_n


@pytest.mark.parametrize("poisoned", [{0}, {3}, {9}, {0, 4, 5, 9}, set(range(10))])
async def test_a_row_that_the_database_will_not_hold_refuses_itself_alone(
    clustered: Clustered, poisoned: set[int]
) -> None:
    await clustered.world.make(ALICE, BOB)
    await clustered.admin.execute(
        "ALTER TABLE duologue.entries ADD CONSTRAINT palatable CHECK (position('poison'::bytea IN body) = 0)"
    )
    try:
        batch = [post(f"{i}", text="poison" if i in poisoned else "") for i in range(10)]
        outcomes, routes = await clustered.store.append_routed(batch, "n1")
    finally:
        await clustered.admin.execute("ALTER TABLE duologue.entries DROP CONSTRAINT palatable")
    assert [i for i, outcome in enumerate(outcomes) if outcome == UNSTORABLE] == sorted(poisoned)
    kept = [stored(o).message for o in outcomes if o != UNSTORABLE]
    assert [message.seq for message in kept] == list(range(2, 12 - len(poisoned)))
    assert bool(routes) == bool(kept)
    assert len(await clustered.store.routes_within(1e9)) == len(routes)


async def block(clustered: Clustered, blocker: str, blocked: str, *, on: bool = True) -> bool:
    return bool(await clustered.admin.fetchval("SELECT duologue.set_block($1, $2, $3)", blocker, blocked, on))


async def test_nothing_is_stored_between_two_of_whom_one_blocked_the_other(clustered: Clustered) -> None:
    world = clustered.world
    await world.make(ALICE, BOB)
    await world.make(ALICE, BOB, CAROL, match="group")
    await world.post(post("before"))
    assert await block(clustered, BOB, ALICE)
    assert not await block(clustered, BOB, ALICE)
    outcomes = await clustered.store.append([post("a"), post("b", BOB), post("before"), post("c", match="group")])
    assert outcomes[:2] == [BLOCKED, BLOCKED]
    assert [stored(outcome).duplicate for outcome in outcomes[2:]] == [True, False]
    await world.make(ALICE, BOB, match="later")
    assert list(await clustered.store.append([post("d", match="later")])) == [BLOCKED]
    assert await block(clustered, BOB, ALICE, on=False)
    assert len(await world.post(post("e"), post("f", match="later"))) == 2


async def test_random_writes_and_reads_are_answered_as_the_memory_store_does(clustered: Clustered) -> None:
    """Senders, client ids, replies and receipts from few values, so that all kinds of refusals and repeats meet."""
    chance = random.Random(7)
    memory = MemoryStore(clustered.clock)
    users, matches = ["alice", "bob", "carol"], ["m", "n", "never made"]

    def some_append() -> Append:
        reply = chance.choice([None, None, None, chance.randrange(0, 40)])
        text = chance.choice(["x", "x", "y"])
        client_id = str(chance.randrange(60))
        return post(client_id, chance.choice(users), chance.choice(matches), text=text, reply_to=reply)

    def some_mark() -> Mark:
        delivered, read = Seq(chance.randrange(0, 60)), Seq(chance.randrange(0, 60))
        return Mark(MatchId(chance.choice(matches)), UserId(chance.choice(users)), delivered, read)

    for _ in range(120):
        clustered.clock.wall_us += chance.choice([0, 1, 1000, DAY_US, -DAY_US, 20 * DAY_US])
        append = [some_append() for _ in range(chance.choice([1, 3, 20]))]
        await same(clustered.store.append(append), memory.append(append))
        if chance.random() < 0.3:
            match, members = MatchId(chance.choice(matches[:2])), tuple(map(UserId, chance.sample(users, 2)))
            members = chance.choice([members, (*members, UserId(users[0])), ()])
            await same(clustered.store.set_members(match, members), memory.set_members(match, members))
        marks = [some_mark() for _ in range(4)]
        await same(clustered.store.mark(marks), memory.mark(marks))
        everybody = [UserId(user) for user in users]
        await same(clustered.store.welcome(everybody, 5), memory.welcome(everybody, 5))


async def same(mine: Awaitable[object], twins: Awaitable[object]) -> None:
    assert listed(await mine) == listed(await twins)


def listed(answer: object) -> object:
    return list(answer) if isinstance(answer, Sequence) else answer
