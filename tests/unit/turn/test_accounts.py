"""Whose bytes relays carried, from coturn's messages as 4.6.1 publishes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import Micros, UserId
from turn.accounts import KEPT_AFTER_US, RelayAccounts, RelayUse

NOW = Micros(1_795_000_000_000_000)
END = Micros(NOW + 3_600_000_000)
ALICE, BOB = UserId("alice"), UserId("bob")
NAME = "1795003600:eeeeeeeeeeeeeeee"


def place(kind: str, number: int = 2, name: str = NAME) -> str:
    return f"turn/realm/calls.test/user/{name}/allocation/{number:018}/{kind}"


def bytes_of(received: int, sent: int) -> str:
    return f"rcvp=7, rcvb={received}, sentp=8, sentb={sent}"


def accounts(call: str | None = "call") -> RelayAccounts:
    kept = RelayAccounts()
    kept.minted(NAME, ALICE, call, END, NOW)
    return kept


def use(received: int, sent: int, total: int, *, number: int = 2, ended: bool = False) -> RelayUse:
    return RelayUse("call", ALICE, f"{NAME}/{number:018}", received, sent, total, ended)


def test_what_comes_on_top_adds_up_to_the_total() -> None:
    kept = accounts()
    assert (
        kept.heard(place("status"), "new lifetime=600, type=UDP, local=192.0.2.1:3478, remote=192.0.2.2:9, ssl=NONE")
        is None
    )
    assert kept.heard(place("traffic"), bytes_of(1000, 10)) == use(1000, 10, 1010)
    assert kept.heard(place("traffic"), bytes_of(500, 5)) == use(500, 5, 1515)
    assert kept.heard(place("status"), "deleted") is None
    assert kept.heard(place("total_traffic"), bytes_of(1500, 15)) == use(0, 0, 1515, ended=True)


def test_what_was_missed_comes_with_the_total() -> None:
    kept = accounts()
    kept.heard(place("traffic"), bytes_of(1000, 10))
    assert kept.heard(place("total_traffic"), bytes_of(9000, 90)) == use(8000, 80, 9090, ended=True)


def test_allocations_are_counted_apart() -> None:
    kept = accounts()
    assert kept.heard(place("traffic", 1), bytes_of(1, 0)) == use(1, 0, 1, number=1)
    assert kept.heard(place("traffic", 2), bytes_of(2, 0)) == use(2, 0, 2)


def test_a_relay_that_was_started_anew_counts_anew() -> None:
    kept = accounts()
    kept.heard(place("traffic"), bytes_of(1000, 10))
    kept.heard(place("status"), "new lifetime=600")
    assert kept.heard(place("total_traffic"), bytes_of(300, 3)) == use(300, 3, 303, ended=True)


def test_a_total_that_is_less_than_what_was_told_takes_nothing_back() -> None:
    kept = accounts()
    kept.heard(place("traffic"), bytes_of(1000, 10))
    assert kept.heard(place("total_traffic"), bytes_of(300, 20)) == use(0, 10, 320, ended=True)


@pytest.mark.parametrize(
    "channel, text",
    [
        (place("traffic", name="1795003600:ffffffffffffffff"), bytes_of(1, 1)),
        (place("traffic/peer"), bytes_of(1, 1)),
        (place("total_traffic/peer"), bytes_of(1, 1)),
        (place("traffic"), "rcvp=1, rcvb=-1, sentp=1, sentb=1"),
        (place("traffic"), "rcvb=1"),
        (place("traffic"), bytes_of(10**30, 1)),
        (place("status"), "refreshed lifetime=600"),
        ("turn/realm/calls.test/secret", "planted"),
        ("", ""),
    ],
    ids=[f"{number}" for number in range(9)],
)
def test_what_is_foreign_or_nonsense_adds_nothing(channel: str, text: str) -> None:
    assert accounts().heard(channel, text) is None


@given(st.text() | st.sampled_from([place("traffic"), place("total_traffic"), place("status")]), st.text())
def test_any_message_can_be_heard(channel: str, text: str) -> None:
    accounts().heard(channel, text)


def test_a_credential_of_a_call_stays_one_of_that_call() -> None:
    """A test before a call, in the same second, has the same name."""
    kept = accounts()
    kept.minted(NAME, ALICE, None, END, NOW)
    assert kept.heard(place("traffic"), bytes_of(1, 1)) == use(1, 1, 2)
    before = accounts(call=None)
    told = before.heard(place("traffic"), bytes_of(1, 1))
    assert told is not None
    assert told.call is None


def test_the_oldest_and_those_long_over_are_forgotten() -> None:
    kept = RelayAccounts(kept_max=2)
    for number in range(3):
        kept.minted(f"{number}", BOB, "call", END, NOW)
    assert len(kept) == 2
    assert kept.heard(place("traffic", name="0"), bytes_of(1, 1)) is None
    kept.minted("later", ALICE, "call", Micros(END + 2 * KEPT_AFTER_US), Micros(END + KEPT_AFTER_US + 1))
    assert len(kept) == 1
