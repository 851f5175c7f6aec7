"""Coming back: what the cursors missed, exactly; told to reload where they do not fit; nothing lost to the moment between."""

import asyncio

import pytest

from loadtest.client import Client
from protocol.from_server import Entry, Gap, MatchLeft, MatchMade, MembersChanged, Message, ReceiptMoved, Reset
from protocol.ids import Cursor, MatchId, Micros, Seq
from tests.support.people import (
    BEFORE_ALL,
    People,
    came,
    cursor_of,
    everything_that_came,
    fresh,
    name_of,
    plain,
    say,
    text_of,
    texts_of,
)

BACKENDS = ("embedded", "shared", "two nodes")


async def cursor_now(people: People, match: MatchId) -> Cursor:
    """Return the cursor of one who holds everything."""
    state = await people.api.match(match)
    return (state.last_seq, state.last_at)


async def whole_log_by_sync(client: Client, match: MatchId, cursor: Cursor = BEFORE_ALL) -> tuple[list[Entry], int]:
    """Sync until complete; return the entries and how many requests it took."""
    entries: list[Entry] = []
    asked = 0
    while True:
        synced = (await client.sync({match: cursor})).matches[match]
        asked += 1
        entries += synced.entries
        if synced.complete:
            return entries, asked
        cursor = cursor_of(synced.entries[-1])


async def test_missed_entries_come_as_pushes_after_the_welcome(people: People) -> None:
    """Oldest first, the same objects as live pushes, then what is live."""
    alice, bob, match = await people.pair()
    held = await bob.send(match, "held", "c1")
    await bob.close()
    await say(alice, match, "missed 1", "missed 2")
    back = await people.come(name_of(bob), {match: cursor_of(held)})
    await say(alice, match, "live")
    # One that is sent while the missed ones are read may be among both: clients drop what they have.
    pushed = list({message.seq: message for message in await came(back, Message)}.values())
    assert texts_of(pushed) == ["missed 1", "missed 2", "live"]
    log = await people.api.log(match)
    assert list(map(plain, pushed)) == list(map(plain, log[2:]))


async def test_a_cursor_that_is_up_to_date_brings_nothing(people: People) -> None:
    """Neither does a match that is named without a cursor being given."""
    alice, bob, match = await people.pair()
    other = await people.match(name_of(alice), name_of(bob))
    await say(alice, match, "hello")
    await say(alice, other, "hello")
    back = await people.come(name_of(bob), {match: await cursor_now(people, match)})
    assert await everything_that_came(back) == []


async def test_messages_of_the_users_other_device_are_missed_too(people: People) -> None:
    """What was sent from the phone is news to the laptop."""
    alice, _, match = await people.pair()
    cursor = await cursor_now(people, match)
    await say(alice, match, "from the phone")
    laptop = await people.come(name_of(alice), {match: cursor})
    assert texts_of(await came(laptop, Message)) == ["from the phone"]


@pytest.mark.parametrize("missed, gaps", [(200, 0), (201, 1)])
async def test_two_hundred_entries_of_a_match_come_at_once(people: People, missed: int, gaps: int) -> None:
    """One more is a `gap`, and `sync` from the cursor brings the remainder."""
    alice, bob, match = await people.pair()
    cursor = await cursor_now(people, match)
    await say(alice, match, *map(str, range(missed)))
    back = await people.come(name_of(bob), {match: cursor})
    pushes = await everything_that_came(back)
    entries = [push for push in pushes if isinstance(push, Message)]
    assert texts_of(entries) == list(map(str, range(200)))
    assert [push for push in pushes if isinstance(push, Gap)] == [Gap(match)] * gaps
    rest, _ = await whole_log_by_sync(back, match, cursor_of(entries[-1]))
    assert texts_of(rest) == list(map(str, range(200, missed)))


async def test_sync_reads_on_until_complete(people: People) -> None:
    """200 entries at a time, oldest first, from before the first one on."""
    alice, bob, match = await people.pair()
    await say(alice, match, *map(str, range(450)))
    entries, asked = await whole_log_by_sync(bob, match)
    assert [entry.seq for entry in entries] == list(range(1, 452))
    assert asked == 3


async def test_a_sync_answer_does_not_outgrow_an_outbox(people: People) -> None:
    """200 messages of 4,000 characters come in several answers, each with at least one entry."""
    alice, bob, match = await people.pair()
    await say(alice, match, *("x" * 4_000 for _ in range(200)))
    entries, asked = await whole_log_by_sync(bob, match)
    assert [entry.seq for entry in entries] == list(range(1, 202))
    assert 2 <= asked <= 6


async def test_large_messages_that_were_missed_come_all_the_same(people: People) -> None:
    """A resume of 800 kB is written as the socket drains, in order and whole."""
    alice, bob, match = await people.pair()
    cursor = await cursor_now(people, match)
    await say(alice, match, *(f"{number:04}{'x' * 3_996}" for number in range(199)))
    back = await people.come(name_of(bob), {match: cursor})
    pushed = await came(back, Message)
    assert [int(text_of(message)[:4]) for message in pushed] == list(range(199))
    assert back.is_open


async def test_sync_answers_many_matches_at_once(people: People) -> None:
    """Each by its own cursor."""
    alice, bob = people.users("alice", "bob")
    client, other = await people.come(alice), await people.come(bob)
    matches = [await people.match(alice, bob) for _ in range(5)]
    cursors = {}
    for number, match in enumerate(matches):
        cursors[match] = await cursor_now(people, match)
        await say(other, match, *map(str, range(number)))
    synced = await client.sync(cursors)
    assert [len(synced.matches[match].entries) for match in matches] == [0, 1, 2, 3, 4]
    assert all(each.complete for each in synced.matches.values())


@pytest.mark.parametrize("fault", ["another time", "beyond the end", "of another match"])
async def test_a_cursor_that_is_not_of_this_log_is_reset(people: People, fault: str) -> None:
    """In `hello` by a push, in `sync` by a mark in the answer; no entries come with it."""
    alice, bob, match = await people.pair()
    await say(alice, match, "one", "two")
    seq, at = await cursor_now(people, match)
    wrong = {
        "another time": (Seq(seq - 1), at),
        "beyond the end": (Seq(seq + 5), Micros(at + 5)),
        "of another match": (seq, Micros(at - 1_000_000)),
    }[fault]
    back = await people.come(name_of(bob), {match: wrong})
    pushes = await everything_that_came(back)
    assert [push for push in pushes if not isinstance(push, ReceiptMoved)] == [Reset(match)]
    synced = (await back.sync({match: wrong})).matches[match]
    assert (synced.reset, synced.entries, synced.complete) == (True, (), True)


async def test_one_who_left_meanwhile_gets_what_came_before_that(people: People) -> None:
    """Then `match.left`; and nothing of what came later."""
    alice, bob, match = await people.pair()
    (carol,) = people.users("carol")
    cursor = await cursor_now(people, match)
    await bob.close()
    await say(alice, match, "still with bob")
    await people.api.put_match(match, [name_of(alice), carol])
    await say(alice, match, "without bob")
    back = await people.come(name_of(bob), {match: cursor})
    assert back.welcome is not None
    assert back.welcome.matches == ()
    pushes = await everything_that_came(back)
    assert [type(push) for push in pushes] == [Message, MembersChanged, MatchLeft]
    assert text_of(pushes[0]) == "still with bob"
    synced = await back.sync({match: cursor})
    assert [entry.seq for entry in synced.matches[match].entries] == [2, 3]
    assert synced.matches[match].left
    assert synced.receipts == ()


async def test_one_who_left_and_came_back_is_reset(people: People) -> None:
    """The old cursor stands on what may no longer be seen; [0, 0] stands before the first entry that may."""
    alice, bob, match = await people.pair()
    (carol,) = people.users("carol")
    old = await cursor_now(people, match)
    await people.api.put_match(match, [name_of(alice), carol])
    await people.api.put_match(match, [name_of(alice), name_of(bob), carol])
    await say(alice, match, "again")
    assert (await bob.sync({match: old})).matches[match].reset
    entries, _ = await whole_log_by_sync(bob, match)
    assert [entry.seq for entry in entries] == [3, 4]


async def test_nothing_is_said_of_a_match_that_the_user_never_was_in(people: People) -> None:
    """Nor of one that does not exist: no push, no place in the answer."""
    _, _, match = await people.pair()
    (mallory,) = people.users("mallory")
    cursors = {match: await cursor_now(people, match), MatchId(fresh("nowhere")): (Seq(1), Micros(1))}
    stranger = await people.come(mallory, cursors)
    assert await everything_that_came(stranger) == []
    synced = await stranger.sync(cursors)
    assert (synced.matches, synced.receipts) == ({}, ())


async def test_receipts_come_with_what_was_missed(people: People) -> None:
    """After `hello` in the welcome's summaries, in `sync` in the answer: those of all members, as they are now."""
    alice, bob, match = await people.pair()
    cursor = await cursor_now(people, match)
    (sent,) = await say(alice, match, "hello")
    await bob.receipt(match, delivered=sent.seq, read=sent.seq)
    expected = {(name_of(alice), sent.seq, sent.seq), (name_of(bob), sent.seq, sent.seq)}
    back = await people.come(name_of(alice), {match: cursor})
    assert back.welcome is not None
    (summary,) = back.welcome.matches
    assert {(member.user, member.delivered, member.read) for member in summary.members} == expected
    assert await came(back, ReceiptMoved) == []
    answered = (await back.sync({match: cursor})).receipts
    assert {(moved.user, moved.delivered, moved.read) for moved in answered} == expected


async def test_receipts_of_a_match_beyond_the_welcome_come_as_pushes(people: People) -> None:
    """With what its cursor missed, when a hundred matches are newer."""
    alice, bob, match = await people.pair()
    cursor = await cursor_now(people, match)
    (sent,) = await say(alice, match, "hello")
    await bob.receipt(match, delivered=sent.seq)
    for _ in range(100):
        await people.match(name_of(alice), name_of(bob))
    back = await people.come(name_of(alice), {match: cursor})
    pushes = await everything_that_came(back)
    assert texts_of([push for push in pushes if isinstance(push, Message)]) == ["hello"]
    assert {(push.user, push.delivered, push.read) for push in pushes if isinstance(push, ReceiptMoved)} == {
        (name_of(alice), sent.seq, sent.seq),
        (name_of(bob), sent.seq, 1),
    }


async def test_no_entry_falls_between_the_resume_and_what_is_live(people: People, backend: str) -> None:
    """Ten who come back while two write: each gets every entry, some perhaps twice.

    On one node in order. What two nodes push may cross on its way; clients hold an entry that is ahead.
    """
    alice, bob, match = await people.pair()
    cursor = await cursor_now(people, match)
    await say(alice, match, *("missed" for _ in range(50)))
    tokens = [await people.api.token(name_of(bob)) for _ in range(10)]

    async def write(writer: Client) -> None:
        for number in range(60):
            await say(writer, match, str(number))

    writing = asyncio.gather(write(alice), write(bob))
    devices = []
    for token in tokens:
        device = await people.visitor(token=token)
        await device.hello({match: cursor})
        devices.append(device)
    await writing
    last, _ = await cursor_now(people, match)
    for device in devices:
        have, _ = cursor
        pushes = await everything_that_came(device)
        assert not [push for push in pushes if isinstance(push, Gap)]
        places = [push.seq for push in pushes if isinstance(push, Message)]
        for place in sorted(places) if backend == "two nodes" else places:
            assert place <= have + 1
            have = max(have, place)
        assert have == last


async def test_a_match_that_was_made_meanwhile_is_in_the_welcome(people: People) -> None:
    """With the cursor of its newest entry; its log is not pushed."""
    alice, bob = people.users("alice", "bob")
    client = await people.come(alice)
    await client.close()
    match = await people.match(alice, bob)
    back = await people.come(alice)
    assert back.welcome is not None
    (summary,) = back.welcome.matches
    assert summary.match == match
    assert (summary.last_seq, summary.last_at) == await cursor_now(people, match)
    assert isinstance(summary.last, MembersChanged)
    assert await came(back, MatchMade) == []


async def test_the_store_has_one_epoch(people: People) -> None:
    """Everybody is told the same."""
    alice, bob, _ = await people.pair()
    assert alice.welcome is not None
    assert bob.welcome is not None
    assert alice.welcome.store_epoch == bob.welcome.store_epoch != ""
