"""Group C, frames: the cases of tests/conformance against the whole server, and floods that take their time."""

import pytest

from tests.conformance.test_frames import *  # noqa: F403  # the cases are the point, all of them
from tests.support.attacked import Attacked
from tests.support.chatter import Chatter
from tests.support.raw_client import CONT, PING, PONG, TEXT, frame

MEMORY_MAX_KIB = 12 * 1024


def flood(server: Attacked, first: bytes, again: bytes) -> int:
    """Send `again` until the server has enough, reading nothing; return the close code that waits in the socket."""
    server.left_over()
    with Chatter(server.port) as client:
        client.say(b"{}")
        client.client.send(first)
        for _ in range(300):
            client.client.send(again * 1_000)
        return client.closed_with()


@pytest.mark.parametrize(
    "first, again",
    [
        pytest.param(frame(TEXT, b"a", fin=False), frame(CONT, b"", fin=False), id="50 300k empty continuations"),
        pytest.param(frame(TEXT, b"a", fin=False), frame(CONT, b"a", fin=False), id="51 300k single bytes"),
        pytest.param(b"", frame(PING, b"x" * 125), id="56 300k pings, no pong read"),
        pytest.param(b"", frame(PONG, b"x" * 125), id="57 300k unasked pongs"),
        pytest.param(b"", frame(TEXT, b'{"type":"ping","id":1}'), id="300k requests, no answer read"),
        pytest.param(b"", frame(TEXT, b""), id="300k empty messages"),
        pytest.param(b"", frame(TEXT, b"{}", fin=False) + frame(CONT, b""), id="300k messages in two pieces"),
    ],
)
def test_a_flood_is_cut_and_costs_no_memory(server: Attacked, first: bytes, again: bytes) -> None:
    """With a code that says which limit; or with a reset, as the flood was still coming."""
    before = server.grown_kib()
    assert flood(server, first, again) in (1006, 1009, 4009, 4502)
    assert server.grown_kib() - before < MEMORY_MAX_KIB
