"""Group B, the upgrade request: what the cases of tests/conformance leave out because only the whole server knows it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.attacked import Attacked, attacked
from tests.support.chatter import Chatter
from tests.support.raw_client import CLOSE, KEY, PING, TEXT, RawClient, frame, head

HELLO = b'{"type":"hello","id":1}'


def status_of(server: Attacked, request: bytes) -> int:
    """Send a request and return the status of the answer."""
    with RawClient(server.address) as client:
        client.send(request)
        return client.response().status


@pytest.mark.parametrize(
    "request_head, status",
    [
        pytest.param(head("Sec-WebSocket-Protocol: " + ", ".join(["a"] * 400)), 101, id="26 400 subprotocols"),
        pytest.param(head("Sec-WebSocket-Protocol: ,,duologue.v1,,"), 101, id="26 empty subprotocols"),
        pytest.param(head("Sec-WebSocket-Protocol: duologue.v1", "Sec-WebSocket-Protocol: b"), 101, id="26 in two headers"),
        pytest.param(head('Sec-WebSocket-Protocol: "duologue.v1"'), 400, id="26 a quoted subprotocol"),
        pytest.param(head("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99"), 101, id="27 odd extension"),
        pytest.param(head("Sec-WebSocket-Extensions: ;;;=,,"), 101, id="27 damaged extensions"),
        pytest.param(head("Sec-WebSocket-Extensions: " + "x, " * 1_000 + "x"), 101, id="27 1000 extensions"),
        pytest.param(head(key=KEY.strip(b"=")), 400, id="28 key without padding"),
        pytest.param(head(key=b"=" * 24), 400, id="28 key of padding"),
        pytest.param(head(key=KEY * 100), 400, id="28 key of 2.4 kB"),
        pytest.param(head("Sec-WebSocket-Version: 13, 8", replace=["Sec-WebSocket-Version"]), 400, id="29 two versions"),
        pytest.param(head("Sec-WebSocket-Version: 013", replace=["Sec-WebSocket-Version"]), 400, id="29 version 013"),
        pytest.param(head("Sec-WebSocket-Version: ١٣".encode().decode("latin-1"), replace=["Sec-WebSocket-Version"]), 400,
                     id="29 version in other digits"),
        pytest.param(head("Upgrade: websocket, h2c", replace=["Upgrade"]), 426, id="30 two protocols"),
        pytest.param(head("Upgrade: websocket", "Upgrade: websocket", replace=["Upgrade"]), 426, id="30 Upgrade twice"),
        pytest.param(head("Connection: upgrade-insecure", replace=["Connection"]), 426, id="31 Connection of another word"),
        pytest.param(head("Host: a b", replace=["Host"]), 101, id="32 odd Host, no Origin to compare"),
        pytest.param(head("Host: 127.0.0.1@evil.example", "Origin: http://evil.example", replace=["Host"]), 403, id="33 Host with a user"),
        pytest.param(head("Origin: http://127.0.0.1/"), 403, id="33 Origin with a slash"),
        pytest.param(head("Origin: http://127.0.0.1@evil.example"), 403, id="33 Origin with a user"),
        pytest.param(head("Origin: http://127.0.0.1%00.evil.example"), 403, id="33 Origin with %00"),
        pytest.param(head("Origin: file://"), 403, id="33 Origin of a file"),
        pytest.param(head("Origin: chrome-extension://abcdefghijklmnop"), 403, id="33 Origin of an extension"),
        pytest.param(head("Origin: "), 403, id="33 empty Origin"),
        pytest.param(head("Cookie: " + "a=b; " * 1_000), 101, id="34 cookies are nobody's business"),
        pytest.param(head("Authorization: Bearer " + "a" * 7_000), 101, id="35 7 kB of token"),
        pytest.param(head("Authorization: Bearer " + "a" * 17_000), 431, id="35 17 kB of token"),
        pytest.param(head("Authorization: Bearer \xff\xfe"), 101, id="35 a token that is not ASCII"),
        pytest.param(head("X-HTTP-Method-Override: DELETE", "X-Original-URL: /v1/tokens"), 101, id="36 overrides override nothing"),
        pytest.param(head("Expect: 100-continue"), 101, id="37 Expect"),
        pytest.param(head(target="/ws?" + "a=1&" * 1_000), 101, id="38 1000 fields in the query"),
        pytest.param(head(target="/ws?ticket=%zz&ticket[]=1&=&&&"), 101, id="38 a damaged query"),
        pytest.param(head(target="/ws?ticket=" + "a" * 7_000), 101, id="38 a ticket of 7 kB"),
        pytest.param(head(target="/ws?a#b"), 101, id="38 a fragment"),
        pytest.param(head(target="/ws;a=b"), 404, id="39 path parameters"),
        pytest.param(head(target="/ws%2F"), 404, id="39 escaped slash"),
        pytest.param(head(target="/w%73"), 404, id="39 escaped letter"),
        pytest.param(head(target="ws"), 404, id="39 no slash"),
        pytest.param(head().replace(b"GET", b"HEAD"), 405, id="40 HEAD"),
        pytest.param(head().replace(b"GET", b"CONNECT"), 405, id="40 CONNECT (RFC 8441 is for HTTP/2)"),
        pytest.param(head().replace(b"HTTP/1.1", b"HTTP/1.2"), 505, id="41 HTTP/1.2"),
        pytest.param(head().replace(b"HTTP/1.1", b"http/1.1"), 400, id="41 http in small letters"),
        pytest.param(head().replace(b"GET /ws", b"GET  /ws"), 400, id="42 two blanks"),
        pytest.param(head().replace(b"GET /ws", b"GET\t/ws"), 400, id="42 a tab"),
        pytest.param(b"\r\n" + head(), 400, id="43 a blank line first"),
        pytest.param(head("A" * 5_000 + ": b"), 101, id="43 a header name of 5 kB"),
        pytest.param(head(": b"), 400, id="43 a header without name"),
        pytest.param(head("no colon"), 400, id="43 a header without colon"),
        pytest.param(head("A: b\x7f"), 400, id="43 DEL in a header"),
    ],
)  # fmt: skip
def test_an_odd_upgrade_request_has_its_status(server: Attacked, request_head: bytes, status: int) -> None:
    """26 to 43: what is only unusual gets in, what is wrong gets its status, and nothing gets silence."""
    assert status_of(server, request_head) == status


@pytest.mark.parametrize("target", ["/ws?" + "a=1&" * 1_000, "/ws?ticket=%zz", "/ws?ticket=", "/ws?=x"])
def test_a_query_without_a_good_ticket_is_no_login(server: Attacked, target: str) -> None:
    """38: whatever it holds; and hello still works with a token."""
    with Chatter(server.port, request=head(target=target)) as client:
        answer = client.ask(HELLO)
        assert answer["code"] in ("unauthenticated", "ticket_invalid")
        if answer["code"] == "unauthenticated":
            client.hello(server.api.token("alice"))


def test_25_all_at_once_before_the_101(server: Attacked) -> None:
    """25: request, hello, a message and the goodbye in one piece; the answers come in order."""
    server.api.make_match("early", "alice", "bob")
    hello = b'{"type":"hello","id":1,"token":"%b"}' % server.api.token("alice").encode()
    send = b'{"type":"message.send","id":2,"match":"early","client_id":"c","body":{"text":"hi"}}'
    with RawClient(server.address) as client:
        client.send(head() + frame(TEXT, hello) + frame(TEXT, send) + frame(PING) + frame(CLOSE, b"\x03\xe8"))
        assert client.response().status == 101
        assert client.closed_with() == 1000


def test_the_end_of_the_request_decides(server: Attacked) -> None:
    """A body that is announced belongs to no upgrade, and a second request on a WebSocket is a bad frame."""
    assert status_of(server, head("Content-Length: 0")) in (101, 400)
    with RawClient(server.address) as client:
        client.send(head() + head())
        assert client.response().status == 101
        assert client.closed_with() == 1002


@pytest.mark.parametrize(
    "allowed, origin, status",
    [
        ("https://app.example", "https://app.example", 101),
        ("https://app.example", "https://app.example:443", 403),
        ("https://app.example", "http://app.example", 403),
        ("https://app.example", "https://sub.app.example", 403),
        ("https://app.example", "https://app.example.evil.example", 403),
        ("https://app.example", "null", 403),
        ("https://app.example", "*", 403),
        ("https://app.example", "http://127.0.0.1", 403),
        ("*", "http://evil.example", 101),
        ("*", "null", 101),
    ],
)
def test_only_the_allowed_origins_get_in(origins: dict[str, Attacked], allowed: str, origin: str, status: int) -> None:
    """Compared exactly, and never by a pattern; `same-origin` only where it is named."""
    assert status_of(origins[allowed], head(f"Origin: {origin}")) == status


@pytest.fixture(scope="module")
def origins() -> Iterator[dict[str, Attacked]]:
    """Two servers with other ideas of who may come."""
    with ExitStack() as stack:
        yield {
            allowed: stack.enter_context(attacked({"ALLOWED_ORIGINS": allowed, "CLOSE_TIMEOUT_S": "0.3"}))
            for allowed in ("https://app.example", "*")
        }
