"""One lap: every contestant in turn runs a window of the same load, and the laps add up to medians with their spread."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from statistics import median

from msgspec import Struct, structs

from loadtest.clock import cpu_us, monotonic_us
from loadtest.processes import busy_us
from loadtest.race.course import WARM_S, Load, Metronome, settle
from loadtest.race.stage import Contestant


class Window(Struct, frozen=True):
    """What one window took. `count` is of deliveries (or connects) that the CPU time was spent on."""

    server_us: float
    helpers_us: float
    client_us: float
    others_us: float
    wall_us: float
    count: int
    received: int
    expected: int
    p50_us: int = 0
    p99_us: int = 0


class Figure(Struct, frozen=True):
    """A median with its lowest and highest."""

    values: list[float]

    @property
    def median(self) -> float:
        """The value to quote."""
        return median(self.values)


class Outcome(Struct, frozen=True):
    """All windows of one contestant in one discipline."""

    windows: list[Window]

    def figure(self, of: Callable[[Window], float]) -> Figure:
        """Return one value of each window."""
        return Figure([of(window) for window in self.windows])

    @property
    def server_us(self) -> Figure:
        """CPU time of the server for one delivery (or connect)."""
        return self.figure(lambda window: window.server_us / max(window.count, 1))

    @property
    def helpers_us(self) -> Figure:
        """CPU time of what stands beside it, likewise."""
        return self.figure(lambda window: window.helpers_us / max(window.count, 1))

    @property
    def delivered(self) -> float:
        """Received / expected, over all windows."""
        expected = sum(window.expected for window in self.windows)
        return sum(window.received for window in self.windows) / expected if expected else 0.0

    @property
    def others_cores(self) -> list[float]:
        """What other programs used in each window, in cores."""
        return [window.others_us / window.wall_us for window in self.windows]


class Clocks:
    """Reads all clocks now, and again at the end of a window."""

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant
        self._before = self._read()

    def window(self, count: int) -> Window:
        """Return what was used since, for `count` of what was done, all of which arrived."""
        server, helpers, client, busy, wall = (
            now - before for now, before in zip(self._read(), self._before, strict=True)
        )
        others = max(0.0, busy - server - helpers - client)
        return Window(server, helpers, client, others, wall, count, count, count)

    def _read(self) -> tuple[float, float, float, float, float]:
        return (*self._contestant.cpu_us(), cpu_us(), busy_us(), monotonic_us())


async def window(contestant: Contestant, load: Load, seconds: float) -> Window:
    """Run a load and measure its middle; what was said and did not arrive soon after is lost."""
    received, expected = load.received, load.expected
    load.start()
    await asyncio.sleep(min(WARM_S, seconds))
    if isinstance(load, Metronome):
        load.times = type(load.times)()
    clocks, count = Clocks(contestant), load.received
    await asyncio.sleep(seconds)
    measured = clocks.window(load.received - count)
    load.stop()
    await settle(load)
    times = load.times.quantiles((0.5, 0.99)) if isinstance(load, Metronome) else [0, 0]
    received, expected = load.received - received, load.expected - expected
    return structs.replace(measured, received=received, expected=expected, p50_us=times[0], p99_us=times[1])


async def laps(runners: Mapping[str, Callable[[], Awaitable[Window]]], count: int, warm_up: int) -> dict[str, Outcome]:
    """Have each run a window in turn, `count` times after a warm-up, so that what drifts hits all alike."""
    found: dict[str, list[Window]] = {name: [] for name in runners}
    for _ in range(warm_up):  # Laps that do not count: some compile what they run often.
        for run in runners.values():
            await run()
    for _ in range(count):
        for name, run in runners.items():
            found[name].append(await run())
    return {name: Outcome(windows) for name, windows in found.items()}
