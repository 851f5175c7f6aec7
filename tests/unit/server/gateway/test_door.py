"""The first seconds of a connection, where the conformance cases do not reach: the books and the odd ends."""

import pytest

from server.gateway import door
from server.gateway.door import Door
from server.gateway.limits import SocketLimits
from tests.support.raw_client import head
from tests.support.sockets import MemoryTransport, Wire


class Knock:
    """A door with somebody in front of it."""

    def __init__(self, limits: SocketLimits | None = None, wire: Wire | None = None) -> None:
        """Connect."""
        self.wire = wire or Wire(limits)
        self.transport = MemoryTransport()
        self.door = Door(self.wire.host, None)
        self.transport.protocol = self.door
        self.door.connection_made(self.transport)

    @property
    def status(self) -> int:
        """The answer's status."""
        return int(self.transport.output.split()[1])


def test_without_an_http_stack_the_rest_is_404() -> None:
    """A listener that only takes WebSockets."""
    knock = Knock()
    knock.door.data_received(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert knock.status == 404
    assert knock.transport.is_eof
    knock.door.data_received(b"ignored")
    knock.wire.loop.pass_time(3)
    assert knock.transport.is_aborted
    knock.door.connection_lost(None)
    assert knock.wire.host.gauges.connections == 1


def test_a_deadline_after_the_end_is_harmless() -> None:
    """It cannot happen, and it must not hurt."""
    knock = Knock()
    knock.door.data_received(head())
    knock.door.expired(0.0)
    assert not knock.transport.is_aborted


def test_too_many_refused_clients_are_cut_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Politeness is bounded, too."""
    monkeypatch.setattr(door, "LINGERING_MAX", 1)
    first = Knock(SocketLimits(connections_max=1))
    first.door.data_received(b"x")
    second = Knock(wire=first.wire)
    assert (first.status, second.transport.is_aborted) == (503, True)
    for knock in (first, second):
        knock.door.connection_lost(None)
    assert first.wire.host.gauges.connections == 1


def test_a_deadline_is_disarmed_when_the_connection_goes() -> None:
    """The wheel keeps nobody alive."""
    knock = Knock()
    assert len(knock.wire.host.wheel) == 2
    knock.door.eof_received()
    knock.door.connection_lost(None)
    assert len(knock.wire.host.wheel) == 1
    expired = Knock(wire=knock.wire)
    expired.wire.loop.pass_time(6)
    assert expired.transport.is_aborted
    expired.door.connection_lost(None)
    assert expired.wire.host.gauges.pending_heads == 0
