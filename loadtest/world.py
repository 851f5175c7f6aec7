"""The world of a run: fresh users and matches on the server, made through the HTTP API, and each process's part of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from loadtest.api import Api
from loadtest.clock import Chance, wall_s
from loadtest.jobs import Person, Room
from loadtest.learn import Line
from loadtest.scenario import Scenario
from loadtest.tls import trust
from loadtest.tokens import sign_token

_AT_ONCE: Final = 8
_TOKEN_SPARE_S: Final = 1800


@dataclass(frozen=True, slots=True)
class Access:
    """How to get users in: the API and its key; with `token_secret` tokens are signed here instead of asked for."""

    ws_url: str
    api_url: str
    api_key: str
    token_secret: str = ""
    authority: str = ""
    # PEM of who signed the server's certificate, when the system does not know them.

    def api(self) -> Api:
        """Return a connection to the API."""
        return Api(self.api_url, self.api_key, trust(self.api_url, self.authority))


@dataclass(frozen=True, slots=True)
class Part:
    """What one process plays. `nicks` is whom of a replayed log each of its people is."""

    people: tuple[Person, ...]
    rooms: tuple[Room, ...]
    nicks: tuple[tuple[str, ...], ...]


def api_url_of(ws_url: str) -> str:
    """Return the origin of the HTTP API that belongs to a socket's address."""
    parts = urlsplit(ws_url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"


async def make_world(
    access: Access, scenario: Scenario, run: str, *, users: int, parts: int, lines: Sequence[Line]
) -> list[Part]:
    """Make users and matches; raise `ApiError` or `OSError`."""
    names = [f"lt-{run}-{number}" for number in range(users)]
    shares = _slices(users, parts)
    rooms = list(_rooms(scenario, run, names, shares))
    tokens = await _tokens(access, names, int(scenario.duration_s) + _TOKEN_SPARE_S)
    await _all([_put(match, [names[index] for index in members]) for match, members in rooms], access)
    speakers = list(dict.fromkeys(line.nick for line in lines))
    chance = Chance(run)
    people = [
        Person(number, name, tokens[number], 1 + _more(scenario.people.devices - 1, chance))
        for number, name in enumerate(names)
    ]
    return [_part(share, rooms, people, speakers) for share in shares]


def _part(
    share: range, rooms: Sequence[tuple[str, Sequence[int]]], people: Sequence[Person], speakers: Sequence[str]
) -> Part:
    here = []
    for match, members in rooms:
        local = tuple(index for index in members if index in share)
        if local:
            # Whoever plays the first member weighs the log.
            here.append(Room(match, tuple(people[index].user for index in members), local, local[0] == members[0]))
    nicks = tuple(tuple(speakers[index :: len(people)]) for index in share)
    return Part(tuple(people[index] for index in share), tuple(here), nicks)


def _slices(users: int, parts: int) -> list[range]:
    bounds = [users * number // parts for number in range(parts + 1)]
    return [range(low, high) for low, high in pairwise(bounds)]


def _rooms(
    scenario: Scenario, run: str, names: Sequence[str], shares: Sequence[range]
) -> Iterator[tuple[str, list[int]]]:
    """Yield matches by name with their members. Pairs and groups stay within a process, rooms go through all."""
    matches = scenario.matches
    if matches.shape == "rooms":
        size = matches.size or len(names)
        rooms = max(1, len(names) // size)
        for number in range(rooms):
            yield f"lt-{run}-r{number}", list(range(number, len(names), rooms))
        return
    for share in shares:
        if matches.shape == "groups":
            size = matches.size or 5
            for low in range(share.start, share.stop, size):
                # Who is left over alone joins the last group.
                members = list(range(min(low, share.stop - 2), min(low + size, share.stop)))
                yield f"lt-{run}-g{low}", members
        else:
            yield from _pairs(run, share, matches.per_user)


def _pairs(run: str, share: range, per_user: int) -> Iterator[tuple[str, list[int]]]:
    """Pair each with the next ones around a ring, so that everybody has `per_user` pairs, or one more of half of them."""
    size = len(share)
    if per_user == 1:
        for low in range(share.start, share.stop - 1, 2):
            yield f"lt-{run}-p{low}", [low, low + 1]
        if size % 2 and size > 1:
            yield f"lt-{run}-p{share.stop - 1}", [share.start, share.stop - 1]
        return
    for step in range(1, min((per_user + 1) // 2, size - 1) + 1):
        for place in range(size):
            members = sorted({share.start + place, share.start + (place + step) % size})
            if len(members) == 2:
                yield f"lt-{run}-p{members[0]}-{step}-{place}", members


def _more(mean: float, chance: Chance) -> int:
    """Return a whole number with this mean."""
    return int(mean) + (chance.random() < mean - int(mean))


async def _tokens(access: Access, names: Sequence[str], ttl_s: int) -> list[str]:
    if access.token_secret:
        return [sign_token(name, access.token_secret, int(wall_s()) + ttl_s) for name in names]
    found = [""] * len(names)

    def minting(number: int, name: str) -> Callable[[Api], Awaitable[None]]:
        async def mint(api: Api) -> None:
            found[number] = await api.token(name, ttl_s)

        return mint

    await _all([minting(number, name) for number, name in enumerate(names)], access)
    return found


def _put(match: str, members: list[str]) -> Callable[[Api], Awaitable[None]]:
    async def put(api: Api) -> None:
        await api.put_match(match, members)

    return put


async def _all(calls: Sequence[Callable[[Api], Awaitable[None]]], access: Access) -> None:
    """Make all calls over a few connections."""
    waiting = iter(calls)

    async def work() -> None:
        api = access.api()
        try:
            for call in waiting:
                await call(api)
        finally:
            api.close()

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
