"""One process that makes load: waits for a coordinator that knows its token, plays the people that it is told, reports.

`python -m loadtest agent` runs it on another machine, one for each core to be used; on this machine the coordinator starts
its own. It listens on loopback unless it is told otherwise, takes one coordinator at a time and forgets everything after.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from loadtest.clock import cpu_us, hold_garbage_collector, monotonic_us
from loadtest.crowd import Crowd
from loadtest.jobs import (
    Begin,
    Clock,
    ClockIs,
    Connected,
    Deal,
    Failed,
    Finish,
    FromAgent,
    Job,
    Pace,
    Sample,
    ToAgent,
    Weighed,
)
from loadtest.link import Link, LinkRefused, answer_coordinator
from loadtest.scenario import Media
from loadtest.weighing import settle, weigh

if TYPE_CHECKING:
    from loadtest.meetings import Meetings

_CONNECT_SPARE_S: Final = 30.0
_SETTLE_SPARE_S: Final = 10.0


async def serve(host: str, port: int, token: str, *, once: bool, ready: Callable[[int], None]) -> None:
    """Listen and work for one coordinator after the other; with `once` end after the first."""
    is_busy = asyncio.Lock()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            link = await answer_coordinator(reader, writer, token)
        except LinkRefused:
            return
        async with is_busy:
            await work(link)
            link.close()
        if once and not done.done():
            done.set_result(None)

    server = await asyncio.start_server(answer, host, port)
    async with server:
        ready(server.sockets[0].getsockname()[1])
        await done


async def work(link: Link[ToAgent, FromAgent]) -> None:
    """Do what one coordinator says, until it hangs up."""
    async with asyncio.TaskGroup() as group:
        playing: Playing | None = None
        while (told := await link.hear()) is not None:
            match told:
                case Clock(number):
                    link.tell(ClockIs(number, monotonic_us()))
                case Job():
                    playing = Playing(told, link, group)
                    group.create_task(playing.connect())
                case Finish() if playing is not None:
                    group.create_task(playing.finish())
                case Begin() | Pace() | Deal() if playing is not None:
                    playing.hear(told)
                case _:
                    link.tell(Failed(f"{type(told).__name__} before a job"))
        if playing is not None:
            await playing.stop()


class Playing:
    """One job under way."""

    def __init__(self, job: Job, link: Link[ToAgent, FromAgent], group: asyncio.TaskGroup) -> None:
        self._job = job
        self._link = link
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()
        self._crowd = Crowd(job, self._spawn)
        self._meetings = _meetings(job, self._crowd)
        self._begin_us = 0
        self._cpu_us = cpu_us()
        self._sampled_us = monotonic_us()

    def _spawn(self, coroutine: object) -> None:
        task: asyncio.Task[None] = self._group.create_task(coroutine)  # type: ignore[arg-type]  # what Scene.spawn takes
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connect(self) -> None:
        """Bring everybody in, then say how that went."""
        self._spawn(self._sample_on())
        people = self._job.scenario.people
        expected_s = len(self._crowd.every) / (people.connects_per_s * self._job.share)
        await self._crowd.connect(expected_s + _CONNECT_SPARE_S)
        troubles: dict[str, int] = {}
        for device in self._crowd.every:
            if not device.is_ready:
                troubles[device.trouble or "no welcome yet"] = troubles.get(device.trouble or "no welcome yet", 0) + 1
        hold_garbage_collector()
        self._link.tell(Connected(self._crowd.connected, troubles))

    def hear(self, told: Begin | Pace | Deal) -> None:
        """Do what the coordinator says."""
        match told:
            case Begin(at_us, offset_us):
                self._begin_us, self._crowd.scene.offset_us = at_us, offset_us
                self._crowd.begin(at_us)
                self._spawn(self._crowd.run())
                if self._meetings is not None:
                    self._meetings.begin(at_us)
            case Pace(rate_per_s):
                self._crowd.talk.pace(rate_per_s * self._job.share, self._crowd.scene.now_us())
            case Deal(what, share):
                self._crowd.deal(what, share)

    async def finish(self) -> None:
        """Let everything come to its end, weigh it and say what was found."""
        self._crowd.finish()
        if self._meetings is not None:
            await self._meetings.finish()
        await settle(self._crowd, self._job.scenario.promises.late_after_s + _SETTLE_SPARE_S)
        self._sample()
        report, notes = await weigh(self._crowd)
        self._link.tell(
            Weighed(report, self._crowd.scene.meters.take(), self._crowd.connected, tuple(sorted(set(notes))[:20]))
        )

    async def stop(self) -> None:
        """End everything."""
        self._crowd.finish()
        for task in list(self._tasks):
            task.cancel()
        for start in range(0, len(self._crowd.every), 500):
            await asyncio.gather(*(device.stop() for device in self._crowd.every[start : start + 500]))

    async def _sample_on(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                # Once the load has begun, with its seconds. A timer may be a little early; half a second is another one.
                into_s = (self._crowd.scene.now_us() - self._begin_us) % 1_000_000 / 1e6 if self._begin_us else 0.0
                await asyncio.sleep(1.0 - into_s if into_s < 0.5 else 2.0 - into_s)
                self._sample()

    def _sample(self) -> None:
        now_us, used_us = monotonic_us(), cpu_us()
        cpu = (used_us - self._cpu_us) / max(now_us - self._sampled_us, 1)
        self._cpu_us, self._sampled_us = used_us, now_us
        scene = self._crowd.scene
        self._link.tell(Sample(scene.now_us(), self._crowd.connected, cpu, scene.meters.take()))


def _meetings(job: Job, crowd: Crowd) -> "Meetings | None":
    """Return the calls with media that this process makes: its share of all of them."""
    media: Media | None = job.scenario.media
    if media is None:
        return None
    # Not at the top: codecs take a second to load, and no other scenario needs them.
    from loadtest.meetings import Meetings, pairs_of  # noqa: PLC0415

    rooms = [(room.match, [crowd.users[index].token for index in room.local]) for room in job.rooms]
    return Meetings(crowd.scene, media, list(pairs_of(rooms, max(1, round(media.calls * job.share)))), job.relays)
