"""Our judgement of an upgrade and that of `ServerProtocol`: the same status, accept key and subprotocol.

The express way must never say something else than the library; what it does not take is given to the library, with two
rules added that the library leaves to its caller (one Host, an allowed Origin), so those are left out here.
"""

import os
from base64 import b64encode

from hypothesis import event, given, settings
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol

from server.gateway import handshake
from server.gateway.handshake import Accepted, Refused, judge
from server.gateway.limits import SocketLimits

LIMITS = SocketLimits(origins=None)
EXAMPLES = int(os.environ.get("EQUIVALENCE_HEADS", "1000"))

KEYS = st.one_of(
    st.binary(min_size=16, max_size=16).map(lambda raw: b64encode(raw).decode()),
    st.sampled_from(["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR==", "", "short", "dGhlIHNhbXBsZSBub25jZQ"]),
    st.text("AZaz09+/=", min_size=20, max_size=26),
)
GOOD = {
    "Host": st.sampled_from(["chat.example", "127.0.0.1:8000", "[::1]:8000"]),
    "Upgrade": st.sampled_from(["websocket", "WebSocket", "WEBSOCKET"]),
    "Connection": st.sampled_from(["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade, keep-alive"]),
    "Sec-WebSocket-Key": KEYS,
    "Sec-WebSocket-Version": st.just("13"),
}
ODD = {
    "Host": st.sampled_from(["", "a b"]),
    "Upgrade": st.sampled_from(["h2c", "websocket, h2c", "websocket/13", ",websocket", "web socket", ""]),
    "Connection": st.sampled_from(
        ["close", "keep-alive", "up grade", "Upgrade,", "keep-alive,Upgrade", "\tUpgrade", ""]
    ),
    "Sec-WebSocket-Key": KEYS,
    "Sec-WebSocket-Version": st.sampled_from(["8", "13, 8", "013", "", "13 "]),
    "Sec-WebSocket-Protocol": st.sampled_from(
        [
            "duologue.v1",
            "other",
            "other, duologue.v1",
            "duologue.v1,x",
            "duologue.v10",
            "a b",
            "",
            ",duologue.v1",
            "a,,b",
        ]
    ),
    "Sec-WebSocket-Extensions": st.sampled_from(["permessage-deflate; client_max_window_bits", "x;y=", ""]),
    "Origin": st.sampled_from(["http://chat.example", "null", "é"]),
    "Authorization": st.sampled_from(["Bearer abc", ""]),
    "User-Agent": st.sampled_from(["Mozilla/5.0 (X11; Linux x86_64)", "é"]),
    "X-Odd": st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n"), max_size=6),
    "Content-Length": st.sampled_from(["0", "5"]),
    "Transfer-Encoding": st.just("chunked"),
    "Accept": st.just("*/*"),
}
PLAIN_EXTRA = ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin", "Authorization", "User-Agent", "Accept")


def cased(name: str, case: str) -> str:
    """Spell a header's name."""
    return {"lower": name.lower(), "upper": name.upper()}.get(case, name)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A good head with, mostly, few things changed: left out, odd, doubled, added, in another case or order."""
    headers = [(name, draw(value)) for name, value in GOOD.items()]
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(PLAIN_EXTRA))
        headers.append((name, draw(ODD[name])))
    for change in draw(st.lists(st.sampled_from(["drop", "odd", "double", "add"]), max_size=2)):
        match change:
            case "drop":
                headers.pop(draw(st.integers(0, len(headers) - 1)))
            case "double":
                headers.append(headers[draw(st.integers(0, len(headers) - 1))])
            case "odd":
                index = draw(st.integers(0, len(headers) - 1))
                headers[index] = (headers[index][0], draw(ODD[headers[index][0]]))
            case _:
                name = draw(st.sampled_from(sorted(ODD)))
                headers.append((name, draw(ODD[name])))
        if not headers:
            break
    headers = draw(st.permutations(headers))
    case = draw(st.sampled_from(["as is", "as is", "lower", "upper"]))
    space = draw(st.sampled_from([" ", " ", "", "  ", "\t"]))
    method = draw(st.sampled_from(["GET"] * 8 + ["POST"]))
    version = draw(st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0"]))
    target = draw(st.sampled_from(["/ws", "/ws?ticket=abc", "/ws?", "/ws?a?b"]))
    lines = [
        f"{method} {target} {version}",
        *(f"{cased(name, case)}:{space}{value}" for name, value in headers),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


def by_the_library(head: bytes) -> tuple[int, str | None, str | None]:
    """Ask ServerProtocol: status (400 when it would only hang up), accept key, subprotocol."""
    protocol = ServerProtocol(
        select_subprotocol=lambda _, offered: next((one for one in offered if one == handshake.SUBPROTOCOL), None)
    )
    protocol.receive_data(head)
    events = protocol.events_received()
    if not events:
        written = b"".join(protocol.data_to_send())
        return (int(written.split()[1]) if written else 400), None, None
    assert isinstance(events[0], Request)
    response = protocol.accept(events[0])
    return response.status_code, response.headers.get("Sec-WebSocket-Accept"), protocol.subprotocol


def header(response: bytes, name: bytes) -> str | None:
    """Find a header in a response."""
    for line in response.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip().decode()
    return None


@settings(max_examples=EXAMPLES)
@given(heads())
def test_an_upgrade_is_judged_as_the_library_does(head: bytes) -> None:
    """Only one Host too few, empty or too many makes a difference, and then it is a 400."""
    is_express = handshake._express(head, "192.0.2.7", LIMITS) is not None
    verdict = judge(head, "192.0.2.7", LIMITS)
    status, key, subprotocol = by_the_library(head)
    event("express" if is_express else "unusual")
    if isinstance(verdict, Accepted):
        assert status == 101
        assert verdict.response.startswith(b"HTTP/1.1 101 ")
        assert header(verdict.response, b"sec-websocket-accept") == key
        assert header(verdict.response, b"sec-websocket-protocol") == subprotocol
        assert header(verdict.response, b"sec-websocket-extensions") is None
        assert verdict.upgrade.subprotocol == subprotocol
        return
    assert isinstance(verdict, Refused)
    ours = int(verdict.response.split()[1])
    if status == 101:
        assert ours == 400
        assert b"Host" in verdict.response
    else:
        assert ours == status
