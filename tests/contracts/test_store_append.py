"""What `Store.append` promises: one order, once, nobody who does not belong."""

import asyncio

import pytest
from msgspec import Raw

from protocol.from_server import Member, Message
from protocol.ids import Seq
from protocol.limits import DEDUP_DAYS
from server.core.log import CONFLICT, NO_SUCH_REPLY, NOT_MEMBER, UNSTORABLE, Append, Appended, Refused
from tests.support.clock import DAY_US, START_US
from tests.support.stores import ALICE, BOB, CAROL, M, World, post, seqs, stored


async def test_messages_follow_the_members_entry_without_a_gap(world: World) -> None:
    await world.make(ALICE, BOB)
    outcomes = await world.post(post("a"), post("b", BOB), post("c"))
    assert [o.message.seq for o in outcomes] == [2, 3, 4]
    assert [o.message.n for o in outcomes] == [1, 2, 3]
    assert seqs((await world.page(after=0)).entries) == [1, 2, 3, 4]


async def test_an_answer_is_what_was_stored_and_whom_to_tell(world: World) -> None:
    await world.make(BOB, ALICE, CAROL)
    append = Append(M, BOB, post("x").client_id, Raw(b'{"text":"\xf0\x9f\x99\x82 hi"}'))
    (outcome,) = await world.post(append)
    assert outcome == Appended(
        Message(M, Seq(2), outcome.message.created_at, outcome.message.n, BOB, append.client_id, append.body),
        (ALICE, BOB, CAROL),
        duplicate=False,
    )
    assert (await world.page(limit=1)).entries == (outcome.message,)


async def test_time_grows_with_seq_while_the_clock_stands_and_when_it_steps_back(world: World) -> None:
    await world.make(ALICE, BOB)
    times = [(await world.fill(1))[0].message.created_at]
    for step_us in (0, -5_000_000, 3, -400 * DAY_US):
        world.clock.wall_us += step_us
        outcomes = await world.post(post(f"a{step_us}"), post(f"b{step_us}"))
        times += [o.message.created_at for o in outcomes]
    assert times == sorted(set(times))


async def test_time_is_the_clocks_when_it_has_gone_on(world: World) -> None:
    await world.make(ALICE, BOB)
    world.clock.advance(5)
    (outcome,) = await world.post(post("a"))
    assert outcome.message.created_at == START_US + 5_000_000


async def test_a_clock_far_ahead_in_one_match_does_not_carry_others_along(world: World) -> None:
    await world.make(ALICE, BOB, match="ahead")
    world.clock.advance(1e6)
    await world.post(post("a", match="ahead"))
    world.clock.wall_us = START_US
    made = await world.make(ALICE, BOB, match="later")
    assert made.entry is not None
    assert made.entry.created_at == START_US


async def test_only_members_post(world: World) -> None:
    await world.make(ALICE, BOB)
    outcomes = await world.store.append([post("a", CAROL), post("b", ALICE, "no such match"), post("c")])
    assert outcomes[:2] == [NOT_MEMBER, NOT_MEMBER]
    assert stored(outcomes[2]).message.seq == 2


async def test_those_who_left_do_not_post(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make(ALICE)
    assert list(await world.store.append([post("a", BOB)])) == [NOT_MEMBER]


async def test_nobody_posts_to_a_match_that_ended_until_it_is_made_again(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make()
    assert list(await world.store.append([post("a")])) == [NOT_MEMBER]
    await world.make(ALICE, BOB)
    (outcome,) = await world.post(post("a"))
    assert outcome.message.seq == 4


async def test_a_message_sent_again_is_stored_once(world: World) -> None:
    await world.make(ALICE, BOB)
    (first,) = await world.post(post("a"))
    await world.fill(3, BOB)
    (again,) = await world.post(post("a"))
    assert again == Appended(first.message, (ALICE, BOB), duplicate=True)
    assert (await world.state()).last_seq == 5


async def test_a_message_twice_in_one_batch_is_stored_once(world: World) -> None:
    await world.make(ALICE, BOB)
    outcomes = await world.post(post("a"), post("b", BOB), post("a"), post("c"))
    assert [(o.message.seq, o.duplicate) for o in outcomes] == [(2, False), (3, False), (2, True), (4, False)]
    assert seqs((await world.page()).entries) == [4, 3, 2, 1]


async def test_the_key_is_match_sender_and_client_id(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.make(ALICE, BOB, match="n")
    outcomes = await world.post(post("a"), post("a", BOB), post("a", match="n"))
    assert not any(o.duplicate for o in outcomes)


@pytest.mark.parametrize("together", [True, False])
async def test_a_client_id_for_another_body_is_refused(world: World, *, together: bool) -> None:
    await world.make(ALICE, BOB)
    appends = [post("a"), post("a", text="other"), post("a", reply_to=2), post("b")]
    batches = [appends] if together else [[append] for append in appends]
    outcomes = [outcome for batch in batches for outcome in await world.store.append(batch)]
    assert outcomes[1:3] == [CONFLICT, CONFLICT]
    assert stored(outcomes[3]).message.seq == 3


async def test_a_client_id_is_free_again_after_the_window_and_not_before(world: World) -> None:
    await world.make(ALICE, BOB)
    (first,) = await world.post(post("a"))
    world.clock.wall_us = first.message.created_at + DEDUP_DAYS * DAY_US
    (again,) = await world.post(post("a"))
    assert again.duplicate
    assert list(await world.store.append([post("a", text="other")])) == [CONFLICT]
    world.clock.wall_us += 1
    (anew,) = await world.post(post("a", text="other"))
    assert (anew.message.seq, anew.duplicate) == (3, False)
    (repeated,) = await world.post(post("a", text="other"))
    assert (repeated.message.seq, repeated.duplicate) == (3, True)
    assert [e.client_id for e in (await world.page(limit=2)).entries if isinstance(e, Message)] == ["a", "a"]


async def test_a_refused_reply_leaves_an_old_client_id_as_it_was(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.post(post("a"))
    world.clock.wall_us += (DEDUP_DAYS + 1) * DAY_US
    assert list(await world.store.append([post("a", reply_to=99)])) == [NO_SUCH_REPLY]
    (anew,) = await world.post(post("a"))
    assert not anew.duplicate


async def test_one_who_left_is_told_that_their_message_is_stored_and_nothing_else(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.post(post("b", BOB))
    await world.make(ALICE)
    same, other = await world.store.append([post("b", BOB), post("b", BOB, text="other")])
    assert (stored(same).duplicate, stored(same).members) == (True, (ALICE,))
    assert other == NOT_MEMBER


async def test_replies_name_a_message_that_the_sender_may_read(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.post(post("a"))
    joined = await world.make(ALICE, BOB, CAROL)
    assert joined.entry is not None
    assert joined.entry.seq == 3
    outcomes = await world.store.append(
        [
            post("r1", BOB, reply_to=2),
            post("r2", BOB, reply_to=1),  # a members entry
            post("r3", CAROL, reply_to=2),  # before Carol came
            post("r4", CAROL, reply_to=4),  # r1, in the same batch
            post("r5", BOB, reply_to=0),
            post("r6", BOB, reply_to=6),  # itself
            post("r7", BOB, reply_to=2**63),
        ]
    )
    good = [o.message for o in outcomes if isinstance(o, Appended)]
    assert [(message.seq, message.reply_to) for message in good] == [(4, 2), (5, 4)]
    assert [o for o in outcomes if isinstance(o, Refused)] == [NO_SUCH_REPLY] * 5
    assert (await world.page(limit=2)).entries == tuple(reversed(good))


async def test_posting_moves_the_senders_own_cursors(world: World) -> None:
    await world.make(ALICE, BOB)
    await world.post(post("a"), post("b"), post("c", BOB))
    (page,) = await world.store.welcome([ALICE], 10)
    assert page.matches[0].members == (Member(ALICE, Seq(3), Seq(3)), Member(BOB, Seq(4), Seq(4)))
    assert page.matches[0].unread == 1


@pytest.mark.parametrize("bad", ["\0", "a\0b", "\ud800", "é\udfff", "é\0"])
async def test_a_row_that_cannot_be_stored_refuses_only_itself(world: World, bad: str) -> None:
    await world.make(ALICE, BOB)
    outcomes = await world.store.append(
        [post("a"), post(bad, text="x"), post("b", bad), post("c", ALICE, bad), post("d", BOB)]
    )
    assert outcomes[1:4] == [UNSTORABLE] * 3
    assert (await world.state()).messages == 2


async def test_an_empty_batch_is_an_empty_answer(world: World) -> None:
    assert list(await world.store.append([])) == []


async def test_batches_at_the_same_time_make_one_order(world: World) -> None:
    await world.make(ALICE, BOB)
    batches = [[post(f"{b}-{i}", (ALICE, BOB)[i % 2]) for i in range(5)] for b in range(20)]
    answers = await asyncio.gather(*(world.store.append(batch) for batch in batches))
    places = [stored(outcome).message.seq for outcomes in answers for outcome in outcomes]
    assert sorted(places) == list(range(2, 102))
    assert all(list(own) == sorted(own) for own in zip(*[iter(places)] * 5, strict=True))


async def test_the_same_message_sent_at_the_same_time_is_stored_once(world: World) -> None:
    await world.make(ALICE, BOB)
    answers = await asyncio.gather(*(world.store.append([post("a")]) for _ in range(10)))
    assert sorted(stored(outcome).duplicate for (outcome,) in answers) == [False] + [True] * 9
    assert (await world.state()).last_seq == 2


async def test_reads_see_every_write_that_was_answered(world: World) -> None:
    await world.make(ALICE, BOB)
    for number in range(20):
        (outcome,) = await world.post(post(f"{number}"))
        pages = await asyncio.gather(*(world.page(BOB, limit=1) for _ in range(3)))
        assert [page.entries for page in pages] == [(outcome.message,)] * 3
