"""A call between two people on one node: what each device is told, from the ring to the end."""

from collections.abc import AsyncIterator

import pytest

from protocol.ids import MatchId, UserId
from server.calls.book import decode_call
from signaling.views import record_of
from tests.support.callers import OFFER, M, accept, asked, connected, in_a_call, items, of_type, rest, start, types
from tests.support.switchboard import Client, Switchboard, running
from turn.accounts import RelayUse


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    async with running(Switchboard()) as board:
        await board.make(M, "alice", "bob")
        yield board


async def ringing(board: Switchboard) -> tuple[Client, Client, object]:
    """Have alice call bob: their clients, and the call."""
    alice, bob = await board.enter("alice"), await board.enter("bob")
    seat = await start(alice)
    await asked(bob, type="call.ringing", call=seat["call"])
    for client in (alice, bob):
        await rest(client)
    return alice, bob, seat["call"]


async def states(board: Switchboard) -> list[object]:
    """Read what the log says of calls, oldest first."""
    reader = await board.enter("alice")
    synced = await asked(reader, type="sync", cursors={M: [0, 0]})
    reader.hang_up()
    matches = synced["matches"]
    assert isinstance(matches, dict)
    return [entry["state"] for entry in items(matches[M], "entries") if entry["type"] == "call"]


async def test_it_rings_on_every_device_and_stops_on_all_when_one_answers(board: Switchboard) -> None:
    alice, phone, tablet = [await board.enter(user) for user in ("alice", "bob", "bob")]
    seat = await start(alice)
    assert (seat["type"], seat["state"], seat["ringing"], seat["peers"]) == ("ok", "ringing", ["bob"], [])
    for device in (phone, tablet):
        (incoming,) = await rest(device)
        assert (incoming["type"], incoming["call"], incoming["caller"]) == ("call.incoming", seat["call"], "alice")
    assert (await asked(phone, type="call.ringing", call=seat["call"]))["type"] == "ok"
    assert types(await rest(alice)) == ["call.ringing"]
    answered = await accept(phone, seat["call"])
    assert (answered["type"], answered["state"]) == ("ok", "connecting")
    (cancelled,) = of_type(await rest(tablet), "call.cancelled")
    assert cancelled["reason"] == "answered_elsewhere"
    (joined,) = await rest(alice)
    assert joined["peer"] == {
        "peer": answered["peer"],
        "user": "bob",
        "initiator": True,
        "polite": False,
        "media": {"audio": True, "video": True, "screen": False},
        "state": "ok",
    }
    assert (await accept(tablet, seat["call"], "k3"))["code"] == "answered_elsewhere"


async def test_hanging_up_ends_it_for_both_and_the_log_says_how_long(board: Switchboard) -> None:
    alice, bob, seat, _ = await in_a_call(board)
    await board.advance(222)
    assert (await asked(bob, type="call.hangup", call=seat["call"]))["type"] == "ok"
    (ended,) = of_type(await rest(alice), "call.ended")
    assert (ended["reason"], ended["by"], ended["duration_ms"]) == ("hangup", "bob", 222_000)
    history = await asked(alice, type="history", match=M)
    newest, *others = items(history, "messages")
    assert (newest["type"], newest["state"], newest["duration_ms"]) == ("call", "completed", 222_000)
    assert [entry["type"] for entry in others] == ["members"]
    assert (await asked(bob, type="call.hangup", call=seat["call"]))["type"] == "ok"
    assert await states(board) == ["ringing", "ongoing", "completed"]


async def test_declining_stops_all_devices(board: Switchboard) -> None:
    alice, bob, call = await ringing(board)
    tablet = await board.enter("bob")
    assert types(await rest(tablet)) == ["call.incoming"]
    assert (await asked(bob, type="call.decline", call=call))["type"] == "ok"
    (cancelled,) = await rest(tablet)
    assert cancelled == {"type": "call.cancelled", "call": call, "reason": "declined_elsewhere"}
    assert [told["reason"] for told in of_type(await rest(alice), "call.ended")] == ["declined"]
    assert await states(board) == ["ringing", "declined"]


async def test_nobody_rings_for_ever(board: Switchboard) -> None:
    alice, bob, _ = await ringing(board)
    await board.advance(45.5)
    await board.settle()
    assert [told["reason"] for told in await rest(bob)] == ["no_answer"]
    assert [told["reason"] for told in of_type(await rest(alice), "call.ended")] == ["no_answer"]
    assert await states(board) == ["ringing", "missed"]
    (page,) = await board.store.welcome([UserId("bob")], 1)
    assert page.matches[0].unread == 1


async def test_who_hangs_up_while_it_rings_cancels(board: Switchboard) -> None:
    alice, bob, call = await ringing(board)
    await asked(alice, type="call.hangup", call=call)
    assert [(told["type"], told["reason"]) for told in await rest(bob)] == [("call.cancelled", "cancelled")]
    assert await states(board) == ["ringing", "missed"]


async def test_calling_back_while_it_rings_is_an_answer(board: Switchboard) -> None:
    _, bob, call = await ringing(board)
    seat = await start(bob, key="mine")
    assert (seat["type"], seat["call"], seat["glare"], seat["state"]) == ("ok", call, True, "connecting")


async def test_a_start_sent_again_is_the_same_call(board: Switchboard) -> None:
    alice, bob, call = await ringing(board)
    alice.hang_up()
    again = await board.enter("alice")
    seat = await start(again)
    assert (seat["type"], seat["call"]) == ("ok", call)
    assert "call.incoming" not in types(await rest(bob))


async def test_signals_go_from_seat_to_seat_and_to_nobody_else(board: Switchboard) -> None:
    other = await board.enter("bob")
    alice, bob, seat, answered = await in_a_call(board)
    await rest(other)
    signal = {"type": "call.signal", "call": seat["call"], "to": answered["peer"], "n": 1, "description": OFFER}
    assert (await asked(alice, **signal))["type"] == "ok"
    (told,) = await rest(bob)
    assert told == {"type": "call.signal", "call": seat["call"], "peer": seat["peer"], "n": 1, "description": OFFER}
    assert await rest(other) == []
    assert (await asked(other, **signal))["code"] == "not_in_call"
    assert (await asked(alice, **(signal | {"to": "nobody"})))["code"] == "not_in_call"
    assert (await asked(alice, **(signal | {"call": "nothing"})))["code"] == "not_in_call"
    assert board.telemetry.call_signals == 1


async def test_too_many_signals_are_refused(board: Switchboard) -> None:
    alice, _, seat, answered = await in_a_call(board)
    answers = [
        await asked(alice, type="call.signal", call=seat["call"], to=answered["peer"], n=n, end_of_candidates=True)
        for n in range(1, 102)
    ]
    assert [answer["type"] for answer in answers[:100]] == ["ok"] * 100
    assert answers[100]["code"] == "rate_limited"


async def test_mute_is_told_at_once_and_written_with_the_next_round(board: Switchboard) -> None:
    alice, bob, seat, _ = await in_a_call(board)
    mute = {"type": "call.media", "call": seat["call"], "audio": False, "video": True, "screen": False}
    assert (await asked(alice, **mute))["type"] == "ok"
    (told,) = await rest(bob)
    assert (told["type"], told["peer"]) == ("call.media", seat["peer"])
    await board.advance(1)
    assert await rest(bob) == []
    tablet = await board.enter("bob")
    (snapshot,) = await rest(tablet)
    (peer,) = items(snapshot, "peers")
    assert (snapshot["type"], peer["media"]) == ("call.snapshot", {"audio": False, "video": True, "screen": False})


async def test_quality_is_told_when_it_changes(board: Switchboard) -> None:
    alice, bob, seat, answered = await in_a_call(board)
    stats = {"type": "call.stats", "call": seat["call"], "peer": answered["peer"]}
    for loss in (0.5, 0.6, 0):
        await asked(alice, **stats, loss=loss)
    assert [told["level"] for told in of_type(await rest(bob), "call.quality")] == ["poor", "excellent"]


async def test_a_lost_socket_ends_nothing_and_resumes_with_what_it_missed(board: Switchboard) -> None:
    alice, bob, seat, answered = await in_a_call(board)
    alice.hang_up()
    (state,) = await rest(bob)
    assert (state["type"], state["peer"], state["state"]) == ("call.peer_state", seat["peer"], "reconnecting")
    await board.advance(20)
    alice = await board.enter("alice")
    (snapshot,) = await rest(alice)
    assert (snapshot["type"], snapshot["call"]) == ("call.snapshot", seat["call"])
    have = {answered["peer"]: 4}
    again = await asked(alice, type="call.resume", call=seat["call"], peer=seat["peer"], have=have)
    assert (again["type"], again["peer"], again["state"]) == ("ok", seat["peer"], "active")
    (state,) = await rest(bob)
    assert (state["state"], state["have"]) == ("ok", 4)
    signal = {"type": "call.signal", "call": seat["call"], "to": seat["peer"], "n": 5, "description": OFFER}
    await asked(bob, **signal)
    assert types(await rest(alice)) == ["call.signal"]


async def test_who_does_not_come_back_in_time_is_gone(board: Switchboard) -> None:
    alice, bob, _, _ = await in_a_call(board)
    alice.hang_up()
    await board.advance(30.6)
    assert [told["reason"] for told in of_type(await rest(bob), "call.ended")] == ["signaling_lost"]
    assert await states(board) == ["ringing", "ongoing", "completed"]
    await board.advance(1)
    numbers = board.telemetry
    board.exchange.measure(numbers)
    assert (numbers.call_seats, numbers.call_events_waiting) == (0, 0)


async def test_a_caller_who_is_lost_cancels_sooner(board: Switchboard) -> None:
    alice, bob, _ = await ringing(board)
    alice.hang_up()
    await board.advance(10.6)
    assert [told["reason"] for told in await rest(bob)] == ["cancelled"]


async def test_another_device_takes_over(board: Switchboard) -> None:
    tablet = await board.enter("bob")
    alice, bob, seat, answered = await in_a_call(board)
    await rest(tablet)
    join = {"type": "call.join", "call": seat["call"], "client_id": "k3", "media": "audio"}
    assert (await asked(tablet, **join))["code"] == "answered_elsewhere"
    taken = await asked(tablet, **join, takeover=True)
    assert (taken["type"], [peer["user"] for peer in items(taken, "peers")]) == ("ok", ["alice"])
    assert types(await rest(alice)) == ["call.peer_left", "call.peer_joined"]
    assert [told["reason"] for told in of_type(await rest(bob), "call.ended")] == ["replaced"]
    assert taken["peer"] != answered["peer"]


async def test_one_who_talks_cannot_call_another_but_may_leave_first(board: Switchboard) -> None:
    await board.make("m2", "alice", "carol")
    alice, bob, seat, _ = await in_a_call(board)
    carol = await board.enter("carol")
    refused = await start(alice, "m2", "k9")
    assert (refused["code"], refused["call"]) == ("in_other_call", seat["call"])
    granted = await start(alice, "m2", "k9", replace=True)
    assert granted["type"] == "ok"
    assert types(await rest(carol)) == ["call.incoming"]
    assert [told["reason"] for told in of_type(await rest(bob), "call.ended")] == ["replaced"]


async def test_one_who_talks_is_rung_with_a_sign(board: Switchboard) -> None:
    await board.make("m2", "alice", "carol")
    alice, _, _, _ = await in_a_call(board)
    carol = await board.enter("carol")
    await start(carol, "m2")
    (incoming,) = await rest(alice)
    assert (incoming["type"], incoming["in_call"]) == ("call.incoming", True)


async def test_who_leaves_the_match_leaves_its_call(board: Switchboard) -> None:
    alice, bob, _, _ = await in_a_call(board)
    await board.make(M, "alice", "carol")
    assert [told["reason"] for told in of_type(await rest(bob), "call.ended")] == ["removed"]
    assert [told["reason"] for told in of_type(await rest(alice), "call.ended")] == ["removed"]


async def test_strangers_get_nothing(board: Switchboard) -> None:
    _, _, seat, answered = await in_a_call(board)
    mallory = await board.enter("mallory")
    call = seat["call"]
    assert (await start(mallory))["code"] == "not_member"
    assert (await accept(mallory, call))["code"] == "not_in_call"
    join = {"type": "call.join", "call": call, "client_id": "x", "media": "audio"}
    assert (await asked(mallory, **join))["code"] == "not_member"
    assert (await asked(mallory, type="call.resume", call=call, peer=answered["peer"]))["code"] == "not_in_call"
    assert (await asked(mallory, type="call.ice", call=call))["code"] == "not_in_call"
    assert (await asked(mallory, type="call.hangup", call=call))["code"] == "not_in_call"
    assert (await asked(mallory, type="call.media", call=call, audio=True, video=True, screen=True))["code"] == (
        "not_in_call"
    )
    assert (await asked(mallory, type="call.feedback", call=call, rating=1))["code"] == "not_in_call"
    assert await rest(mallory) == []


async def test_ice_servers_are_for_participants_and_tests(board: Switchboard) -> None:
    alice, bob, call = await ringing(board)
    for client, more in ((alice, {"call": call}), (bob, {"call": call}), (bob, {})):
        answer = await asked(client, type="call.ice", **more)
        assert answer["ice_servers"] == [{"urls": ["stun:192.0.2.1"]}]
    await asked(alice, type="call.hangup", call=call)
    assert (await asked(bob, type="call.ice", call=call))["code"] == "call_over"


async def test_starts_are_counted() -> None:
    async with running(Switchboard(starts_per_min=1)) as board:
        await board.make(M, "alice", "bob")
        alice = await board.enter("alice")
        assert (await start(alice))["type"] == "ok"
        refused = await start(alice, key="k2")
        assert (refused["code"], int(str(refused["retry_after_ms"])) > 0) == ("rate_limited", True)


async def test_feedback_is_kept(board: Switchboard) -> None:
    alice, _, seat, _ = await in_a_call(board)
    await asked(alice, type="call.hangup", call=seat["call"])
    feedback = {"type": "call.feedback", "call": seat["call"], "rating": 4, "issues": ["echo"]}
    assert (await asked(alice, **feedback))["type"] == "ok"
    page = await board.store.list_calls(user=None, match=MatchId(M), before=None, limit=1)
    assert b'"echo"' in page.rows[0].value


async def test_what_relays_carried_is_in_the_record(board: Switchboard) -> None:
    """…when it was more than an allocation that nobody used; a test before a call has no record."""
    alice, _, seat, _ = await in_a_call(board)
    await asked(alice, type="call.hangup", call=seat["call"])
    call, user = str(seat["call"]), UserId("alice")
    for use in (
        RelayUse(call, user, "1:a/1", 10, 20, 90_000, has_ended=True),
        RelayUse(call, user, "1:a/2", 10, 20, 30, has_ended=True),
        RelayUse(call, user, "1:a/3", 10, 20, 90_000),
        RelayUse(None, user, "1:a/4", 10, 20, 90_000, has_ended=True),
    ):
        board.exchange.relayed(use)
    await board.settle()
    page = await board.store.list_calls(user=None, match=MatchId(M), before=None, limit=1)
    record = record_of(decode_call(page.rows[0].value))
    assert {part.user: part.relay_bytes for part in record.participants} == {"alice": 90_000, "bob": 0}


async def test_one_who_goes_while_the_seat_is_written_counts_as_lost(board: Switchboard) -> None:
    alice, bob = await board.enter("alice"), await board.enter("bob")
    alice.send(type="call.start", id=1, match=M, client_id="k", media="audio")
    alice.hang_up()
    await board.settle()
    assert types(await rest(bob)) == ["call.incoming"]
    await board.advance(10.6)
    assert [told["type"] for told in await rest(bob)] == ["call.cancelled"]


async def test_reports_are_of_seats(board: Switchboard) -> None:
    alice, bob, seat, answered = await in_a_call(board)
    await connected(alice, bob, seat["call"], (seat["peer"], answered["peer"]))
    wrong = await asked(alice, type="call.state", call=seat["call"], peer=seat["peer"], ice="failed")
    assert wrong["code"] == "not_in_call"


async def test_who_declined_a_call_that_goes_on_may_join_it_later(board: Switchboard) -> None:
    """Whoever comes anew is offered it."""
    await board.make("three", "alice", "bob", "carol")
    alice, bob, carol = [await board.enter(user) for user in ("alice", "bob", "carol")]
    seat = await start(alice, "three")
    await accept(bob, seat["call"])
    await asked(carol, type="call.decline", call=seat["call"])
    carol.hang_up()
    again = await board.enter("carol")
    (offered,) = await rest(again)
    assert (offered["type"], offered["call"]) == ("call.snapshot", seat["call"])
    joined = await asked(again, type="call.join", call=seat["call"], client_id="k3", media="audio")
    assert joined["type"] == "ok"


async def test_a_block_ends_a_call_of_two_and_neither_can_call_the_other(board: Switchboard) -> None:
    """The refusal is the same for both, and that of who calls too often: nobody learns who blocked whom."""
    alice, bob, _, _ = await in_a_call(board)
    assert (await asked(bob, type="block", user="alice"))["type"] == "ok"
    for client in (alice, bob):
        assert [told["reason"] for told in of_type(await rest(client), "call.ended")] == ["removed"]
    refusals = [await start(client, key="again") for client in (alice, bob)]
    assert [refusal["code"] for refusal in refusals] == ["call_refused"] * 2
    assert refusals[0]["message"] == refusals[1]["message"]
    assert await rest(bob) == []


async def test_nobody_joins_a_call_with_one_who_is_apart(board: Switchboard) -> None:
    """In a group the others talk on; the one who blocked, and the blocked one, are neither rung nor let in."""
    await board.make("three", "alice", "bob", "carol")
    alice, bob, carol = [await board.enter(user) for user in ("alice", "bob", "carol")]
    await asked(carol, type="block", user="alice")
    seat = await start(alice, "three")
    assert seat["ringing"] == ["bob"]
    await accept(bob, seat["call"])
    assert of_type(await rest(carol), "call.incoming") == []
    joined = await asked(carol, type="call.join", call=seat["call"], client_id="k3", media="audio")
    assert joined["code"] == "call_refused"
