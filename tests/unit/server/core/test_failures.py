"""Who fails too often waits: here by this node's own count, and by what others have counted."""

from server.core.failures import FailureBook
from server.core.limiting import Decision, FixedWindow

S = 1_000_000
NOW = 1_795_000_000 * S
RULE = FixedWindow("auth", 5, 900_000)


def fail(book: FailureBook, times: int, key: str = "a", now_us: int = NOW) -> None:
    for _ in range(times):
        book.failed(key, now_us)


def test_the_fifth_failure_blocks_until_the_window_ends() -> None:
    book = FailureBook(RULE)
    fail(book, 4)
    assert book.address_waits_ms("a", NOW) == 0
    fail(book, 1, now_us=NOW + 60 * S)
    assert book.address_waits_ms("a", NOW + 60 * S) == 840_000
    assert book.address_waits_ms("b", NOW) == 0
    assert book.address_waits_ms("a", NOW + 900 * S - 1) == 1
    assert book.address_waits_ms("a", NOW + 900 * S) == 0
    assert len(book) == 0
    fail(book, 4, now_us=NOW + 901 * S)
    assert book.address_waits_ms("a", NOW + 901 * S) == 0


def test_failing_on_does_not_make_the_window_longer() -> None:
    book = FailureBook(RULE)
    fail(book, 5)
    fail(book, 50, now_us=NOW + 800 * S)
    assert book.address_waits_ms("a", NOW + 800 * S) == 100_000


def test_a_subject_waits_with_tokens_issued_before_its_last_failure() -> None:
    """A newer one proves that the issuer has vouched for the user since."""
    book = FailureBook(RULE)
    assert book.subject_waits_ms("a", None, NOW) == 0
    fail(book, 5)
    at_s = NOW / S
    assert book.subject_waits_ms("a", at_s - 1, NOW) == 900_000
    assert book.subject_waits_ms("a", at_s, NOW) == 900_000
    assert book.subject_waits_ms("a", None, NOW) == 900_000
    assert book.subject_waits_ms("a", at_s + 1, NOW) == 0
    fail(book, 1, now_us=NOW + 2 * S)
    assert book.subject_waits_ms("a", at_s + 1, NOW + 2 * S) == 898_000


def test_what_the_cluster_counted_holds_here() -> None:
    book = FailureBook(RULE)
    book.heed("a", Decision(True, 5, 1, 900), NOW)
    assert book.address_waits_ms("a", NOW) == 0
    book.heed("a", Decision(True, 5, 0, 600), NOW)
    assert book.address_waits_ms("a", NOW) == 600_000
    book.heed("b", Decision(False, 5, 0, 600, 599_500), NOW)
    assert book.address_waits_ms("b", NOW) == 599_500


def test_a_clock_that_steps_back_makes_nobody_wait_for_longer() -> None:
    book = FailureBook(RULE)
    fail(book, 5)
    assert book.address_waits_ms("a", NOW - 7_200 * S) == 900_000


def test_what_is_kept_is_bounded() -> None:
    """Of more who fail the one that failed longest ago is forgotten; who goes on failing is not."""
    book = FailureBook(RULE, keys_max=10)
    fail(book, 5, "bad")
    for number in range(100):
        fail(book, 5, f"a{number}")
        fail(book, 1, "bad")
    assert len(book) <= 20
    assert book.address_waits_ms("bad", NOW)
    assert not book.address_waits_ms("a5", NOW)
