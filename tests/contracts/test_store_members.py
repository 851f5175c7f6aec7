"""What `Store.set_members`, `mark` and the small reads promise."""

import pytest

from protocol.from_server import MatchSummary, Member, MembersChanged, ReceiptMoved
from protocol.ids import MatchId, Seq, UserId
from server.core.log import NOT_MEMBER, UNSTORABLE, Mark, Marked, MatchState, MembersSet
from server.ports import StoreUnavailable
from tests.support.stores import ALICE, BOB, CAROL, DAVE, M, World, moved, post, seqs


def mark(user: str, delivered: int = 0, read: int = 0) -> Mark:
    return Mark(M, UserId(user), Seq(delivered), Seq(read))


async def test_a_new_match_begins_with_its_members(world: World) -> None:
    made = await world.make(BOB, ALICE, BOB)
    entry = MembersChanged(M, Seq(1), made.joined[0][1].last_at, (ALICE, BOB), (ALICE, BOB), ())
    members = (Member(ALICE, Seq(1), Seq(1)), Member(BOB, Seq(1), Seq(1)))
    summary = MatchSummary(M, members, Seq(1), entry.created_at, 0, entry)
    assert made == MembersSet(M, (ALICE, BOB), entry, made=True, joined=((ALICE, summary), (BOB, summary)))
    assert (await world.page()).entries == (entry,)
    assert await world.state() == MatchState(M, (ALICE, BOB), Seq(1), entry.created_at, 0)


async def test_the_same_members_in_any_order_change_nothing(world: World) -> None:
    await world.make(ALICE, BOB)
    assert await world.make(BOB, ALICE, ALICE) == MembersSet(M, (ALICE, BOB), None, made=False, joined=())
    assert (await world.state()).last_seq == 1


async def test_a_change_is_one_entry_that_says_who_came_and_who_went(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(3)
    changed = await world.make(CAROL, ALICE)
    assert changed.entry is not None
    assert changed.entry == MembersChanged(M, Seq(5), changed.entry.created_at, (ALICE, CAROL), (CAROL,), (BOB,))
    assert not changed.made
    ((user, summary),) = changed.joined
    assert (user, summary.last, summary.unread, summary.last_seq) == (CAROL, changed.entry, 0, 5)
    assert summary.members == (Member(ALICE, Seq(4), Seq(4)), Member(CAROL, Seq(5), Seq(5)))


async def test_members_entries_do_not_count_as_unread(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2, BOB)
    await world.make(ALICE, BOB, CAROL)
    (page,) = await world.store.welcome([ALICE], 1)
    assert (page.matches[0].unread, page.matches[0].last_seq) == (2, 4)
    assert (await world.state()).messages == 2


async def test_ending_a_match_keeps_its_log_and_making_it_again_goes_on(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(1)
    ended = await world.make()
    assert ended.entry is not None
    assert (ended.members, ended.made, ended.joined, ended.entry.left) == ((), False, (), (ALICE, BOB))
    assert (await world.state()).members == ()
    again = await world.make(ALICE, CAROL)
    assert again.made
    assert seqs((await world.page(limit=9)).entries) == [4, 3, 2, 1]


async def test_ending_what_never_was_makes_nothing(world: World) -> None:
    assert await world.make() == MembersSet(M, (), None, made=False, joined=())
    assert await world.store.match(M) is None


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
async def test_ids_that_cannot_be_stored_are_refused(world: World, bad: str) -> None:
    assert await world.store.set_members(M, (ALICE, UserId(bad))) == UNSTORABLE
    assert await world.store.set_members(MatchId(bad), (ALICE, BOB)) == UNSTORABLE
    assert await world.store.match(M) is None


async def test_one_who_left_reads_up_to_it_and_nothing_later(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    await world.make(ALICE)
    await world.fill(2)
    assert seqs((await world.page(BOB)).entries) == [4, 3, 2, 1]


async def test_one_who_joined_reads_from_there_on(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    await world.make(ALICE, BOB, CAROL)
    await world.fill(2)
    page = await world.page(CAROL)
    assert (seqs(page.entries), page.complete) == ([6, 5, 4], True)


async def test_coming_back_forgets_the_time_before(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    await world.make(ALICE)
    await world.fill(2)
    await world.make(ALICE, BOB)
    await world.fill(1)
    assert seqs((await world.page(BOB)).entries) == [8, 7]
    (page,) = await world.store.welcome([BOB], 1)
    assert page.matches[0].unread == 1


async def test_a_stranger_reads_nothing(world: World) -> None:
    await world.make(ALICE, BOB)
    assert await world.read(CAROL) == NOT_MEMBER
    assert await world.read(ALICE, match="no such") == NOT_MEMBER


async def test_marks_move_forward_and_tell_everybody(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(5)
    (marked,) = await world.store.mark([mark(BOB, 4, 3)])
    assert marked == Marked(ReceiptMoved(M, BOB, Seq(4), Seq(3)), (ALICE, BOB))
    (page,) = await world.store.welcome([BOB], 1)
    assert page.matches[0].unread == 3


async def test_the_maximum_wins(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(5)
    await world.store.mark([mark(BOB, 4, 3)])
    assert list(await world.store.mark([mark(BOB, 2, 1), mark(BOB, 4, 3), mark(BOB)])) == [None] * 3
    (marked,) = await world.store.mark([mark(BOB, 5, 1)])
    assert moved(marked).receipt == ReceiptMoved(M, BOB, Seq(5), Seq(3))


@pytest.mark.parametrize("huge", [7, 2**53 - 1, 2**70])
async def test_marks_are_clamped_to_what_there_is(world: World, huge: int) -> None:
    await world.make(ALICE, BOB)
    await world.fill(5)
    (marked,) = await world.store.mark([mark(BOB, 0, huge)])
    assert moved(marked).receipt == ReceiptMoved(M, BOB, Seq(6), Seq(6))
    await world.fill(1)
    (page,) = await world.store.welcome([BOB], 1)
    assert page.matches[0].unread == 1


async def test_what_was_read_was_delivered(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(5)
    (marked,) = await world.store.mark([mark(BOB, 0, 4)])
    assert moved(marked).receipt == ReceiptMoved(M, BOB, Seq(4), Seq(4))


async def test_marks_of_those_who_are_no_members_do_nothing(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    await world.make(ALICE)
    strange = Mark(MatchId("none"), ALICE, Seq(2), Seq(2))
    odd = Mark(MatchId("\ud800"), UserId("\ud800"), Seq(2), Seq(2))
    assert (
        list(await world.store.mark([mark(BOB, 3, 3), mark(CAROL, 1, 1), strange, odd, mark("\ud800", 1)]))
        == [None] * 5
    )


async def test_unread_is_counted_from_the_read_cursor(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(2)
    await world.make(ALICE, BOB, CAROL)
    await world.fill(2)
    for read, unread in ((1, 4), (2, 3), (3, 2), (4, 2), (5, 1), (6, 0)):
        await world.store.mark([mark(BOB, 0, read)])
        (page,) = await world.store.welcome([BOB], 1)
        assert page.matches[0].unread == unread


async def test_members_of_many_matches(world: World) -> None:
    await world.make(BOB, ALICE)
    await world.make(CAROL, ALICE, match="n")
    await world.make(match="n")
    asked = [M, MatchId("n"), MatchId("none"), MatchId("\ud800"), M]
    assert list(await world.store.members(asked)) == [(ALICE, BOB), (), (), (), (ALICE, BOB)]


async def test_partners_share_a_present_match(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make(ALICE, CAROL, match="n")
    await world.make(BOB, DAVE, match="o")
    everybody = [ALICE, BOB, CAROL, DAVE, UserId("nobody"), UserId("\ud800"), BOB]
    assert await world.store.partners(ALICE, everybody) == {ALICE, BOB, CAROL}
    assert await world.store.partners(DAVE, everybody) == {BOB, DAVE}
    assert await world.store.partners(ALICE, []) == frozenset()
    assert await world.store.partners(UserId("nobody"), everybody) == frozenset()
    assert await world.store.partners(UserId("\ud800"), everybody) == frozenset()
    await world.make(ALICE, match="n")
    assert await world.store.partners(ALICE, everybody) == {ALICE, BOB}
    assert await world.store.partners(CAROL, [CAROL]) == frozenset()


async def test_a_match_that_there_never_was_is_none(world: World) -> None:
    assert await world.store.match(MatchId("none")) is None
    assert await world.store.match(MatchId("\ud800")) is None


async def test_names_are_compared_byte_for_byte(world: World) -> None:
    composed, decomposed = "é", "e\u0301"
    made = await world.make(composed, decomposed, "E", "\U0001f642", "\uffff")
    assert made.members == tuple(sorted({composed, decomposed, "E", "\U0001f642", "\uffff"}))
    (page,) = await world.store.welcome([UserId(composed)], 1)
    assert [member.user for member in page.matches[0].members] == list(made.members)


async def test_a_store_has_an_epoch(world: World) -> None:
    assert world.store.epoch


async def test_a_closed_store_answers_nothing_and_closes_again(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.store.close()
    await world.store.close()
    with pytest.raises(StoreUnavailable):
        await world.store.append([post("a")])
    with pytest.raises(StoreUnavailable):
        await world.store.match(M)
