"""Frames: group C of the bad inputs, and RFC 6455 sections 5 to 8. Answers are pongs and close frames where possible."""

import pytest

from tests.conformance.conftest import Target
from tests.support.raw_client import BINARY, CLOSE, CONT, PING, PONG, TEXT, Answer, RawClient, frame

# RFC 6455 section 5.2: a text frame may be as long as the limit…
MAX = 65_536


def close_code(target: Target, *frames: bytes) -> int:
    """Send frames on a new connection, and return the code that the server closes with."""
    with target.websocket() as client:
        client.send(b"".join(frames))
        return client.closed_with()


def survives(client: RawClient) -> bool:
    """The connection is open and in order."""
    return client.pings()


# ------------------------------------------------------------------------------------------- section 5.2: the frame


@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE, CONT])
def test_c44_an_unmasked_frame_is_1002(target: Target, opcode: int) -> None:
    """44, section 5.1: a server MUST close on a frame that is not masked."""
    assert close_code(target, frame(opcode, b"abc", mask=None)) == 1002


@pytest.mark.parametrize("rsv", [0x40, 0x20, 0x10, 0x70])
def test_c45_reserved_bits_are_1002(target: Target, rsv: int) -> None:
    """45, section 5.2: no extension defines them here."""
    assert close_code(target, frame(TEXT, b"abc", rsv=rsv)) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_c46_reserved_opcodes_are_1002(target: Target, opcode: int) -> None:
    """46, section 5.2."""
    assert close_code(target, frame(opcode, b"abc")) == 1002


@pytest.mark.parametrize("length", [1 << 62, (1 << 64) - 1, 1 << 63, MAX + 1])
def test_c47_a_huge_announced_length_is_1009(target: Target, length: int) -> None:
    """47, section 7.4.1: from the header alone, before a byte of payload."""
    assert close_code(target, b"\x81\xff" + length.to_bytes(8, "big") + b"\0\0\0\0") == 1009


def test_c48_a_length_in_more_bytes_than_needed(target: Target) -> None:
    """48, section 5.2 wants the minimal form; ServerProtocol is liberal, and so are we: it is one message."""
    with target.websocket() as client:
        client.send(b"\x81\xfe\x00\x05\0\0\0\0hello" + b"\x81\xff" + (5).to_bytes(8, "big") + b"\0\0\0\0hello")
        assert client.answer().opcode == TEXT
        assert client.answer().opcode == TEXT
        assert survives(client)


def test_c49_the_limit_itself_passes(target: Target) -> None:
    """49."""
    with target.websocket() as client:
        client.send(frame(TEXT, target.text + b" " * (MAX - len(target.text))))
        assert client.answer().opcode == TEXT
        assert survives(client)


def test_c49_one_more_is_1009(target: Target) -> None:
    """49."""
    assert close_code(target, frame(TEXT, b" " * (MAX + 1))) == 1009


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535])
def test_every_form_of_length_is_read(target: Target, size: int) -> None:
    """Section 5.2."""
    with target.websocket() as client:
        client.send(frame(TEXT, b" " * size))
        assert client.answer().opcode == TEXT
        assert survives(client)


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_frames_may_come_in_pieces_and_several_at_once(target: Target, cut: int) -> None:
    """TCP promises no boundaries."""
    stream = (frame(TEXT, target.text) + frame(PING, b"p")) * 3
    with target.websocket() as client:
        for start in range(0, len(stream), cut):
            client.send(stream[start : start + cut])
        opcodes = sorted(client.answer().opcode for _ in range(6))
    assert opcodes == [TEXT] * 3 + [PONG] * 3


# ---------------------------------------------------------------------------------------- section 5.4: fragmentation


def test_c50_empty_continuations_without_end_are_1009(target: Target) -> None:
    """50."""
    assert close_code(target, frame(TEXT, b"a", fin=False), frame(CONT, b"", fin=False) * 3_000) == 1009


def test_c51_single_byte_fragments_without_end_are_1009(target: Target) -> None:
    """51."""
    assert close_code(target, frame(TEXT, b"a", fin=False), frame(CONT, b"a", fin=False) * 3_000) == 1009


def test_fragments_over_the_limit_are_1009(target: Target) -> None:
    """49: the limit is that of the message, not of the frame."""
    piece = b" " * 40_000
    assert close_code(target, frame(TEXT, piece, fin=False), frame(CONT, piece)) == 1009


def test_c52_continuation_first_is_1002(target: Target) -> None:
    """52, section 5.4."""
    assert close_code(target, frame(CONT, b"abc")) == 1002


def test_c53_new_text_inside_a_fragmented_one_is_1002(target: Target) -> None:
    """53, section 5.4."""
    assert close_code(target, frame(TEXT, b"abc", fin=False), frame(TEXT, b"def")) == 1002


def test_a_fragmented_message_is_one_message(target: Target) -> None:
    """Section 5.4, with control frames between the pieces (5.5)."""
    text = target.text
    with target.websocket() as client:
        client.send(frame(TEXT, text[:3], fin=False) + frame(PING, b"between") + frame(CONT, b"", fin=False))
        assert client.answer() == Answer(PONG, b"between")
        client.send(frame(CONT, text[3:]) + frame(TEXT, text))
        assert client.answer().opcode == TEXT
        assert client.answer().opcode == TEXT
        assert survives(client)


# ------------------------------------------------------------------------------------------ section 5.5: control frames


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_c54_a_fragmented_control_frame_is_1002(target: Target, opcode: int) -> None:
    """54, section 5.5."""
    assert close_code(target, frame(opcode, b"", fin=False)) == 1002


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_c55_a_control_frame_over_125_bytes_is_1002(target: Target, opcode: int) -> None:
    """55, section 5.5."""
    assert close_code(target, frame(opcode, b"a" * 126)) == 1002


def test_a_pong_carries_the_payload_of_its_ping(target: Target) -> None:
    """Section 5.5.3: identical application data, none, and 125 bytes of anything."""
    with target.websocket() as client:
        assert client.pings(b"")
        assert client.pings(bytes(range(125)))


def test_c56_a_flood_of_pings_is_cut(target: Target) -> None:
    """56: pongs are not read; whether the close frame gets through is the client's affair."""
    with target.websocket() as client:
        for _ in range(200):
            client.send(frame(PING, b"x" * 125) * 500)
        try:
            code = client.closed_with()
        except EOFError:
            code = 1006
    assert code in (4009, 1006)


def test_c57_unsolicited_pongs_are_fine(target: Target) -> None:
    """57, section 5.5.3."""
    with target.websocket() as client:
        client.send(frame(PONG, b"unasked") * 20)
        assert survives(client)


# --------------------------------------------------------------------------------------------------- closing: section 7


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye", b"\x0b\xb8", b"\x13\x87mine", b"\x03\xf3"])
def test_a_close_is_echoed(target: Target, payload: bytes) -> None:
    """Section 5.5.1, 7.1.5: with the same code, and the server ends the TCP connection."""
    with target.websocket() as client:
        client.send(frame(CLOSE, payload))
        assert client.answer() == Answer(CLOSE, payload)
        assert client.at_end() == b""


def test_c58_a_close_of_one_byte_is_1002(target: Target) -> None:
    """58, section 5.5.1."""
    assert close_code(target, frame(CLOSE, b"\x03")) == 1002


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535])
def test_c59_a_close_code_that_must_not_be_sent_is_1002(target: Target, code: int) -> None:
    """59, section 7.4."""
    assert close_code(target, frame(CLOSE, code.to_bytes(2, "big"))) == 1002


def test_c60_a_close_reason_that_is_not_utf8_is_1007(target: Target) -> None:
    """60, section 5.5.1 and 8.1."""
    assert close_code(target, frame(CLOSE, b"\x03\xe8\xff\xfe")) == 1007


def test_c61_what_follows_a_close_is_ignored(target: Target) -> None:
    """61, section 1.4: no answer to the ping, and the goodbye still arrives."""
    with target.websocket() as client:
        client.send(frame(CLOSE, b"\x03\xe8") + frame(PING, b"late") + frame(TEXT, target.text) + b"\xff" * 1_000)
        assert client.answer() == Answer(CLOSE, b"\x03\xe8")
        assert client.at_end() == b""


def test_c62_a_close_that_keeps_tcp_open_is_cut(target: Target) -> None:
    """62, section 7.1.1: after the close timeout; until then our end is closed already."""
    with target.websocket() as client:
        client.send(frame(CLOSE, b"\x03\xe8"))
        assert client.closed_with() == 1000
        while target.connections():
            client.send(b"")  # the server cuts us although our end stays open
        assert target.connections() == 0


# ---------------------------------------------------------------------------------------------- section 8.1: text


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff\xfe", id="63 ff fe"),
        pytest.param(b"\xc0\x80", id="65 overlong"),
        pytest.param(b"\xed\xa0\x80", id="65 surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", id="65 above U+10FFFF"),
        pytest.param("é".encode()[:1], id="cut character"),
        pytest.param(b'{"type":"ping","x":"\xff"}', id="in a field that nobody reads"),
    ],
)
def test_c63_text_that_is_not_utf8_is_1007(target: Target, payload: bytes) -> None:
    """63 and 65, section 8.1: in one frame and in two."""
    assert close_code(target, frame(TEXT, payload)) == 1007
    assert close_code(target, frame(TEXT, payload[:1], fin=False), frame(CONT, payload[1:])) == 1007


def test_c64_a_character_may_be_cut_by_fragments(target: Target) -> None:
    """64, section 5.6: only whole messages are checked."""
    text = '{"type":"ping","x":"日本"}'.encode()
    with target.websocket() as client:
        client.send(frame(TEXT, text[:21], fin=False) + frame(CONT, text[21:]))
        assert client.answer().opcode == TEXT
        assert survives(client)


@pytest.mark.parametrize("payload", [b"\x48\x89\x02\x00", b"\xff" * 50])
def test_c66_compressed_frames_are_1002(target: Target, payload: bytes) -> None:
    """66 and 67: deflate is never negotiated, so RSV1 is an error and nothing is ever inflated."""
    assert close_code(target, frame(TEXT, payload, rsv=0x40)) == 1002


def test_c68_binary_is_1003(target: Target) -> None:
    """68, section 7.4.1; a fragmented one at its first piece."""
    assert close_code(target, frame(BINARY, b"\x00\x01")) == 1003
    assert close_code(target, frame(BINARY, b"\x00", fin=False)) == 1003


def test_half_a_frame_then_the_end(target: Target) -> None:
    """Section 7.1.5: a lost connection, told to the session side as 1006."""
    with target.websocket() as client:
        client.send(frame(TEXT, b"a" * 1_000)[:500])
