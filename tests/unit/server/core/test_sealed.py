"""Frames for one connection come out as they were sealed, whatever they and the session hold."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import SessionId
from server.core.sealed import Sealed, is_sealed, seal, unseal


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60), st.binary(), st.booleans())
def test_what_is_sealed_is_unsealed(session: str, frame: bytes, only: bool) -> None:
    sealed = Sealed(SessionId(session), frame, only)
    assert is_sealed(seal(sealed))
    assert unseal(seal(sealed)) == sealed


@given(st.binary(max_size=200))
def test_no_frame_of_text_is_taken_for_one(payload: bytes) -> None:
    assert not is_sealed(b"\x81" + payload)
    assert not is_sealed(b"")
