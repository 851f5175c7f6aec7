"""Calls on the real server, embedded and on PostgreSQL with Redis: ring, answer, talk, end, and what is remembered."""

import asyncio
from collections.abc import Awaitable

import msgspec
import pytest

from loadtest.client import Client, Refused, decode_ok
from protocol.calls import (
    CallCancelled,
    CallDecline,
    CallEnded,
    CallEntry,
    CallFeedback,
    CallIce,
    CallIceServers,
    CallIncoming,
    CallOutcome,
    CallPeerJoined,
    CallPeerState,
    CallReason,
    CallSeat,
    CallSignalled,
    CallSnapshot,
)
from protocol.errors import ErrorCode
from tests.support.api import Api
from tests.support.people import People, came, code_of, everything_that_came, name_of, until_numbers
from tests.support.talkers import accept, hang_up, report, resume, rings, signal, start, talk

BACKENDS = ("embedded", "shared", "two nodes")


async def outcomes(client: Client, match: str) -> list[CallOutcome]:
    """Read how history puts the calls of a match, newest first."""
    page = await client.history(match)
    return [entry.state for entry in page.messages if isinstance(entry, CallEntry)]


def api_of(people: People) -> Api:
    return Api(people.server.port)


async def test_two_people_talk_and_the_log_says_so(people: People) -> None:
    alice, bob, match = await people.pair()
    first, second = await talk(alice, bob, match)
    joined = await alice.next(CallPeerJoined)
    assert (joined.peer.peer, joined.peer.initiator, joined.peer.polite) == (second.peer, True, False)
    assert (second.peers[0].peer, second.peers[0].initiator, second.peers[0].polite) == (first.peer, False, True)
    await signal(alice, first.call, second.peer, 1)
    told = await bob.next(CallSignalled)
    assert (told.peer, told.n, told.candidates[0].sdp_mid) == (first.peer, 1, "0")
    await hang_up(alice, first.call)
    ended = await bob.next(CallEnded)
    assert (ended.reason, ended.by) == (CallReason.HANGUP, name_of(alice))
    assert ended.duration_ms is not None
    assert await outcomes(bob, match) == [CallOutcome.COMPLETED]
    missed = [entry.n for entry in await came(bob, CallEntry)]
    assert missed[-1:] == [None]


async def test_a_third_device_stops_ringing_when_another_answers(people: People) -> None:
    alice, phone, match = await people.pair()
    tablet = await people.come(name_of(phone))
    seat = await start(alice, match)
    for device in (phone, tablet):
        await rings(device)
    await accept(phone, seat.call)
    assert (await tablet.next(CallCancelled)).reason is CallReason.ANSWERED_ELSEWHERE
    with pytest.raises(Refused) as problem:
        await accept(tablet, seat.call)
    assert code_of(problem.value) is ErrorCode.ANSWERED_ELSEWHERE
    assert not await came(phone, CallCancelled)


async def test_of_two_who_answer_at_once_one_is_let_in(people: People) -> None:
    alice, phone, match = await people.pair()
    tablet = await people.come(name_of(phone))
    seat = await start(alice, match)
    answers = await asyncio.gather(accept(phone, seat.call), accept(tablet, seat.call), return_exceptions=True)
    assert sorted(type(answer) is CallSeat for answer in answers) == [False, True]
    assert len(await came(alice, CallPeerJoined)) == 1


async def test_calling_each_other_at_once_is_one_call(people: People) -> None:
    alice, bob, match = await people.pair()
    first, second = await asyncio.gather(start(alice, match), start(bob, match))
    assert first.call == second.call
    assert [seat.glare for seat in (first, second)].count(True) == 1


async def test_declined_and_missed_are_told_and_only_missed_is_unread(people: People) -> None:
    alice, bob, match = await people.pair()
    seat = await start(alice, match)
    await rings(bob, seat.call)
    await bob.request(CallDecline(bob.next_id(), seat.call), decode_ok)
    assert (await alice.next(CallEnded)).reason is CallReason.DECLINED
    seat = await start(alice, match)
    await rings(bob, seat.call)
    await hang_up(alice, seat.call)
    assert (await bob.next(CallCancelled)).reason is CallReason.CANCELLED
    missed = await bob.next(CallEntry, matching=lambda entry: entry.state is CallOutcome.MISSED)
    assert missed.n == 1
    assert await outcomes(alice, match) == [CallOutcome.MISSED, CallOutcome.DECLINED]
    unread = [(await (await people.come(name_of(each))).matches()).matches[0].unread for each in (alice, bob)]
    assert unread == [0, 1]


async def test_one_who_wants_no_second_call_is_busy(people: People) -> None:
    alice, bob, match = await people.pair()
    (carol,) = people.users("carol")
    other = await people.match(name_of(bob), carol)
    await talk(alice, bob, match)
    third = await people.come(carol)
    seat = await start(third, other)
    assert (await bob.next(CallIncoming)).in_call
    assert code_of(await refusal(start(bob, other))) is ErrorCode.IN_OTHER_CALL
    api = api_of(people)
    assert api.call("PUT", f"/v1/users/{name_of(bob)}/call-settings", {"when_busy": "busy"}).status == 200
    assert api.call("GET", f"/v1/users/{name_of(bob)}/call-settings").json == {"when_busy": "busy", "relay_only": False}
    await hang_up(third, seat.call)
    await third.next(CallEnded)
    assert code_of(await refusal(start(third, other))) is ErrorCode.CALL_OVER
    assert (await third.next(CallEnded)).reason is CallReason.BUSY


async def refusal(request: Awaitable[CallSeat]) -> Refused:
    """Return what a request is refused with."""
    with pytest.raises(Refused) as problem:
        await request
    return problem.value


async def test_a_lost_socket_ends_nothing_and_is_resumed(people: People) -> None:
    alice, bob, match = await people.pair()
    first, second = await talk(alice, bob, match)
    alice.abort()
    assert (await bob.next(CallPeerState)).state == "reconnecting"
    again = await people.come(name_of(alice))
    assert (await again.next(CallSnapshot)).call == first.call
    seat = await resume(again, first, {second.peer: 7})
    assert (seat.peer, seat.peers[0].peer) == (first.peer, second.peer)
    state = await bob.next(CallPeerState)
    assert (state.state, state.have) == ("ok", 7)
    await signal(bob, first.call, first.peer, 1)
    assert (await again.next(CallSignalled)).n == 1
    await hang_up(again, first.call)


async def test_one_who_comes_while_it_rings_is_rung_and_later_not(people: People) -> None:
    alice, phone, match = await people.pair()
    seat = await start(alice, match)
    await rings(phone)
    tablet = await people.come(name_of(phone))
    assert (await tablet.next(CallIncoming)).call == seat.call
    await hang_up(alice, seat.call)
    await tablet.next(CallCancelled)
    late = await people.come(name_of(phone))
    assert not [push for push in await everything_that_came(late) if isinstance(push, CallIncoming | CallSnapshot)]


async def test_ice_servers_are_for_those_who_are_called(people: People) -> None:
    alice, bob, match = await people.pair()
    seat = await start(alice, match)
    decode = msgspec.json.Decoder(CallIceServers).decode
    for client in (alice, bob):
        answer = await client.request(CallIce(client.next_id(), seat.call), decode)
        assert answer.ttl_s >= 0
    (stranger,) = people.users("mallory")
    mallory = await people.come(stranger)
    with pytest.raises(Refused) as problem:
        await mallory.request(CallIce(mallory.next_id(), seat.call), decode)
    assert code_of(problem.value) is ErrorCode.NOT_IN_CALL


async def test_the_record_of_calls(people: People) -> None:
    alice, bob, match = await people.pair()
    first, second = await talk(alice, bob, match)
    await report(bob, first.call, first.peer)
    await hang_up(bob, first.call)
    await bob.request(CallFeedback(bob.next_id(), first.call, 5, ("clear",)), decode_ok)
    api = api_of(people)
    record = api.call("GET", f"/v1/calls/{first.call}").json
    assert (record["state"], record["by"], record["caller"]) == ("completed", name_of(bob), name_of(alice))
    parts = {part["user"]: part for part in record["participants"]}  # type: ignore[attr-defined]
    assert (parts[name_of(bob)]["rating"], parts[name_of(bob)]["issues"]) == (5, ["clear"])
    assert parts[name_of(alice)]["connected_at"] is not None
    assert api.call("GET", f"/v1/calls?match={match}").json == {"calls": [record], "complete": True}
    mine = api.as_(api.token(name_of(alice)))
    assert mine.call("GET", "/v1/calls").json == {"calls": [record], "complete": True}
    assert mine.call("GET", f"/v1/calls?user={name_of(bob)}").code == "forbidden"
    assert mine.call("GET", f"/v1/calls/{first.call}").json == record
    other = api.as_(api.token("somebody-else"))
    assert other.call("GET", "/v1/calls").json == {"calls": [], "complete": True}
    assert other.call("GET", f"/v1/calls/{first.call}").code == "not_found"
    assert api.call("GET", "/v1/calls/nothing").code == "not_found"
    assert api.call("GET", "/v1/calls?limit=0").code == "bad_request"
    assert other.call("DELETE", f"/v1/calls/{first.call}").code == "forbidden"
    assert api.call("DELETE", f"/v1/calls/{first.call}").status == 204
    assert api.call("DELETE", "/v1/calls/nothing").code == "not_found"
    del second


async def test_the_app_ends_a_call(people: People) -> None:
    alice, bob, match = await people.pair()
    first, _ = await talk(alice, bob, match)
    assert api_of(people).call("DELETE", f"/v1/calls/{first.call}").status == 204
    for client in (alice, bob):
        assert (await client.next(CallEnded)).reason is CallReason.REMOVED


async def test_who_leaves_the_match_is_out_of_its_call(people: People) -> None:
    alice, bob, match = await people.pair()
    await talk(alice, bob, match)
    await people.api.put_match(match, (name_of(alice), "carol"))
    for client in (alice, bob):
        assert (await client.next(CallEnded)).reason is CallReason.REMOVED


async def test_the_numbers_of_calls_go_back_to_zero(people: People) -> None:
    alice, bob, match = await people.pair()
    first, _ = await talk(alice, bob, match)
    for client in (alice, bob):
        await hang_up(client, first.call)
    gauges = ("call_seats", "call_events_waiting")
    await until_numbers(people.api, lambda numbers: not any(numbers[name] for name in gauges))
