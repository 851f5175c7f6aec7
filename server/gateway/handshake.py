"""The head of a connection: what it asks for, and the answer to a WebSocket upgrade (RFC 6455 section 4.2).

Guarantees: the verdict on an upgrade is that of `websockets`' `ServerProtocol`. The express way serves the plain
well-formed head that browsers and libraries send (34 µs a connect instead of 118); whatever is unusual in the least goes
to `ServerProtocol`. A property test holds both to the same status, accept key and subprotocol.

Refuses: bare line feeds, folded headers, spaces before colons, control characters, a second or missing Host, other
paths, other Origins. Extensions are never negotiated. Answers carry no Date: time does not enter here.
"""

import base64
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple

from websockets.datastructures import Headers
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from server.gateway.limits import SAME_ORIGIN, SocketLimits

SUBPROTOCOL: Final = "duologue.v1"

_silent = logging.getLogger(f"{__name__}.websockets")
_silent.setLevel(logging.CRITICAL)

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_CHOSEN: Final = b"\r\nSec-WebSocket-Protocol: " + SUBPROTOCOL.encode()

# The head that takes the express way: one look says that there is nothing in it to argue about.
_PLAIN = re.compile(rb"GET (/[\x21-\x7e]*) HTTP/1\.1((?:\r\n[A-Za-z0-9-]+:[ \x21-\x7e]*)+)\r\n\r\n")
_PLAIN_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_PLAIN_OFFER = re.compile(rb"[A-Za-z0-9._-]+(?:, ?[A-Za-z0-9._-]+)*")
_PLAIN_CONNECTIONS: Final = frozenset((b"upgrade", b"keep-alive, upgrade", b"upgrade, keep-alive"))

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/(\d\.\d)")
_HEADERS = re.compile(rb"(?:\r\n[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t \x21-\x7e\x80-\xff]*)*\r\n\r\n")
_UPGRADE = re.compile(rb"\r\nupgrade:[\t ]*websocket[\t ]*\r\n", re.IGNORECASE)

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class Upgrade(NamedTuple):
    """An accepted upgrade as the session side sees it. The query may hold a ticket: it never reaches a log."""

    path: str
    query: str
    host: str
    authorization: str | None
    origin: str | None
    user_agent: str | None
    address: str
    """The peer's IP address; empty on a unix socket."""
    subprotocol: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """Write `response`, and the connection is a WebSocket."""

    response: bytes
    upgrade: Upgrade


@dataclass(frozen=True, slots=True)
class Refused:
    """Write `response` and end the connection."""

    response: bytes


@dataclass(frozen=True, slots=True)
class PlainHttp:
    """No business of ours: the HTTP stack answers."""


PLAIN_HTTP: Final = PlainHttp()
Verdict = Accepted | Refused | PlainHttp


def refusal(status: int, text: str, *headers: str) -> bytes:
    """Build a small text answer that ends the connection."""
    body = f"{text}\n".encode()
    lines = (
        f"HTTP/1.1 {status} {_PHRASES[status]}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    )
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def incomplete_problem(head: bytes | bytearray, limits: SocketLimits) -> Refused | None:
    """Refuse what can be no good head however it goes on; None to wait for more."""
    if head and not 65 <= head[0] <= 90:  # a method is in capitals; TLS begins with 0x16
        return Refused(refusal(400, "This is a plain HTTP port."))
    if head.count(b"\n") != head.count(b"\r\n"):
        return Refused(refusal(400, "Lines end in CR LF."))
    line_end = head.find(b"\r\n")
    if (len(head) if line_end < 0 else line_end) > limits.line_max_bytes:
        return Refused(refusal(414, f"The request line is over {limits.line_max_bytes} bytes."))
    if len(head) > limits.head_max_bytes:
        return Refused(refusal(431, f"The request head is over {limits.head_max_bytes} bytes."))
    return None


def judge(head: bytes, address: str, limits: SocketLimits) -> Verdict:
    """Decide on a whole request head, its blank line included, that came from `address`."""
    express = _express(head, address, limits)
    return express if express is not None else _judge_unusual(head, address, limits)


def accept_key(key: bytes) -> bytes:
    """Answer a Sec-WebSocket-Key (RFC 6455 section 4.2.2, 5.4)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def origin_is_allowed(origin: str | None, host: str, allowed: tuple[str | None, ...] | None) -> bool:
    """Compare an Origin exactly; `SAME_ORIGIN` in the list stands for http and https at `host`."""
    if allowed is None or origin in allowed:
        return origin != SAME_ORIGIN
    return SAME_ORIGIN in allowed and origin in (f"http://{host}", f"https://{host}")


def _express(head: bytes, address: str, limits: SocketLimits) -> Verdict | None:
    """Judge a plain, complete upgrade head; None for anything else, right or wrong."""
    plain = _PLAIN.fullmatch(head)
    if plain is None or len(head) > limits.head_max_bytes:
        return None
    target, _, query = plain[1].decode().partition("?")
    if target != limits.path or len(target) + len(query) > limits.line_max_bytes - 16:
        return None
    lines = plain[2].split(b"\r\n")
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip(b" ")
    if len(headers) != len(lines) - 1 or len(headers) > limits.headers_max:
        return None
    if b"content-length" in headers or b"transfer-encoding" in headers:
        return None
    return _express_upgrade(headers, target, query, address, limits)


def _express_upgrade(
    headers: dict[bytes, bytes], target: str, query: str, address: str, limits: SocketLimits
) -> Verdict | None:
    get = headers.get
    key, host, offer = get(b"sec-websocket-key", b""), get(b"host"), get(b"sec-websocket-protocol")
    if (
        not host
        or get(b"upgrade", b"").lower() != b"websocket"
        or get(b"connection", b"").lower() not in _PLAIN_CONNECTIONS
        or get(b"sec-websocket-version") != b"13"
        or _PLAIN_KEY.fullmatch(key) is None
        or (offer is not None and _PLAIN_OFFER.fullmatch(offer) is None)
    ):
        return None
    origin, authorization, user_agent = get(b"origin"), get(b"authorization"), get(b"user-agent")
    chosen = offer is not None and SUBPROTOCOL.encode() in offer.replace(b" ", b"").split(b",")
    upgrade = Upgrade(
        target,
        query,
        host.decode(),
        None if authorization is None else authorization.decode(),
        None if origin is None else origin.decode(),
        None if user_agent is None else user_agent.decode(),
        address,
        SUBPROTOCOL if chosen else None,
    )
    if not origin_is_allowed(upgrade.origin, upgrade.host, limits.origins):
        return _wrong_origin()
    return Accepted(_SWITCHING + accept_key(key) + (_CHOSEN if chosen else b"") + b"\r\n\r\n", upgrade)


def _judge_unusual(head: bytes, address: str, limits: SocketLimits) -> Verdict:
    line, _, _ = head.partition(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(line)
    if request_line is None:
        return Refused(refusal(400, "The request line is not HTTP."))
    if request_line[3] not in (b"1.1", b"1.0"):
        return Refused(refusal(505, "HTTP/1.1 is spoken here."))
    if _HEADERS.fullmatch(head, len(line)) is None:
        return Refused(refusal(400, "The request headers are malformed."))
    if head.count(b"\r\n") - 2 > limits.headers_max or _longest_line_bytes(head) > limits.line_max_bytes:
        return Refused(refusal(431, f"At most {limits.headers_max} headers of {limits.line_max_bytes} bytes each."))
    if request_line[2].partition(b"?")[0].decode() == limits.path:
        return _ask_server_protocol(head, address, limits)
    if _UPGRADE.search(head) is not None:
        return Refused(refusal(404, f"WebSocket connections are taken at {limits.path}."))
    return PLAIN_HTTP


def _longest_line_bytes(head: bytes) -> int:
    return max(map(len, head.split(b"\r\n")))


def _ask_server_protocol(head: bytes, address: str, limits: SocketLimits) -> Verdict:
    """Have `ServerProtocol` judge a head for our path, and add the rules that it leaves to its caller."""
    protocol = ServerProtocol(select_subprotocol=_select, logger=_silent)
    protocol.receive_data(head)
    events = protocol.events_received()
    if not events or isinstance(events[0], Frame) or not isinstance(events[0], Request):
        answer = b"".join(protocol.data_to_send())
        return Refused(answer or refusal(400, "This is no WebSocket handshake."))
    request = events[0]
    response = protocol.accept(request)
    if response.status_code != 101:
        return Refused(response.serialize())
    hosts = request.headers.get_all("Host")
    if len(hosts) != 1 or not hosts[0]:
        return Refused(refusal(400, "Exactly one Host header is needed."))
    upgrade = _describe(request, hosts[0], address, protocol.subprotocol)
    if not origin_is_allowed(upgrade.origin, upgrade.host, limits.origins):
        return _wrong_origin()
    return Accepted(response.serialize(), upgrade)


def _select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def _describe(request: Request, host: str, address: str, subprotocol: str | None) -> Upgrade:
    target, _, query = request.path.partition("?")
    headers = request.headers
    return Upgrade(
        target,
        query,
        host,
        _one(headers, "Authorization"),
        _one(headers, "Origin"),
        _one(headers, "User-Agent"),
        address,
        subprotocol,
    )


def _one(headers: Headers, name: str) -> str | None:
    """Return a header that is there exactly once; of two credentials we would not know which was meant."""
    values = headers.get_all(name)
    return values[0] if len(values) == 1 else None


def _wrong_origin() -> Refused:
    return Refused(refusal(403, "This Origin is not allowed."))
