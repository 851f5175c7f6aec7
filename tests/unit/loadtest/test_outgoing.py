"""What one device wants stored: sent one after the other in a match, until each has its answer."""

import pytest

from loadtest.clock import Chance
from loadtest.outgoing import Outgoing
from loadtest.scene import Scene, User
from protocol.errors import ErrorCode
from protocol.from_client import ClientMessage, MessageSend
from protocol.from_server import Error, Sent
from protocol.ids import MatchId, Micros, RequestId, Seq

M = MatchId("m")


class Told:
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        self.is_ready = True
        self.requests: list[MessageSend] = []

    def tell(self, message: ClientMessage) -> None:
        assert isinstance(message, MessageSend)
        self.requests.append(message)

    def next_id(self) -> int:
        return len(self.requests) + 1


@pytest.fixture
def wire() -> Told:
    return Told()


@pytest.fixture
def outgoing(wire: Told) -> Outgoing:
    """Make the messages of a device in one match."""
    scene = Scene("run", "ws://127.0.0.1:1/ws", Chance(1), lambda _, length: "x" * length, _spawn, 5_000_000, True)
    return Outgoing(scene, User("ann", "token", {M: 0}, ()), 0, wire)


def _spawn(coroutine: object) -> None:
    raise AssertionError(coroutine)


def answer(outgoing: Outgoing, request_id: RequestId, seq: int) -> None:
    """Have an `ok` come."""
    assert isinstance(request_id, int)
    assert outgoing.answered(request_id, lambda: Sent(request_id, M, Seq(seq), Micros(seq), False)) is not None


def test_it_is_done_when_all_have_their_answers(outgoing: Outgoing, wire: Told) -> None:
    """The second goes when the first is answered; a final refusal is an answer, too."""
    assert outgoing.is_done
    for _ in range(2):
        outgoing.say(M, 0, 0, 5)
    assert (len(wire.requests), outgoing.is_done, outgoing.unanswered()) == (1, False, [0, 1])
    answer(outgoing, wire.requests[0].id, 1)
    assert (len(wire.requests), outgoing.is_done, outgoing.unanswered()) == (2, False, [1])
    assert outgoing.refused(Error(ErrorCode.NOT_MEMBER, "no", wire.requests[1].id))
    assert (outgoing.is_done, outgoing.unanswered()) == (True, [])


async def test_one_that_is_refused_for_now_is_not_done(outgoing: Outgoing, wire: Told) -> None:
    """It is sent again."""
    outgoing.say(M, 0, 0, 5)
    assert outgoing.refused(Error(ErrorCode.RATE_LIMITED, "slowly", wire.requests[0].id, 3_600_000))
    assert not outgoing.is_done


def test_what_was_lost_or_said_without_a_connection_waits_for_the_welcome(outgoing: Outgoing, wire: Told) -> None:
    """And is done when that connection has the answers."""
    outgoing.say(M, 0, 0, 5)
    outgoing.lost()
    wire.is_ready = False
    outgoing.say(M, 0, 0, 5)
    assert outgoing.unanswered() == [0, 1]
    wire.is_ready = True
    outgoing.welcomed()
    assert not outgoing.is_done
    answer(outgoing, wire.requests[1].id, 1)
    answer(outgoing, wire.requests[2].id, 2)
    assert (outgoing.is_done, outgoing.unanswered()) == (True, [])
