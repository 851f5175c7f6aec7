"""What fits a page, and what every store can hold."""

from collections.abc import Iterator

import pytest
from msgspec import Raw

from protocol.from_server import Entry, MembersChanged, Message, Skip
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId
from server.core.log import Append
from server.core.pages import (
    END,
    ENTRY_OVERHEAD_BYTES,
    MEMBER_BYTES,
    Budget,
    bounded,
    can_be_stored,
    cut_page,
    entry_bytes,
    is_cursor,
    is_storable,
)

M, ALICE, BOB = MatchId("m"), UserId("alice"), UserId("bob")


def message(seq: int, body_bytes: int = 10) -> Message:
    at, n = Micros(seq * 1000), Ordinal(seq)
    return Message(M, Seq(seq), at, n, ALICE, ClientId(str(seq)), Raw(b"x" * body_bytes))


@pytest.mark.parametrize(
    "text, is_good",
    [
        ("plain", True),
        ("", True),
        ("é\U0001f642", True),
        ("a\0", False),
        ("é\0", False),
        ("\ud800", False),
        ("\udfff\ud800", False),
    ],
)
def test_only_text_that_every_database_holds_is_storable(text: str, *, is_good: bool) -> None:
    assert is_storable(text) is is_good
    for place in range(3):
        ids = ["m", "s", "c"]
        ids[place] = text
        append = Append(MatchId(ids[0]), UserId(ids[1]), ClientId(ids[2]), Raw(b"{}"))
        assert can_be_stored(append) is is_good


@pytest.mark.parametrize(
    "seq, at, is_possible",
    [
        (1, 1, True),
        (1, 0, True),
        (2**53 - 1, 2**53 - 1, True),
        (0, 1, False),
        (-1, 1, False),
        (1, -1, False),
        (2**53, 1, False),
        (1, 2**53, False),
    ],
)
def test_a_cursor_names_a_place_that_could_be(seq: int, at: int, *, is_possible: bool) -> None:
    assert is_cursor(Seq(seq), Micros(at)) is is_possible


@pytest.mark.parametrize("at, expected", [(5, 5), (-1, -1), (-(2**80), -1), (2**80, END), (END, END)])
def test_times_are_brought_within_bounds_without_changing_what_they_compare_to(at: int, expected: int) -> None:
    assert bounded(Micros(at)) == expected


def test_the_size_of_an_entry_grows_with_what_it_says() -> None:
    changed = MembersChanged(M, Seq(1), Micros(1), (ALICE, BOB), (BOB,), ())
    assert entry_bytes(message(1, 300)) == ENTRY_OVERHEAD_BYTES + 300
    assert entry_bytes(changed) == ENTRY_OVERHEAD_BYTES + 3 * MEMBER_BYTES
    assert entry_bytes(Skip(M, Seq(1), Micros(1))) == ENTRY_OVERHEAD_BYTES


def test_a_page_is_cut_at_its_limit_and_reads_one_entry_more() -> None:
    read: list[int] = []

    def entries() -> Iterator[Entry]:
        for seq in range(1, 9):
            read.append(seq)
            yield message(seq)

    page = cut_page(entries(), 3, Budget(10_000))
    assert ([entry.seq for entry in page.entries], page.complete) == ([1, 2, 3], False)
    assert read == [1, 2, 3, 4]


def test_a_page_that_holds_all_is_complete() -> None:
    assert cut_page(iter([message(1)]), 1, Budget(10_000)).complete
    assert cut_page(iter([]), 1, Budget(0)).complete


def test_a_budget_is_shared_and_its_first_entry_always_fits() -> None:
    budget = Budget(2 * (ENTRY_OVERHEAD_BYTES + 10))
    assert len(cut_page([message(1)], 9, budget).entries) == 1
    assert len(cut_page([message(1), message(2)], 9, budget).entries) == 1
    assert cut_page([message(1)], 9, budget).entries == ()
    assert len(cut_page([message(1), message(2)], 9, Budget(0)).entries) == 1
