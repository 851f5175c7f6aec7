"""Pages of a match's log: both ways, exact at their borders, within what the viewer may see."""

import asyncio
from dataclasses import dataclass

import pytest

from loadtest.api import ApiError
from loadtest.client import Client, Refused
from protocol.errors import ErrorCode
from protocol.from_server import Entry, HistoryPage, MembersChanged, Message
from protocol.ids import MatchId
from tests.support.people import People, fresh, name_of, plain, say, texts_of

BACKENDS = ("embedded", "shared", "two nodes")

SENT = 11
# With the first entry, `members`, a log of twelve: whole pages of 1, 3, 4 and 12, and one over with 5 and 11.
SIZES = [1, 3, 4, 5, 11, 12, 13]


@dataclass
class Talk:
    """A match with a log, whole in `log`, and one of its members."""

    reader: Client
    match: MatchId
    log: list[Entry]


@pytest.fixture
async def talk(people: People) -> Talk:
    """Two who talked."""
    alice, bob, match = await people.pair()
    await say(bob, match, *(f"line {number}" for number in range(SENT)))
    return Talk(alice, match, await people.api.log(match))


async def pages_down(reader: Client, match: MatchId, limit: int) -> list[HistoryPage]:
    """Scroll up to the beginning of the log."""
    pages = [await reader.history(match, limit=limit)]
    while not pages[-1].complete:
        pages.append(await reader.history(match, before=pages[-1].messages[-1].created_at, limit=limit))
    return pages


async def pages_up(reader: Client, match: MatchId, limit: int) -> list[HistoryPage]:
    """Scroll down from the beginning of the log to its end."""
    pages = [await reader.history(match, after=0, limit=limit)]
    while not pages[-1].complete:
        pages.append(await reader.history(match, after=pages[-1].messages[-1].created_at, limit=limit))
    return pages


async def test_the_newest_entries_come_first(talk: Talk) -> None:
    """Without a mark: the end of the log, every kind of entry in it."""
    page = await talk.reader.history(talk.match)
    assert list(map(plain, page.messages)) == list(map(plain, reversed(talk.log)))
    assert isinstance(page.messages[-1], MembersChanged)
    assert page.complete
    assert page.match == talk.match


@pytest.mark.parametrize("size", SIZES)
async def test_pages_down_the_log_join_without_seam(talk: Talk, size: int) -> None:
    """`before` the last one's `created_at` is the next page; `complete` exactly when nothing lies below."""
    pages = await pages_down(talk.reader, talk.match, size)
    assert [entry.seq for page in pages for entry in page.messages] == list(range(SENT + 1, 0, -1))
    assert len(pages) == -(-(SENT + 1) // size)
    assert all(len(page.messages) == size for page in pages[:-1])


@pytest.mark.parametrize("size", SIZES)
async def test_pages_up_the_log_join_without_seam(talk: Talk, size: int) -> None:
    """`after` the last one's `created_at`, oldest first; `complete` exactly when nothing lies above."""
    pages = await pages_up(talk.reader, talk.match, size)
    assert [entry.seq for page in pages for entry in page.messages] == list(range(1, SENT + 2))
    assert len(pages) == -(-(SENT + 1) // size)


async def test_the_marks_themselves_are_not_in_the_page(talk: Talk) -> None:
    """A microsecond more and they are."""
    third, ninth = talk.log[2].created_at, talk.log[8].created_at
    between = await talk.reader.history(talk.match, after=third, before=ninth)
    assert [entry.seq for entry in between.messages] == list(range(4, 9))
    assert between.complete
    with_both = await talk.reader.history(talk.match, after=third - 1, before=ninth + 1)
    assert [entry.seq for entry in with_both.messages] == list(range(3, 10))


@pytest.mark.parametrize("bound", ["before the first", "after the last"])
async def test_a_page_beyond_the_log_is_empty_and_complete(talk: Talk, bound: str) -> None:
    """There is nothing to ask for again."""
    if bound == "before the first":
        page = await talk.reader.history(talk.match, before=talk.log[0].created_at)
    else:
        page = await talk.reader.history(talk.match, after=talk.log[-1].created_at)
    assert (page.messages, page.complete) == ((), True)


@pytest.mark.parametrize("limit", [0, -1, 201])
async def test_a_limit_out_of_bounds_is_refused(talk: Talk, limit: int) -> None:
    """1 to 200; the refusal names the field."""
    with pytest.raises(Refused) as refused:
        await talk.reader.history(talk.match, limit=limit)
    assert refused.value.code is ErrorCode.BAD_REQUEST
    assert "$.limit" in refused.value.error.message


async def test_a_page_ends_early_rather_than_outgrow_an_outbox(people: People) -> None:
    """200 messages of 4,000 characters come as several pages, of which only the last is complete."""
    alice, bob, match = await people.pair()
    await say(bob, match, *("x" * 4_000 for _ in range(200)))
    pages = await pages_down(alice, match, 200)
    assert [entry.seq for page in pages for entry in page.messages] == list(range(201, 0, -1))
    assert 2 <= len(pages) <= 6


async def test_one_who_joined_sees_the_log_from_there_on(people: People) -> None:
    """Its first entry is the change of members that let them in, also when they page down to it."""
    alice, bob, match = await people.pair()
    await say(alice, match, "before", "before")
    (carol,) = people.users("carol")
    await people.api.put_match(match, [name_of(alice), name_of(bob), carol])
    await say(alice, match, "after")
    late = await people.come(carol)
    page = await late.history(match)
    assert texts_of(page.messages) == ["after"]
    assert [entry.seq for entry in page.messages] == [5, 4]
    assert page.complete
    upwards = await late.history(match, after=0)
    assert [entry.seq for entry in upwards.messages] == [4, 5]
    assert (await late.history(match, before=page.messages[-1].created_at)).messages == ()


async def test_one_who_left_sees_the_log_up_to_there(people: People) -> None:
    """The last entry is the change that sent them away; the others, and the backend, see on."""
    alice, bob, match = await people.pair()
    (carol,) = people.users("carol")
    await say(alice, match, "before")
    await people.api.put_match(match, [name_of(alice), carol])
    await say(alice, match, "after")
    assert [entry.seq for entry in (await bob.history(match)).messages] == [3, 2, 1]
    upwards = await bob.history(match, after=0)
    assert [entry.seq for entry in upwards.messages] == [1, 2, 3]
    assert upwards.complete
    assert [entry.seq for entry in (await alice.history(match)).messages] == [4, 3, 2, 1]
    assert [entry.seq for entry in await people.api.log(match)] == [1, 2, 3, 4]


async def test_one_who_came_back_sees_the_log_from_their_return_on(people: People) -> None:
    """What they held from their first time is theirs no more."""
    alice, bob, match = await people.pair()
    (carol,) = people.users("carol")
    await say(alice, match, "first time")
    await people.api.put_match(match, [name_of(alice), carol])
    await say(alice, match, "without bob")
    await people.api.put_match(match, [name_of(alice), name_of(bob), carol])
    await say(alice, match, "second time")
    page = await bob.history(match, after=0)
    assert texts_of(page.messages) == ["second time"]
    assert [entry.seq for entry in page.messages] == [5, 6]


async def test_the_http_pages_are_the_same_pages(people: People, talk: Talk) -> None:
    """For a member's token within what they may see, for the backend all; newest first unless `after` is given."""
    as_member = people.as_user(await people.api.token(name_of(talk.reader)))
    for api in (as_member, people.api):
        newest = await api.entries(talk.match, limit=5)
        assert [entry.seq for entry in newest.messages] == [12, 11, 10, 9, 8]
        assert not newest.complete
        rest = await api.entries(talk.match, before=newest.messages[-1].created_at, limit=7)
        assert ([entry.seq for entry in rest.messages], rest.complete) == ([7, 6, 5, 4, 3, 2, 1], True)
        assert list(map(plain, await api.log(talk.match))) == list(map(plain, talk.log))


async def test_the_backend_is_told_that_a_match_does_not_exist(people: People) -> None:
    """404, to the one who may know."""
    with pytest.raises(ApiError) as refused:
        await people.api.entries(fresh("nowhere"))
    assert (refused.value.status, refused.value.code) == (404, ErrorCode.NOT_FOUND)


async def test_reading_while_others_write_tears_nothing(people: People) -> None:
    """Whatever a page holds is a piece of the log, without holes."""
    alice, bob, match = await people.pair()
    writing = asyncio.gather(*(say(bob, match, str(number)) for number in range(100)))
    while not writing.done():
        page = await alice.history(match, limit=50)
        seqs = [entry.seq for entry in page.messages]
        assert seqs == list(range(seqs[0], seqs[-1] - 1, -1))
    await writing
    page = await alice.history(match, limit=200)
    assert len([entry for entry in page.messages if isinstance(entry, Message)]) == 100
