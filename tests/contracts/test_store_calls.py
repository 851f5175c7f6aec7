"""What the `Calls` port promises: one commit with the log, one live call a match, one seat a user, deadlines for anybody."""

import asyncio

import pytest
from msgspec import structs

from protocol.calls import CallEntry, CallId, CallOutcome
from protocol.ids import MatchId, Micros, Seq, UserId
from server.adapters.memory.store import MemoryStore
from server.adapters.postgres.store import PostgresStore
from server.adapters.sqlite.store import SqliteStore
from server.core.calls import DEFAULT_SETTINGS, STALE, CallRow, CallSettings, CallStale, OrphanedCall
from server.core.log import Mark
from server.ports import StoreUnavailable
from tests.support.call_rows import CALL, changed, next_change, note, opened, record
from tests.support.stores import ALICE, BOB, CAROL, M, World, post, seqs

TEN_MINUTES_US = 600_000_000


async def unread(world: World, user: UserId) -> int:
    (page,) = await world.store.welcome([user], 1)
    return page.matches[0].unread


async def live(world: World, user: UserId) -> tuple[CallRow, ...]:
    _, rows = await record(world).live_calls([UserId("nobody"), user])
    return rows


async def test_a_call_and_its_entry_are_one_commit(world: World) -> None:
    await world.make(ALICE, BOB)
    made = changed(await record(world).change_call(opened(world)))
    assert (made.row.version, made.row.value, made.members) == (1, b'{"state":"ringing"}', (ALICE, BOB))
    assert made.entry is not None
    assert (made.entry.seq, made.entry.state, made.entry.n) == (Seq(2), CallOutcome.RINGING, None)
    assert (await world.page()).entries[0] == made.entry
    assert (await world.state()).last_seq == 2
    (page,) = await world.store.welcome([BOB], 1)
    assert page.matches[0].last == made.entry


async def test_each_change_counts_and_what_has_no_entry_leaves_the_log_alone(world: World) -> None:
    await world.make(ALICE, BOB)
    first = opened(world)
    await record(world).change_call(first)
    second = next_change(world, first)
    assert changed(await record(world).change_call(second)).row.version == 2
    assert changed(await record(world).change_call(second)).entry is None
    assert (await world.state()).last_seq == 2
    view = await record(world).call_view(call=CALL, caller=None, since_us=0)
    assert view.row is not None
    assert (view.row.version, view.row.value) == (2, b'{"state":"None"}')


async def test_the_same_change_sent_again_happens_once(world: World) -> None:
    await world.make(ALICE, BOB)
    first = opened(world)
    made = changed(await record(world).change_call(first))
    assert changed(await record(world).change_call(first)) == made
    ended = next_change(world, first, CallOutcome.MISSED, ends=True)
    over = changed(await record(world).change_call(ended))
    assert changed(await record(world).change_call(ended)) == over
    assert (await world.state()).last_seq == 3
    assert await record(world).change_call(first) == STALE


async def test_what_was_decided_from_an_older_state_changes_nothing(world: World) -> None:
    await world.make(ALICE, BOB)
    first = opened(world)
    await record(world).change_call(first)
    accept, decline = next_change(world, first, CallOutcome.ONGOING), next_change(world, first, CallOutcome.DECLINED)
    answers = await asyncio.gather(record(world).change_call(accept), record(world).change_call(decline))
    assert sum(isinstance(answer, CallStale) for answer in answers) == 1
    assert (await world.state()).last_seq == 3


async def test_a_match_has_one_live_call(world: World) -> None:
    await world.make(ALICE, BOB)
    first, second = opened(world), opened(world, "call-2", users=(BOB, ALICE), seated=(BOB,))
    answers = await asyncio.gather(record(world).change_call(first), record(world).change_call(second))
    assert sum(isinstance(answer, CallStale) for answer in answers) == 1
    assert (await world.state()).last_seq == 2
    held = first if not isinstance(answers[0], CallStale) else second
    await record(world).change_call(next_change(world, held, CallOutcome.CANCELLED, ends=True))
    assert changed(await record(world).change_call(opened(world, "call-3"))).row.version == 1


async def test_a_user_has_a_seat_in_one_live_call(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make(ALICE, CAROL, match="m2")
    first, second = opened(world), opened(world, "call-2", "m2", users=(ALICE, CAROL))
    answers = await asyncio.gather(record(world).change_call(first), record(world).change_call(second))
    assert sum(isinstance(answer, CallStale) for answer in answers) == 1
    held, other = (first, second) if isinstance(answers[1], CallStale) else (second, first)
    view = await record(world).call_view(match=held.match, caller=None, since_us=0)
    assert view.in_call == {ALICE: held.call}
    await record(world).change_call(next_change(world, held, seated=()))
    assert not isinstance(await record(world).change_call(other), CallStale)


async def test_other_members_than_the_decision_was_made_from_make_it_stale(world: World) -> None:
    await world.make(ALICE, BOB, CAROL)
    first = structs.replace(opened(world), members=(ALICE, BOB, CAROL), blocks=0)
    await world.make(ALICE, BOB)
    assert await record(world).change_call(first) == STALE
    assert await record(world).change_call(structs.replace(first, members=(ALICE, BOB), blocks=3)) == STALE
    assert await record(world).change_call(structs.replace(first, members=(ALICE, BOB))) != STALE
    assert await record(world).change_call(opened(world, "c", "no such match")) == STALE


@pytest.mark.parametrize("state", [CallOutcome.RINGING, CallOutcome.DECLINED, CallOutcome.COMPLETED])
async def test_only_a_missed_call_counts_as_unread(world: World, state: CallOutcome) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    first = opened(world)
    await record(world).change_call(first)
    ended = changed(await record(world).change_call(next_change(world, first, state, ends=True)))
    assert ended.entry is not None
    assert ended.entry.n is None
    assert await unread(world, BOB) == 2
    assert (await world.fill(1))[0].message.n == 3


async def test_a_missed_call_is_unread_but_for_its_caller(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    first = opened(world)
    await record(world).change_call(first)
    missed = changed(await record(world).change_call(next_change(world, first, CallOutcome.MISSED, ends=True)))
    assert missed.entry is not None
    assert missed.entry.n == 3
    assert (await unread(world, ALICE), await unread(world, BOB)) == (0, 3)
    (page,) = await world.store.welcome([ALICE], 1)
    assert page.matches[0].members[0].read == missed.entry.seq
    await world.store.mark([Mark(M, BOB, missed.entry.seq, missed.entry.seq)])
    assert await unread(world, BOB) == 0
    assert (await world.fill(1))[0].message.n == 4


async def test_a_missed_call_after_something_unread_is_unread_for_its_caller_too(world: World) -> None:
    await world.make(ALICE, BOB)
    first = opened(world)
    await record(world).change_call(first)
    await world.fill(1, BOB)
    await record(world).change_call(next_change(world, first, CallOutcome.MISSED, ends=True))
    assert (await unread(world, ALICE), await unread(world, BOB)) == (2, 1)


async def test_history_shows_of_a_call_its_newest_entry(world: World) -> None:
    await world.make(ALICE, BOB)
    first = opened(world)
    await record(world).change_call(first)
    await world.fill(1)
    second = next_change(world, first, CallOutcome.ONGOING)
    await record(world).change_call(second)
    await world.fill(1)
    assert seqs((await world.page(BOB)).entries) == [5, 4, 3, 1]
    assert seqs((await world.page(BOB, after=0)).entries) == [1, 3, 4, 5]
    await record(world).change_call(next_change(world, second, CallOutcome.COMPLETED, ends=True))
    assert seqs((await world.page(BOB, limit=3)).entries) == [6, 5, 3]
    everything = await world.store.history(M, None, before=None, after=Micros(0), limit=9, folded=False)
    assert seqs(getattr(everything, "entries", ())) == [1, 2, 3, 4, 5, 6]
    synced = await world.sync(BOB, {M: (0, 0)})
    states = [entry.state for entry in synced.matches[M].entries if isinstance(entry, CallEntry)]
    assert states == [CallOutcome.RINGING, CallOutcome.ONGOING, CallOutcome.COMPLETED]


async def test_a_reply_to_a_call_is_no_reply(world: World) -> None:
    await world.make(ALICE, BOB)
    await record(world).change_call(opened(world))
    assert await world.post(post("c1", reply_to=2)) == []


async def test_a_view_has_what_a_decision_needs(world: World) -> None:
    await world.make(ALICE, BOB)
    missing = await record(world).call_view(match=MatchId("no such"), caller=None, since_us=0)
    assert (missing.match, missing.row, missing.members) == (None, None, ())
    view = await record(world).call_view(match=M, caller=ALICE, since_us=TEN_MINUTES_US)
    assert (view.match, view.row, view.members, view.in_call, view.settings) == (M, None, (ALICE, BOB), {}, {})
    assert (view.now, view.blocks, view.unanswered) == (world.clock.micros(), (), 0)
    made = changed(await record(world).change_call(opened(world)))
    await record(world).set_call_settings(BOB, CallSettings("busy", relay_only=True))
    await record(world).set_call_settings(CAROL, CallSettings("busy"))
    for view in (
        await record(world).call_view(match=M, caller=None, since_us=0),
        await record(world).call_view(call=CALL, caller=None, since_us=0),
    ):
        assert (view.row, view.in_call) == (made.row, {ALICE: CALL})
        assert view.settings == {BOB: CallSettings("busy", relay_only=True)}


async def test_an_ended_call_is_found_by_its_name_and_as_the_newest_of_its_match(world: World) -> None:
    await world.make(ALICE, BOB)
    first = opened(world)
    await record(world).change_call(first)
    ended = changed(await record(world).change_call(next_change(world, first, CallOutcome.CANCELLED, ends=True)))
    assert (await record(world).call_view(call=CALL, caller=None, since_us=0)).row == ended.row
    of_match = await record(world).call_view(match=M, caller=None, since_us=0)
    assert (of_match.row, of_match.in_call) == (ended.row, {})
    newer = changed(await record(world).change_call(opened(world, "call-2")))
    assert (await record(world).call_view(match=M, caller=None, since_us=0)).row == newer.row
    await record(world).change_call(next_change(world, opened(world, "call-2"), CallOutcome.CANCELLED, ends=True))
    assert await live(world, BOB) == ()


async def test_calls_that_nobody_took_are_counted_for_a_while(world: World) -> None:
    await world.make(ALICE, BOB)
    for number in range(3):
        first = opened(world, f"call-{number}")
        await record(world).change_call(first)
        state = CallOutcome.MISSED if number else CallOutcome.DECLINED
        await record(world).change_call(next_change(world, first, state, ends=True))
    counted = record(world).call_view
    assert (await counted(match=M, caller=ALICE, since_us=TEN_MINUTES_US)).unanswered == 2
    assert (await counted(match=M, caller=BOB, since_us=TEN_MINUTES_US)).unanswered == 0
    world.clock.advance(601)
    assert (await counted(match=M, caller=ALICE, since_us=TEN_MINUTES_US)).unanswered == 0


async def test_a_user_finds_the_live_calls_of_their_matches(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make(CAROL, BOB, match="m2")
    first = changed(await record(world).change_call(opened(world)))
    second = opened(world, "call-2", "m2", users=(CAROL,), seated=(CAROL,))
    other = changed(await record(world).change_call(second))
    assert await live(world, BOB) == (first.row, other.row)
    assert await live(world, ALICE) == (first.row,)
    assert list((await world.store.arriving([BOB, ALICE], 9)).calls) == [(first.row, other.row), (first.row,)]
    await world.make(CAROL, ALICE, match="m2")
    assert await live(world, BOB) == (first.row,)
    assert await live(world, UserId("nobody")) == ()


async def test_what_is_due_is_claimed_once_and_again_when_nothing_came_of_it(world: World) -> None:
    await world.make(ALICE, BOB)
    first = opened(world, deadline_s=45)
    made = changed(await record(world).change_call(first))
    assert (await record(world).claim_due_calls(5_000_000, 10)).rows == ()
    world.clock.advance(45)
    pages = await asyncio.gather(*(record(world).claim_due_calls(5_000_000, 10) for _ in range(3)))
    assert [row for page in pages for row in page.rows] == [made.row]
    assert [page.now for page in pages if page.rows] == [world.clock.micros()]
    world.clock.advance(5)
    assert (await record(world).claim_due_calls(5_000_000, 10)).rows == (made.row,)
    await record(world).change_call(next_change(world, first, CallOutcome.MISSED, ends=True))
    world.clock.advance(60)
    assert (await record(world).claim_due_calls(5_000_000, 10)).rows == ()


async def test_the_seats_of_a_silent_node_are_found(world: World) -> None:
    await world.make(ALICE, BOB)
    calls, silent_us = record(world), 30_000_000
    await calls.orphaned_calls("n1", silent_us, 10)
    first = opened(world)
    made = changed(await calls.change_call(first))
    assert (await calls.orphaned_calls("n2", silent_us, 10)).calls == ()
    assert (await calls.orphaned_calls("n1", 0, 10)).calls == ()
    assert (await calls.orphaned_calls("n2", 0, 10)).calls == (OrphanedCall(made.row, ("n1",)),)
    world.clock.advance(31)
    assert (await calls.orphaned_calls("n2", silent_us, 10)).calls == (OrphanedCall(made.row, ("n1",)),)
    assert (await calls.orphaned_calls("n1", silent_us, 10)).calls == ()
    assert (await calls.orphaned_calls("n2", silent_us, 10)).calls == ()
    await calls.change_call(next_change(world, first, CallOutcome.FAILED, ends=True))
    world.clock.advance(31)
    assert (await calls.orphaned_calls("n2", silent_us, 10)).calls == ()


async def test_calls_are_listed_newest_first_by_user_and_match(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make(CAROL, BOB, match="m2")
    calls = record(world)
    for number in range(4):
        users, match = ((ALICE, BOB), M) if number % 2 else ((CAROL, BOB), "m2")
        first = opened(world, f"call-{number}", match, users=users, seated=users[:1])
        await calls.change_call(first)
        await calls.change_call(next_change(world, first, CallOutcome.DECLINED, ends=True))

    async def names(
        user: UserId | None = None, match: MatchId | None = None, before: str | None = None, limit: int = 9
    ) -> tuple[str, bool]:
        page = await calls.list_calls(
            user=user, match=match, before=None if before is None else CallId(before), limit=limit
        )
        return "".join(row.call.removeprefix("call-") for row in page.rows), page.complete

    assert await names() == ("3210", True)
    assert await names(limit=3) == ("321", False)
    assert await names(before="call-1") == ("0", True)
    assert await names(before="no such") == ("3210", True)
    assert await names(ALICE) == ("31", True)
    assert await names(BOB, limit=2) == ("32", False)
    assert await names(BOB, before="call-2") == ("10", True)
    assert await names(BOB, MatchId("m2")) == ("20", True)
    assert await names(match=M) == ("31", True)
    assert await names(CAROL, M) == ("", True)
    assert await names(UserId("nobody")) == ("", True)
    assert await names(match=MatchId("no such")) == ("", True)


async def test_how_a_user_wants_to_be_called_is_kept(world: World) -> None:
    calls = record(world)
    assert await calls.call_settings(BOB) == DEFAULT_SETTINGS
    for settings in (CallSettings("busy"), CallSettings("ring", relay_only=True)):
        await calls.set_call_settings(BOB, settings)
        assert await calls.call_settings(BOB) == settings


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
async def test_names_that_cannot_be_stored_are_of_nobody(world: World, bad: str) -> None:
    calls, user, match = record(world), UserId(bad), MatchId(bad)
    assert (await calls.call_view(match=match, caller=None, since_us=0)).match is None
    assert (await calls.call_view(call=CallId(bad), caller=None, since_us=0)).row is None
    assert await live(world, user) == ()
    assert (await calls.list_calls(user=user, match=match, before=CallId(bad), limit=1)).rows == ()
    assert await calls.call_settings(user) == DEFAULT_SETTINGS
    assert await calls.change_call(opened(world, match=bad)) == STALE


async def test_notes_of_every_kind_are_read_as_they_were_written(world: World) -> None:
    await world.make(ALICE, BOB)
    full = structs.replace(note(CallOutcome.COMPLETED), by=BOB, duration_ms=222_000)
    first = structs.replace(opened(world), note=full)
    made = changed(await record(world).change_call(first))
    entry = (await world.page()).entries[0]
    assert entry == made.entry
    assert isinstance(entry, CallEntry)
    assert (entry.by, entry.duration_ms, entry.participants) == (BOB, 222_000, (ALICE, BOB))


async def test_a_closed_store_is_unavailable(world: World) -> None:
    await world.store.close()
    with pytest.raises(StoreUnavailable):
        await record(world).live_calls([ALICE])
    with pytest.raises(StoreUnavailable):
        await record(world).change_call(opened(world))


async def test_blocks_among_members_are_part_of_what_was_read(world: World) -> None:
    await world.make(ALICE, BOB)
    first = structs.replace(opened(world), members=(ALICE, BOB), blocks=0)
    assert isinstance(world.store, MemoryStore | SqliteStore | PostgresStore)
    await world.store.set_block(BOB, ALICE, is_on=True)
    await world.store.set_block(BOB, CAROL, is_on=True)
    assert (await record(world).call_view(match=M, caller=None, since_us=0)).blocks == ((BOB, ALICE),)
    assert await record(world).change_call(first) == STALE
    assert not isinstance(await record(world).change_call(structs.replace(first, blocks=1)), CallStale)
    await world.store.set_block(BOB, ALICE, is_on=False)
    assert (await record(world).call_view(match=M, caller=None, since_us=0)).blocks == ()
