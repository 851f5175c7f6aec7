"""protocol/ids.py: what an id, an integer and a cursor may be."""

import re

import msgspec
import pytest

from protocol.ids import ID_MAX_CHARS, ID_PATTERN, MAX_SAFE_INTEGER, Cursor, RequestId, WireMatchId


def test_an_id_has_1_to_64_characters() -> None:
    """The bound is in characters, so that every script has the same room."""
    for text in ("a", "é" * ID_MAX_CHARS):
        assert msgspec.convert(text, WireMatchId) == text
    for text in ("", "a" * (ID_MAX_CHARS + 1)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, WireMatchId)


@pytest.mark.parametrize("character", ["\x00", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\u2028", "\u2029"])
def test_the_pattern_refuses_control_characters(character: str) -> None:
    """Also at the very end, where `$` alone would let a line feed through."""
    assert not re.search(ID_PATTERN, f"a{character}")


@pytest.mark.parametrize("text", ["a b", "0197-x:y/z", "é", "😀", "\xa0"])
def test_the_pattern_allows_the_rest(text: str) -> None:
    """An id is opaque: blanks, slashes and any script are fine."""
    assert re.search(ID_PATTERN, text)


def test_integers_are_exact_in_javascript() -> None:
    """2^53 - 1 is the largest integer that every client can hold."""
    assert msgspec.convert([0, MAX_SAFE_INTEGER], Cursor) == (0, MAX_SAFE_INTEGER)
    for value in (-1, MAX_SAFE_INTEGER + 1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert([value, 0], Cursor)
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, RequestId)
