"""Matches as their members see them: made, changed, left, ended, and paged when there are many."""

import asyncio

import pytest

from loadtest.api import ApiError
from loadtest.client import Refused
from protocol.errors import ErrorCode
from protocol.from_server import MatchLeft, MatchMade, MatchSummary, Member, MembersChanged, Message
from protocol.ids import Seq
from tests.support.people import People, came, everything_that_came, fresh, name_of, plain, say, texts_of

BACKENDS = ("embedded", "shared", "two nodes")


def is_of(made: MatchMade, summary: MatchSummary) -> bool:
    """Tell whether a `match` push says what the summary says."""
    return [plain(getattr(made, name)) for name in MatchSummary.__struct_fields__] == [
        plain(getattr(summary, name)) for name in MatchSummary.__struct_fields__
    ]


async def test_a_new_match_appears_on_all_devices_of_its_members(people: People) -> None:
    """As the summary that `welcome` would have; the first entry of its log made it."""
    alice, bob = people.users("alice", "bob")
    clients = [await people.come(user) for user in (alice, alice, bob)]
    match = await people.match(alice, bob)
    for client in clients:
        (made,) = await everything_that_came(client)
        assert isinstance(made, MatchMade)
        assert made.members == (Member(alice, Seq(1), Seq(1)), Member(bob, Seq(1), Seq(1)))
        assert (made.match, made.last_seq, made.unread) == (match, 1, 0)
        assert isinstance(made.last, MembersChanged)
        assert (made.last.members, made.last.joined, made.last.left) == ((alice, bob), (alice, bob), ())
        (summary,) = (await client.matches()).matches
        assert is_of(made, summary)


async def test_the_same_members_again_change_nothing(people: People) -> None:
    """201 the first time, 200 after; in whatever order they are named, nobody hears of it."""
    alice, bob = people.users("alice", "bob")
    client, path = await people.come(alice), f"/v1/matches/{fresh('match')}"
    assert (await people.api.call("PUT", path, {"members": [alice, bob]})).status == 201
    await everything_that_came(client)
    assert (await people.api.call("PUT", path, {"members": [bob, alice, bob]})).status == 200
    assert await everything_that_came(client) == []


async def test_a_change_of_members_is_told_to_each_in_their_own_way(people: People) -> None:
    """Who joins gets the match, who stays the entry, who leaves the entry and then `match.left`."""
    stays, leaves, match = await people.pair()
    (name,) = people.users("joins")
    joins = await people.come(name)
    await say(stays, match, "before")
    await came(leaves, Message)
    state = await people.api.put_match(match, [name_of(stays), name])
    assert state.members == tuple(sorted([name_of(stays), name]))

    (entry,) = await everything_that_came(stays)
    assert isinstance(entry, MembersChanged)
    assert (entry.seq, entry.members, entry.joined, entry.left) == (3, state.members, (name,), (name_of(leaves),))
    (made,) = await everything_that_came(joins)
    assert isinstance(made, MatchMade)
    assert (made.last_seq, made.last_at, made.last, made.unread) == (3, entry.created_at, entry, 0)
    assert await everything_that_came(leaves) == [entry, MatchLeft(match)]


async def test_one_who_left_hears_nothing_more(people: People) -> None:
    """Nor finds the match in the list; one who joined hears all."""
    stays, leaves, match = await people.pair()
    (name,) = people.users("joins")
    joins = await people.come(name)
    await people.api.put_match(match, [name_of(stays), name])
    for client in (leaves, joins):
        await everything_that_came(client)
    await say(stays, match, "without you")
    await stays.receipt(match, read=3)
    assert await everything_that_came(leaves) == []
    assert (await leaves.matches()).matches == ()
    assert texts_of(await came(joins, Message)) == ["without you"]


async def test_messages_and_changes_of_members_have_one_order(people: People) -> None:
    """Somebody joins amid fifty messages: whoever sees the match sees every entry from their first on, in order."""
    alice, bob, match = await people.pair()
    (name,) = people.users("carol")
    carol = await people.come(name)
    writing = asyncio.gather(*(say(alice, match, str(number)) for number in range(50)))
    await people.api.put_match(match, [name_of(alice), name_of(bob), name])
    await writing
    seen = [push.seq for push in await everything_that_came(bob) if isinstance(push, Message | MembersChanged)]
    assert seen == list(range(2, 53))
    made, *later = await everything_that_came(carol)
    assert isinstance(made, MatchMade)
    assert [push.seq for push in later if isinstance(push, Message)] == list(range(made.last_seq + 1, 53))


async def test_an_ended_match_is_one_that_everybody_left(people: People) -> None:
    """Its log stays readable: for those who were in it to the end, and for the backend."""
    alice, bob, match = await people.pair()
    await say(alice, match, "last words")
    await came(bob, Message)
    await people.api.end_match(match)
    for client in (alice, bob):
        entry, left = await everything_that_came(client)
        assert isinstance(entry, MembersChanged)
        assert (entry.members, len(entry.left)) == ((), 2)
        assert left == MatchLeft(match)
        assert (await client.matches()).matches == ()
        assert [each.seq for each in (await client.history(match)).messages] == [3, 2, 1]
    with pytest.raises(Refused) as refused:
        await alice.send(match, "too late", "c9")
    assert refused.value.code is ErrorCode.NOT_MEMBER
    assert (await people.api.match(match)).members == ()
    assert len(await people.api.log(match)) == 3


async def test_an_ended_match_can_live_again(people: People) -> None:
    """The same log goes on; what was said before is for the backend only."""
    alice, bob, match = await people.pair()
    await say(alice, match, "first life")
    await people.api.end_match(match)
    await everything_that_came(bob)
    path, members = f"/v1/matches/{match}", {"members": [name_of(alice), name_of(bob)]}
    assert (await people.api.call("PUT", path, members)).status == 201
    (made,) = await everything_that_came(bob)
    assert isinstance(made, MatchMade)
    assert (made.last_seq, made.unread) == (4, 0)
    await say(alice, match, "second life")
    assert [each.seq for each in (await bob.history(match)).messages] == [5, 4]
    assert [each.seq for each in await people.api.log(match)] == [1, 2, 3, 4, 5]


async def test_what_never_was_cannot_be_ended(people: People) -> None:
    """404; ending twice is ending once."""
    with pytest.raises(ApiError) as refused:
        await people.api.end_match(fresh("nowhere"))
    assert (refused.value.status, refused.value.code) == (404, ErrorCode.NOT_FOUND)
    match = await people.match(*people.users("alice", "bob"))
    await people.api.end_match(match)
    await people.api.end_match(match)
    assert len(await people.api.log(match)) == 2


@pytest.mark.parametrize("count", [0, 1, 51])
async def test_a_match_has_two_to_fifty_members(people: People, count: int) -> None:
    """Different ones; fifty are fine."""
    with pytest.raises(ApiError) as refused:
        await people.match(*people.users(*["user"] * count) * 2)  # each is named twice and counts once
    assert (refused.value.status, refused.value.code) == (400, ErrorCode.BAD_REQUEST)
    match = await people.match(*people.users(*["user"] * 50))
    assert len((await people.api.match(match)).members) == 50


async def test_a_message_of_one_of_fifty_reaches_the_other_49(people: People) -> None:
    """Each once."""
    names = people.users(*["user"] * 50)
    match = await people.match(*names)
    clients = [await people.come(name) for name in names]
    await say(clients[0], match, "hello, everybody")
    for client in clients[1:]:
        assert texts_of(await came(client, Message)) == ["hello, everybody"]
    assert await everything_that_came(clients[0]) == []


async def test_matches_are_paged_newest_entry_first(people: People) -> None:
    """`welcome` has a hundred of 130, `matches` the rest: each once, none forgotten, over HTTP alike."""
    alice, bob = people.users("alice", "bob")
    made = [await people.match(alice, bob) for _ in range(130)]
    client = await people.come(alice)
    assert client.welcome is not None
    first = client.welcome.matches
    assert [summary.match for summary in first] == made[:29:-1]
    assert not client.welcome.complete
    rest = await client.matches(before=first[-1].last_at)
    assert [summary.match for summary in rest.matches] == made[29::-1]
    assert rest.complete

    pages = [await client.matches(limit=40)]
    while not pages[-1].complete:
        pages.append(await client.matches(before=pages[-1].matches[-1].last_at, limit=40))
    assert [summary.match for page in pages for summary in page.matches] == made[::-1]
    listed = await people.api.call("GET", f"/v1/users/{alice}/matches?limit=100&before={first[-1].last_at}")
    assert b'"complete":true' in listed.body


async def test_exactly_a_hundred_matches_are_complete(people: People) -> None:
    """There is no empty page to ask for."""
    alice, bob = people.users("alice", "bob")
    for _ in range(100):
        await people.match(alice, bob)
    client = await people.come(alice)
    assert client.welcome is not None
    assert (len(client.welcome.matches), client.welcome.complete) == (100, True)


async def test_a_message_moves_its_match_to_the_front(people: People) -> None:
    """And is the summary's `last`."""
    alice, bob, first = await people.pair()
    second = await people.match(name_of(alice), name_of(bob))
    assert [summary.match for summary in (await bob.matches()).matches] == [second, first]
    (sent,) = await say(alice, first, "up")
    front, back = (await bob.matches()).matches
    assert (front.match, back.match) == (first, second)
    assert (front.last_seq, front.last_at, front.unread) == (sent.seq, sent.created_at, 1)
    assert plain(front.last) == plain((await bob.history(first)).messages[0])
