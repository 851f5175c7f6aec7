"""The client's side of the promises, rule by rule, against a scripted server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from loadtest.resuming import BEFORE_ALL, HELLO_WITHIN_S, Identity, ResumingClient
from protocol.close_codes import CloseCode
from protocol.codec import encode_body
from protocol.errors import ErrorCode
from protocol.from_client import Body, Hello, MessageSend, Sync
from protocol.from_server import (
    Entry,
    Error,
    Gap,
    GoingAway,
    MatchLeft,
    MatchMade,
    MatchSummary,
    Member,
    Message,
    PresenceChanged,
    Reset,
    Sent,
    Synced,
    SyncedMatch,
)
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId
from protocol.limits import SYNC_DELAY_MS
from tests.unit.loadtest.scripted import EarlyTakeover, Script, Talk, scripted, stay, welcome

M = MatchId("m")
ALICE, BOB = UserId("alice"), UserId("bob")
SUMMARY = MatchSummary(M, (Member(ALICE, Seq(0), Seq(0)), Member(BOB, Seq(0), Seq(0))), Seq(2), Micros(20), 0, None)
# The pause before each return is full jitter: 0 here.
AT_ONCE = 0.0


def message(seq: int) -> Message:
    body = encode_body(Body(f"text {seq}"))
    return Message(M, Seq(seq), Micros(seq * 10), Ordinal(seq), BOB, ClientId(f"b{seq}"), body)


def messages(*seqs: int) -> tuple[Entry, ...]:
    return tuple(map(message, seqs))


async def answer_sync(talk: Talk, *seqs: int, complete: bool = True, reset: bool = False, left: bool = False) -> Sync:
    """Hear a sync of the match and answer with these entries."""
    request = await talk.hear()
    assert isinstance(request, Sync)
    page = SyncedMatch(messages(*seqs), complete, reset, left)
    await talk.say(Synced(request.id, {M: page}, ()))
    return request


@asynccontextmanager
async def resuming(
    *scripts: Script, follow: bool = True, patient: bool = False, hello_within_s: float = HELLO_WITHIN_S
) -> AsyncIterator[ResumingClient]:
    """Let a client live against these scripts, one a connection."""
    async with scripted(*scripts) as url, asyncio.TaskGroup() as group:
        identity = Identity(url, ALICE, lambda: "t", "phone")
        client = ResumingClient(
            identity, lambda: AT_ONCE, follow=follow, patient=patient, hello_within_s=hello_within_s
        )
        group.create_task(client.run())
        yield client
        await client.stop()


def shown(client: ResumingClient) -> list[int]:
    return [entry.seq for entry in client.log.shown.get(M, [])]


def after_sync(then: Callable[[Talk], Awaitable[None]], *seqs: int) -> Script:
    """Greet with the match, bring its entries, and go on."""

    async def script(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        await answer_sync(talk, *seqs)
        await then(talk)
        await stay(talk)

    return script


async def test_a_match_without_cursor_is_read_from_its_start() -> None:
    """Page by page."""

    async def script(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        first = await answer_sync(talk, 1, complete=False)
        assert first.cursors == {M: BEFORE_ALL}
        second = await answer_sync(talk, 2)
        assert second.cursors == {M: (1, 10)}
        await stay(talk)

    async with resuming(script) as client:
        await client.until_held(M, 2)
        await client.until_held(M, 1)
    assert (shown(client), client.log.synced) == ([1, 2], 2)


async def test_early_entries_wait_and_known_ones_are_dropped() -> None:
    """5 and 4 come before 3; 2 comes again."""

    async def then(talk: Talk) -> None:
        await talk.say(message(5), message(4), message(2), message(3))

    async with resuming(after_sync(then, 1, 2)) as client:
        await client.until_held(M, 5)
    assert (shown(client), client.log.dropped) == ([1, 2, 3, 4, 5], 1)


async def test_a_gap_is_asked_for_after_half_a_second() -> None:
    """3 never comes by itself."""

    async def then(talk: Talk) -> None:
        await talk.say(message(4))
        request = await answer_sync(talk, 3, 4)
        assert request.cursors == {M: (2, 20)}

    async with resuming(after_sync(then, 1, 2)) as client:
        await client.until_held(M, 4)
    assert shown(client) == [1, 2, 3, 4]


async def test_lost_pushes_are_lost() -> None:
    """As a bad way would."""

    async def then(talk: Talk) -> None:
        await talk.say(message(3), Gap(M))
        await answer_sync(talk, 3)

    async with resuming(after_sync(then, 1, 2)) as client:
        await client.until_held(M, 2)
        client.losing = 1.0
        await client.until_held(M, 3)
    assert shown(client) == [1, 2, 3]


@pytest.mark.parametrize("push", [Gap(M), MatchMade(M, (), Seq(3), Micros(30), 0, None)], ids=["gap", "match"])
async def test_what_tells_of_more_is_asked_for(push: Gap | MatchMade) -> None:
    """At once."""

    async def then(talk: Talk) -> None:
        await talk.say(push)
        await answer_sync(talk, 3)

    async with resuming(after_sync(then, 1, 2)) as client:
        await client.until_held(M, 3)


async def test_what_comes_right_behind_the_welcome_counts() -> None:
    """Both in one read: there is a connection to ask over."""

    async def second(talk: Talk) -> None:
        hello = await talk.hear()
        assert isinstance(hello, Hello)
        await talk.say(welcome(hello.id, SUMMARY), Gap(M))
        await answer_sync(talk, 3)
        await stay(talk)

    async def first(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        await answer_sync(talk, 1, 2)
        await stay(talk)

    async with resuming(first, second, patient=True) as client:
        await client.until_held(M, 2)
        client.cut()
        await client.until_held(M, 3)


async def test_a_reset_forgets_the_match_and_reads_it_again() -> None:
    """Pushed, and told by a sync."""

    async def then(talk: Talk) -> None:
        await talk.say(Reset(M))
        await answer_sync(talk, reset=True)
        request = await answer_sync(talk, 1)
        assert request.cursors == {M: BEFORE_ALL}

    async with resuming(after_sync(then, 1, 2)) as client:
        await client.until(lambda: client.log.resets == 2)
        await client.until_held(M, 1)
    assert shown(client) == [1]


async def test_leaving_is_noted() -> None:
    """Pushed, and told by a sync; other pushes are none of its business."""

    async def script(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        await answer_sync(talk, 1, 2, left=True)
        await talk.say(PresenceChanged(()), MatchLeft(MatchId("n")))
        await stay(talk)

    async with resuming(script) as client:
        await client.until(lambda: len(client.log.left) == 2)
    assert client.log.left == {M: True, "n": True}


async def test_a_message_is_sent_until_it_is_acked() -> None:
    """Submitted before there is a connection; refused for a moment; cut; sent again under its client_id."""

    async def refuse_and_cut(talk: Talk) -> None:
        await talk.greet()
        request = await talk.hear()
        assert isinstance(request, MessageSend)
        await talk.say(Error(ErrorCode.RATE_LIMITED, "slowly", request.id, 1, "no"))
        again = await talk.hear()
        assert isinstance(again, MessageSend)
        assert again.client_id == "c1"
        talk.connection.transport.abort()

    async def accept(talk: Talk) -> None:
        hello = await talk.greet()
        assert hello.session == "s1"
        request = await talk.hear()
        assert isinstance(request, MessageSend)
        assert (request.client_id, request.body) == ("c1", Body("hi"))
        await talk.say(Sent(request.id, M, Seq(1), Micros(10), True))
        await stay(talk)

    async with scripted(refuse_and_cut, accept) as url, asyncio.TaskGroup() as group:
        client = ResumingClient(Identity(url, ALICE, lambda: "t"), lambda: AT_ONCE)
        submission = client.submit(M, "c1", Body("hi"))
        group.create_task(client.run())
        await client.until_all_acked()
        await client.stop()
    assert submission.transmissions == [1, 1, 2]
    assert [(ack.seq, ack.duplicate, ack.connection) for ack in submission.acks] == [(1, True, 2)]
    assert shown(client) == [1]
    assert client.log.close_codes[0] == CloseCode.ABNORMAL
    assert (client.log.name, client.log.unacked) == ("alice", 0)


async def test_a_final_refusal_ends_it() -> None:
    """It would be refused again."""

    async def script(talk: Talk) -> None:
        await talk.greet()
        request = await talk.hear()
        assert isinstance(request, MessageSend)
        await talk.say(Error(ErrorCode.NOT_MEMBER, "no", request.id, None, "no"))
        await stay(talk)

    async with resuming(script) as client:
        await client.until(lambda: client.is_ready)
        submission = client.submit(M, "c1", Body("hi"))
        await client.until_all_acked()
    assert submission.refused == "not_member"


async def test_a_refused_sync_is_asked_again() -> None:
    """When it is for the moment only."""

    async def script(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        request = await talk.hear()
        assert isinstance(request, Sync)
        await talk.say(Error(ErrorCode.UNAVAILABLE, "wait", request.id))
        await answer_sync(talk, 1, 2)
        await stay(talk)

    async with resuming(script) as client:
        await client.until_held(M, 2)


async def test_it_comes_back_with_its_cursors() -> None:
    """After a cut of its own, and after one that the server told of."""

    async def first(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        await answer_sync(talk, 1, 2)
        await stay(talk)

    async def second(talk: Talk) -> None:
        hello = await talk.greet(SUMMARY)
        assert (hello.cursors, hello.device) == ({M: (2, 20)}, "phone")
        await talk.say(message(3), GoingAway(1))
        await talk.connection.close(CloseCode.GOING_AWAY)

    async def third(talk: Talk) -> None:
        hello = await talk.greet(SUMMARY)
        assert hello.cursors == {M: (3, 30)}
        await stay(talk)

    async with resuming(first, second, third) as client:
        await client.until_held(M, 2)
        client.cut()
        await client.until(lambda: client.log.connections == 3 and client.is_ready)
    assert client.log.close_codes[:2] == [CloseCode.ABNORMAL, CloseCode.GOING_AWAY]
    assert client.log.name == "alice/phone"


async def test_sent_away_it_connects_elsewhere_before_it_leaves() -> None:
    """Nothing is lost between the two: the old one counts until the server closes it; what had no answer is sent again."""
    taken_over, held = asyncio.Event(), asyncio.Event()

    async def first(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        await answer_sync(talk, 1, 2)
        assert isinstance(await talk.hear(), MessageSend)
        await talk.say(GoingAway(1))
        await taken_over.wait()
        await talk.say(message(3))
        await talk.connection.close(CloseCode.REPLACED)

    async def second(talk: Talk) -> None:
        hello = await talk.greet(SUMMARY)
        assert (hello.cursors, hello.session) == ({M: (2, 20)}, "s1")
        again = await talk.hear()
        assert isinstance(again, MessageSend)
        taken_over.set()
        await held.wait()
        await talk.say(Sent(again.id, M, Seq(4), Micros(40), True))
        await stay(talk)

    async with resuming(first, second) as client:
        await client.until_held(M, 2)
        client.submit(M, "c", Body("x"))
        await client.until_held(M, 3)
        held.set()
        await client.until_all_acked()
        assert client.is_ready
    assert (shown(client), client.log.connections) == ([1, 2, 3, 4], 2)
    assert client.log.close_codes == [CloseCode.NORMAL]


async def test_with_nowhere_to_go_it_stays_and_tries_again() -> None:
    """Until it gets in, or is closed."""
    refused: list[object] = []
    refused_twice = asyncio.Event()

    async def first(talk: Talk) -> None:
        await talk.greet()
        await talk.say(GoingAway(0))
        await refused_twice.wait()
        await talk.connection.close(CloseCode.GOING_AWAY)

    async def refuse(talk: Talk) -> None:
        hello = await talk.hear()
        await talk.say(Error(ErrorCode.UNAVAILABLE, "not now", getattr(hello, "id", None)))
        refused.append(hello)
        if len(refused) == 2:
            refused_twice.set()
        await stay(talk)

    async def last(talk: Talk) -> None:
        await talk.greet()
        await stay(talk)

    async with resuming(first, refuse, refuse, last) as client:
        await client.until(lambda: client.is_ready and client.log.connections == 4)
    assert client.log.close_codes in ([CloseCode.GOING_AWAY, CloseCode.NORMAL], [CloseCode.NORMAL])


async def test_it_comes_back_when_the_way_out_falls_after_it_took_over() -> None:
    """4500 on the old connection is nobody else's doing then: no device is where the session went."""
    takeover = EarlyTakeover()

    async def last(talk: Talk) -> None:
        hello = await talk.greet()
        assert hello.session == "s1"
        await stay(talk)

    async with resuming(takeover.old, takeover.falls, last) as client:
        await client.until(lambda: client.is_ready and client.log.connections == 3)
    assert client.log.close_codes == [CloseCode.NORMAL]


async def test_it_tries_until_somebody_listens() -> None:
    """A refused upgrade or hello is no reason to give up."""

    async def refuse(talk: Talk) -> None:
        hello = await talk.hear()
        await talk.say(Error(ErrorCode.UNAVAILABLE, "not now", getattr(hello, "id", None)))
        await stay(talk)

    async def welcome(talk: Talk) -> None:
        await talk.greet()
        await stay(talk)

    async with resuming(refuse, welcome) as client:
        await client.until(lambda: client.is_ready)
    assert client.log.connections == 2


async def test_nobody_listens() -> None:
    """It tries again, and can be stopped."""
    client = ResumingClient(Identity("ws://127.0.0.1:1/ws", ALICE, lambda: "t"), lambda: AT_ONCE)
    client.cut()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(client.run())
        with pytest.raises(TimeoutError):
            await client.until(lambda: client.is_ready, within_s=0.01)
        await client.stop()
    assert running.done()
    assert client.log.connections == 0


async def test_a_final_code_ends_it() -> None:
    """4500 and above: not by itself."""

    async def script(talk: Talk) -> None:
        await talk.greet()
        await talk.connection.close(CloseCode.REPLACED)

    async with scripted(script) as url:
        client = ResumingClient(Identity(url, ALICE, lambda: "t"), lambda: AT_ONCE)
        await client.run()
    assert client.log.close_codes == [CloseCode.REPLACED]


async def test_one_that_follows_nothing_reads_nothing() -> None:
    """Thousands of them only hold connections."""
    done = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        await talk.say(message(3), Gap(M), MatchLeft(M))
        await talk.connection.wait_closed()
        done.set()

    async with resuming(script, follow=False) as client:
        await client.until(lambda: M in client.log.left)
    await done.wait()
    assert (client.log.shown, client.log.synced) == ({}, 0)


async def test_a_server_that_does_not_answer_hello_is_left() -> None:
    """A frozen node takes connections and says nothing; when it goes on, it finds the socket closed."""
    left = asyncio.Event()

    async def silent(talk: Talk) -> None:
        await talk.hear()
        await talk.connection.wait_closed()
        left.set()

    async with resuming(silent, after_sync(stay, 1), hello_within_s=0.2) as client:
        await client.until_held(M, 1)
        await left.wait()
    assert client.log.connections == 2


async def test_what_is_missed_while_a_sync_is_under_way_is_asked_for_after_it() -> None:
    """The answer may have been read from the store before."""

    async def script(talk: Talk) -> None:
        await talk.greet(SUMMARY)
        first = await talk.hear()
        assert isinstance(first, Sync)
        await talk.say(Gap(M), Synced(first.id, {M: SyncedMatch(messages(1), True)}, ()))
        second = await answer_sync(talk, 2)
        assert second.cursors == {M: (1, 10)}
        await stay(talk)

    async with resuming(script) as client:
        await client.until_held(M, 2)
    assert shown(client) == [1, 2]


async def test_a_patient_one_waits_for_what_is_missing() -> None:
    """Whether the server repairs by itself can be seen by those who do not ask."""

    async def then(talk: Talk) -> None:
        await talk.say(message(3))
        await asyncio.sleep(SYNC_DELAY_MS / 1000 + 0.1)  # beyond the time when others ask
        await talk.say(message(2))
        await stay(talk)

    async with resuming(after_sync(then, 1), patient=True) as client:
        await client.until_held(M, 3)
    assert (shown(client), client.log.synced) == ([1, 2, 3], 1)
