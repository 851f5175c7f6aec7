"""Bad input against the running server, by the groups of the issue. One server a file; after each case it is looked at.

The raw cases of tests/conformance run here too, with the whole server as their target instead of the gateway alone.
"""

from collections.abc import Iterator

import pytest

from server.gateway.limits import SocketLimits
from tests.conformance.conftest import Target
from tests.support.attacked import Attacked, attacked

HURRIED = {
    "HEAD_TIMEOUT_S": "0.5",
    "REQUEST_TIMEOUT_S": "0.5",
    "CLOSE_TIMEOUT_S": "0.3",
    "PRESENCE_DEBOUNCE_MS": "0",
    "LOG_LEVEL": "debug",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Attacked]:
    """One server for the cases of a file, with short deadlines and the log at its most talkative."""
    with attacked(HURRIED) as server:
        yield server


@pytest.fixture(scope="module")
def target(server: Attacked) -> Target:
    """The server as the cases of tests/conformance see it; a `ping` without an id is answered with an error."""

    def connections() -> int:
        return sum(server.left_over().values())

    return Target(server.address, SocketLimits(), b'{"type":"ping"}', connections, server.problems)


@pytest.fixture(autouse=True)
def server_is_unharmed(server: Attacked) -> Iterator[None]:
    """After each case: it answers, nothing is open, no traceback was logged. After each file: nor has memory grown."""
    yield
    assert server.left_over() == {}
    assert server.problems() == []
