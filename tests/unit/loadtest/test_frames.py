"""Frames as a client writes and reads them, compared with those of `websockets`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from loadtest.frames import CLOSE, PING, TEXT, BadFrame, client_frame, split, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_frames_out_are_those_of_websockets(size: int) -> None:
    """With a key of zeros, in all three lengths."""
    payload = b"x" * size
    expected = Frame(Opcode.TEXT, payload).serialize(mask=True)
    ours = text_frame(payload)
    head = len(ours) - size - 4
    assert ours[:head] == expected[:head]
    assert ours[head:] == bytes(4) + payload


def test_a_key_masks() -> None:
    """RFC 6455 5.3."""
    assert client_frame(PING, b"abcd", mask=b"\x01\x02\x03\x04")[-4:] == b"````"


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(0, 2000))
def test_any_cut_gives_the_frames_before_it(payloads: list[bytes], cut: int) -> None:
    """What is incomplete stays."""
    data = b"".join(Frame(Opcode.TEXT, payload).serialize(mask=False) for payload in payloads)
    frames, end = split(data[:cut])
    rest, _ = split(data[end:])
    assert [payload for _, payload in frames + rest] == payloads


@pytest.mark.parametrize("size", [126, 70_000])
def test_long_frames_come_in(size: int) -> None:
    """Both longer forms of the length."""
    assert split(Frame(Opcode.TEXT, b"y" * size).serialize(mask=False)) == (
        [(TEXT, b"y" * size)],
        size + (4 if size < 65_536 else 10),
    )


def test_control_frames_come_in() -> None:
    """With their opcode."""
    data = Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False)
    assert split(data) == ([(CLOSE, b"\x03\xe8")], 4)


@pytest.mark.parametrize(
    "data",
    [b"\x01\x01a", b"\xc1\x01a", b"\x81\x81abcda", b"\x81\xff", b"\x81\x7f" + b"\x7f" * 8],
    ids=["fragment", "reserved bit", "masked", "masked and long", "huge"],
)
def test_what_our_server_never_sends_is_refused(data: bytes) -> None:
    """A load tester that guesses would hide a fault."""
    with pytest.raises(BadFrame):
        split(data)
