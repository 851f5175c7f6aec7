"""Our connection and plain ServerProtocol: the same bytes in, in any cuts, must mean the same.

Random frames (good, fragmented, control, with broken headers and wrong lengths) are cut at random places and fed to a
`Connection`; a `ServerProtocol` of its own gets the same bytes. Messages, output bytes and the way it ends must agree.
What the connection adds to ServerProtocol (no binary, valid UTF-8) is added to the reference too.

`EQUIVALENCE_STREAMS=16000 HYPOTHESIS_PROFILE=explore python -m pytest --timeout 0 <this file>` is the long run.
"""

import os

from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from server.gateway.limits import SocketLimits
from tests.support.sockets import Wire

STREAMS = int(os.environ.get("EQUIVALENCE_STREAMS", "300"))
LIMIT = 2_000
# The code is the same for every limit; a small one lets streams pass it often and stay quick. Lengths around 126 and
# 65,536, where the header changes, are among the sizes; the latter exceed the limit in most cases, so LARGE runs too.
LARGE = 70_000

SIZES = st.sampled_from([0, 1, 2, 5, 100, 124, 125, 126, 127, 128, 300, LIMIT - 1, LIMIT, LIMIT + 1, 65_535, 65_536])
TEXTS = st.one_of(
    st.sampled_from(
        [b"{}", "é".encode(), "日本".encode(), b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", "é".encode()[:1]]
    ),
    SIZES.map(lambda size: b"x" * size),
)
CONTROL = st.binary(max_size=126)
CLOSES = st.one_of(
    st.sampled_from([b"", b"\x03", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xec", b"\x03\xee", b"\x03\xf7", b"\x13\x88"]),
    st.integers(0, 5_100).map(lambda code: code.to_bytes(2, "big")),
    st.just(b"\x03\xe8\xff\xfe"),
)


def encode(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes = b"\x01\x80\xfe\x55") -> bytes:
    """Build a client's frame, good or not."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


MASKS = st.binary(min_size=4, max_size=4)
GOOD = st.one_of(
    st.builds(encode, st.just(1), TEXTS, mask=MASKS),
    st.builds(encode, st.just(1), TEXTS, mask=MASKS),
    st.builds(encode, st.just(1), TEXTS, fin=st.booleans(), mask=MASKS),
    st.builds(encode, st.just(0), TEXTS, fin=st.booleans(), mask=MASKS),
    st.builds(encode, st.sampled_from([9, 10]), CONTROL, mask=MASKS),
)
RARE = st.one_of(
    st.builds(encode, st.just(2), TEXTS, fin=st.booleans()),
    st.builds(encode, st.just(8), CLOSES),
    st.builds(encode, st.integers(0, 15), CONTROL, fin=st.booleans()),
    # a header that announces what it likes
    st.builds(
        lambda first, length, rest: bytes([first]) + length + rest,
        st.integers(0, 255),
        st.sampled_from(
            [b"\xff" + b"\x40" + b"\0" * 7, b"\xfe\xff\xff", b"\xfe\x00\x05", b"\xff" + b"\0" * 7 + b"\x05"]
        ),
        st.binary(max_size=12),
    ),
)


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    """A frame with one bit of its header changed."""
    frame = bytearray(draw(GOOD))
    frame[draw(st.integers(0, 5))] ^= 1 << draw(st.integers(0, 7))
    return bytes(frame)


# A message in pieces, most of them good ones, with something between the pieces.
SHORT = st.sampled_from([b"", b"a", b"bcd", "é".encode()[:1], "é".encode()[1:], b"x" * 900])
BETWEEN = st.one_of(
    st.builds(encode, st.just(0), SHORT, fin=st.just(False), mask=MASKS),
    st.builds(encode, st.sampled_from([9, 10]), SHORT, mask=MASKS),
    st.builds(encode, st.sampled_from([1, 8, 0]), SHORT, mask=MASKS),
)
PIECES = st.tuples(
    st.builds(encode, st.just(1), SHORT, fin=st.just(False), mask=MASKS).map(lambda frame: [frame]),
    st.lists(BETWEEN, max_size=3),
    st.builds(encode, st.just(0), SHORT, mask=MASKS).map(lambda frame: [frame]),
).map(lambda parts: [frame for part in parts for frame in part])
SINGLE = st.one_of(GOOD, GOOD, GOOD, GOOD, RARE, flipped()).map(lambda frame: [frame])
FRAMES = st.lists(st.one_of(SINGLE, SINGLE, PIECES), min_size=1, max_size=8).map(
    lambda parts: [frame for part in parts for frame in part]
)
CUTS = st.one_of(
    st.just([1_000_000]),
    st.lists(st.sampled_from([1, 1, 2, 3, 7, 50, 500, 5_000, 100_000]), min_size=1, max_size=8),
)
# After which message the session side closes, and how much of the stream's end is missing.
CLOSE_AFTER = st.sampled_from([None, None, None, 1, 2, 3])
MISSING = st.sampled_from([0, 0, 0, 1, 5, 50, 1_000])


class Reference:
    """ServerProtocol with the two rules that we add, in the obvious way: a byte at a time, one event at a time."""

    def __init__(self, limit: int, close_after: int | None) -> None:
        """Open; close by ourselves after so many messages."""
        self.protocol = ServerProtocol(state=State.OPEN, max_size=limit)
        self.close_after = close_after
        self.messages: list[bytes] = []
        self.output = b""
        self.fragments: list[bytes] = []

    def feed(self, stream: bytes) -> None:
        """Take the stream; once our side has ended, all the rest of it is discarded."""
        for index in range(len(stream)):
            self.protocol.receive_data(stream[index : index + 1])
            for event in self.protocol.events_received():
                assert isinstance(event, Frame)
                self.apply(event)
            self.output += b"".join(self.protocol.data_to_send())
            if self.protocol.eof_sent:
                return

    def apply(self, frame: Frame) -> None:
        """Do what a text-only application does with a frame."""
        if self.protocol.state is not State.OPEN:
            return
        if frame.opcode is Opcode.BINARY:
            self.protocol.fail(1003, "messages are text")
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self.fragments.append(bytes(frame.data))
            if frame.fin:
                self.finish(b"".join(self.fragments))

    def finish(self, message: bytes) -> None:
        """Take a whole message."""
        self.fragments = []
        try:
            message.decode()
        except UnicodeDecodeError:
            self.protocol.fail(1007, "text is not UTF-8")
            return
        self.messages.append(message)
        if len(self.messages) == self.close_after:
            self.protocol.send_close(4000, "enough")

    def ends(self) -> list[tuple[int, str]]:
        """Say how it ended, when it has: with the close frame that was sent, which echoes one that came first."""
        close = self.protocol.close_sent
        if close is None or not self.protocol.eof_sent:
            return []
        return [(int(close.code), close.reason)]


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """Cut the stream into pieces of these sizes, over and over."""
    pieces, position, index = [], 0, 0
    while position < len(stream):
        size = sizes[index % len(sizes)]
        # A long stretch in single bytes proves nothing more and takes long.
        size = size if index < 400 else max(size, 997)
        pieces.append(stream[position : position + size])
        position += size
        index += 1
    return pieces


def compare(frames: list[bytes], sizes: list[int], close_after: int | None, missing: int, limit: int) -> None:
    """Feed both and compare all that can be seen."""
    wire = Wire(SocketLimits(message_max_bytes=limit, control_frames_max=10_000, fragments_max=10_000))
    reference = Reference(limit, close_after)

    def close_in_time(_: bytes) -> None:
        if len(wire.receiver.messages) == close_after:
            wire.connection.close(4000, "enough")

    wire.receiver.act = close_in_time
    stream = b"".join(frames)
    stream = stream[: max(1, len(stream) - missing)]
    reference.feed(stream)
    wire.feed(*cut(stream, sizes))
    assert wire.receiver.messages == reference.messages
    assert wire.transport.output == reference.output
    assert wire.receiver.ends == reference.ends()
    assert wire.transport.is_eof == reference.protocol.eof_sent
    wire.lose()
    assert len(wire.receiver.ends) == 1
    assert wire.host.gauges.connections == 0


WHOLE = [1_000_000]


@settings(max_examples=STREAMS)
@given(FRAMES, CUTS, CLOSE_AFTER, MISSING)
# What chance finds seldom: one byte over the limit in one piece; fragments over it before the last is whole; frames
# that would be errors, and a whole message, after our own close.
@example([encode(1, b"x" * (LIMIT + 1))], WHOLE, None, 0)
@example([encode(1, b"x" * 1_500, fin=False), encode(0, b"x" * 1_000)], WHOLE, None, 500)
@example([encode(1, b"{}"), encode(2, b"x"), encode(1, b"\xff"), encode(8, b"\x03\xe8")], WHOLE, 1, 0)
@example([encode(1, b"{}"), encode(1, b"{", fin=False), encode(0, b"}")], WHOLE, 1, 0)
def test_any_stream_means_what_server_protocol_says(
    frames: list[bytes], sizes: list[int], close_after: int | None, missing: int
) -> None:
    """Small limit: every error is near."""
    compare(frames, sizes, close_after, missing, LIMIT)


@settings(max_examples=max(20, STREAMS // 20))
@given(FRAMES, CUTS, CLOSE_AFTER, MISSING)
def test_long_frames_too(frames: list[bytes], sizes: list[int], close_after: int | None, missing: int) -> None:
    """Large limit: frames with 64-bit lengths pass."""
    compare(frames, sizes, close_after, missing, LARGE)
