"""Who is connected, who is a member, and one frame for all of them."""

from collections.abc import Iterator

import pytest

from protocol.close_codes import CloseCode
from protocol.from_server import Ok
from protocol.ids import MatchId, Seq, SessionId, UserId
from server import hub as hub_module
from server.hub import Hub, frame
from server.outbox import Flusher
from server.telemetry import Telemetry
from tests.support.sockets import MemoryLoop
from tests.support.switchboard import Line

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
M1 = MatchId("m1")


class Stage:
    """A hub of lines."""

    def __init__(self) -> None:
        self.loop = MemoryLoop()
        self.flusher = Flusher(self.loop, bound_bytes=1_000, high_water_bytes=100, keys_max=3)
        self.telemetry = Telemetry()
        self.hub = Hub(self.flusher, self.telemetry)

    def enter(self, user: str, session: str) -> Line:
        line = Line(self.flusher, user, session)
        self.hub.add(line)
        return line

    def heard(self, *lines: Line) -> list[list[object]]:
        self.loop.pass_time(1)
        return [[message["id"] for message in line.heard()] for line in lines]


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    for line in stage.hub:
        stage.hub.remove(line)
    assert (len(stage.hub), stage.hub.users) == (0, 0)


def test_connections_are_known_by_user_and_by_session(stage: Stage) -> None:
    """A user may have several, oldest first."""
    one, two, three = stage.enter("alice", "s1"), stage.enter("alice", "s2"), stage.enter("alice", "s3")
    other = stage.enter("bob", "s4")
    assert stage.hub.connections(ALICE) == (one, two, three)
    assert stage.hub.connections(BOB) == (other,)
    assert stage.hub.connections(CAROL) == ()
    assert stage.hub.session(SessionId("s2")) is two
    assert stage.hub.session(SessionId("s9")) is None
    assert (len(stage.hub), stage.hub.users, list(stage.hub)) == (4, 2, [one, two, three, other])


def test_a_connection_that_is_removed_leaves_the_others(stage: Stage) -> None:
    """Removing it again is harmless."""
    one, two, three = stage.enter("alice", "s1"), stage.enter("alice", "s2"), stage.enter("alice", "s3")
    stage.hub.remove(two)
    stage.hub.remove(two)
    assert stage.hub.connections(ALICE) == (one, three)
    stage.hub.remove(three)
    assert stage.hub.connections(ALICE) == (one,)
    stage.hub.remove(one)
    stage.hub.remove(one)
    assert stage.hub.connections(ALICE) == ()
    assert (len(stage.hub), stage.hub.users, stage.hub.session(SessionId("s1"))) == (0, 0, None)


def test_the_hub_may_change_while_it_is_gone_through(stage: Stage) -> None:
    """Closing each in turn removes it."""
    for number in range(3):
        stage.enter("alice", f"s{number}")
    for line in stage.hub:
        stage.hub.remove(line)
    assert len(stage.hub) == 0


def test_a_push_reaches_every_device_of_every_user_but_the_skipped(stage: Stage) -> None:
    """Whoever is not here is passed over."""
    phone, laptop, single, apart = (
        stage.enter(user, session) for user, session in (("alice", "1"), ("alice", "2"), ("bob", "3"), ("carol", "4"))
    )
    stage.hub.push((ALICE, BOB, UserId("nobody")), frame(Ok(1)), skip=phone)
    stage.hub.push((ALICE, BOB), frame(Ok(2)), skip=single)
    stage.hub.push((ALICE,), frame(Ok(3)))
    assert stage.heard(phone, laptop, single, apart) == [[2, 3], [1, 2, 3], [1], []]
    assert stage.telemetry.deliveries == 6


def test_slow_readers_are_closed_and_the_others_are_not_held_up(stage: Stage) -> None:
    """One push makes two of three too slow; the third gets everything."""
    slow, quick, stuck = stage.enter("alice", "s1"), stage.enter("alice", "s2"), stage.enter("bob", "s3")
    slow.stop_reading()
    stuck.stop_reading()
    news = frame(Ok("x" * 64))
    for _ in range(20):
        stage.hub.push((ALICE, BOB), news)
        stage.loop.tick()
    assert slow.closed == stuck.closed == (CloseCode.SLOW_READER, "slow reader: connect again and resume")
    assert quick.closed is None
    assert len(quick.heard()) == 20
    assert stage.telemetry.slow_readers_closed == 2


def test_of_ephemeral_frames_the_latest_of_each_key_arrives(stage: Stage) -> None:
    """At every device but the skipped."""
    phone, laptop, single = stage.enter("alice", "s1"), stage.enter("alice", "s2"), stage.enter("bob", "s3")
    for number in range(3):
        stage.hub.push_latest((ALICE, BOB), ("typing", "m1"), frame(Ok(number)), skip=laptop)
    stage.hub.push_latest((ALICE,), ("typing", "m2"), frame(Ok(9)))
    assert stage.heard(phone, laptop, single) == [[2, 9], [9], [2]]


def test_ephemeral_frames_of_too_many_keys_are_not_lost(stage: Stage) -> None:
    """What finds no room goes as a durable frame, and takes along, in order, what waits."""
    line = stage.enter("alice", "s1")
    for number in range(8):
        stage.hub.push_latest((ALICE,), ("receipt", str(number)), frame(Ok(number)))
    assert stage.heard(line) == [list(range(8))]


def test_what_is_worth_nothing_later_is_not_kept_for_a_reader_who_is_behind(stage: Stage) -> None:
    """Nor does too much of it close anybody or go as something durable."""
    quick, behind = stage.enter("alice", "s1"), stage.enter("alice", "s2")
    behind.stop_reading()
    for number in range(40):
        stage.hub.push_passing((ALICE,), ("typing", str(number)), frame(Ok(number)))
    behind.read_on()
    assert stage.heard(quick, behind) == [[0, 1, 2], []]
    assert behind.closed is None


def test_too_many_keys_for_a_reader_who_is_behind_end_it(stage: Stage) -> None:
    """They count against the bound of the outbox as everything durable does."""
    line = stage.enter("alice", "s1")
    line.stop_reading()
    for number in range(40):
        stage.hub.push_latest((ALICE,), ("receipt", str(number)), frame(Ok("x" * 50)))
    assert line.closed == (CloseCode.SLOW_READER, "slow reader: connect again and resume")


def test_members_are_unknown_until_learnt(stage: Stage) -> None:
    """What the store answered is kept."""
    assert stage.hub.members(M1) is None
    assert stage.hub.learn(M1, (ALICE, BOB), Seq(1)) == (ALICE, BOB)
    assert stage.hub.members(M1) == (ALICE, BOB)
    assert stage.hub.learn(M1, (ALICE, CAROL), Seq(7)) == (ALICE, CAROL)


@pytest.mark.parametrize("members", [(ALICE, CAROL), ()])
def test_a_change_counts_more_than_a_read_that_began_before_it(stage: Stage, members: tuple[UserId, ...]) -> None:
    """Also the change that ended the match."""
    stage.hub.set_members(M1, members, Seq(5))
    assert stage.hub.learn(M1, (ALICE, BOB), Seq(4)) == members
    assert stage.hub.members(M1) == members
    stage.hub.set_members(M1, (BOB, CAROL), Seq(6))
    assert stage.hub.members(M1) == (BOB, CAROL)


def test_news_that_comes_late_changes_nothing(stage: Stage) -> None:
    """As that of a node which could not tell for a while, when another one has changed the match since."""
    stage.hub.set_members(M1, (BOB, CAROL), Seq(6))
    stage.hub.heard_members(M1, (ALICE, BOB), Seq(5))
    assert stage.hub.members(M1) == (BOB, CAROL)
    stage.hub.heard_members(M1, (ALICE, CAROL), Seq(7))
    assert stage.hub.members(M1) == (ALICE, CAROL)


def test_news_of_what_is_not_known_is_no_knowledge(stage: Stage) -> None:
    """It may be old. But a read that is older still is not kept."""
    stage.hub.heard_members(M1, (ALICE, BOB), Seq(5))
    assert stage.hub.members(M1) is None
    assert stage.hub.learn(M1, (ALICE, CAROL), Seq(4)) == (ALICE, CAROL)
    assert stage.hub.members(M1) is None
    assert stage.hub.learn(M1, (BOB, CAROL), Seq(6)) == (BOB, CAROL)
    assert stage.hub.members(M1) == (BOB, CAROL)


def test_members_of_only_so_many_matches_are_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first learnt is forgotten first; a change of one that is known forgets none."""
    monkeypatch.setattr(hub_module, "MEMBERS_CACHED_MAX", 2)
    for name in ("m1", "m2", "m3"):
        stage.hub.learn(MatchId(name), (ALICE,), Seq(1))
    stage.hub.set_members(MatchId("m3"), (BOB,), Seq(2))
    assert [stage.hub.members(MatchId(name)) for name in ("m1", "m2", "m3")] == [None, (ALICE,), (BOB,)]
