"""TCP and HTTP heads: group A of the bad inputs, and the opening handshake of RFC 6455 section 4."""

import socket
import struct
import threading

import pytest

from tests.conformance.conftest import Target
from tests.support.raw_client import ACCEPT, KEY, PING, PONG, TEXT, Answer, accept_for, frame, head

PLAIN = b"GET / HTTP/1.1\r\nHost: h\r\n"


def status_of(target: Target, request: bytes) -> int:
    """Send a request and return the status; 0 when the server just ends."""
    with target.client() as client:
        client.send(request)
        try:
            return client.response().status
        except EOFError:
            return 0


# ---------------------------------------------------------------------------------------------- sections 1.3, 4.2


def test_the_accept_key_is_that_of_the_rfc(target: Target) -> None:
    """RFC 6455 section 1.3: the sample nonce has the sample answer."""
    with target.client() as client:
        client.send(head())
        response = client.response()
    assert (response.status, response.headers["sec-websocket-accept"]) == (101, ACCEPT)
    assert response.headers["upgrade"].lower() == "websocket"
    assert response.headers["connection"].lower() == "upgrade"


@pytest.mark.parametrize("cut", [1, 7, 64])
def test_a_head_may_come_in_pieces(target: Target, cut: int) -> None:
    """TCP promises no boundaries."""
    with target.client() as client:
        request = head()
        for start in range(0, len(request), cut):
            client.send(request[start : start + cut])
        assert client.response().status == 101
        assert client.pings()


def test_header_names_and_tokens_have_no_case(target: Target) -> None:
    """Section 4.2.1: Upgrade and Connection are compared without case; Connection is a list."""
    request = (
        b"GET /ws HTTP/1.1\r\nhOST: h\r\nUPGRADE: WebSocket\r\ncoNNection: keep-alive , uPGrade\r\n"
        b"sec-websocket-VERSION: 13\r\nSEC-websocket-KEY: " + KEY + b"\r\n\r\n"
    )
    assert status_of(target, request) == 101


def test_the_subprotocol_is_chosen_when_offered(target: Target) -> None:
    """Section 4.2.2: ours among others."""
    with target.client() as client:
        client.send(head("Sec-WebSocket-Protocol: other, duologue.v1"))
        assert client.response().headers["sec-websocket-protocol"] == "duologue.v1"


def test_other_subprotocols_are_not_chosen(target: Target) -> None:
    """Section 4.2.2: a server may agree to none of them."""
    with target.client() as client:
        client.send(head("Sec-WebSocket-Protocol: graphql-ws"))
        response = client.response()
    assert (response.status, response.headers.get("sec-websocket-protocol")) == (101, None)


def test_extensions_are_never_negotiated(target: Target) -> None:
    """Section 9.1: the server leaves out what it does not take."""
    with target.client() as client:
        client.send(head("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))
        response = client.response()
    assert (response.status, response.headers.get("sec-websocket-extensions")) == (101, None)


def test_frames_sent_before_the_101_are_heard(target: Target) -> None:
    """Case 25: impatient, but harmless."""
    with target.client() as client:
        client.send(head() + frame(PING, b"early") + frame(TEXT, target.text))
        assert client.response().status == 101
        assert client.answer() == Answer(PONG, b"early")
        assert client.answer().opcode == TEXT


@pytest.mark.parametrize(
    "request_head, status",
    [
        (head(replace=["Upgrade"]), 426),
        (head("Upgrade: h2c", replace=["Upgrade"]), 426),
        (head(replace=["Connection"]), 426),
        (head("Connection: close", replace=["Connection"]), 426),
        (head(key=None), 400),
        (head(key=b"dG9vIHNob3J0"), 400),
        (head(key=b"not base64 at all!!!===="), 400),
        (head(f"Sec-WebSocket-Key: {KEY.decode()}"), 400),
        (head(replace=["Sec-WebSocket-Version"]), 400),
        (head("Sec-WebSocket-Version: 8", replace=["Sec-WebSocket-Version"]), 400),
        (head("Sec-WebSocket-Version: 13"), 400),
        (head(replace=["Host"]), 400),
        (head("Host: other"), 400),
        (head("Origin: http://127.0.0.1", "Origin: http://127.0.0.1"), 400),
        (head("Content-Length: 5"), 400),
        (head("Transfer-Encoding: chunked"), 400),
        (head().replace(b"GET", b"POST"), 405),
        (head().replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (head("Sec-WebSocket-Protocol: a b"), 400),
    ],
)
def test_what_is_no_handshake_is_refused(target: Target, request_head: bytes, status: int) -> None:
    """Section 4.2.1, each requirement in turn."""
    assert status_of(target, request_head) == status


@pytest.mark.parametrize(
    "origin, status",
    [
        ("http://127.0.0.1", 101),
        ("https://127.0.0.1", 101),
        ("http://127.0.0.1:81", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://evil.example", 403),
        ("HTTP://127.0.0.1", 403),
        ("null", 403),
        ("", 403),
        ("same-origin", 403),
        ("http://127.0.0.1, http://evil.example", 403),
    ],
)
def test_a_wrong_origin_gets_403(target: Target, origin: str, status: int) -> None:
    """Section 10.2: compared exactly; a missing one is accepted elsewhere in this file."""
    assert status_of(target, head(f"Origin: {origin}")) == status


def test_each_key_has_its_own_answer(target: Target) -> None:
    """Section 4.2.2, 5.4."""
    key = b"AAAAAAAAAAAAAAAAAAAAAA=="
    with target.client() as client:
        client.send(head(key=key))
        assert client.response().headers["sec-websocket-accept"] == accept_for(key)


# ------------------------------------------------------------------------------------------------------- group A


def test_a1_a_silent_connection_is_closed_at_the_deadline(target: Target) -> None:
    """1: connect, say nothing."""
    with target.client() as client:
        assert client.at_end() == b""


def test_a2_a_slow_head_is_closed_at_the_deadline(target: Target) -> None:
    """2: one byte at a time does not move the deadline."""
    ended, drip = threading.Event(), threading.Event()
    with target.client() as client:

        def send_slowly() -> None:
            for byte in head("X: " + "a" * 500):
                if ended.is_set():
                    return
                client.send(bytes([byte]))
                drip.wait(0.05)

        thread = threading.Thread(target=send_slowly)
        thread.start()
        assert client.at_end() == b""
        ended.set()
        thread.join()


def test_a3_half_a_request_line_then_fin(target: Target) -> None:
    """3."""
    with target.client() as client:
        client.send(b"GET /ws HT")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.at_end() == b""


def test_a4_reset_after_the_request_line(target: Target) -> None:
    """4: SO_LINGER 0 makes close send RST."""
    with target.client() as client:
        client.send(b"GET /ws HTTP/1.1\r\n")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a4_reset_of_an_open_socket(target: Target) -> None:
    """4, later."""
    with target.websocket() as client:
        assert client.pings()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "request_head, statuses",
    [
        pytest.param(bytes.fromhex("16030100c8010000c40303") + bytes(60), {400}, id="5 TLS ClientHello"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505}, id="6 HTTP/2 preface"),
        pytest.param(b"GET /ws?" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", {414}, id="7 request line of 9 kB"),
        pytest.param(b"GET /" + b"a" * 9_000, {414}, id="7 and it has not even ended"),
        pytest.param(PLAIN + b"A: b\r\n" * 200 + b"\r\n", {431}, id="8 200 headers"),
        pytest.param(head(*["A: b"] * 200), {431}, id="8 200 headers on an upgrade"),
        pytest.param(PLAIN + b"A: " + b"b" * 100_000 + b"\r\n\r\n", {431}, id="9 a header of 100 kB"),
        pytest.param(PLAIN + b"A: " + b"b" * 100_000, {431}, id="9 and it has not even ended"),
        pytest.param(PLAIN + b"A: " + b"b" * 9_000 + b"\r\n\r\n", {431}, id="9 a header of 9 kB"),
        pytest.param(b"GET / HTTP/1.1\nHost: h\n\n", {400}, id="10 bare line feeds"),
        pytest.param(head().replace(b"\r\n", b"\n"), {400}, id="10 on an upgrade"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", {400}, id="11 space before the colon"),
        pytest.param(head("Upgrade : websocket"), {400}, id="11 on an upgrade"),
        pytest.param(PLAIN + b"A: b\r\n c\r\n\r\n", {400}, id="12 folded header"),
        pytest.param(head("A: b\r\n c"), {400}, id="12 on an upgrade"),
        pytest.param(head(target="/ws\0"), {400, 404}, id="13 NUL in the path"),
        pytest.param(head("A: b\0c"), {400}, id="13 NUL in a header"),
        pytest.param(head(target="http://127.0.0.1/ws"), {404}, id="14 absolute form"),
        pytest.param(head(target="//ws"), {404}, id="15 //ws"),
        pytest.param(head(target="/ws/../admin"), {404}, id="15 /ws/../admin"),
        pytest.param(head(target="/%2e%2e/"), {404}, id="15 /%2e%2e/"),
        pytest.param(head(target="/ws%00"), {404}, id="15 /ws%00"),
        pytest.param(head(target="/WS"), {404}, id="15 /WS"),
        pytest.param(head(target="/ws/"), {404}, id="15 /ws/"),
        pytest.param(head(target="/"), {404}, id="15 upgrade elsewhere"),
        pytest.param(head(target="*"), {400, 404}, id="15 asterisk"),
        pytest.param(PLAIN + b"Host: g\r\n\r\n", {400}, id="16 two Hosts"),
        pytest.param(
            PLAIN + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}, id="17 both lengths"
        ),
        pytest.param(PLAIN + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", {400}, id="18 two lengths"),
        *[
            pytest.param(PLAIN + b"Content-Length: " + length + b"\r\n\r\n", {400, 413}, id=f"19 {length!r}")
            for length in (b"-1", b"+5", b"5, 5", b"1" + b"0" * 20, b"0x5", b"")
        ],
        pytest.param(
            PLAIN + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nabc", {400, 413}, id="20 chunk size"
        ),
        pytest.param(
            PLAIN.replace(b"GET", b"POST") + b"Content-Length: 10000000000\r\n\r\nabc", {413}, id="21 10 GB announced"
        ),
        pytest.param(b"GET\r\n\r\n", {400}, id="no request line"),
        pytest.param(b"\r\n\r\n", {400}, id="blank lines"),
        pytest.param(b"get / HTTP/1.1\r\nHost: h\r\n\r\n", {400}, id="method in small letters"),
        pytest.param(b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", {505}, id="HTTP/3.0"),
    ],
)
def test_a_bad_head_gets_the_right_status(target: Target, request_head: bytes, statuses: set[int]) -> None:
    """5 to 21, and some more: never 101, never silence."""
    assert status_of(target, request_head) in statuses


def test_a20_more_body_than_allowed_in_chunks(target: Target) -> None:
    """20, 21: what is not announced is counted."""
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    assert status_of(target, PLAIN.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3) == 413


def test_a22_a_slow_body_is_closed_at_the_deadline(target: Target) -> None:
    """22."""
    with target.client() as client:
        client.send(PLAIN.replace(b"GET", b"POST") + b"Content-Length: 50\r\n\r\nabc")
        assert client.at_end() == b""


def test_a22_a_slow_second_head_is_closed_at_the_deadline(target: Target) -> None:
    """22: the deadline holds for every request of a connection."""
    with target.client() as client:
        client.send(PLAIN + b"\r\n")
        assert client.response().status == 200
        client.send(b"GET / HT")
        assert client.at_end() == b""


def test_a22_an_endless_second_head_is_refused(target: Target) -> None:
    """9, 22: the bound holds for every request of a connection."""
    with target.client() as client:
        client.send(PLAIN + b"\r\n")
        assert client.response().status == 200
        client.send(PLAIN + b"A: " + b"b" * 40_000)
        assert client.response().status == 431


def test_a23_a_thousand_pipelined_requests_are_answered(target: Target) -> None:
    """23."""
    with target.client() as client:
        client.send((PLAIN + b"\r\n") * 1_000)
        assert {client.response().status for _ in range(1_000)} == {200}


@pytest.mark.parametrize("cut", [1, 40, 1000])
def test_a24_an_upgrade_after_a_request_is_an_upgrade(target: Target, cut: int) -> None:
    """24: proxies that keep connections do that, nginx with `keepalive` for one. The head may come in pieces."""
    with target.client() as client:
        for _ in range(2):
            client.send(PLAIN + b"\r\n")
            assert client.response().status == 200
        request = head()
        for start in range(0, len(request), cut):
            client.send(request[start : start + cut])
        assert client.response().status == 101
        assert client.pings()


def test_a24_a_bad_upgrade_after_a_request_is_refused(target: Target) -> None:
    """As it is when it comes first: another page's, another path's."""
    for request, status in ((head("Origin: http://elsewhere.example"), 403), (head().replace(b"/ws", b"/other"), 404)):
        with target.client() as client:
            client.send(PLAIN + b"\r\n")
            assert client.response().status == 200
            client.send(request)
            assert client.response().status == status


def test_a24_an_upgrade_among_requests_is_no_upgrade(target: Target) -> None:
    """24: answers come in order, so that what is behind an unanswered request stays a plain one."""
    with target.client() as client:
        client.send(PLAIN + b"\r\n" + head())
        assert client.response().status == 200
        assert 400 <= client.response().status < 500


def test_plain_http_is_served_on_the_same_port(target: Target) -> None:
    """Keep-alive, a body, an unknown path."""
    with target.client() as client:
        client.send(PLAIN + b"\r\n")
        assert client.response().status == 200
        client.send(PLAIN.replace(b" / ", b" /nowhere ") + b"\r\n")
        assert client.response().status == 404
