"""How long a provider's list is used, and how many are kept."""

from protocol.ids import Micros, UserId
from turn.grants import GrantBook
from turn.managed import Grant
from turn.servers import IceServer

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
NOW = Micros(1_795_000_000_000_000)
GRANT = Grant((IceServer(("turn:t",), "u", "c"),), 3600)


def after(seconds: int) -> Micros:
    return Micros(NOW + seconds * 1_000_000)


def test_a_list_is_fresh_for_half_its_life_and_usable_until_little_is_left() -> None:
    book = GrantBook()
    assert book.fresh(ALICE, NOW) is None
    assert book.usable(ALICE, NOW) is None
    kept = book.keep(ALICE, GRANT, NOW)
    assert kept.expires_at == after(3600)
    assert book.fresh(ALICE, after(1799)) == kept
    assert book.fresh(ALICE, after(1800)) is None
    assert book.usable(ALICE, after(3000)) == kept
    assert book.usable(ALICE, after(3001)) is None


def test_each_user_has_a_list_of_their_own() -> None:
    book = GrantBook()
    book.keep(ALICE, GRANT, NOW)
    assert book.fresh(BOB, NOW) is None


def test_the_oldest_is_forgotten() -> None:
    book = GrantBook(kept_max=2)
    for user in (ALICE, BOB, ALICE, CAROL):
        book.keep(user, GRANT, NOW)
    assert [user for user in (ALICE, BOB, CAROL) if book.fresh(user, NOW)] == [ALICE, CAROL]
