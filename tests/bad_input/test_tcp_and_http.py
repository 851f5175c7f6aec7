"""Group A, TCP and HTTP heads: the cases of tests/conformance against the whole server, and those that need many sockets."""

import socket
import struct
from contextlib import ExitStack

import pytest

from tests.conformance.conftest import Target
from tests.conformance.test_heads import *  # noqa: F403  # the cases are the point, all of them
from tests.support.attacked import Attacked, attacked
from tests.support.raw_client import RawClient, head

del test_a22_a_slow_body_is_closed_at_the_deadline  # noqa: F821  # `/` takes no POST here, and says so at once

AUTHORIZED = b"Host: h\r\nAuthorization: Bearer dev\r\nContent-Type: application/json\r\n"
HALF_OPEN = 1_000


def test_a15_paths_that_climb_reach_nothing(server: Attacked) -> None:
    """15: over HTTP too, raw and escaped, and nothing that lies beside the page is served."""
    paths = (
        "//", "/../server/app.py", "/..%2fserver/app.py", "/%2e%2e/%2e%2e/etc/passwd", "/app.js/", "/app.js%00", "/./app.js",
        "/node_modules/typescript/package.json", "/package.json", "/package-lock.json", "/tsconfig.json", "/biome.json",
        "/tests/", "/.git/config", "/v1", "/v1/", "/v1/matches", "/v1/matches/", "/metrics/", "/healthz/", "/ws/",
    )  # fmt: skip
    with RawClient(server.address) as client:
        for path in paths:
            client.send(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
            response = client.response()
            assert (path, response.status) == (path, 404)
            assert "location" not in response.headers


@pytest.mark.parametrize(
    "request_head, status",
    [
        pytest.param(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="CONNECT"),
        pytest.param(b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="unknown method"),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: h\r\nX: secret\r\n\r\n", 405, id="TRACE echoes nothing"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", 200, id="no Host in HTTP/1.0"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n", 200, id="strange Expect"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", 200, id="other upgrade"),
        pytest.param(b"POST /v1/tokens HTTP/1.1\r\n" + AUTHORIZED + b"Content-Length: 2\r\n\r\nab", 400, id="no JSON"),
        pytest.param(
            b"POST /v1/tokens HTTP/1.1\r\n" + AUTHORIZED + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400,
            id="20 chunk size that is no number",
        ),
        pytest.param(
            b"POST /v1/tokens HTTP/1.1\r\n" + AUTHORIZED + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            400, id="a body that is said to be compressed",
        ),
        pytest.param(
            b"POST /v1/tokens HTTP/1.1\r\n" + AUTHORIZED + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"8000\r\n" + b" " * 0x8000 + b"\r\n8001\r\n" + b" " * 0x8001 + b"\r\n0\r\n\r\n",
            413, id="21 a chunked body of one byte too many",
        ),
    ],
)  # fmt: skip
def test_strange_requests_have_an_answer(server: Attacked, request_head: bytes, status: int) -> None:
    """And it is not a 500."""
    with RawClient(server.address) as client:
        client.send(request_head)
        response = client.response()
    assert response.status == status
    assert b"secret" not in response.body


def test_a22_a_slow_body_of_a_known_route_is_closed_at_the_deadline(server: Attacked) -> None:
    """22, instead of the imported case: here the handler waits for the body, and must end without a traceback."""
    with RawClient(server.address) as client:
        client.send(b"POST /v1/tokens HTTP/1.1\r\n" + AUTHORIZED + b'Content-Length: 50\r\n\r\n{"us')
        assert client.at_end() == b""


def test_strangers_cannot_fill_the_log(server: Attacked) -> None:
    """What is not HTTP, not WebSocket or nobody we know is no news, even at LOG_LEVEL=debug."""
    before = server.server.program.output()
    for request in (
        b"BREW / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        head("Origin: http://evil.example"),
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with RawClient(server.address) as client:
            client.send(request)
            client.at_end()
    with RawClient(server.address).upgrade() as websocket:
        websocket.send(b"\xff" * 100)
        websocket.at_end()
    server.left_over()
    assert server.server.program.output() == before


def test_a22_a_body_that_breaks_off_is_no_fault(server: Attacked) -> None:
    """22: half-closed, and reset."""
    request = b"POST /v1/tokens HTTP/1.1\r\n" + AUTHORIZED + b'Content-Length: 50\r\n\r\n{"us'
    with RawClient(server.address) as client:
        client.send(request)
        client.socket.shutdown(socket.SHUT_WR)
        client.at_end()
    with RawClient(server.address) as client:
        client.send(request)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_answers_that_nobody_reads_are_cut(server: Attacked) -> None:
    """More than fits the sockets' buffers was asked for; the rest is not waited with for ever."""
    before = server.grown_kib()
    with RawClient(server.address, receive_buffer_bytes=4096) as client:
        client.send(b"GET /protocol.json HTTP/1.1\r\nHost: h\r\n\r\n" * 500)
        assert server.left_over() == {}
    assert server.grown_kib() - before < 4 * 1024


def test_a1_half_open_connections_are_closed_at_the_deadline() -> None:
    """1 and 2, many at once: the server serves meanwhile, and none of them stays."""
    settings = {"HEAD_TIMEOUT_S": "1", "MAX_CONNECTIONS_PER_ADDRESS": "5000"}
    with attacked(settings) as server, ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.address, timeout_s=20)) for _ in range(HALF_OPEN)]
        for client in clients[::2]:
            client.send(b"GET /ws HTTP/1.1\r\nX: ")
        assert server.api.call("GET", "/healthz").status == 200
        assert {client.at_end() for client in clients} == {b""}


def test_connection_limits_cannot_be_talked_round() -> None:
    """An address is that of the socket, whatever the headers say."""
    with attacked({"MAX_CONNECTIONS_PER_ADDRESS": "5", "CLOSE_TIMEOUT_S": "0.3"}) as server:
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(RawClient(server.address)).upgrade()
            late = stack.enter_context(RawClient(server.address))
            late.send(head("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"))
            assert late.response().status == 429
        assert server.left_over() == {}


def test_a23_pipelined_requests_of_every_kind_are_answered_in_order(target: Target) -> None:
    """23: good and bad ones mixed; a bad head is the last one."""
    good, lost = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n"
    with target.client() as client:
        client.send((good + lost) * 100 + b"BREW / HTTP/1.1\r\n\r\n" + good)
        assert [client.response().status for _ in range(201)] == [200, 404] * 100 + [400]
        client.at_end()


def test_a_refused_body_waits_for_the_answers_before_it(server: Attacked) -> None:
    """All in one piece: a good request, one that is too large, and one that is not heard any more."""
    good = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
    large = (
        b"POST /v1/tokens HTTP/1.1\r\n" + AUTHORIZED + b"Transfer-Encoding: chunked\r\n\r\n20000\r\n" + b" " * 0x20000
    )
    with RawClient(server.address) as client:
        client.send(good * 3 + large + good)
        assert [client.response().status for _ in range(4)] == [200, 200, 200, 413]
        assert client.at_end() == b""


def test_a_body_that_grows_too_large_after_its_answer_gets_no_second_one(server: Attacked) -> None:
    """The method was refused at once; then the connection just ends."""
    with RawClient(server.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert client.response().status == 405
        client.send(b"20000\r\n" + b" " * 0x20000)
        assert client.at_end() == b""
