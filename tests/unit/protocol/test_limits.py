"""protocol/limits.py: the limits fit into each other."""

import pytest

from protocol import limits
from protocol.codec import decode, encode_body
from protocol.from_client import Body, Hello, MessageSend, Sync
from protocol.ids import ID_MAX_CHARS


def test_the_largest_message_fits_a_frame() -> None:
    """4,000 emoji and 16 KiB of data, with the longest ids, are one allowed frame."""
    longest = "😀" * ID_MAX_CHARS
    data = '{"a":"' + "x" * (limits.DATA_MAX_BYTES - 8) + '"}'
    text = "😀" * limits.TEXT_MAX_CHARS
    payload = (
        f'{{"type":"message.send","id":"{longest}","match":"{longest}","client_id":"{longest}",'
        f'"body":{{"text":"{text}","data":{data}}},"reply_to":9007199254740991}}'
    ).encode()
    assert len(payload) <= limits.FRAME_MAX_BYTES
    message = decode(payload)
    assert isinstance(message, MessageSend)
    assert len(bytes(encode_body(message.body))) < limits.PAGE_MAX_BYTES


@pytest.mark.parametrize("kind, allowed", [("hello", limits.HELLO_CURSORS_MAX), ("sync", limits.SYNC_CURSORS_MAX)])
def test_the_most_cursors_fit_a_frame(kind: str, allowed: int) -> None:
    """Cursors with UUIDs for match ids and a long token need no second frame."""
    cursors = ",".join(f'"0197aaaa-bbbb-cccc-dddd-{number:012}":[999999,1795000000000000]' for number in range(allowed))
    token = ',"token":"' + "x" * limits.TOKEN_MAX_CHARS + '"' if kind == "hello" else ""
    payload = f'{{"type":"{kind}","id":1,"cursors":{{{cursors}}}{token}}}'.encode()
    assert len(payload) <= limits.FRAME_MAX_BYTES
    message = decode(payload)
    assert isinstance(message, Hello | Sync)
    assert len(message.cursors) == allowed


def test_an_unsent_message_is_given_up_before_its_key_is_forgotten() -> None:
    """Otherwise a late repetition would be stored twice."""
    assert limits.GIVE_UP_DAYS < limits.DEDUP_DAYS


def test_the_default_body_is_empty() -> None:
    """Both fields may be left out; that at least one is there is checked where the body is encoded."""
    assert Body() == Body(text="", data=None)
