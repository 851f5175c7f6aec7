"""RFC 6455 frames as a client needs them: masked out, unmasked in, nothing copied twice.

Refuses what our server never sends: fragments, reserved bits, masked or 64-bit frames of more than a gigabyte.
"""

from typing import Final

from websockets.speedups import apply_mask

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FIN: Final = 0x80
_MASKED: Final = 0x80
_ZERO_MASK: Final = bytes(4)
_MAX_BYTES: Final = 1 << 30

Frame = tuple[int, bytes]
# Opcode and payload.


class BadFrame(Exception):
    """The peer sent something that is not a whole, plain, unmasked frame."""


def client_frame(opcode: int, payload: bytes, mask: bytes = _ZERO_MASK) -> bytes:
    """Build a masked frame. The default key is zero: RFC 6455 5.3 wants chance to protect proxies, a load tester has none."""
    masked = payload if mask == _ZERO_MASK else apply_mask(payload, mask)
    return b"".join((_header(opcode, len(payload)), mask, masked))


def text_frame(payload: bytes) -> bytes:
    """Build a masked text frame."""
    return client_frame(TEXT, payload)


def split(data: bytes) -> tuple[list[Frame], int]:
    """Return the complete frames at the start of `data` and how many bytes they took; raise `BadFrame`."""
    frames: list[Frame] = []
    position, size = 0, len(data)
    while size - position >= 2:
        start, length = _payload(data, position)
        end = start + length
        if end > size or start > size:
            break
        frames.append((data[position] & 0x0F, data[start:end]))
        position = end
    return frames, position


def _payload(data: bytes, position: int) -> tuple[int, int]:
    """Return where the payload of the frame at `position` starts and how long it is (as far as the header tells)."""
    if data[position] & 0xF0 != _FIN:
        raise BadFrame("a fragment, or reserved bits")
    length = data[position + 1]
    if length < 126:
        return position + 2, length
    if length & _MASKED:
        raise BadFrame("masked by a server")
    start = position + (4 if length == 126 else 10)
    length = int.from_bytes(data[position + 2 : start])
    if length > _MAX_BYTES:
        raise BadFrame("more than a gigabyte")
    return start, length


def _header(opcode: int, length: int) -> bytes:
    if length < 126:
        return bytes((_FIN | opcode, _MASKED | length))
    if length < 1 << 16:
        return bytes((_FIN | opcode, _MASKED | 126)) + length.to_bytes(2)
    return bytes((_FIN | opcode, _MASKED | 127)) + length.to_bytes(8)
