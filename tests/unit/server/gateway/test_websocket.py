"""What a connection does beside reading frames: faults, flow control, keepalive, ends, sharing its ServerProtocol."""

import logging

import pytest
from typing_extensions import override

from server.gateway.limits import SocketLimits
from server.gateway.websocket import Connection
from tests.support.raw_client import CLOSE, CONT, PING, PONG, TEXT, frame
from tests.support.sockets import UPGRADE, RecordingReceiver, Wire

KIB = 1024


def closed_with(wire: Wire) -> int:
    """Return the code in the close frame that was written last."""
    last = wire.transport.writes[-1]
    assert last[0] == 0x88
    return int.from_bytes(last[2:4], "big")


@pytest.fixture
def wire() -> Wire:
    """An open connection."""
    return Wire()


def fault(_: bytes) -> None:
    """Be a bug."""
    raise RuntimeError("planted")


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("message", [frame(TEXT, b"x"), frame(TEXT, b"x", fin=False) + frame(CONT, b"y")])
def test_a_fault_of_the_receiver_is_1011_and_one_traceback(
    wire: Wire, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """In both lanes."""
    wire.receiver.act = fault
    with caplog.at_level(logging.ERROR):
        wire.feed(message + frame(TEXT, b"never heard"))
    assert closed_with(wire) == 1011
    assert wire.receiver.ends == [(1011, "internal error")]
    assert len(wire.receiver.messages) == 1
    assert len(caplog.records) == 1


def test_a_fault_after_its_own_close_just_cuts(wire: Wire) -> None:
    """There is nothing left to say."""

    def close_and_fault(_: bytes) -> None:
        wire.connection.close(4000)
        raise RuntimeError("planted")

    wire.receiver.act = close_and_fault
    wire.feed(frame(TEXT, b"x"))
    assert wire.transport.is_aborted
    wire.lose()
    assert wire.receiver.ends == [(4000, "")]


def test_a_fault_while_the_receiver_is_made_is_1011() -> None:
    """The books are kept all the same."""
    wire = Wire()

    def refuse(connection: object, upgrade: object) -> RecordingReceiver:
        raise RuntimeError("planted")

    wire.host.accept = refuse
    second = Wire(host=wire.host)
    assert closed_with(second) == 1011
    second.lose()
    assert wire.host.gauges.open_sockets == 1


def test_a_fault_in_lost_keeps_nothing_in_the_books(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged."""

    class Faulty(RecordingReceiver):
        @override
        def lost(self, code: int, reason: str) -> None:
            super().lost(code, reason)
            raise RuntimeError("planted")

    faulty = Faulty()
    wire.host.accept = lambda connection, upgrade: faulty
    second = Wire(host=wire.host)
    with caplog.at_level(logging.ERROR):
        second.lose()
        second.connection.connection_lost(None)
    assert faulty.ends == [(1006, "")]
    assert wire.host.gauges.open_sockets == 1
    assert len(caplog.records) == 1


# --------------------------------------------------------------------------------------------------------------- ends


def test_a_session_may_close_while_it_is_made() -> None:
    """With a code, behind what it sent; it hears of the end once."""
    wire = Wire()

    def refuse(connection: object, upgrade: object) -> RecordingReceiver:
        assert isinstance(connection, Connection)
        connection.outbox.send(b"<error>")
        connection.close(4501, "token refused")
        return late

    late = RecordingReceiver()
    wire.host.accept = refuse
    second = Wire(host=wire.host)
    assert not second.connection.is_open
    assert second.transport.output == b"<error>\x88\x0f" + (4501).to_bytes(2, "big") + b"token refused"
    second.feed(frame(CLOSE, (4501).to_bytes(2, "big")))
    assert late.ends == [(4501, "token refused")]


def test_a_session_may_abort_while_it_is_made() -> None:
    """It hears of the end once."""
    wire = Wire()
    late = RecordingReceiver()

    def refuse(connection: object, upgrade: object) -> RecordingReceiver:
        assert isinstance(connection, Connection)
        connection.abort()
        return late

    wire.host.accept = refuse
    second = Wire(host=wire.host)
    assert second.transport.is_aborted
    second.lose()
    assert late.ends == [(1006, "")]


def test_closing_twice_is_closing_once(wire: Wire) -> None:
    """The first reason counts."""
    wire.connection.close(4000, "first")
    wire.connection.close(4001, "second")
    wire.connection.abort()
    wire.connection.abort()
    wire.lose()
    assert wire.receiver.ends == [(4000, "first")]


def test_a_long_reason_is_cut_between_characters(wire: Wire) -> None:
    """RFC 6455 section 5.5: 125 bytes in all."""
    wire.connection.close(4000, "é" * 100)
    assert wire.transport.output[4:].decode() == "é" * 61


def test_an_end_of_stream_without_close_is_1006(wire: Wire) -> None:
    """And if the transport cannot close by itself, it is made to."""
    wire.connection.eof_received()
    assert wire.receiver.ends == [(1006, "")]
    wire.loop.pass_time(3)
    assert wire.transport.is_aborted
    wire.lose()
    assert wire.receiver.ends == [(1006, "")]


def test_nothing_is_written_to_a_transport_that_is_closing(wire: Wire) -> None:
    """uvloop would raise."""
    wire.transport.close()
    wire.feed(frame(PING, b"x"))
    wire.connection.close(4000)
    assert wire.transport.writes == []


def test_what_is_queued_leaves_before_the_close_frame(wire: Wire) -> None:
    """Also when it is the peer that closes."""
    wire.connection.outbox.send(b"<ok>")
    wire.feed(frame(CLOSE, b"\x03\xe8"))
    assert wire.transport.output == b"<ok>\x88\x02\x03\xe8"


# ------------------------------------------------------------------------------------------------------- flow control


def test_nothing_is_read_while_the_peer_does_not_read(wire: Wire) -> None:
    """Until it has caught up."""
    wire.transport.is_stuck = True
    wire.connection.outbox.send(b"x" * 100 * KIB)
    wire.loop.tick()
    assert not wire.transport.reads
    wire.transport.read()
    assert wire.transport.reads


def test_a_close_is_heard_again_by_a_slow_reader(wire: Wire) -> None:
    """What it did not get is dropped, the close frame comes sooner, its answer is read."""
    wire.transport.is_stuck = True
    wire.connection.outbox.send(b"x" * 100 * KIB)
    wire.loop.tick()
    wire.connection.outbox.send(b"dropped")
    wire.connection.close(4008, "slow reader")
    assert wire.transport.reads
    assert closed_with(wire) == 4008
    assert b"dropped" not in wire.transport.output
    wire.connection.pause_writing()
    assert wire.transport.reads


def test_pongs_that_nobody_reads_end_at_the_bound() -> None:
    """Should the transport's marks ever not hold."""
    wire = Wire(SocketLimits(outbox_max_bytes=1_000, control_frames_max=10_000, high_water_bytes=1 << 30))
    wire.transport.is_stuck = True
    wire.feed(frame(PING, b"x" * 100) * 20)
    assert wire.transport.is_aborted
    wire.lose()
    assert wire.receiver.ends == [(1006, "")]


def test_control_frames_are_counted_by_window() -> None:
    """A hundred at once is too many, a hundred in an hour is not."""
    wire = Wire(SocketLimits(control_frames_max=10, control_window_s=10))
    for _ in range(5):
        wire.feed(frame(PONG, b"") * 10)
        wire.loop.pass_time(11)
    assert wire.connection.is_open
    wire.feed(frame(PONG, b"") * 11)
    assert closed_with(wire) == 4009


# ---------------------------------------------------------------------------------------------------------- keepalive


def test_silence_is_pinged_in_time_and_given_up_in_time(wire: Wire) -> None:
    """25 s and 10 s, at the latest; P6 stands on it."""
    wire.loop.pass_time(24.5)
    assert wire.transport.writes == []
    wire.loop.pass_time(0.6)
    assert wire.transport.writes == [b"\x89\x00"]
    wire.loop.pass_time(9.3)
    assert wire.receiver.ends == []
    wire.loop.pass_time(0.6)
    assert closed_with(wire) == 4003
    assert wire.receiver.ends == [(4003, "ping timeout")]
    wire.loop.pass_time(3)
    assert wire.transport.is_aborted


@pytest.mark.parametrize("sign", [frame(PONG), frame(TEXT, b"x"), frame(PING)])
def test_any_frame_is_a_sign_of_life(wire: Wire, sign: bytes) -> None:
    """In answer to a ping or not."""
    for _ in range(20):
        wire.loop.pass_time(30)
        wire.feed(sign)
    assert wire.connection.is_open


def test_who_talks_is_not_pinged(wire: Wire) -> None:
    """The deadline moves without being armed again for each frame."""
    for _ in range(20):
        wire.loop.pass_time(20)
        wire.feed(frame(TEXT, b"x"))
    assert wire.transport.writes == []
    assert len(wire.host.wheel) == 1


def test_half_a_frame_is_no_sign_of_life(wire: Wire) -> None:
    """Else a byte a minute would hold a connection for ever."""
    for byte in frame(TEXT, b"x" * 50)[:36]:
        wire.feed(bytes([byte]))
        wire.loop.pass_time(1)
    assert wire.receiver.ends == [(4003, "ping timeout")]


def test_a_stuck_peer_is_not_pinged_but_closed_as_slow(wire: Wire) -> None:
    """Its pong could not be read anyway."""
    wire.transport.is_stuck = True
    wire.connection.outbox.send(b"x" * 100 * KIB)
    wire.loop.pass_time(36)
    assert wire.receiver.ends == [(4008, "slow reader")]


# ------------------------------------------------------------------------------------------- one ServerProtocol for all


def test_connections_in_the_plain_state_share_one_server_protocol(wire: Wire) -> None:
    """One that is in the middle of a message keeps its own."""
    other = Wire(host=wire.host)
    wire.feed(frame(TEXT, b"a", fin=False))
    other.receiver = wire.receiver
    other.feed(frame(PING, b"p"))
    assert other.transport.output == b"\x8a\x01p"
    wire.feed(frame(PING, b"q") + frame(CONT, b"b"))
    assert wire.transport.output == b"\x8a\x01q"
    assert wire.receiver.messages == [b"ab"]
    other.feed(frame(TEXT, b"whole"))
    assert wire.receiver.messages == [b"ab", b"whole"]


def test_addresses_are_counted_and_forgotten() -> None:
    """Of a unix socket there is none, and no limit."""
    wire = Wire(SocketLimits(connections_per_address_max=1))
    assert not wire.host.enter(UPGRADE.address)
    wire.host.leave(UPGRADE.address)
    assert wire.host.enter("")
    assert wire.host.enter("")
    wire.lose()
    assert wire.host.enter(UPGRADE.address)


def test_a_flood_after_our_close_is_skipped_until_the_peers_close(wire: Wire) -> None:
    """In pieces of any size: each skipped frame costs next to nothing, and the handshake of the end is still heard."""
    wire.connection.close(4009, "too many frames")
    flood = (frame(TEXT, b"{}", fin=False) + frame(CONT, b"x" * 200)) * 500
    stream = flood + frame(CLOSE, b"\x0f\xa9")
    for start in range(0, len(stream), 1_000):
        wire.feed(stream[start : start + 1_000])
    assert closed_with(wire) == 4009
    assert wire.receiver.ends == [(4009, "too many frames")]
    assert wire.transport.is_eof


def test_a_bad_frame_in_a_flood_after_our_close_ends_it(wire: Wire) -> None:
    """What cannot be skipped ends the connection."""
    wire.connection.close(4009)
    wire.feed(frame(PONG) * 200, b"\xff\xff")
    assert wire.receiver.ends == [(4009, "")]


def test_a_flood_after_our_close_that_never_ends_is_cut(wire: Wire) -> None:
    """Nobody has a megabyte under way."""
    wire.connection.close(4009)
    for _ in range(40):
        wire.feed(frame(TEXT, b"x" * 60_000))
    wire.feed(frame(PONG) * 200)
    while not wire.transport.is_aborted:
        wire.feed(frame(TEXT, b"x" * 60_000))
    wire.lose()
    assert wire.receiver.ends == [(4009, "")]
