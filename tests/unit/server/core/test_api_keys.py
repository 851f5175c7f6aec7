"""API keys: any of several, nothing else."""

import pytest

from server.core.api_keys import ApiKeys

KEYS = ApiKeys(["key-one-0123456789", "key-two-0123456789"])


@pytest.mark.parametrize("key", ["key-one-0123456789", "key-two-0123456789"])
def test_each_key_is_accepted(key: str) -> None:
    assert KEYS.accepts(key)


@pytest.mark.parametrize(
    "key", ["", "key", "key-one-012345678", "key-one-01234567890", "KEY-ONE-0123456789", "é\ud800"], ids=ascii
)
def test_anything_else_is_not(key: str) -> None:
    assert not KEYS.accepts(key)


@pytest.mark.parametrize("key", ["", "dev", "None"])
def test_without_keys_nothing_is_accepted(key: str) -> None:
    assert not ApiKeys([]).accepts(key)
