"""RFC 6455 frames as bytes: where the next one ends, and the control frames that a server sends."""

from typing import Final

PING: Final = b"\x89\x00"

HEADER_MAX_BYTES: Final = 14
# Two bytes, eight of extended length, four of mask.

BAD: Final = -1
# The answer of `span` to a header that ServerProtocol fails by itself, without the payload.

_OPCODES: Final = frozenset((0x0, 0x1, 0x2, 0x8, 0x9, 0xA))


def span(data: bytes, start: int, payload_max_bytes: int) -> int:
    """Tell how many bytes from `start` on must be there to go on: all of the frame once its length is known.

    `BAD` for a header that fails the connection whatever follows: reserved opcode, no mask, payload too long.
    """
    have = len(data) - start
    if have < 2:
        return 2
    second = data[start + 1]
    if second < 128 or data[start] & 0x0F not in _OPCODES:
        return BAD
    size, header = second & 0x7F, 6
    if size == 126:
        if have < 4:
            return 4
        size, header = int.from_bytes(data[start + 2 : start + 4], "big"), 8
    elif size == 127:
        if have < 10:
            return 10
        size, header = int.from_bytes(data[start + 2 : start + 10], "big"), 14
    return BAD if size > payload_max_bytes else header + size


def is_utf8(payload: bytes) -> bool:
    """Check text as RFC 6455 section 8.1 asks; ASCII, which is most of it, costs no copy."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def cut_reason(reason: str, size_max_bytes: int) -> str:
    """Shorten a close reason to `size_max_bytes` of UTF-8 without splitting a character."""
    return reason.encode()[:size_max_bytes].decode(errors="ignore")
