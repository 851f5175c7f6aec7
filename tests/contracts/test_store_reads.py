"""What `Store.history`, `sync`, `welcome` and `summaries` promise: every entry, once, within bounds."""

import pytest
from msgspec import Raw

from protocol.from_server import Entry, MatchSummary, SyncedMatch
from protocol.ids import MAX_SAFE_INTEGER, ClientId, MatchId, Micros, Seq, UserId
from protocol.limits import PAGE_MAX_BYTES
from server.core.log import NOT_FOUND, NOT_MEMBER, Append, Mark
from server.core.pages import entry_bytes
from tests.support.stores import ALICE, BOB, CAROL, M, World, seqs

BIG = "x" * 20_000


async def walk(world: World, viewer: str | None, limit: int, *, up: bool) -> list[Entry]:
    """Read a whole log page by page."""
    entries: list[Entry] = []
    at: int | None = 0 if up else None
    while True:
        page = (
            await world.page(viewer, after=at, limit=limit) if up else await world.page(viewer, before=at, limit=limit)
        )
        assert page.entries or page.complete
        entries += page.entries
        if page.complete:
            return entries
        at = page.entries[-1].created_at


# ---- history


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 11, 200])
async def test_paging_either_way_loses_and_repeats_nothing(world: World, limit: int) -> None:
    await world.make(ALICE, BOB)
    await world.fill(9)
    assert seqs(await walk(world, ALICE, limit, up=False)) == list(range(10, 0, -1))
    assert seqs(await walk(world, ALICE, limit, up=True)) == list(range(1, 11))


async def test_both_bounds_are_outside_the_page_and_read_upwards(world: World) -> None:
    await world.make(ALICE, BOB)
    times = [appended.message.created_at for appended in await world.fill(6)]
    page = await world.page(ALICE, before=times[5], after=times[1], limit=2)
    assert (seqs(page.entries), page.complete) == ([4, 5], False)
    page = await world.page(ALICE, before=times[5], after=times[3])
    assert (seqs(page.entries), page.complete) == ([6], True)
    assert (await world.page(ALICE, before=times[1], after=times[3])).entries == ()


@pytest.mark.parametrize("before, found", [(2**70, 3), (0, 0), (-(2**70), 0)])
async def test_absurd_times_are_only_times_before(world: World, before: int, found: int) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    assert len((await world.page(ALICE, before=before)).entries) == found


@pytest.mark.parametrize("after, found", [(2**70, 0), (MAX_SAFE_INTEGER, 0), (-(2**70), 3)])
async def test_absurd_times_are_only_times_after(world: World, after: int, found: int) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    assert len((await world.page(ALICE, after=after)).entries) == found


async def test_pages_keep_to_what_the_viewer_may_see_in_both_directions(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(3)
    await world.make(ALICE, BOB, CAROL)
    await world.fill(3)
    await world.make(ALICE, BOB)
    await world.fill(3)
    assert seqs(await walk(world, CAROL, 2, up=False)) == [9, 8, 7, 6, 5]
    assert seqs(await walk(world, CAROL, 2, up=True)) == [5, 6, 7, 8, 9]
    assert seqs(await walk(world, None, 5, up=True)) == list(range(1, 13))


async def test_the_backend_is_told_when_there_is_no_such_match(world: World) -> None:
    assert await world.read(None) == NOT_FOUND
    assert await world.read(None, match="\ud800") == NOT_FOUND
    assert await world.read("\ud800", match=M) == NOT_MEMBER


@pytest.mark.parametrize("up", [True, False])
async def test_a_page_ends_early_at_its_budget(world: World, *, up: bool) -> None:
    await world.make(ALICE, BOB)
    await world.fill(30, text=BIG)
    page = await world.page(ALICE, after=0 if up else None)
    size = sum(map(entry_bytes, page.entries))
    assert not page.complete
    assert PAGE_MAX_BYTES - 25_000 < size <= PAGE_MAX_BYTES
    assert len(await walk(world, ALICE, 200, up=up)) == 31


async def test_an_entry_beyond_the_budget_comes_alone(world: World) -> None:
    await world.make(ALICE, BOB)
    body = Raw(b'"%b"' % (b"x" * PAGE_MAX_BYTES))
    await world.store.append([Append(M, ALICE, ClientId(str(n)), body) for n in range(3)])
    assert [len((await world.page(ALICE, before=None)).entries)] == [1]
    assert seqs(await walk(world, ALICE, 200, up=False)) == [4, 3, 2, 1]


# ---- sync


async def cursor(world: World, seq: int, match: str = M) -> tuple[int, int]:
    entries = (await world.page(after=0, match=match)).entries
    return (seq, entries[seq - 1].created_at)


async def test_sync_gives_what_came_after_the_cursor(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(5)
    result = await world.sync(BOB, {M: await cursor(world, 3)})
    expected = (await world.page(after=(await cursor(world, 3))[1])).entries
    assert result.matches == {M: SyncedMatch(expected, complete=True)}
    assert seqs(expected) == [4, 5, 6]
    result = await world.sync(BOB, {M: await cursor(world, 6)})
    assert result.matches == {M: SyncedMatch((), complete=True)}


async def test_sync_from_nothing_starts_at_the_first_visible_entry(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    await world.make(ALICE, BOB, CAROL)
    await world.fill(1)
    result = await world.sync(CAROL, {M: (0, 0)})
    assert seqs(result.matches[M].entries) == [4, 5]


async def test_sync_goes_on_page_by_page(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(7)
    found: list[Entry] = []
    at = (0, 0)
    for _ in range(3):
        synced = (await world.sync(BOB, {M: at}, entries=3)).matches[M]
        found += synced.entries
        at = (found[-1].seq, found[-1].created_at)
        assert synced.complete == (len(found) == 8)
    assert seqs(found) == list(range(1, 9))


async def test_a_cursor_that_names_no_entry_is_reset(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(3)
    seq, at = await cursor(world, 2)
    wrong = [(seq, at + 1), (seq + 1, at), (99, at), (0, at), (seq, 0), (-1, at), (seq, -1), (2**70, at), (seq, 2**70)]
    for bad in wrong:
        result = await world.sync(BOB, {M: bad})
        assert result.matches == {M: SyncedMatch((), complete=True, reset=True)}, bad
        assert len(result.receipts) == 2


async def test_one_who_left_gets_what_lies_before_the_end(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    await world.make(ALICE)
    await world.fill(2)
    result = await world.sync(BOB, {M: await cursor(world, 2)})
    assert (seqs(result.matches[M].entries), result.matches[M].left) == ([3, 4], True)
    assert result.receipts == ()
    result = await world.sync(BOB, {M: await cursor(world, 5)})
    assert result.matches[M] == SyncedMatch((), complete=True, reset=True, left=True)


async def test_a_cursor_from_before_coming_back_is_reset(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    await world.make(ALICE)
    await world.make(ALICE, BOB)
    for seq in (2, 4):
        assert (await world.sync(BOB, {M: await cursor(world, seq)})).matches[M].reset
    assert not (await world.sync(BOB, {M: await cursor(world, 5)})).matches[M].reset


async def test_matches_that_the_user_never_was_in_are_left_out(world: World) -> None:
    await world.make(ALICE, BOB)
    result = await world.sync(CAROL, {M: (0, 0), "none": (0, 0), "\ud800": (0, 0)})
    assert (result.matches, result.receipts) == ({}, ())


async def test_sync_tells_every_members_receipts(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make(ALICE, CAROL, match="n")
    await world.fill(2, BOB)
    await world.store.mark([Mark(M, ALICE, Seq(3), Seq(2))])
    result = await world.sync(ALICE, {"n": (0, 0), M: (0, 0)})
    assert [(r.match, r.user, r.delivered, r.read) for r in result.receipts] == [
        ("n", ALICE, 1, 1),
        ("n", CAROL, 1, 1),
        (M, ALICE, 3, 2),
        (M, BOB, 3, 3),
    ]


async def test_the_budget_is_shared_and_what_is_left_is_told(world: World) -> None:
    names = ["a", "b", "c"]
    for name in names:
        await world.make(ALICE, BOB, match=name)
        await world.fill(4, match=name, text="x" * 1000)
    result = await world.sync(ALICE, dict.fromkeys(names, (0, 0)), budget_bytes=7_000)
    assert [(len(result.matches[MatchId(n)].entries), result.matches[MatchId(n)].complete) for n in names] == [
        (5, True),
        (2, False),
        (0, False),
    ]


async def test_asking_again_ends_however_small_the_budget(world: World) -> None:
    names = ["a", "b"]
    for name in names:
        await world.make(ALICE, BOB, match=name)
        await world.fill(3, match=name)
    cursors: dict[str, tuple[int, int]] = dict.fromkeys(names, (0, 0))
    found: list[tuple[str, int]] = []
    while cursors:
        result = await world.sync(ALICE, cursors, budget_bytes=1)
        for name, synced in result.matches.items():
            found += [(name, entry.seq) for entry in synced.entries]
            if synced.complete:
                del cursors[name]
            elif synced.entries:
                cursors[name] = (synced.entries[-1].seq, synced.entries[-1].created_at)
    assert found == [(name, seq) for name in names for seq in (1, 2, 3, 4)]


@pytest.mark.parametrize("limit", [1, 3, 5, 7])
async def test_wherever_limit_and_budget_cut_nothing_is_left_out(world: World, limit: int) -> None:
    """Both at once, over matches whose entries differ in size: what is called complete is."""
    names = {"a": "x" * 700, "b": "", "c": "y" * 150}
    for name, text in names.items():
        await world.make(ALICE, BOB, match=name)
        await world.fill(6, match=name, text=text)
    for budget_bytes in range(100, 12_000, 110):
        result = await world.sync(ALICE, dict.fromkeys(names, (0, 0)), entries=limit, budget_bytes=budget_bytes)
        for name, synced in result.matches.items():
            assert seqs(synced.entries) == [*range(1, len(synced.entries) + 1)]
            assert synced.complete is (len(synced.entries) == 7), (name, budget_bytes)


async def test_an_up_to_date_match_is_complete_when_the_budget_is_gone(world: World) -> None:
    await world.make(ALICE, BOB, match="a")
    await world.make(ALICE, BOB, match="b")
    result = await world.sync(ALICE, {"a": (0, 0), "b": await cursor(world, 1, "b")}, budget_bytes=1)
    assert result.matches[MatchId("b")] == SyncedMatch((), complete=True)


# ---- summaries


def names_of(summaries: tuple[MatchSummary, ...]) -> list[str]:
    return [summary.match for summary in summaries]


async def test_welcome_reads_the_newest_matches_of_many_users(world: World) -> None:
    for number in range(4):
        world.clock.advance(1)
        await world.make(ALICE, f"friend {number}", match=f"m{number}")
    await world.fill(1, match="m1")
    alice, nobody, friend, odd, again = await world.store.welcome(
        [ALICE, UserId("nobody"), UserId("friend 2"), UserId("\ud800"), ALICE], 3
    )
    assert (names_of(alice.matches), alice.complete) == (["m1", "m3", "m2"], False)
    assert again == alice
    assert (nobody.matches, nobody.complete, odd.matches) == ((), True, ())
    assert (names_of(friend.matches), friend.complete) == (["m2"], True)


async def test_a_summary_shows_the_match_as_its_user_sees_it(world: World) -> None:
    await world.make(ALICE, BOB)
    stored = (await world.fill(3))[-1].message
    (alice,), (bob,) = [page.matches for page in await world.store.welcome([ALICE, BOB], 9)]
    assert (alice.unread, bob.unread) == (0, 3)
    assert alice.last == bob.last == stored
    assert (bob.last_seq, bob.last_at) == (stored.seq, stored.created_at)


async def test_matches_that_were_left_or_ended_are_not_shown(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make(ALICE, CAROL, match="n")
    await world.make(CAROL, match="n")
    await world.make()
    assert [page.matches for page in await world.store.welcome([ALICE, BOB], 9)] == [(), ()]


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("step_s", [1.0, 0.0])
async def test_paging_matches_loses_and_repeats_nothing_even_in_one_microsecond(
    world: World, limit: int, step_s: float
) -> None:
    for number in range(7):
        await world.make(ALICE, BOB, match=f"m{number}")
        world.clock.advance(step_s if number % 3 else 0.0)
    found: list[MatchSummary] = []
    before: Micros | None = None
    while True:
        page = await world.store.summaries(ALICE, before, limit)
        found += page.matches
        if page.complete:
            break
        before = page.matches[-1].last_at
    assert sorted(names_of(tuple(found))) == [f"m{number}" for number in range(7)]
    assert [summary.last_at for summary in found] == sorted((s.last_at for s in found), reverse=True)


async def test_the_first_page_is_the_welcome(world: World) -> None:
    for number in range(5):
        world.clock.advance(1)
        await world.make(ALICE, BOB, match=f"m{number}")
    (page,) = await world.store.welcome([ALICE], 3)
    assert await world.store.summaries(ALICE, None, 3) == page
    assert names_of((await world.store.summaries(ALICE, page.matches[-1].last_at, 3)).matches) == ["m1", "m0"]
    assert (await world.store.summaries(ALICE, Micros(2**70), 3)) == page
    assert (await world.store.summaries(ALICE, Micros(-(2**70)), 3)).matches == ()


# ---- check


async def test_a_check_leaves_nothing_behind(world: World) -> None:
    """It writes, and nobody sees what."""
    await world.make(ALICE, BOB)
    await world.fill(3)
    epoch, before = world.store.epoch, await world.page()
    for _ in range(3):
        await world.store.check()
    assert (world.store.epoch, await world.page()) == (epoch, before)
    (appended,) = await world.fill(1)
    assert appended.message.seq == 5
