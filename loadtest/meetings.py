"""Calls with real sound and pictures during a run: pairs who call, see and hear each other, hang up, and call again.

Timed is what people wait for: from the acceptance to the first frame, on each side. Counted is what came, and which way it
took. A side that has nothing of a kind of media in time is a broken promise.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final

from msgspec import Struct

from loadtest.client import Closed, Refused
from loadtest.connection import HandshakeRefused
from loadtest.media import Caller
from loadtest.media_link import Link
from loadtest.scenario import Media
from loadtest.scene import Scene
from protocol.calls import IceServer

_SETUP_WITHIN_S: Final = 30.0
_LAST_WITHIN_S: Final = 60.0


class Pair(Struct, frozen=True):
    """Two members of a match, by their tokens."""

    match: str
    caller: str
    called: str


class Meetings:
    """All calls of one process. `relays` are used instead of those that the server hands out."""

    def __init__(self, scene: Scene, media: Media, pairs: Sequence[Pair], relays: tuple[IceServer, ...]) -> None:
        self._scene = scene
        self._media = media
        self._pairs = pairs
        self._relays = relays
        self._under_way = 0
        self._is_over = asyncio.Event()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._number = 0

    def begin(self, at_us: int) -> None:
        """Have every pair call from `at_us` on, not all at once."""
        until_s = max(0.0, (at_us - self._scene.now_us()) / 1e6)
        for place, pair in enumerate(self._pairs):
            self._scene.spawn(self._call_on(pair, after_s=until_s + place * self._media.pause_s / len(self._pairs)))

    async def finish(self) -> None:
        """Have everybody hang up, and wait until they have; the two of a call that does not end are counted."""
        self._is_over.set()
        try:
            async with asyncio.timeout(_LAST_WITHIN_S):
                await self._is_quiet.wait()
        except TimeoutError:
            self._scene.meters.count("left in calls", 2 * self._under_way)

    async def _call_on(self, pair: Pair, after_s: float) -> None:
        while not await self._over_within(after_s):
            self._under_way += 1
            self._is_quiet.clear()
            try:
                await self._call(pair)
            finally:
                self._under_way -= 1
                if not self._under_way:
                    self._is_quiet.set()
            after_s = self._media.pause_s

    async def _over_within(self, seconds: float) -> bool:
        """Wait so long; return whether the run is over."""
        try:
            async with asyncio.timeout(seconds):
                return await self._is_over.wait()
        except TimeoutError:
            return False

    async def _call(self, pair: Pair) -> None:
        """Make one call, and count what was wrong with it."""
        meters = self._scene.meters
        meters.count("calls with media")
        try:
            async with AsyncExitStack() as stack:
                caller, called = [await self._person(stack, token) for token in (pair.caller, pair.called)]
                async with asyncio.TaskGroup() as group:
                    running = [group.create_task(each.run()) for each in (caller, called)]
                    try:
                        await self._talk(pair, caller, called)
                    finally:
                        for task in running:
                            task.cancel()
        except (OSError, HandshakeRefused, Closed, Refused) as problem:
            self._broken(problem)
        except ExceptionGroup as problems:
            known, others = problems.split((OSError, HandshakeRefused, Closed, Refused))
            if known is None or others is not None:
                raise
            self._broken(known.exceptions[0])

    async def _person(self, stack: AsyncExitStack, token: str) -> Caller:
        media = self._media
        person = Caller(token, media=media.kind, relay_only=media.relay_only, relays=self._relays)
        stack.push_async_callback(person.close)
        async with asyncio.timeout(_SETUP_WITHIN_S):
            await person.connect(self._scene.url, tls=self._scene.tls)
        return person

    async def _talk(self, pair: Pair, caller: Caller, called: Caller) -> None:
        self._number += 1
        async with asyncio.timeout(_SETUP_WITHIN_S):
            await caller.call(pair.match, f"{self._scene.run}.m{self._number}")
            await called.answer(f"{self._scene.run}.a{self._number}")
        accepted_us = self._scene.now_us()
        async with asyncio.TaskGroup() as group:
            sides = [group.create_task(self._see(person, accepted_us)) for person in (caller, called)]
        if all(side.result() for side in sides):
            await self._over_within(self._media.call_s)
        self._tell(*caller.links.values(), *called.links.values())
        async with asyncio.timeout(_SETUP_WITHIN_S):
            await caller.hang_up()
            await called.ended

    async def _see(self, person: Caller, accepted_us: int) -> bool:
        """Wait for the first frame of each kind; return whether they came in time."""
        kinds = ("audio",) if self._media.kind == "audio" else ("audio", "video")
        is_seen = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._media.within_s):
                await person.met.wait()
                for link in tuple(person.links.values()):  # none when the other one has left
                    await link.received(1, kinds)
                    is_seen = True
        if not is_seen:
            self._scene.meters.count("without media")
            return False
        self._scene.meters.time("first frame", self._scene.now_us() - accepted_us)
        return True

    def _tell(self, *links: Link) -> None:
        meters = self._scene.meters
        for link in links:
            meters.count("call media: sound frames heard", link.frames["audio"])
            meters.count("call media: pictures seen", link.frames["video"])
            route = link.route
            meters.count(f"call media: route {route or 'none'}")
            if self._media.relay_only and route and "relay" not in route:
                meters.count("past the relay")

    def _broken(self, problem: Exception) -> None:
        """Count a call that came to nothing."""
        self._scene.meters.count("without media")
        said = str(problem) if isinstance(problem, Refused | Closed) else type(problem).__name__
        self._scene.meters.count(f"call media: failed, {said}")


def pairs_of(rooms: Sequence[tuple[str, Sequence[str]]], most: int) -> Iterator[Pair]:
    """Yield the first two of each match, no token twice, up to `most`."""
    busy: set[str] = set()
    for match, tokens in rooms:
        free = [token for token in tokens if token not in busy]
        if len(free) == len(tokens) > 1 and most > 0:
            busy.update(free[:2])
            most -= 1
            yield Pair(match, free[0], free[1])
