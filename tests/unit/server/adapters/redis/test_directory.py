"""Who is told when Redis has a session, and when that cannot be had."""

import pytest

from protocol.ids import SessionId, UserId
from server.adapters.redis.directory import CHUNK, Sessions

ALICE, BOB = UserId("alice"), UserId("bob")
ONE, TWO = SessionId("1"), SessionId("2")


class Desk:
    """Sessions, and who was told."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.told: list[str] = []

    def come(self, user: UserId, session: SessionId) -> None:
        self.sessions.add(user, session, None)
        self.sessions.when_there(user, session, lambda: self.told.append(session))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_who_is_in_redis_is_told_once(desk: Desk) -> None:
    """Not who came after that was sent; and at once who is there already."""
    desk.come(ALICE, ONE)
    desk.sessions.take()
    desk.come(BOB, TWO)
    assert desk.told == []
    desk.sessions.confirm()
    assert desk.told == [ONE]
    desk.come(ALICE, ONE)
    desk.sessions.take()
    desk.sessions.confirm()
    assert desk.told == [ONE, TWO, ONE]
    desk.sessions.when_there(ALICE, ONE, lambda: desk.told.append("at once"))
    assert desk.told[3:] == ["at once"]


def test_those_who_do_not_fit_into_a_call_are_told_after_theirs(desk: Desk) -> None:
    for number in range(CHUNK + 1):
        desk.come(ALICE, SessionId(str(number)))
    desk.sessions.take()
    desk.sessions.confirm()
    assert len(desk.told) == CHUNK
    desk.sessions.take()
    desk.sessions.confirm()
    assert len(desk.told) == CHUNK + 1


def test_nobody_waits_for_a_redis_that_is_away(desk: Desk) -> None:
    """When the call failed, and when the node has to begin anew; who has gone is not told."""
    desk.come(ALICE, ONE)
    desk.sessions.take()
    desk.come(BOB, TWO)
    desk.sessions.take_back()
    assert desk.told == [ONE, TWO]
    desk.come(ALICE, ONE)
    desk.come(BOB, TWO)
    desk.sessions.remove(BOB, TWO, 0)
    desk.sessions.begin_anew()
    assert desk.told == [ONE, TWO, ONE]
