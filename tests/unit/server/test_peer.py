"""One connection between socket, session and router."""

from dataclasses import dataclass, field

import msgspec
import pytest

from protocol.close_codes import CloseCode
from protocol.errors import ErrorCode
from protocol.from_client import Ping
from protocol.from_server import Error, Ok
from server.core.presence import Departure
from server.core.rate_limits import RatePolicy
from server.core.session import Actions, Close, Say, Session, SessionPolicy
from server.gateway.wheel import TimerWheel
from server.outbox import Flusher
from server.peer import Peer, Wheel
from server.telemetry import Telemetry
from tests.support.clock import FakeClock
from tests.support.sockets import MemoryLoop
from tests.support.switchboard import Line

POLICY = SessionPolicy(10, 60, 5, RatePolicy(10, 50), RatePolicy(5, 20))


@dataclass
class NotingCarrier:
    """Notes what it is given to carry out, and does of it only what ends the connection."""

    wheel: Wheel
    telemetry: Telemetry = field(default_factory=Telemetry)
    carried: list[Actions] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)

    def carry_out(self, peer: Peer, actions: Actions) -> None:
        self.carried.append(actions)
        for action in actions:
            if isinstance(action, Close):
                peer.close(action.code, action.reason)

    def lost(self, peer: Peer, departure: Departure) -> None:
        self.departures.append(departure)


class Stage:
    """A peer on its line."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.loop = MemoryLoop()
        self.wheel = TimerWheel(self.clock.now)
        self.line = Line(Flusher(self.loop, bound_bytes=1_000, high_water_bytes=100))
        self.carrier = NotingCarrier(self.wheel)
        self.peer = Peer(self.line, Session(POLICY, self.clock.now()), self.carrier)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wheel.advance(self.clock.now())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_message_becomes_the_actions_of_the_session(stage: Stage) -> None:
    stage.peer.received(msgspec.json.encode(Ping(id=3)))
    assert stage.carrier.carried == [(Say(Ok(3)),)]
    assert stage.carrier.telemetry.malformed_frames == 0


def test_what_is_not_understood_is_answered_and_counted(stage: Stage) -> None:
    stage.peer.received(b'{"type":"dance","id":4}')
    ((said,),) = stage.carrier.carried
    assert isinstance(said, Say)
    assert isinstance(said.message, Error)
    assert (said.message.code, said.message.id) == (ErrorCode.UNKNOWN_TYPE, 4)
    assert stage.carrier.telemetry.malformed_frames == 1


def test_of_nothing_nothing_comes(stage: Stage) -> None:
    """Also when a frame comes after the end."""
    stage.peer.close(CloseCode.REPLACED, "taken over")
    stage.peer.received(msgspec.json.encode(Ping(id=3)))
    stage.peer.received(b"{")
    assert stage.carrier.carried == []


def test_the_deadline_of_the_session_is_kept(stage: Stage) -> None:
    """Once, and never before its time."""
    stage.advance(9.9)
    assert stage.carrier.carried == []
    stage.advance(0.35)
    assert stage.carrier.carried == [(Close(CloseCode.AUTH_TIMEOUT, "no valid hello in time"),)]
    assert stage.line.closed == (CloseCode.AUTH_TIMEOUT, "no valid hello in time")
    stage.advance(1_000)
    assert len(stage.carrier.carried) == 1
    assert len(stage.wheel) == 0


def test_a_deadline_that_moved_is_kept_at_its_new_time(stage: Stage) -> None:
    stage.peer.conversation.deadline += 20
    stage.peer.watch_deadline()
    assert len(stage.wheel) == 1
    stage.advance(11)
    assert stage.carrier.carried == []
    stage.advance(20)
    assert len(stage.carrier.carried) == 1


def test_a_lost_connection_leaves_nothing_behind(stage: Stage) -> None:
    """No deadline, no conversation."""
    stage.peer.lost(1006, "")
    assert (len(stage.wheel), stage.peer.conversation.is_closed) == (0, True)
    assert stage.carrier.departures == [Departure.LOST]
    stage.peer.watch_deadline()
    assert len(stage.wheel) == 0


@pytest.mark.parametrize(
    "code, is_sent_away, departure",
    [
        (CloseCode.NORMAL, False, Departure.GOODBYE),
        (1001, False, Departure.LOST),
        (1005, False, Departure.LOST),
        (CloseCode.ABNORMAL, False, Departure.LOST),
        (CloseCode.NORMAL, True, Departure.HANDOFF),
        (CloseCode.ABNORMAL, True, Departure.HANDOFF),
    ],
)
def test_only_a_normal_close_of_the_client_is_a_goodbye(
    stage: Stage, code: int, is_sent_away: bool, departure: Departure
) -> None:
    """And none at all from one that was asked to go elsewhere."""
    stage.peer.is_sent_away = is_sent_away
    stage.peer.lost(code, "")
    assert stage.carrier.departures == [departure]


def test_a_closed_connection_counts_as_lost_at_once(stage: Stage) -> None:
    """However long the socket takes; what was said before goes out before the close frame, nothing after it."""
    stage.peer.say(Ok(1))
    stage.peer.close(CloseCode.REPLACED, "taken over")
    stage.peer.say(Ok(2))
    stage.loop.tick()
    assert stage.line.closed == (CloseCode.REPLACED, "taken over")
    assert stage.carrier.departures == [Departure.LOST]
    assert stage.line.heard() == [{"type": "ok", "id": 1}]
    stage.peer.lost(CloseCode.REPLACED, "taken over")
    assert len(stage.wheel) == 0


def test_a_reader_too_slow_for_its_answers_is_ended(stage: Stage) -> None:
    stage.line.stop_reading()
    for _ in range(20):
        stage.peer.say(Ok("x" * 64))
        stage.loop.tick()
    assert stage.line.closed == (CloseCode.SLOW_READER, "slow reader: connect again and resume")
    assert stage.carrier.departures == [Departure.LOST]
