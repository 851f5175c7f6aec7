"""Who knows whom, and which process plays them."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from msgspec import structs

from loadtest.learn import read_log
from loadtest.scenario import Matches, Scenario, load_scenario
from loadtest.world import Access, Part, api_url_of, make_world
from tests.support.private_server import PrivateServer, private_server


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    """Run a server in memory."""
    with private_server(MAX_MEMBERS="1000") as server:
        yield server


def world(server: PrivateServer, scenario: Scenario, *, users: int, parts: int = 2, log: str = "") -> list[Part]:
    """Make a world on a server."""
    access = Access(server.ws_url, api_url_of(server.ws_url), "dev")
    lines = read_log(log)
    return asyncio.run(make_world(access, scenario, f"r{users}{parts}", users=users, parts=parts, lines=lines))


def shaped(**matches: object) -> Scenario:
    """Return a scenario with these matches."""
    return structs.replace(load_scenario("chat"), matches=Matches(**matches))  # type: ignore[arg-type]  # by test


def members(parts: list[Part]) -> dict[str, set[str]]:
    """Return all matches."""
    return {room.match: set(room.members) for part in parts for room in part.rooms}


def test_pairs_stay_within_a_process_and_leave_nobody_out(server: PrivateServer) -> None:
    """Also when there is an odd one."""
    parts = world(server, shaped(shape="pairs"), users=13)
    assert [len(part.people) for part in parts] == [6, 7]
    everybody = Counter(user for match in members(parts).values() for user in match)
    assert len(everybody) == 13
    assert set(everybody.values()) <= {1, 2}
    assert all(len(room.local) == 2 and room.is_judged for part in parts for room in part.rooms)


def test_several_pairs_each(server: PrivateServer) -> None:
    """Around a ring."""
    parts = world(server, shaped(shape="pairs", per_user=4), users=12, parts=1)
    everybody = Counter(user for match in members(parts).values() for user in match)
    assert set(everybody.values()) == {4}


def test_groups_have_their_size_and_the_last_takes_who_is_left(server: PrivateServer) -> None:
    """Nobody is alone."""
    parts = world(server, shaped(shape="groups", size=4), users=9, parts=1)
    assert sorted(len(match) for match in members(parts).values()) == [2, 4, 4]


def test_a_room_goes_through_all_processes_and_one_judges_it(server: PrivateServer) -> None:
    """Whoever plays its first member."""
    parts = world(server, shaped(shape="rooms"), users=7)
    assert [len(part.rooms[0].local) for part in parts] == [3, 4]
    assert [part.rooms[0].is_judged for part in parts] == [True, False]
    assert len(members(parts)) == 1


def test_rooms_of_a_size(server: PrivateServer) -> None:
    """As many as there are people for."""
    assert [len(each) for each in members(world(server, shaped(shape="rooms", size=5), users=10)).values()] == [5, 5]


def test_speakers_of_a_log_are_shared_out(server: PrivateServer) -> None:
    """All of them, however few users there are."""
    log = "\n".join(f"[10:00] <nick{number}> hello" for number in range(5))
    parts = world(server, shaped(shape="rooms"), users=3, log=log)
    assert [part.nicks for part in parts] == [(("nick0", "nick3"),), (("nick1", "nick4"), ("nick2",))]
