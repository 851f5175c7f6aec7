"""What the people of one process do, against a scripted server."""

import asyncio
from collections.abc import Coroutine

from loadtest.crowd import Crowd
from loadtest.jobs import Job, Person, Room
from loadtest.profile import load_profile
from loadtest.scenario import Scenario
from tests.unit.loadtest.scripted import Talk, scripted


def job(url: str) -> Job:
    """Make a job with one user who is alone in a match."""
    room = Room("m", ("ann",), (0,), is_judged=True)
    people = (Person(0, "ann", "token", 1),)
    return Job("run", url, 0, 1, 1.0, 0.0, Scenario("A test", "One user."), load_profile("irc"), people, (room,))


async def test_a_pause_in_a_pause_does_not_bring_a_device_that_left_back_twice() -> None:
    """The end of the second would find it gone, and connect beside the one who comes back from leaving."""

    async def script(talk: Talk) -> None:
        await talk.greet()
        await talk.connection.wait_closed()

    spawned: list[Coroutine[object, object, None]] = []
    async with scripted(script) as url:
        crowd = Crowd(job(url), spawned.append)
        (device,) = crowd.every
        await device.come()
        both_are_over = asyncio.Event()
        crowd._pause(device, 0.0)
        crowd._pause(device, 0.2)
        asyncio.get_running_loop().call_later(0.2, both_are_over.set)
        while device.away:  # noqa: ASYNC110 - the end of the first is a timer of the crowd's own
            await asyncio.sleep(0)
        device.leave(None)
        await spawned.pop()
        await both_are_over.wait()
    assert (device.is_ready, device.away, spawned) == (False, True, [])
