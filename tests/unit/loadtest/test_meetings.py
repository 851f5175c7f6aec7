"""Calls with media that come to nothing: counted, and never the end of the run."""

import asyncio

import pytest

from loadtest import meetings
from loadtest.clock import Chance
from loadtest.media import Caller
from loadtest.meetings import Meetings, Pair
from loadtest.scenario import Media
from loadtest.scene import Scene
from protocol.calls import (
    CallAccept,
    CallId,
    CallIncoming,
    CallRinging,
    CallSeat,
    CallStart,
    CallState,
    IceServer,
    PeerId,
)
from protocol.from_server import Ok
from protocol.ids import MatchId, Micros, RequestId, UserId
from tests.support.programs import free_port
from tests.unit.loadtest.scripted import Talk, scripted

PAIR = Pair("m", "token", "token")
CALL, M, ALICE = CallId("c"), MatchId("m"), UserId("alice")
NOBODY_S_RELAYS = (IceServer(("turn:127.0.0.1:1",), "user", "password"),)
# It goes on when something that never comes is waited for no longer; only then do these tests go on, too.
GUARD_S = 60.0


def made(url: str, group: asyncio.TaskGroup) -> Meetings:
    """Make the calls of one pair, who are patient with each other for a moment."""
    scene = Scene("run", url, Chance(1), lambda *_: "", group.create_task, 5_000_000, False)
    return Meetings(scene, Media(calls=1, pause_s=1.0, within_s=0.05), [PAIR], NOBODY_S_RELAYS)


def counts(made: Meetings) -> dict[str, int]:
    return made._scene.meters.counts


def seat(request_id: RequestId) -> CallSeat:
    """Answer with a place in a call in which there is nobody else."""
    return CallSeat(
        request_id, CALL, M, PeerId("p"), "all", ALICE, "video", "ring", CallState.RINGING, Micros(1), (), ()
    )


async def test_a_call_at_a_server_that_is_not_there_is_one_without_media() -> None:
    """As while it is started again."""
    async with asyncio.timeout(GUARD_S), asyncio.TaskGroup() as group:
        calls = made(f"ws://127.0.0.1:{free_port()}/ws", group)
        await calls._call(PAIR)
    assert counts(calls) == {
        "calls with media": 1,
        "without media": 1,
        "call media: failed, ConnectionRefusedError": 1,
    }


async def test_a_call_that_does_not_end_is_told_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices are left in it."""
    monkeypatch.setattr(meetings, "_LAST_WITHIN_S", 0.01)
    is_under_way = asyncio.Event()

    async def says_nothing(talk: Talk) -> None:
        await talk.hear()
        is_under_way.set()
        await talk.connection.wait_closed()

    async with asyncio.timeout(GUARD_S), scripted(says_nothing) as url, asyncio.TaskGroup() as group:
        calls = made(url, group)
        under_way = group.create_task(calls._call_on(PAIR, after_s=0.0))
        await is_under_way.wait()
        await calls.finish()
        under_way.cancel()
    assert counts(calls)["left in calls"] == 2


async def test_who_sees_nobody_any_more_has_no_media() -> None:
    """The other one came and left before there was a frame."""
    async with asyncio.TaskGroup() as group:
        calls = made("ws://127.0.0.1:1/ws", group)
        person = Caller("token")
        person.met.set()
        assert not await calls._see(person, 0)
    assert counts(calls) == {"without media": 1}


async def test_a_goodbye_without_an_answer_ends_the_call_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does a close without one: the server reads no more."""
    monkeypatch.setattr(meetings, "_SETUP_WITHIN_S", 1.0)
    monkeypatch.setattr("loadtest.media._CLOSE_WITHIN_S", 0.01)
    talks: list[Talk] = []

    async def one(talk: Talk) -> None:
        talks.append(talk)
        await talk.greet()
        while not isinstance(asked := await talk.hear(), CallAccept):
            if isinstance(asked, CallStart):
                await talk.say(seat(asked.id))
                await talks[1].say(CallIncoming(CALL, M, ALICE, "video", "ring", 0, 30_000, ()))
            elif isinstance(asked, CallRinging) and asked.id:
                await talk.say(Ok(asked.id))
            else:
                break
        else:
            await talk.say(seat(asked.id))
        talk.connection.transport.pause_reading()
        await is_over.wait()
        talk.connection.transport.abort()

    is_over = asyncio.Event()
    async with asyncio.timeout(GUARD_S), scripted(one, one) as url, asyncio.TaskGroup() as group:
        calls = made(url, group)
        try:
            await calls._call(PAIR)
        finally:
            is_over.set()
    assert counts(calls)["call media: failed, TimeoutError"] == 1
