"""A device of the load tester that is sent away: welcome elsewhere before it leaves, as an app on duologue.js."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from loadtest.clock import Chance
from loadtest.device import Device
from loadtest.scene import Scene, User
from protocol.close_codes import CloseCode
from protocol.codec import encode_body
from protocol.errors import ErrorCode
from protocol.from_client import Body, ClientState, ClientStateSet, Hello, MessageSend
from protocol.from_server import Error, GoingAway, MatchSummary, Member, Message, Sent
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId
from tests.unit.loadtest.scripted import EarlyTakeover, Script, Talk, scripted, stay

M, ANN, BOB = MatchId("m"), UserId("ann"), UserId("bob")
SUMMARY = MatchSummary(M, (Member(ANN, Seq(0), Seq(0)), Member(BOB, Seq(0), Seq(0))), Seq(2), Micros(20), 0, None)
GUARD_S = 60.0


@pytest.fixture(autouse=True)
def is_in_no_hurry_but_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it try again at once."""
    monkeypatch.setattr("loadtest.device._RETRY_FIRST_S", 0.001)


@asynccontextmanager
async def device_at(*scripts: Script) -> AsyncIterator[Device]:
    """Let a device come to these scripts, one a connection."""
    async with asyncio.timeout(GUARD_S), scripted(*scripts) as url, asyncio.TaskGroup() as group:
        scene = Scene("run", url, Chance(1), lambda _, length: "x" * length, group.create_task, 5_000_000, True)
        device = Device(scene, User(ANN, "token", {M: 0}, ()), 0, "")
        await device.come()
        yield device
        await device.stop()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    while not holds():  # noqa: ASYNC110 - the device has no event for those who look into it
        await asyncio.sleep(0.001)


def counted(device: Device) -> dict[str, int]:
    return device._scene.meters.counts


def message(seq: int) -> Message:
    body = encode_body(Body("hi"))
    return Message(M, Seq(seq), Micros(seq * 10), Ordinal(seq), BOB, ClientId(f"b{seq}"), body)


async def test_it_is_welcome_elsewhere_before_it_leaves() -> None:
    """Its user is there all the time; what still comes over the old connection counts; what had no answer is sent again."""
    taken_over = asyncio.Event()

    async def first(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        assert isinstance(await talk.hear(), MessageSend)
        await talk.say(GoingAway(1))
        await taken_over.wait()
        await talk.say(GoingAway(1), message(3))
        await talk.connection.close(CloseCode.REPLACED)

    async def second(talk: Talk) -> None:
        hello = await talk.greet(SUMMARY)
        assert (hello.session, hello.cursors) == ("s1", {M: (2, 20)})
        again = await talk.hear()
        assert isinstance(again, MessageSend)
        taken_over.set()
        await talk.say(Sent(again.id, M, Seq(4), Micros(40), True))
        await stay(talk)

    async with device_at(first, second) as device:
        came_us = device.user.changed_us
        device.say(M, 0, 0, 5)
        await until(lambda: device.inbox.held[M].last == 4)
        assert (device.is_ready, device.user.connected, device.user.changed_us) == (True, 1, came_us)
        assert device.outgoing.is_done
        assert (device.connects, counted(device)["moved elsewhere"]) == (2, 1)
        assert not [name for name in counted(device) if name.startswith(("closed", "gave up", "error"))]
        assert "comeback" not in device._scene.meters.times


async def test_one_that_nobody_closes_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a code that is no goodbye."""
    monkeypatch.setattr("loadtest.device.REPLACED_WITHIN_S", 0.01)
    codes: list[int | None] = []
    was_left = asyncio.Event()

    async def first(talk: Talk) -> None:
        await talk.greet()
        await talk.say(GoingAway(0))
        await stay(talk)
        codes.append(talk.connection.close_code)
        was_left.set()

    async def second(talk: Talk) -> None:
        await talk.greet()
        await stay(talk)

    async with device_at(first, second):
        await was_left.wait()
    assert codes == [CloseCode.GOING_AWAY]


async def test_with_nowhere_to_go_it_stays_until_it_is_closed() -> None:
    """And then comes back as after any loss."""
    refused: list[object] = []
    refused_twice = asyncio.Event()

    async def first(talk: Talk) -> None:
        await talk.greet()
        await talk.say(GoingAway(0))
        await refused_twice.wait()
        await talk.connection.close(CloseCode.GOING_AWAY)

    async def refuse_or_greet(talk: Talk) -> None:
        hello = await talk.hear()
        assert isinstance(hello, Hello)
        refused.append(hello)
        await talk.say(Error(ErrorCode.UNAVAILABLE, "not now", hello.id))
        if len(refused) == 2:
            refused_twice.set()
        await stay(talk)

    async def last(talk: Talk) -> None:
        await first_is_closed.wait()
        await talk.greet()
        await stay(talk)

    first_is_closed = asyncio.Event()
    async with device_at(first, refuse_or_greet, refuse_or_greet, last) as device:
        await until(lambda: not device.is_ready)
        assert device.user.connected == 0
        first_is_closed.set()
        await until(lambda: device.is_ready)
        assert (device.user.connected, device.connects, counted(device)["closed with 4000"]) == (1, 4, 1)
        assert device._scene.meters.times["comeback"].count == 1
        assert "moved elsewhere" not in counted(device)


async def test_room_that_is_made_before_the_welcome_is_no_loss() -> None:
    """The old connection may be closed sooner than the new one is welcomed: its user was there all the time."""
    takeover = EarlyTakeover()
    async with device_at(takeover.old, takeover.new) as device:
        came_us = device.user.changed_us
        await until(lambda: "moved elsewhere" in counted(device))
        assert (device.is_ready, device.user.connected, device.user.changed_us) == (True, 1, came_us)
        assert (device.connects, counted(device)) == (2, {"presence changed": 1, "moved elsewhere": 1})
        assert "comeback" not in device._scene.meters.times


async def test_it_comes_back_when_the_way_out_falls_after_it_took_over() -> None:
    """4500 on the old connection does not tell it to stay away then."""
    takeover = EarlyTakeover()

    async def last(talk: Talk) -> None:
        await talk.greet()
        await stay(talk)

    async with device_at(takeover.old, takeover.falls, last) as device:
        await until(lambda: device.connects == 3 and device.is_ready)
        assert (device.user.connected, counted(device)["closed with 4500"]) == (1, 1)
        assert not {"gave up", "moved elsewhere"} & set(counted(device))
        assert device._scene.meters.times["comeback"].count == 1


async def test_nothing_else_happens_to_it_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be there twice; but whether somebody looks is told afterwards."""
    monkeypatch.setattr("loadtest.device.REPLACED_WITHIN_S", 0.01)
    said_hello, welcomed = asyncio.Event(), asyncio.Event()
    told: list[ClientState] = []

    async def first(talk: Talk) -> None:
        await talk.greet()
        hidden = await talk.hear()
        assert isinstance(hidden, ClientStateSet)
        await talk.say(GoingAway(0))
        await stay(talk)

    async def second(talk: Talk) -> None:
        hello = await talk.hear()
        assert isinstance(hello, Hello)
        told.append(hello.client_state)
        said_hello.set()
        await welcomed.wait()
        await talk.welcome(hello)
        shown = await talk.hear()
        assert isinstance(shown, ClientStateSet)
        told.append(shown.state)
        await stay(talk)

    async with device_at(first, second) as device:
        device.hide()
        await said_hello.wait()
        device.leave(0.0)
        device.drop(0.0)
        assert not device.pause()
        device.show()
        welcomed.set()
        await until(lambda: len(told) == 2)
        assert told == [ClientState.INACTIVE, ClientState.ACTIVE]
        assert (device.is_ready, device.away, device.connects, device.user.connected) == (True, False, 2, 1)


async def test_one_that_left_meanwhile_is_not_moved() -> None:
    """It has come back already, or is on its way."""

    async def one(talk: Talk) -> None:
        await talk.greet()
        await stay(talk)

    async with device_at(one, one) as device:
        sent_away_from = device._connection
        device.leave(0.0)
        device._move_from(sent_away_from)
        await until(lambda: device.connects == 2 and device.is_ready)
        device._move_from(sent_away_from)
        assert (device.is_ready, device.away, device._is_coming) == (True, False, False)
