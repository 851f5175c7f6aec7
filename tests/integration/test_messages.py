"""Sending: the answer after the commit, the push to everybody else, once, in one order, by members only."""

import asyncio

import msgspec
import pytest

from loadtest.api import ApiError
from loadtest.client import Refused, decode_sent
from protocol.errors import ErrorCode
from protocol.from_client import Body, MessageSend
from protocol.from_server import AppEvent, MembersChanged, Message
from protocol.ids import ClientId, MatchId, Seq
from tests.support.people import (
    BEFORE_ALL,
    People,
    came,
    code_of,
    everything_that_came,
    fresh,
    name_of,
    plain,
    say,
    text_of,
    texts_of,
    type_in,
)

BACKENDS = ("embedded", "shared", "two nodes")


async def test_a_message_reaches_every_other_connection_of_every_member(people: People) -> None:
    """The sender's other devices too; the sending connection has the `ok`."""
    phone, bob, match = await people.pair()
    laptop, tablet = await people.come(name_of(phone)), await people.come(name_of(bob))
    sent = await phone.send(match, "hello", "first")
    for receiver in (laptop, bob, tablet):
        (message,) = await came(receiver, Message)
        assert (message.match, message.seq, message.created_at) == (match, sent.seq, sent.created_at)
        assert (message.sender, message.client_id, message.n) == (name_of(phone), "first", 1)
        assert text_of(message) == "hello"
    assert await everything_that_came(phone) == []


async def test_the_answer_comes_after_the_commit(people: People) -> None:
    """Who is told `ok` finds the message in the log by another way in."""
    alice, _, match = await people.pair()
    sent = await alice.send(match, "kept", "c1")
    newest = (await people.api.entries(match, limit=1)).messages[0]
    assert (newest.seq, newest.created_at) == (sent.seq, sent.created_at)
    assert not sent.duplicate


async def test_a_push_is_the_same_object_as_in_history(people: People) -> None:
    """Body, reply and all."""
    alice, bob, match = await people.pair()
    first = await alice.send(match, "question", "c1")
    await alice.send(match, "answer", "c2", data={"b": [1, {"c": None}], "a": "ü"}, reply_to=first.seq)
    pushed = await came(bob, Message)
    stored = (await bob.history(match, after=0)).messages[1:]
    assert [plain(entry) for entry in pushed] == [plain(entry) for entry in stored]
    assert pushed[1].reply_to == first.seq
    assert msgspec.json.decode(pushed[1].body) == {"text": "answer", "data": {"b": [1, {"c": None}], "a": "ü"}}


async def test_sends_of_one_connection_are_stored_in_the_order_sent(people: People) -> None:
    """A hundred under way at once: dense `seq` and `n`, `created_at` strictly increasing, seen so by the other."""
    alice, bob, match = await people.pair()
    texts = [f"number {number}" for number in range(100)]
    answers = await say(alice, match, *texts)
    assert [answer.seq for answer in answers] == list(range(2, 102))
    times = [answer.created_at for answer in answers]
    assert times == sorted(set(times))
    pushed = await came(bob, Message)
    assert texts_of(pushed) == texts
    assert [message.n for message in pushed] == list(range(1, 101))


async def test_several_senders_make_one_order_that_everybody_sees(people: People) -> None:
    """Two who send at once: each sees the other's in the order of the log."""
    alice, bob, match = await people.pair()
    await asyncio.gather(say(alice, match, *"abcdefghij"), say(bob, match, *"0123456789"))
    log = await people.api.log(match)
    assert [entry.seq for entry in log] == list(range(1, 22))
    seen_by_alice, seen_by_bob = await came(alice, Message), await came(bob, Message)
    assert [m.seq for m in seen_by_alice] == [m.seq for m in log if getattr(m, "sender", "") == name_of(bob)]
    assert [m.seq for m in seen_by_bob] == [m.seq for m in log if getattr(m, "sender", "") == name_of(alice)]


async def test_a_message_sent_again_is_answered_as_the_first_time(people: People) -> None:
    """With `duplicate`; nothing is stored and nothing is pushed, on whatever connection it came."""
    alice, bob, match = await people.pair()
    other_device = await people.come(name_of(alice))
    first = await alice.send(match, "once", "c1")
    assert len(await came(bob, Message)) == len(await came(other_device, Message)) == 1
    for client in (alice, other_device):
        again = await client.send(match, "once", "c1")
        assert (again.seq, again.created_at, again.duplicate) == (first.seq, first.created_at, True)
    for client in (alice, bob, other_device):
        assert await everything_that_came(client) == []
    assert len(await people.api.log(match)) == 2


async def test_copies_under_way_at_once_are_stored_once(people: People) -> None:
    """Ten at the same time: one is first, nine are duplicates of it."""
    alice, bob, match = await people.pair()
    answers = await asyncio.gather(*(alice.send(match, "once", "c1") for _ in range(10)))
    assert {(answer.seq, answer.created_at) for answer in answers} == {(answers[0].seq, answers[0].created_at)}
    assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 9
    assert len(await came(bob, Message)) == 1


async def test_bodies_are_equal_when_they_say_the_same(people: People) -> None:
    """The order of keys does not make another body."""
    alice, _, match = await people.pair()
    first = await alice.send(match, "", "c1", data={"x": 1, "y": 2})
    assert (await alice.send(match, "", "c1", data={"y": 2, "x": 1})).seq == first.seq


@pytest.mark.parametrize("body, reply_to", [(Body("other"), None), (Body("once", {"a": 1}), None), (Body("once"), 2)])
async def test_another_body_under_a_used_client_id_is_refused(people: People, body: Body, reply_to: int | None) -> None:
    """`client_id_conflict`; nothing changes."""
    alice, bob, match = await people.pair()
    await alice.send(match, "zero", "c0")
    await alice.send(match, "once", "c1")
    await came(bob, Message)
    with pytest.raises(Refused) as refused:
        await alice.send(match, body.text, "c1", data=body.data, reply_to=reply_to)
    assert refused.value.code is ErrorCode.CLIENT_ID_CONFLICT
    assert refused.value.error.stored == "no"
    assert await everything_that_came(bob) == []
    assert texts_of(await people.api.log(match)) == ["zero", "once"]


async def test_a_client_id_counts_for_one_sender_in_one_match(people: People) -> None:
    """The same one of another sender, or in another match, is another message."""
    alice, bob, match = await people.pair()
    elsewhere = await people.match(name_of(alice), name_of(bob))
    answers = [await alice.send(match, "1", "same"), await bob.send(match, "2", "same")]
    answers.append(await alice.send(elsewhere, "3", "same"))
    assert [(answer.seq, answer.duplicate) for answer in answers] == [(2, False), (3, False), (2, False)]


@pytest.mark.parametrize("reply_to", [1, 3, 99])
async def test_a_reply_must_be_to_a_message(people: People, reply_to: int) -> None:
    """Neither to a change of members, nor to what is not there, nor to itself."""
    alice, _, match = await people.pair()
    await alice.send(match, "question", "c1")
    with pytest.raises(Refused) as refused:
        await alice.send(match, "answer", "c2", reply_to=reply_to)
    assert refused.value.code is ErrorCode.NO_SUCH_REPLY


async def test_a_reply_to_what_the_sender_may_not_read_is_refused(people: People) -> None:
    """One who joined later cannot point at what was said before."""
    alice, bob, match = await people.pair()
    early = await alice.send(match, "early", "c1")
    (carol,) = people.users("carol")
    await people.api.put_match(match, [name_of(alice), name_of(bob), carol])
    late = await people.come(carol)
    with pytest.raises(Refused) as refused:
        await late.send(match, "what was that?", "c2", reply_to=early.seq)
    assert refused.value.code is ErrorCode.NO_SUCH_REPLY


async def test_the_backend_speaks_in_a_members_name(people: People) -> None:
    """All connections of the sender get it, as it came from none of them; a repeat is a duplicate."""
    alice, bob, match = await people.pair()
    posted = await people.api.post(match, name_of(alice), "c1", "by the backend")
    for client in (alice, bob):
        (message,) = await came(client, Message)
        assert (message.seq, message.sender) == (posted.seq, name_of(alice))
    assert (await people.api.post(match, name_of(alice), "c1", "by the backend")).duplicate
    assert (await alice.send(match, "by the backend", "c1")).duplicate
    assert await everything_that_came(bob) == []


@pytest.mark.parametrize("exists", [True, False])
async def test_a_stranger_is_refused_every_operation(people: People, exists: bool) -> None:
    """In the same words whether there is such a match or not, and nobody in it hears anything."""
    alice, bob, match = await people.pair()
    (mallory,) = people.users("mallory")
    stranger = await people.come(mallory)
    target = match if exists else MatchId(fresh("nowhere"))
    told = [
        await asyncio.gather(request, return_exceptions=True)
        for request in (stranger.send(target, "hi", "c1"), stranger.history(target), type_in(stranger, target))
    ]
    assert [code_of(problem) for (problem,) in told] == [ErrorCode.NOT_MEMBER] * 3
    assert (await stranger.sync({target: BEFORE_ALL})).matches == {}
    await stranger.receipt(target, delivered=1, read=1)
    assert (await stranger.watch(name_of(alice), name_of(bob))).presence == ()
    assert await everything_that_came(stranger) == []
    for member in (alice, bob):
        assert await everything_that_came(member) == []


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("GET", "", None),
        ("GET", "/messages", None),
        ("POST", "/messages", {"client_id": "c1", "body": {"text": "hi"}}),
    ],
)
async def test_a_stranger_is_refused_over_http(people: People, method: str, path: str, body: object) -> None:
    """`not_member`, whether there is such a match or not."""
    _, _, match = await people.pair()
    mallory = people.as_user(await people.api.token(fresh("mallory")))
    for target in (match, fresh("nowhere")):
        with pytest.raises(ApiError) as refused:
            await mallory.call(method, f"/v1/matches/{target}{path}", body)
        assert (refused.value.status, refused.value.code) == (403, ErrorCode.NOT_MEMBER)


async def test_one_who_left_can_send_no_more(people: People) -> None:
    """But a message that was stored before is still answered as a duplicate."""
    alice, bob, match = await people.pair()
    (carol,) = people.users("carol")
    sent = await bob.send(match, "before", "c1")
    await people.api.put_match(match, [name_of(alice), carol])
    with pytest.raises(Refused) as refused:
        await bob.send(match, "after", "c2")
    assert refused.value.code is ErrorCode.NOT_MEMBER
    assert (await bob.send(match, "before", "c1")).seq == sent.seq
    assert texts_of(await people.api.log(match)) == ["before"]


async def test_a_message_waits_for_no_answer_to_the_one_before(people: People) -> None:
    """Requests are answered by their id, integers and text alike."""
    alice, _, match = await people.pair()
    requests = [
        MessageSend(request_id, match, ClientId(f"c-{request_id}"), Body(str(request_id)))
        for request_id in (10_001, "ten thousand and two", 0)
    ]
    answers = await asyncio.gather(*(alice.request(request, decode_sent) for request in requests))
    assert [answer.id for answer in answers] == [request.id for request in requests]
    assert [answer.seq for answer in answers] == [Seq(2), Seq(3), Seq(4)]


async def test_an_app_event_reaches_all_devices_of_its_user(people: People) -> None:
    """And nobody else; the backend is told how many connections there were."""
    alice, bob, _ = await people.pair()
    other_device = await people.come(name_of(alice))
    assert await people.api.event(name_of(alice), "boost.started", {"minutes": 30}) == 2
    for client in (alice, other_device):
        assert await came(client, AppEvent) == [AppEvent("boost.started", {"minutes": 30})]
    assert await everything_that_came(bob) == []
    assert await people.api.event(fresh("nobody"), "boost.started", {}) == 0


async def test_an_app_event_is_not_stored(people: People) -> None:
    """Who was not there does not hear of it."""
    alice, bob, match = await people.pair()
    await alice.close()
    await people.api.event(name_of(alice), "missed", {})
    back = await people.come(name_of(alice), {match: BEFORE_ALL})
    assert [type(push) for push in await everything_that_came(back)][:1] == [MembersChanged]
    assert await came(bob, AppEvent) == []
