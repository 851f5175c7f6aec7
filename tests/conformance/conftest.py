"""Against what the cases run: a `Target`. Each case is followed by three questions about the server.

To run the same cases against another server, give another `target` fixture.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from server.gateway.limits import SocketLimits
from tests.support.listening import listening
from tests.support.raw_client import RawClient

LIMITS = SocketLimits(
    head_timeout_s=0.5, request_timeout_s=0.5, close_timeout_s=0.3, body_max_bytes=100_000, control_frames_max=100
)


@dataclass(frozen=True, slots=True)
class Target:
    """A server under test."""

    address: tuple[str, int]
    limits: SocketLimits
    text: bytes
    """A text message that is answered by a text message."""
    connections: Callable[[], int]
    problems: Callable[[], list[str]]

    def client(self) -> RawClient:
        """Connect."""
        return RawClient(self.address)

    def websocket(self) -> RawClient:
        """Connect and shake hands."""
        return self.client().upgrade()


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """The gateway with an echo behind it."""
    with listening(LIMITS) as server:
        yield Target(server.address, LIMITS, b'{"type":"ping"}', server.connections, lambda: server.problems.texts)


@pytest.fixture(autouse=True)
def server_is_unharmed(target: Target) -> Iterator[None]:
    """After each case: it still answers, nothing is left open, no traceback was logged."""
    yield
    with target.websocket() as client:
        assert client.pings()
    waited = threading.Event()
    for _ in range(400):
        if target.connections() == 0:
            break
        waited.wait(0.01)  # another process's sockets: there is no event to await
    assert target.connections() == 0
    assert target.problems() == []
