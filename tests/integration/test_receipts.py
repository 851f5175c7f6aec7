"""How far everybody is: receipts that only grow, and unread counts that nobody has to count."""

import asyncio

import pytest

from loadtest.client import Client
from protocol.from_client import Receipt
from protocol.from_server import MatchMade, Member, ReceiptMoved
from protocol.ids import MatchId, Seq
from tests.support.people import BEFORE_ALL, People, came, everything_that_came, name_of, say

BACKENDS = ("embedded", "shared", "two nodes")


async def unread(people: People, client: Client, match: str) -> int:
    """Return what a new connection of the user is told."""
    return {summary.match: summary.unread for summary in (await client.matches()).matches}[MatchId(match)]


async def test_a_receipt_reaches_every_other_connection_of_every_member(people: People) -> None:
    """The own other devices too; the one that told it gets only its `ok`."""
    alice, bob, match = await people.pair()
    tablet = await people.come(name_of(bob))
    (sent,) = await say(alice, match, "hello")
    for client in (bob, tablet):
        await everything_that_came(client)
    await bob.receipt(match, delivered=sent.seq, read=sent.seq)
    for client in (alice, tablet):
        assert await everything_that_came(client) == [ReceiptMoved(match, name_of(bob), sent.seq, sent.seq)]
    assert await everything_that_came(bob) == []


async def test_a_receipt_without_id_has_no_answer(people: People) -> None:
    """But it is stored and told all the same."""
    alice, bob, match = await people.pair()
    (sent,) = await say(alice, match, "hello")
    bob.tell(Receipt(match, Seq(sent.seq), None))
    moved = await alice.next(ReceiptMoved)
    assert (moved.user, moved.delivered, moved.read) == (name_of(bob), sent.seq, 1)


async def test_the_highest_receipt_counts(people: People) -> None:
    """A lower one, or the same again, changes nothing and is told to nobody."""
    alice, bob, match = await people.pair()
    await say(alice, match, *"abc")
    await bob.receipt(match, delivered=4, read=3)
    await came(alice, ReceiptMoved)
    for delivered, read in ((2, 2), (4, 3), (1, None), (None, 1)):
        await bob.receipt(match, delivered=delivered, read=read)
    assert await came(alice, ReceiptMoved) == []
    assert Member(name_of(bob), Seq(4), Seq(3)) in (await alice.matches()).matches[0].members


async def test_a_receipt_beyond_the_log_is_clamped_to_it(people: People) -> None:
    """It does not count for what is said later."""
    alice, bob, match = await people.pair()
    await say(alice, match, "one")
    await bob.receipt(match, delivered=1_000, read=999)
    assert await came(alice, ReceiptMoved) == [ReceiptMoved(match, name_of(bob), Seq(2), Seq(2))]
    await say(alice, match, "two")
    assert await unread(people, bob, match) == 1


async def test_what_was_read_was_delivered(people: People) -> None:
    """`delivered` is at least `read`."""
    alice, bob, match = await people.pair()
    await say(alice, match, "one", "two")
    await bob.receipt(match, read=3)
    assert await came(alice, ReceiptMoved) == [ReceiptMoved(match, name_of(bob), Seq(3), Seq(3))]


async def race_receipts(*devices: Client, reader: Client, match: str) -> list[ReceiptMoved]:
    """Have all devices of a user tell receipts at once; return what the reader is told of it."""
    await say(reader, match, *(str(number) for number in range(20)))
    told = [(device, seq) for seq in (5, 21, 2, 17, 9, 13) for device in devices]
    await asyncio.gather(*(device.receipt(match, read=seq) for device, seq in told))
    return await came(reader, ReceiptMoved)


async def test_receipts_that_race_end_at_the_maximum(people: People) -> None:
    """From two devices at once, on two nodes perhaps: the highest is told, whatever came before or behind it."""
    alice, bob, match = await people.pair()
    tablet = await people.come(name_of(bob))
    moved = await race_receipts(bob, tablet, reader=alice, match=match)
    assert ReceiptMoved(match, name_of(bob), Seq(21), Seq(21)) in moved
    assert len({each.read for each in moved}) == len(moved)


async def test_receipts_that_one_device_tells_are_told_in_order(people: People) -> None:
    """However many at once: the last that is pushed is the highest."""
    alice, bob, match = await people.pair()
    moved = await race_receipts(bob, reader=alice, match=match)
    assert moved[-1] == ReceiptMoved(match, name_of(bob), Seq(21), Seq(21))
    assert [each.read for each in moved] == sorted({each.read for each in moved})


async def test_receipts_are_kept_and_carried_in_the_welcome(people: People) -> None:
    """Every member's, for a device that was not there."""
    alice, bob, match = await people.pair()
    (sent,) = await say(alice, match, "hello")
    await bob.receipt(match, delivered=sent.seq)
    late = await people.come(name_of(alice))
    assert late.welcome is not None
    assert {(m.user, m.delivered, m.read) for m in late.welcome.matches[0].members} == {
        (name_of(alice), sent.seq, sent.seq),
        (name_of(bob), sent.seq, 1),
    }


async def test_receipts_of_a_device_that_was_away_come_with_sync(people: People) -> None:
    """The own ones too, which the other device told."""
    alice, bob, match = await people.pair()
    await say(alice, match, "hello")
    tablet = await people.come(name_of(bob))
    await bob.receipt(match, read=2)
    synced = await tablet.sync({match: BEFORE_ALL})
    assert ReceiptMoved(match, name_of(bob), Seq(2), Seq(2)) in synced.receipts


async def test_unread_counts_messages_of_the_others(people: People) -> None:
    """From the last one read on; changes of members do not count."""
    alice, bob, match = await people.pair()
    assert await unread(people, bob, match) == 0
    answers = await say(alice, match, *"abc")
    assert await unread(people, bob, match) == 3
    await bob.receipt(match, read=answers[0].seq)
    assert await unread(people, bob, match) == 2
    (carol,) = people.users("carol")
    await people.api.put_match(match, [name_of(alice), name_of(bob), carol])
    assert await unread(people, bob, match) == 2
    await bob.receipt(match, read=answers[2].seq)
    assert await unread(people, bob, match) == 0


async def test_sending_moves_the_senders_own_receipt(people: People) -> None:
    """Who writes has read; the message says so, no receipt is pushed for it."""
    alice, bob, match = await people.pair()
    await say(alice, match, *"abc")
    (answer,) = await say(bob, match, "d")
    assert await unread(people, bob, match) == 0
    assert await unread(people, alice, match) == 1
    assert await came(alice, ReceiptMoved) == []
    members = (await alice.matches()).matches[0].members
    assert Member(name_of(bob), answer.seq, answer.seq) in members


async def test_one_who_joins_has_nothing_unread(people: People) -> None:
    """What was said before is not theirs; the first message after is 1."""
    alice, bob, match = await people.pair()
    await say(alice, match, *"abc")
    (carol,) = people.users("carol")
    late = await people.come(carol)
    await people.api.put_match(match, [name_of(alice), name_of(bob), carol])
    (made,) = await came(late, MatchMade)
    assert (made.unread, made.last_seq) == (0, 5)
    await say(alice, match, "d")
    assert await unread(people, late, match) == 1


@pytest.mark.parametrize("who", ["a stranger", "one who left"])
async def test_a_receipt_of_one_who_is_no_member_does_nothing(people: People, who: str) -> None:
    """It is answered, and nobody is told."""
    alice, bob, match = await people.pair()
    carol, mallory = people.users("carol", "mallory")
    await say(alice, match, "hello")
    await people.api.put_match(match, [name_of(alice), carol])
    outsider = bob if who == "one who left" else await people.come(mallory)
    await came(alice, ReceiptMoved)
    await outsider.receipt(match, delivered=2, read=2)
    assert await came(alice, ReceiptMoved) == []
    assert {member.user for member in (await alice.matches()).matches[0].members} == {name_of(alice), carol}
