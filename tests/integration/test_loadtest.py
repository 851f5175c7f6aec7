"""The load tester against a real server: what it says of one that keeps its promises, and that it finds planted faults."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from loadtest.coordinator import conduct
from loadtest.result import Result
from loadtest.scenario import Event, Life, Matches
from tests.support.faulty_relay import Fault, faulty_relay
from tests.support.load_runs import GROUPS, PAIRS, PATIENT, plan, scenario
from tests.support.people import unlimited_server
from tests.support.private_server import PrivateServer

ON_THE_WAY = {
    "drop": "not pushed until asked for",
    "double": "pushed twice on one connection",
    "swap": "pushed out of order",
    "delay": "delivered too late",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """Run a server whose limits are those that docs/loadtest.md tells to lift."""
    database = tmp_path_factory.mktemp("loadtest") / "duologue.db"
    with unlimited_server(
        database, MAX_MEMBERS="1000", MAX_CONNECTIONS_PER_ADDRESS="10000", PRESENCE_DEBOUNCE_MS="200"
    ) as server:
        yield server


def judged(result: Result) -> str:
    """Return what a failed assertion should show."""
    return f"{result.broken} {result.counts} {result.notes} {result.report.findings}"


async def test_a_server_that_keeps_its_promises_has_no_count_above_zero(server: PrivateServer) -> None:
    """Two processes, talk with typing and receipts, several devices, watched presence."""
    chat = scenario("chat")
    result = await conduct(replace(plan(server.port, chat, users=20, duration_s=4.0, rate_per_s=30.0), processes=2))
    assert not result.broken, judged(result)
    assert result.agents == 2
    assert result.report.acked == result.counts["acked"] > 40
    assert result.counts["typing seen"] > 0
    assert result.counts["receipts seen"] > 0
    assert result.times["delivery"].count >= result.report.acked * 0.9
    assert {second.connected for second in result.seconds if 1 <= second.at_s < 3} == {result.devices}


@pytest.mark.parametrize("fault", ["drop", "double", "swap", "delay"])
async def test_each_planted_fault_is_found_by_its_own_count(server: PrivateServer, fault: Fault) -> None:
    """As many as were planted, one in a hundred here, and no other kind."""
    patience = PATIENT if fault != "delay" else structs.replace(PATIENT, late_after_s=1.0)
    groups = structs.replace(GROUPS, promises=patience)
    async with faulty_relay(server.port, fault, one_in=100, delay_s=2.0) as relay:
        result = await conduct(plan(relay.port, groups, users=12, duration_s=4.0, rate_per_s=60.0))
    found = result.broken
    assert relay.planted >= 5
    assert found.pop(ON_THE_WAY[fault], 0) >= relay.planted - (2 if fault == "swap" else 0), judged(result)
    found.pop(ON_THE_WAY["delay"], 0)
    assert not found, judged(result)
    assert result.verdict == "FAIL"
    assert result.exit_code == 1


async def test_a_wrong_number_of_unread_messages_is_found(server: PrivateServer) -> None:
    """In every answer that tells one."""
    async with faulty_relay(server.port, "unread", one_in=1) as relay:
        result = await conduct(plan(relay.port, PAIRS, users=6, duration_s=1.0, rate_per_s=20.0))
    assert result.broken == {"unread told wrong": relay.planted}, judged(result)
    assert relay.planted == 6


async def test_presence_that_is_not_told_is_found(server: PrivateServer) -> None:
    """Once it is wrong for longer than is allowed."""
    life = Life(flaps_per_min=60, flap_s=2.5)
    people = structs.replace(PAIRS.people, watch=True)
    promises = structs.replace(PATIENT, presence_grace_s=0.5, is_disturbed=True)
    coming = structs.replace(PAIRS, people=people, life=life, promises=promises)
    async with faulty_relay(server.port, "presence", one_in=1) as relay:
        result = await conduct(plan(relay.port, coming, users=8, duration_s=2.5, rate_per_s=2.0))
    assert relay.planted > 2
    assert set(result.broken) == {"presence wrong beyond its bound"}, judged(result)


async def test_what_nobody_sent_and_nobody_stored_is_found(server: PrivateServer) -> None:
    """Also when the server says in the end that there is no such thing."""
    async with faulty_relay(server.port, "invent", one_in=1) as relay:
        result = await conduct(plan(relay.port, PAIRS, users=6, duration_s=1.0, rate_per_s=0.0))
    assert result.broken == {"shown but not stored": relay.planted}, judged(result)
    assert relay.planted == 6
    assert result.counts["resets"] == 6


async def test_a_ring_without_end_is_found() -> None:
    """A call rings for less time than most people take to answer, and nobody tells their devices that it has rung out."""
    calls = scenario("calls")
    people = structs.replace(calls.people, devices=2.0, watch=False)
    promises = structs.replace(PATIENT, ring_grace_s=0.2)
    ringing = structs.replace(calls, people=people, life=Life(calls_per_min=30, call_s=0.5), promises=promises)
    with unlimited_server(None, CALL_RING_S="0.2") as server:
        async with faulty_relay(server.port, "ring", one_in=1) as relay:
            result = await conduct(plan(relay.port, ringing, users=8, duration_s=2.5, rate_per_s=1.0))
    found = result.broken
    assert relay.planted > 0
    assert found.pop("rings without end", 0) > relay.planted / 4, judged(result)
    found.pop("devices left ringing or in a call in the end", 0)
    assert not found, judged(result)


async def test_nothing_is_found_where_nothing_was_planted(server: PrivateServer) -> None:
    """The relay by itself does no harm."""
    async with faulty_relay(server.port) as relay:
        result = await conduct(plan(relay.port, GROUPS, users=12, duration_s=2.0, rate_per_s=40.0))
    assert not result.broken, judged(result)


async def test_a_stall_of_the_server_is_seen_as_latency(tmp_path: Path) -> None:
    """By all messages that were due meanwhile: four users in a closed loop would have had one each under way."""
    stalling = structs.replace(PAIRS, events=(Event(1.0, "restart", "stopped for 1.5 s"),))
    with unlimited_server(tmp_path / "duologue.db") as server:
        pid = server.program.pid
        stall = f"kill -STOP {pid}; sleep 1.5; kill -CONT {pid}"
        run = replace(plan(server.port, stalling, users=4, duration_s=4.0, rate_per_s=40.0), restart=stall)
        result = await conduct(run)
    slow = result.times["delivery"].count * (1 - _share_within(result, 300_000))
    assert slow >= 20, judged(result)
    assert result.times["delivery"].quantile(0.99) >= 1_000_000
    assert not result.broken, judged(result)


def _share_within(result: Result, us: int) -> float:
    return max((share for share, value in result.times["delivery"].curve() if value <= us), default=0.0)


async def test_everybody_comes_back_from_a_storm_and_has_missed_nothing(server: PrivateServer) -> None:
    """What was pushed late or twice is told and not judged."""
    storm = structs.replace(scenario("storm"), events=(Event(1.0, "cut"), Event(2.0, "leave", share=0.5)))
    result = await conduct(plan(server.port, storm, users=16, duration_s=3.5, rate_per_s=30.0))
    assert not result.broken, judged(result)
    assert result.times["comeback"].count >= 16
    assert [mark.what for mark in result.marks] == ["cut", "leave"]
    assert set(result.tolerated) == set(ON_THE_WAY.values())


async def test_devices_with_a_life_lose_nothing(server: PrivateServer) -> None:
    """They leave, lose their network, stop reading, and scroll back; in a room that two processes play."""
    life = Life(
        flaps_per_min=10, flap_s=1.0, drops_per_min=10, drop_s=1.0, pauses_per_min=10, pause_s=1.0, history_per_min=30
    )
    lively = structs.replace(scenario("room"), life=life, promises=structs.replace(PATIENT, is_disturbed=True))
    result = await conduct(replace(plan(server.port, lively, users=12, duration_s=4.0, rate_per_s=20.0), processes=2))
    assert not result.broken, judged(result)
    assert result.times["history"].count > 5
    assert result.report.matches == 1


async def test_a_log_is_replayed_word_for_word(server: PrivateServer) -> None:
    """Each speaker's lines by one user, in one room."""
    log = "\n".join(f"[10:00] <nick{number % 5}> line {number} of this log" for number in range(60))
    replay = structs.replace(scenario("replay"), matches=Matches(shape="rooms"))
    result = await conduct(replace(plan(server.port, replay, users=4, duration_s=4.0), log=log))
    assert not result.broken, judged(result)
    assert result.report.acked == 60


async def test_calls_ring_connect_and_end(server: PrivateServer) -> None:
    """By canned SDP; nobody rings for ever and nobody is left in a call."""
    life = Life(calls_per_min=30, call_s=1.0)
    calls = structs.replace(scenario("calls"), life=life)
    result = await conduct(plan(server.port, calls, users=12, duration_s=5.0, rate_per_s=2.0))
    assert not result.broken, judged(result)
    assert result.counts["calls connected"] > 3
    assert result.times["ring"].count > 3
    assert result.times["offer"].count > 3
