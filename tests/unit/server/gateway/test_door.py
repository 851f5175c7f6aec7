"""The first seconds of a connection, where the conformance cases do not reach: the books and the odd ends."""

import pytest

from server.core.addresses import TrustedProxies
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


def test_whom_a_trusted_proxy_connects_for_is_counted_and_told() -> None:
    """The proxy's own sockets are not limited; a client's are, by what the proxy says and nobody else."""
    wire = Wire(SocketLimits(connections_per_address_max=1))
    wire.host.proxies = TrustedProxies(("192.0.2.7",))  # whom Knock comes from
    said = ["X-Forwarded-For: 198.51.100.1", "x-forwarded-for:203.0.113.7", "Forwarded: for=198.51.100.2"]
    first, second, other, plain = [Knock(wire=wire) for _ in range(4)]
    for knock in (first, second):
        knock.door.data_received(head(*said))
    other.door.data_received(head("Forwarded: for=198.51.100.2"))
    plain.door.data_received(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
    assert (first.status, second.status, other.status, plain.status) == (101, 429, 101, 404)
    for knock in (first, second, other, plain):
        assert knock.transport.protocol is not None
        knock.transport.protocol.connection_lost(None)
    again = Knock(wire=wire)
    again.door.data_received(head(*said))
    assert again.status == 101


def test_nobody_else_is_believed() -> None:
    """The header of a client that is no proxy changes nothing."""
    wire = Wire(SocketLimits(connections_per_address_max=2))
    wire.host.proxies = TrustedProxies(("10.0.0.0/8",))
    knocks = [Knock(wire=wire) for _ in range(2)]
    for number, knock in enumerate(knocks):
        knock.door.data_received(head(f"X-Forwarded-For: 198.51.100.{number}"))
    assert [knock.status for knock in knocks] == [101, 429]


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
