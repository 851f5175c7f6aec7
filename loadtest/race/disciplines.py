"""The disciplines of the race, each for all contestants in alternating windows."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from loadtest.race.course import Crowd, Load, Metronome, Rally, Seat, leave_all, seat_all
from loadtest.race.lap import Clocks, Outcome, Window, laps, window
from loadtest.race.speech import Speech
from loadtest.race.stage import Contestant

PAIRS: Final = 100
BATCHES: Final = 4
# Texts a second in all, of the open load: far below what the slowest can do.
PAIR_TEXTS_PER_S: Final = 300.0
SMALL_TEXTS_PER_S: Final = 20.0
LARGE_TEXTS_PER_S: Final = 2.0

Tell = Callable[[str], None]


class Rules(Struct, frozen=True):
    """How often, how long and how large."""

    windows: int
    window_s: float
    warm_up: int = 1
    small: int = 50
    large: int = 1_000
    idle: int = 2_000


class Arrivals(Struct, frozen=True):
    """What it takes to let people in, and to keep them while they say nothing."""

    connects: Outcome
    idle_kib: float


class Results(Struct, frozen=True):
    """By contestant, and by discipline and contestant."""

    arrivals: dict[str, Arrivals]
    outcomes: dict[str, dict[str, Outcome]]


class Prepared(Struct, frozen=True):
    """A load with the seats that it uses."""

    load: Load
    seats: list[Seat]


Prepare = Callable[[Contestant], Awaitable[Prepared]]


async def run_all(contestants: Sequence[Contestant], rules: Rules, tell: Tell) -> Results:
    """Run everything; who waits for a turn only gives signs of life."""
    arrivals: dict[str, Arrivals] = {}
    for contestant in contestants:
        tell(f"connecting: {contestant.name}")
        arrivals[contestant.name] = await _arrive(contestant, rules)
    disciplines: dict[str, Prepare] = {
        "pair": _pairs,
        "signal": _signals,
        "small": partial(_crowd, size=rules.small),
        "large": partial(_crowd, size=rules.large),
        "pair-time": partial(_times, rooms=PAIRS, size=2, texts_per_s=PAIR_TEXTS_PER_S),
        "small-time": partial(_times, rooms=1, size=rules.small, texts_per_s=SMALL_TEXTS_PER_S),
        "large-time": partial(_times, rooms=1, size=rules.large, texts_per_s=LARGE_TEXTS_PER_S),
    }
    outcomes = {
        name: await _discipline(name, contestants, prepare, rules, tell) for name, prepare in disciplines.items()
    }
    return Results(arrivals, outcomes)


async def _discipline(
    name: str, contestants: Sequence[Contestant], prepare: Prepare, rules: Rules, tell: Tell
) -> dict[str, Outcome]:
    tell(f"{name}: everybody enters")
    prepared = {contestant.name: await prepare(contestant) for contestant in contestants}
    by_name = {contestant.name: contestant for contestant in contestants}

    async def run(contestant: str) -> Window:
        tell(f"{name}: {contestant}")
        return await window(by_name[contestant], prepared[contestant].load, rules.window_s)

    outcomes = await laps(
        {contestant: partial(run, contestant) for contestant in prepared}, rules.windows, rules.warm_up
    )
    for each in prepared.values():
        await leave_all(each.seats)
    return outcomes


# ---- what each of them does


async def _arrive(contestant: Contestant, rules: Rules) -> Arrivals:
    rooms = _rooms("idle", rules.idle // 2, 2)
    speech = contestant.speech
    await speech.prepare(rooms)
    names = list(rooms)
    size = len(names) // (BATCHES + 1)
    # The first batch warms it up.
    seats = await _seats(speech, contestant.port, {name: rooms[name] for name in names[:size]})
    before, windows = contestant.rss_bytes(), []
    warm = len(seats)
    for batch in range(1, BATCHES + 1):
        chosen = {name: rooms[name] for name in names[batch * size : (batch + 1) * size]}
        clocks = Clocks(contestant)
        come = await _seats(speech, contestant.port, chosen)
        windows.append(clocks.window(len(come)))
        seats += come
    idle_kib = (contestant.rss_bytes() - before) / 1024 / (len(seats) - warm)
    await leave_all(seats)
    return Arrivals(Outcome(windows), idle_kib)


async def _pairs(contestant: Contestant) -> Prepared:
    return await _rally(contestant, contestant.speech, "pair")


async def _signals(contestant: Contestant) -> Prepared:
    return await _rally(contestant, contestant.signals, "signal")


async def _rally(contestant: Contestant, speech: Speech, name: str) -> Prepared:
    rooms = _rooms(name, PAIRS, 2)
    await speech.prepare(rooms)
    seated = await seat_all(speech, contestant.port, rooms)
    return Prepared(Rally(list(seated.values())), [seat for seats in seated.values() for seat in seats])


async def _crowd(contestant: Contestant, *, size: int) -> Prepared:
    rooms = _rooms(f"crowd{size}", 1, size)
    await contestant.speech.prepare(rooms)
    (seats,) = (await seat_all(contestant.speech, contestant.port, rooms)).values()
    return Prepared(Crowd(seats), seats)


async def _times(contestant: Contestant, *, rooms: int, size: int, texts_per_s: float) -> Prepared:
    made = _rooms(f"times{size}", rooms, size)
    await contestant.speech.prepare(made)
    seated = await seat_all(contestant.speech, contestant.port, made)
    return Prepared(
        Metronome(list(seated.values()), texts_per_s), [seat for seats in seated.values() for seat in seats]
    )


async def _seats(speech: Speech, port: int, rooms: dict[str, list[str]]) -> list[Seat]:
    return [seat for seats in (await seat_all(speech, port, rooms)).values() for seat in seats]


def _rooms(name: str, count: int, size: int) -> dict[str, list[str]]:
    return {f"{name}-{room}": [f"{name}-{room}-{member}" for member in range(size)] for room in range(count)}
