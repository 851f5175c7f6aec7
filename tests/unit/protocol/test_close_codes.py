"""protocol/close_codes.py: every code has a meaning and a rule."""

import pytest

from protocol.close_codes import MEANING, CloseCode, comes_back
from protocol.limits import REASON_MAX_BYTES


def test_every_code_has_a_meaning() -> None:
    """…in the order of the codes, short enough to be a close reason."""
    assert list(MEANING) == sorted(CloseCode)
    assert all(len(meaning.encode()) <= REASON_MAX_BYTES for meaning in MEANING.values())


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 1014, 3000, 4000, 4008, 4499])
def test_come_back(code: int) -> None:
    """Our codes below 4500, lost connections and faults of the server pass by themselves."""
    assert comes_back(code)


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 1010, 4500, 4503, 4999])
def test_stay_away(code: int) -> None:
    """The same client would only be closed again."""
    assert not comes_back(code)
