"""People who call each other while things break: canned SDP, no media. In the end nobody rings and no call is left.

What they lose they do not take again, as pages that are closed: the server has to find out that nobody is there.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Final

from loadtest.api import Api
from loadtest.device import Device
from loadtest.scene import Scene, User
from protocol.calls import CallEntry, CallOutcome
from protocol.ids import MatchId, UserId
from tests.proof.node import token

PAIRS: Final = 4
CALL_EVERY_S: Final = 0.15
CALL_S: Final = 3.0
# Short, so that a run sees many of each end; who starts most calls is not told to be modest.
SETTINGS: Final = {
    "CALL_RING_S": "5",
    "CALL_UNREACHABLE_S": "5",
    "CALL_CONNECT_S": "8",
    "CALL_GRACE_S": "5",
    "CALL_CALLER_GRACE_S": "3",
    "CALL_RECONNECT_S": "8",
    "CALL_ALONE_S": "5",
    "CALL_STARTS_PER_MIN": "100000",
    "CALL_UNANSWERED_MAX": "100000",
}
# Seats of a node that died are found after 40 s, and are given up after the grace; then their calls are over.
OVER_WITHIN_S: Final = 75.0
LOOK_EVERY_S: Final = 1.0
# Troubles with Redis may follow each other for so long that nobody can be told; devices stop by their own time meanwhile.
RING_SPARE_S: Final = 60.0
QUIET_WITHIN_S: Final = 30.0
OPEN: Final = frozenset({CallOutcome.RINGING, CallOutcome.ONGOING})

Spawn = Callable[[Coroutine[object, object, None]], object]


class Callers:
    """Four pairs; everybody has a phone and a tablet, and either may call, answer or refuse."""

    def __init__(self, url: str, chance: random.Random, spawn: Spawn) -> None:
        self._chance = chance
        self._spawn = spawn
        self.matches = {f"calls-{number}": [f"caller-{number}-a", f"caller-{number}-b"] for number in range(PAIRS)}
        self.scene = Scene(
            "chaos", url, random.Random(chance.random()), lambda _, length: "x" * length, spawn, 60_000_000, False
        )
        self.scene.call_s = CALL_S
        self.scene.ring_spare_s = RING_SPARE_S
        self.devices = [
            Device(
                self.scene,
                User(user, token(UserId(user)), {MatchId(match): 0}, ()),
                number * 2 + each,
                f"{user}.{each}",
            )
            for number, (match, members) in enumerate(self.matches.items())
            for user in members
            for each in range(2)
        ]
        self.ghosts = 0
        self.stuck = 0

    @property
    def counts(self) -> Counter[str]:
        """What came of it, by name."""
        return Counter(self.scene.meters.counts)

    async def make(self, api: Api) -> None:
        """Make the matches."""
        for match, members in self.matches.items():
            await api.put_match(match, members)

    async def call(self, until_s: float) -> None:
        """Come, and call each other until the loop's time is `until_s`."""
        for device in self.devices:
            self._spawn(device.come())
        while asyncio.get_running_loop().time() < until_s:
            self._chance.choice(self.devices).call(0.0)
            await asyncio.sleep(CALL_EVERY_S * 2 * self._chance.random())

    async def finish(self, api: Api) -> None:
        """Hang up and go; count the devices that still ring or talk, and the calls that are not over, when all had the time."""
        self.scene.is_over = True
        for device in self.devices:
            device.caller.hang_up()
        self.stuck = await self._none_left(self._busy, QUIET_WITHIN_S)
        await asyncio.gather(*(device.stop() for device in self.devices))
        self.ghosts = await self._none_left(partial(self._open, api), OVER_WITHIN_S)

    async def _none_left(self, count: Callable[[], Awaitable[int]], within_s: float) -> int:
        """Return what `count` says when it is zero, or has had the time to be."""
        deadline = time.monotonic() + within_s
        while True:
            left = await count()
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(LOOK_EVERY_S)

    async def _busy(self) -> int:
        return sum(not device.caller.is_idle for device in self.devices)

    async def _open(self, api: Api) -> int:
        """Count the calls of which the log does not say that they are over."""
        states: dict[str, CallOutcome] = {}
        for match in self.matches:
            states |= {entry.call: entry.state for entry in await api.log(match) if isinstance(entry, CallEntry)}
        return sum(state in OPEN for state in states.values())
