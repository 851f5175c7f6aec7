"""Which tokens a revocation refuses, and for how long it is remembered."""

import pytest

from protocol.ids import Micros, UserId
from server.core.revocations import Revocation, RevocationBook, joined
from server.core.tokens import Claims

S = 1_000_000
ALICE, BOB = UserId("alice"), UserId("bob")
END = Micros(5_000 * S)


def claims(token_id: str | None = None, issued_at: float | None = None, user: UserId = ALICE) -> Claims:
    return Claims(user, 4_000.0, issued_at, token_id)


def one(token_id: str, until: Micros = END) -> Revocation:
    return Revocation(ALICE, token_id, None, until)


def everything(before_s: float, until: Micros = END) -> Revocation:
    return Revocation(ALICE, None, Micros(round(before_s * S)), until)


CASES = [
    (one("t1"), claims("t1"), True),
    (one("t1"), claims("t2"), False),
    (one("t1"), claims(None), False),
    (one("t1"), claims("t1", user=BOB), False),
    (everything(1_000.5), claims("t1", 1_000.4), True),
    (everything(1_000.5), claims("t1", 1_000.5), True),
    (everything(1_000.5), claims("t1", 1_000.0), True),
    (everything(1_000.5), claims("t1", 1_000.6), False),
    (everything(1_000.5), claims("t1", None), True),
    (everything(1_000.5), claims(None, 1_001.0), False),
    (everything(1_000.5), claims(None, 1.0, BOB), False),
    (everything(0), claims(None, 1.0), False),
    (everything(0), claims(None, None), True),
]


@pytest.mark.parametrize("revocation, presented, is_refused", CASES)
def test_what_is_refused(revocation: Revocation, presented: Claims, is_refused: bool) -> None:
    """The book says what the revocation says."""
    book = RevocationBook()
    assert not book.refuses(presented)
    assert book.add(revocation)
    assert book.refuses(presented) is is_refused
    assert revocation.refuses(presented) is is_refused


def test_the_later_moment_and_the_later_end_hold() -> None:
    book = RevocationBook()
    assert book.add_all([everything(1_000), everything(500), one("t1"), one("t1")]) == [everything(1_000), one("t1")]
    assert book.add(everything(500, Micros(END + 1)))
    assert book.add(one("t1", Micros(END + 1)))
    assert book.refuses(claims(None, 1_000))
    book.forget(END)
    assert book.refuses(claims(None, 1_000))
    assert book.refuses(claims("t1", 2_000))


def test_what_holds_no_longer_is_forgotten() -> None:
    book = RevocationBook()
    book.add_all([everything(1_000, Micros(END - 1)), one("t1"), one("t2", Micros(END + 1))])
    book.forget(Micros(END - 1))
    assert not book.refuses(claims(None, 1.0))
    assert book.refuses(claims("t1"))
    book.forget(END)
    assert not book.refuses(claims("t1"))
    assert book.refuses(claims("t2"))
    book.forget(Micros(END + 1))
    assert len(book) == 0
    assert book.add(everything(1_000))


def test_two_that_name_the_same_are_joined() -> None:
    later = everything(2_000, Micros(END - 1))
    assert joined(None, later) == later
    assert joined(everything(1_000), later) == everything(2_000)
    assert joined(later, everything(1_000)) == everything(2_000)
    assert joined(one("t1", Micros(END + 1)), one("t1")) == one("t1", Micros(END + 1))
