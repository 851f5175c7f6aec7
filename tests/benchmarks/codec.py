"""msgspec or orjson, case by case, for docs/decisions/0002-json.md: `python -m tests.benchmarks.codec`."""

import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Final

import msgspec
import orjson

from protocol.codec import decode, encode_body
from protocol.from_client import Body, ClientMessage
from protocol.from_server import Message
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId

# Many short windows: most of them fall between two interruptions by other programs.
WINDOWS: Final = 300
CALLS: Final = 1_000

SEND: Final = (
    b'{"type":"message.send","id":12,"match":"m_8f14e45fceea167a","client_id":"0197a3b2-1234-7abc-8888-abcdefabcdef",'
    b'"body":{"text":"Hello there, how are you doing today? Fine, I think, and how are you? See you at the library."}}'
)
UNICODE: Final = SEND.replace(b"Hello there", "Olá, schön".encode())
TYPING: Final = b'{"type":"typing","match":"m_8f14e45fceea167a","on":true}'
DATA: Final = {
    "kind": "poll",
    "title": "When?",
    "options": [{"id": i, "label": f"day {i}", "votes": []} for i in range(8)],
}
BODY: Final = Body("Hello there, how are you doing today? Fine, I think, and how are you? See you at the library.")
RAW_BODY: Final = encode_body(BODY)
MESSAGE: Final = Message(
    MatchId("m_8f14e45fceea167a"),
    Seq(4123),
    Micros(1_795_000_000_000_000),
    Ordinal(4100),
    UserId("alice"),
    ClientId("0197a3b2-1234-7abc-8888-abcdefabcdef"),
    RAW_BODY,
)
FIELDS: Final = {
    "type": "message",
    "match": MESSAGE.match,
    "seq": MESSAGE.seq,
    "created_at": MESSAGE.created_at,
    "n": MESSAGE.n,
    "sender": MESSAGE.sender,
    "client_id": MESSAGE.client_id,
    "body": orjson.Fragment(bytes(RAW_BODY)),
}

_decode_typed = msgspec.json.Decoder(ClientMessage).decode
_encode_msgspec = msgspec.json.Encoder().encode

CASES: Final[list[tuple[str, str, Callable[[], object]]]] = [
    ("message.send in, checked by type", "msgspec, typed struct", lambda: _decode_typed(SEND)),
    ("", "msgspec, typed, then all our checks (`codec.decode`)", lambda: decode(SEND)),
    ("", "the same, text not ASCII", lambda: decode(UNICODE)),
    ("", "orjson, dictionary, nothing checked", lambda: orjson.loads(SEND)),
    ("", "orjson, then `msgspec.convert`", lambda: msgspec.convert(orjson.loads(SEND), ClientMessage)),
    ("typing in, checked by type", "msgspec, typed struct", lambda: _decode_typed(TYPING)),
    ("", "orjson, dictionary, nothing checked", lambda: orjson.loads(TYPING)),
    ("message out, body encoded before", "msgspec, struct with `Raw`", lambda: _encode_msgspec(MESSAGE)),
    ("", "orjson, dictionary with `Fragment`, already built", lambda: orjson.dumps(FIELDS)),
    ("", "orjson, dictionary built here", lambda: orjson.dumps({**FIELDS, "seq": MESSAGE.seq})),
    ("body of text", "msgspec, struct", lambda: _encode_msgspec(BODY)),
    ("body of app data (a dictionary)", "orjson, keys sorted", lambda: orjson.dumps(DATA, option=orjson.OPT_SORT_KEYS)),
    ("", "orjson", lambda: orjson.dumps(DATA)),
    ("", "msgspec", lambda: _encode_msgspec(DATA)),
    ("", "msgspec, keys sorted", lambda: msgspec.json.encode(DATA, order="deterministic")),
]


def main() -> None:
    """Print a Markdown table: the lowest of many alternated windows, and their median."""
    gc.disable()
    windows: list[list[float]] = [[] for _ in CASES]
    for _ in range(WINDOWS):
        for found, (_, _, call) in zip(windows, CASES, strict=True):
            found.append(_window(call))
    print("| what | how | ns a call, lowest | median |\n| --- | --- | --- | --- |")
    for found, (what, how, _) in zip(windows, CASES, strict=True):
        print(f"| {what} | {how} | {min(found):.0f} | {median(found):.0f} |")


def _window(call: Callable[[], object]) -> float:
    before = time.perf_counter_ns()
    for _ in range(CALLS):
        call()
    return (time.perf_counter_ns() - before) / CALLS


if __name__ == "__main__":
    main()
