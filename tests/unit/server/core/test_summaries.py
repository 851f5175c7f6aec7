"""A page of matches stays within its budget, and whoever pages on finds the rest."""

from msgspec import Raw

from protocol.codec import encode
from protocol.from_server import MatchesPage, MatchSummary, Member, Message
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId
from server.core.log import SummaryPage
from server.core.summaries import cut_summaries

ALICE = UserId("alice")


def summary(number: int, at: int, last_bytes: int) -> MatchSummary:
    match = MatchId(f"m{number}")
    body = Raw(b'{"text":"%b"}' % (b"x" * last_bytes))
    last = Message(match, Seq(2), Micros(at), Ordinal(1), ALICE, ClientId("c"), body)
    members = (Member(ALICE, Seq(2), Seq(2)), Member(UserId("bob"), Seq(1), Seq(1)))
    return MatchSummary(match, members, Seq(2), Micros(at), 0, last)


def size_bytes(page: SummaryPage) -> int:
    return len(encode(MatchesPage(1, page.matches, page.complete)))


def test_a_page_that_fits_is_left_as_it_is() -> None:
    """Also one that is not the last."""
    page = SummaryPage(tuple(summary(number, 100 - number, 10) for number in range(10)), complete=False)
    assert cut_summaries(page, 10_000) is page
    assert cut_summaries(SummaryPage((), complete=True), 10) == SummaryPage((), complete=True)


def test_the_oldest_are_left_for_the_next_page() -> None:
    """It is not complete then, and within the budget."""
    page = SummaryPage(tuple(summary(number, 100 - number, 1_000) for number in range(10)), complete=True)
    cut = cut_summaries(page, 5_000)
    assert cut == SummaryPage(page.matches[: len(cut.matches)], complete=False)
    assert len(cut.matches) == 3
    assert size_bytes(cut) < 5_000


def test_matches_of_one_microsecond_are_not_parted() -> None:
    """The next page begins below a time."""
    page = SummaryPage(tuple(summary(number, 100 - number // 4, 1_000) for number in range(12)), complete=True)
    cut = cut_summaries(page, 8_000)
    assert cut == SummaryPage(page.matches[:4], complete=False)


def test_too_many_of_one_microsecond_come_without_their_last_entries() -> None:
    """Those that do not fit; everything else of them is told, and what follows waits for the next page."""
    page = SummaryPage((*(summary(number, 100, 1_000) for number in range(10)), summary(10, 99, 1)), complete=True)
    cut = cut_summaries(page, 5_000)
    assert [match.last is None for match in cut.matches] == [False] * 3 + [True] * 7
    assert [match.match for match in cut.matches] == [match.match for match in page.matches[:10]]
    assert not cut.complete


def test_one_match_that_is_too_large_is_told_without_its_last_entry() -> None:
    """Nothing else could ever follow it."""
    page = SummaryPage((summary(0, 100, 9_000),), complete=True)
    (only,) = cut_summaries(page, 5_000).matches
    assert only.last is None
    assert cut_summaries(page, 5_000).complete
