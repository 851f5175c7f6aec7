"""What every store promises about people: blocks, how users want to be shown, and reading in private."""

import pytest

from protocol.calls import CallOutcome
from protocol.errors import ErrorCode
from protocol.from_client import LastSeen, OwnStatus
from protocol.from_server import Member, OwnPresence, ReceiptMoved
from protocol.ids import MatchId, Micros, Seq, UserId
from protocol.limits import BLOCKS_MAX
from server.core.log import Appended, Mark, Refused
from server.core.people import BLOCKED, NOBODY, TOO_MANY_BLOCKS, Person, PresenceWish, Unread
from tests.support.call_rows import changed, next_change, opened, record
from tests.support.stores import ALICE, BOB, CAROL, DAVE, M, World, moved, post

PAIR = MatchId("pair")


async def block(world: World, user: str, other: str, *, is_on: bool = True) -> bool:
    news = await world.store.set_block(UserId(user), UserId(other), is_on=is_on)
    assert not isinstance(news, Refused)
    return news


async def person(world: World, user: str) -> Person:
    (found,) = await world.store.people([UserId(user)])
    return found


async def send(world: World, client_id: str, sender: str, match: str = M) -> Appended | Refused:
    (outcome,) = await world.store.append([post(client_id, sender, match)])
    return outcome


async def mark(world: World, user: str, read: int, match: str = M) -> ReceiptMoved:
    (marked,) = await world.store.mark([Mark(MatchId(match), UserId(user), Seq(0), Seq(read))])
    return moved(marked).receipt


def unread(read: int, last: int) -> Unread:
    return Unread(M, Seq(read), Seq(last))


async def members(world: World, viewer: str) -> dict[str, tuple[int, int]]:
    """Read every member's cursors as `viewer` sees them, from a summary; `sync` tells the same."""
    (page,) = await world.store.welcome([UserId(viewer)], 10)
    (summary,) = page.matches
    synced = await world.sync(viewer, {M: (0, 0)})
    assert [Member(r.user, r.delivered, r.read) for r in synced.receipts] == list(summary.members)
    return {member.user: (member.delivered, member.read) for member in summary.members}


# ---- blocks


async def test_a_block_is_news_once_and_both_sides_know_of_it(world: World) -> None:
    assert await world.store.people([ALICE, BOB]) == [NOBODY, NOBODY]
    assert await block(world, ALICE, BOB)
    assert not await block(world, ALICE, BOB)
    assert await world.store.people([BOB, CAROL, ALICE]) == [
        Person(blocked_by=frozenset({ALICE})),
        NOBODY,
        Person(blocked=frozenset({BOB})),
    ]
    assert await block(world, ALICE, BOB, is_on=False)
    assert not await block(world, ALICE, BOB, is_on=False)
    assert await world.store.people([ALICE, BOB]) == [NOBODY, NOBODY]


async def test_who_is_welcomed_is_read_together_with_their_matches(world: World) -> None:
    await world.make(ALICE, BOB)
    await block(world, ALICE, CAROL)
    users = [CAROL, ALICE, UserId("nobody"), UserId("nul\0"), ALICE]
    found = await world.store.arriving(users, 9)
    assert list(found.pages) == list(await world.store.welcome(users, 9))
    blocks_carol = Person(blocked=frozenset({CAROL}))
    assert list(found.calls) == [()] * len(users)
    assert list(found.people) == [Person(blocked_by=frozenset({ALICE})), blocks_carol, NOBODY, NOBODY, blocks_carol]


async def test_nobody_writes_in_a_match_of_two_while_one_blocks_the_other(world: World) -> None:
    await world.make(ALICE, BOB)
    first = await send(world, "before", BOB)
    assert isinstance(first, Appended)
    await block(world, ALICE, BOB)
    assert await world.store.append([post("1", BOB), post("2", ALICE)]) == [BLOCKED, BLOCKED]
    again = await send(world, "before", BOB)
    assert isinstance(again, Appended)
    assert again.duplicate
    await block(world, BOB, ALICE)
    await block(world, ALICE, BOB, is_on=False)
    assert await send(world, "3", BOB) == BLOCKED
    await block(world, BOB, ALICE, is_on=False)
    assert isinstance(await send(world, "3", BOB), Appended)
    assert (await world.state()).messages == 2


async def test_a_block_holds_in_matches_that_are_made_later_and_ends_with_the_membership(world: World) -> None:
    await block(world, ALICE, BOB)
    await world.make(ALICE, BOB)
    assert await send(world, "1", ALICE) == BLOCKED
    await world.make(ALICE, CAROL)
    await world.make(BOB, CAROL, match="other")
    assert isinstance(await send(world, "2", ALICE), Appended)
    assert isinstance(await send(world, "3", BOB, "other"), Appended)


async def test_in_a_group_the_entries_of_a_blocked_sender_are_hidden_from_the_blocker(world: World) -> None:
    await world.make(ALICE, BOB, CAROL)
    await block(world, ALICE, BOB)
    by_bob, by_alice, by_carol = await world.post(post("1", BOB), post("2", ALICE), post("3", CAROL))
    assert (by_bob.hidden, by_alice.hidden, by_carol.hidden) == ((ALICE,), (), ())
    assert by_bob.members == (ALICE, BOB, CAROL)
    await block(world, CAROL, BOB)
    (by_bob,) = await world.post(post("4", BOB))
    assert sorted(by_bob.hidden) == [ALICE, CAROL]


async def test_what_is_hidden_and_unread_is_counted(world: World) -> None:
    await world.make(ALICE, BOB, CAROL)
    await world.make(ALICE, BOB, match=PAIR)
    await world.post(post("1", BOB), post("2", CAROL), post("p", BOB, PAIR))
    await block(world, ALICE, BOB)
    await world.post(post("3", BOB), post("4", CAROL))
    every = [unread(1, 5), Unread(PAIR, Seq(1), Seq(1)), Unread(MatchId("none"), Seq(1), Seq(9))]
    assert await world.store.hidden_unread(ALICE, every) == {M: 2}
    assert await world.store.hidden_unread(ALICE, [unread(2, 5)]) == {M: 1}
    assert await world.store.hidden_unread(ALICE, [unread(1, 3)]) == {M: 1}
    assert await world.store.hidden_unread(ALICE, [unread(2, 3)]) == {}
    assert await world.store.hidden_unread(CAROL, every) == {}
    await world.make(ALICE, CAROL, DAVE)  # He left; what he wrote is still hidden.
    assert await world.store.hidden_unread(ALICE, [unread(1, 6)]) == {M: 2}
    assert await world.store.hidden_unread(ALICE, []) == {}


async def test_missed_calls_of_who_is_blocked_are_hidden_and_counted_too(world: World) -> None:
    """Other entries of calls count for nobody."""
    await world.make(ALICE, BOB, CAROL)
    await block(world, ALICE, BOB)
    for number, users in enumerate([(BOB, CAROL), (CAROL, BOB), (BOB, CAROL)]):
        rings = opened(world, f"call {number}", users=users, seated=users[:1])
        changed(await record(world).change_call(rings))
        changed(await record(world).change_call(next_change(world, rings, CallOutcome.MISSED, ends=True)))
    state = await world.state()
    assert state.messages == 3
    assert await world.store.hidden_unread(ALICE, [unread(1, state.last_seq)]) == {M: 2}


async def test_a_receipt_says_from_whom_a_block_hides_it(world: World) -> None:
    await world.make(ALICE, BOB, CAROL)
    await world.fill(2, CAROL)
    await block(world, ALICE, BOB)
    marks = [Mark(M, user, Seq(2), Seq(2)) for user in (ALICE, BOB, CAROL)]
    outcomes = await world.store.mark(marks)
    assert [moved(each).hidden for each in outcomes if each] == [(BOB,), (ALICE,)]
    assert all(moved(each).shown is None for each in outcomes if each)


async def test_who_has_blocked_as_many_as_may_be_blocks_nobody_more(world: World) -> None:
    for number in range(BLOCKS_MAX):
        assert await block(world, ALICE, f"user {number}")
    assert await world.store.set_block(ALICE, BOB, is_on=True) == TOO_MANY_BLOCKS
    assert not await block(world, ALICE, "user 7")
    assert await block(world, ALICE, "user 7", is_on=False)
    assert await block(world, ALICE, BOB)


@pytest.mark.parametrize("name", ["nul\0", "\ud800"])
async def test_ids_that_cannot_be_stored_are_refused(world: World, name: str) -> None:
    outcome = await world.store.set_block(ALICE, UserId(name), is_on=True)
    assert isinstance(outcome, Refused)
    assert outcome.code is ErrorCode.BAD_REQUEST
    assert isinstance(await world.store.set_presence(UserId(name), PresenceWish()), Refused)
    assert isinstance(await world.store.set_presence(ALICE, PresenceWish(text=name)), Refused)
    assert await world.store.people([UserId(name)]) == [NOBODY]
    assert await world.store.hidden_unread(UserId(name), [unread(1, 9)]) == {}
    assert await world.store.hidden_unread(ALICE, [Unread(MatchId(name), Seq(1), Seq(9))]) == {}
    assert await world.store.set_private_read(MatchId(name), ALICE, is_on=True) is None


# ---- how users want to be shown


async def test_what_is_not_wished_stays_and_every_change_is_newer(world: World) -> None:
    first = await world.store.set_presence(ALICE, PresenceWish(OwnStatus.DND, "In an exam"))
    assert isinstance(first, Person)
    assert first.presence == OwnPresence(OwnStatus.DND, "In an exam", LastSeen.EXACT)
    second = await world.store.set_presence(ALICE, PresenceWish(last_seen=LastSeen.ROUNDED))
    third = await world.store.set_presence(ALICE, PresenceWish(OwnStatus.ONLINE, ""))
    assert isinstance(second, Person)
    assert isinstance(third, Person)
    assert second.presence == OwnPresence(OwnStatus.DND, "In an exam", LastSeen.ROUNDED)
    assert third.presence == OwnPresence(OwnStatus.ONLINE, "", LastSeen.ROUNDED)
    assert 0 < first.version < second.version < third.version
    assert await person(world, ALICE) == third
    assert await person(world, BOB) == NOBODY


async def test_a_clock_that_steps_back_makes_no_older_version(world: World) -> None:
    first = await world.store.set_presence(ALICE, PresenceWish(OwnStatus.AWAY))
    world.clock.wall_us = Micros(world.clock.wall_us - 3_600_000_000)
    second = await world.store.set_presence(ALICE, PresenceWish(OwnStatus.ONLINE))
    assert isinstance(first, Person)
    assert isinstance(second, Person)
    assert second.version > first.version


# ---- reading in private


async def test_the_others_are_not_shown_how_far_who_reads_in_private_is(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(3, ALICE)
    await mark(world, BOB, 2)
    begun = await world.store.set_private_read(M, BOB, is_on=True)
    assert begun is not None
    assert (begun.receipt, begun.members, begun.hidden) == (ReceiptMoved(M, BOB, Seq(2), Seq(2)), (ALICE, BOB), ())
    (marked,) = await world.store.mark([Mark(M, BOB, Seq(0), Seq(4))])
    assert moved(marked).receipt == ReceiptMoved(M, BOB, Seq(4), Seq(4))
    assert moved(marked).shown == ReceiptMoved(M, BOB, Seq(4), Seq(2))
    assert (await members(world, BOB))[BOB] == (4, 4)
    assert (await members(world, ALICE))[BOB] == (4, 2)
    ((mine,), (theirs,)) = (page.matches for page in await world.store.welcome([BOB, ALICE], 1))
    assert (mine.private_read, mine.unread, theirs.private_read) == (True, 0, False)
    assert await world.store.mark([Mark(M, BOB, Seq(4), Seq(4))]) == [None]


async def test_the_others_are_shown_it_again_when_it_is_public(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.fill(3, ALICE)
    await world.store.set_private_read(M, BOB, is_on=True)
    await mark(world, BOB, 3)
    await world.store.set_private_read(M, BOB, is_on=True)  # once more changes nothing
    assert (await members(world, ALICE))[BOB] == (3, 1)
    ended = await world.store.set_private_read(M, BOB, is_on=False)
    assert ended is not None
    assert ended.receipt == ReceiptMoved(M, BOB, Seq(3), Seq(3))
    assert (await members(world, ALICE))[BOB] == (3, 3)
    (page,) = await world.store.welcome([BOB], 1)
    assert (page.matches[0].private_read, page.matches[0].unread) == (False, 1)


async def test_an_own_message_shows_what_it_shows(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.store.set_private_read(M, BOB, is_on=True)
    await world.fill(2, ALICE)
    await world.fill(1, BOB)
    assert (await members(world, ALICE))[BOB] == (4, 4)
    await world.fill(1, ALICE)
    await mark(world, BOB, 5)
    assert (await members(world, ALICE))[BOB] == (5, 4)
    assert (await members(world, BOB))[BOB] == (5, 5)


async def test_only_members_read_in_private_and_still_do_when_they_are_back(world: World) -> None:
    assert await world.store.set_private_read(M, BOB, is_on=True) is None
    await world.make(ALICE, BOB, CAROL)
    assert await world.store.set_private_read(M, DAVE, is_on=True) is None
    await block(world, CAROL, BOB)
    begun = await world.store.set_private_read(M, BOB, is_on=True)
    assert begun is not None
    assert begun.hidden == (CAROL,)
    await world.make(ALICE, CAROL)
    await world.make(ALICE, BOB, CAROL)
    await world.fill(1, ALICE)
    await mark(world, BOB, 4)
    assert (await members(world, ALICE))[BOB] == (4, 3)
    joined = (await world.make(ALICE, BOB, CAROL, DAVE)).joined
    assert next(member for member in joined[0][1].members if member.user == BOB).read == 3
