"""Reading the address of a PostgreSQL store, and not showing it."""

import pytest

from server.adapters.postgres.address import read_address
from server.ports import StoreUnusable


@pytest.mark.parametrize(
    "url, shown",
    [
        ("postgresql://u:p@h:5432/db", "postgresql://h:5432/db"),
        ("postgres://h/db", "postgresql://h/db"),
        ("postgresql://u:p%2Fq%40@[::1]:1/db", "postgresql://[::1]:1/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db"),
        ("postgresql://u:p@h1:1,h2:2/db?target_session_attrs=read-write", "postgresql://h1:1,h2:2"),
    ],
)
def test_what_is_shown_has_neither_user_nor_password(url: str, shown: str) -> None:
    address = read_address(url)
    assert (address.url, address.shown, address.is_pooled) == (url, shown, None)
    assert repr(address) == f"Address({shown})"


@pytest.mark.parametrize("mode, is_pooled", [("transaction", True), ("session", False)])
def test_the_mode_of_a_pooler_is_ours_and_not_the_drivers(mode: str, is_pooled: bool) -> None:
    address = read_address(f"postgresql://h/db?sslmode=disable&pool_mode={mode}")
    assert (address.url, address.is_pooled) == ("postgresql://h/db?sslmode=disable", is_pooled)


@pytest.mark.parametrize(
    "url", ["", "x", "sqlite:x", "postgresql://u:se/cret@h/db", "postgresql://u:1/cret@h/db", "postgresql://h:x/db"]
)
def test_what_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(StoreUnusable) as caught:
        read_address(url)
    assert "cret" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("query", ["pool_mode=", "pool_mode=statement", "pool_mode=session&pool_mode=session"])
def test_other_modes_are_refused(query: str) -> None:
    with pytest.raises(StoreUnusable, match="transaction or session"):
        read_address(f"postgresql://h/db?{query}")
