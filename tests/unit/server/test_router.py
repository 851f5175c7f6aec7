"""Every request and its answer, on a node without sockets."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from msgspec import Raw
from msgspec.structs import replace

from protocol.close_codes import CloseCode
from protocol.from_client import OwnStatus
from protocol.from_server import OwnPresence
from protocol.ids import ClientId, MatchId, UserId
from protocol.limits import TYPING_MEMBERS_MAX
from server.adapters.memory.store import MemoryStore
from server.core.keys import keys_of_jwks
from server.core.log import Append, Appended, MembersSet
from server.core.notices import PersonNews
from server.core.people import PresenceWish
from server.core.rate_limits import RatePolicy
from server.core.tokens import Claims
from server.lookups import LOOKUPS_MAX, RETRY_MS, UNDER_WAY_MAX
from server.ports import StoreUnavailable
from server.router import REPLACED
from tests.support.switchboard import POLICY, TOKENS, Client, Json, Switchboard, running
from tests.support.tokens import jwks, sign

M1 = "m1"


@pytest.fixture
async def board() -> AsyncIterator[Switchboard]:
    """A node where alice and bob have a match, and which is empty again in the end."""
    async with running(Switchboard(connections_max=3)) as board:
        await board.make(M1, "alice", "bob")
        yield board
        for recipient in board.hub:
            recipient.close(CloseCode.GOING_AWAY, "the test ends")
        await board.advance(10)
        assert (len(board.hub), board.hub.users) == (0, 0)
        assert (board.nodes.online, len(board.watches), len(board.typing)) == (0, 0, 0)
        assert len(board.wheel) == 0


def error_of(message: Json) -> tuple[object, ...]:
    assert message["type"] == "error"
    return tuple(message[name] for name in ("id", "code", "stored") if name in message)


def fields(message: Json, *names: str) -> tuple[object, ...]:
    return tuple(message[name] for name in names)


async def send(client: Client, number: int, text: str = "hi") -> Json:
    (answer,) = await client.ask(type="message.send", id=number, match=M1, client_id=f"c{number}", body={"text": text})
    return answer


# ---- hello


@pytest.mark.parametrize("way", ["hello", "upgrade", "ticket", "ticket of the upgrade"])
async def test_every_way_to_say_who_one_is_leads_to_the_welcome(board: Switchboard, way: str) -> None:
    ticket = await board.tickets.issue(Claims(UserId("alice"), board.clock.micros() / 1e6 + 600))
    match way:
        case "hello":
            client, hello = board.connect(), {"token": board.token("alice")}
        case "upgrade":
            client, hello = board.connect(token=board.token("alice")), {}
        case "ticket":
            client, hello = board.connect(), {"ticket": ticket}
        case _:
            client, hello = board.connect(ticket=ticket), {}
    (welcome,) = await client.ask(type="hello", id=1, **hello)
    assert fields(welcome, "type", "id", "user", "complete") == ("welcome", 1, "alice", True)
    assert [board.hub.session(client.peer.session)] == [client.peer]
    assert board.nodes.online == 1


async def test_bad_credentials_are_refused_and_end_the_connection(board: Switchboard) -> None:
    """Nobody is registered for it."""
    for hello, code, close in (
        ({"token": "nonsense"}, "token_invalid", CloseCode.TOKEN_INVALID),
        ({"ticket": "nonsense"}, "ticket_invalid", CloseCode.TOKEN_INVALID),
    ):
        client = board.connect()
        (answer,) = await client.ask(type="hello", id=1, **hello)
        assert error_of(answer) == (1, code)
        assert client.line.closed == (close, "not authenticated")
    assert board.telemetry.tokens_refused == 2
    assert len(board.hub) == 0


async def test_an_expired_token_is_refused_as_such(board: Switchboard) -> None:
    token = board.token("alice", ttl_s=5)
    await board.advance(6)
    client = board.connect(token=token)
    (answer,) = await client.ask(type="hello", id=1)
    assert error_of(answer) == (1, "token_expired")
    assert client.line.closed == (CloseCode.TOKEN_EXPIRED, "not authenticated")


async def test_a_connection_that_is_lost_while_its_ticket_is_redeemed_is_not_registered(board: Switchboard) -> None:
    client = board.connect(ticket=await board.tickets.issue(Claims(UserId("alice"), 2e9)))
    client.send(type="hello", id=1)
    client.hang_up()
    assert await client.listen() == []
    assert len(board.hub) == 0


async def test_authentication_that_cannot_be_checked_is_told_to_come_back() -> None:
    """The lanes of the logins have ended."""
    board = Switchboard()
    async with running(board):
        await board.settle()
    client = board.connect(ticket="x" * 43)
    client.send(type="hello", id=1)
    (answer,) = client.line.heard()
    assert error_of(answer) == (1, "unavailable")
    assert client.line.closed == (CloseCode.UNAVAILABLE, "authentication cannot be checked now")


async def test_a_session_is_taken_over_by_its_user(board: Switchboard) -> None:
    """The old connection is closed, its user was never away, and what it was writing goes on."""
    bob = await board.enter("bob")
    await bob.ask(type="presence.watch", id=1, users=["alice"])
    old = await board.enter("alice")
    old.send(type="typing", match=M1, on=True)
    await board.advance(1)
    await bob.listen()
    new = await board.enter("alice", session=old.peer.session)
    assert old.line.closed == (CloseCode.REPLACED, "a newer connection of this session took over")
    assert board.hub.connections(UserId("alice")) == (new.peer,)
    old.hang_up()
    await board.advance(5)
    assert await bob.listen() == []
    assert new.peer.session != old.peer.session


async def test_a_session_is_not_taken_over_by_another_user(board: Switchboard) -> None:
    """Who names it gets a session of their own, as one who names none that lives."""
    alice = await board.enter("alice")
    bob = await board.enter("bob", session=alice.peer.session)
    stray = await board.enter("bob", session="unknown")
    assert alice.line.closed is None
    assert len({alice.peer.session, bob.peer.session, stray.peer.session}) == 3


async def test_one_connection_too_many_is_closed(board: Switchboard) -> None:
    """It was never registered; taking over one of the others is allowed, once."""
    first, *_ = [await board.enter("alice") for _ in range(3)]
    for session in ({}, {"session": "unknown"}):
        client = board.connect()
        assert await client.ask(type="hello", id=1, token=board.token("alice"), **session) == []
        assert client.line.closed == (CloseCode.TOO_MANY_CONNECTIONS, "this user has too many connections")
    await board.enter("alice", session=first.peer.session)
    late = board.connect()
    await late.ask(type="hello", id=1, token=board.token("alice"), session=first.peer.session)
    assert late.line.closed == (CloseCode.TOO_MANY_CONNECTIONS, "this user has too many connections")
    assert len(board.hub) == 3


async def test_many_at_once_that_take_over_one_session_are_one_more(board: Switchboard) -> None:
    """The one that they replace is there until the newest of them is welcome."""
    first, *_ = [await board.enter("alice") for _ in range(3)]
    crowd = [board.connect() for _ in range(10)]
    for client in crowd:
        client.send(type="hello", id=1, token=board.token("alice"), session=first.peer.session)
    assert len(board.hub) == 4
    await board.settle()
    assert len(board.hub) == 3
    assert {client.line.closed for client in crowd[:-1]} == {(CloseCode.REPLACED, REPLACED)}
    assert (crowd[-1].line.closed, first.line.closed) == (None, (CloseCode.REPLACED, REPLACED))
    given_up = board.connect()
    given_up.send(type="hello", id=1, token=board.token("alice"), session=crowd[-1].peer.session)
    given_up.hang_up()
    await board.settle()
    assert (len(board.hub), crowd[-1].line.closed, board.router._successors) == (3, None, {})


async def test_all_connections_of_a_user_may_be_taken_over_at_once(board: Switchboard) -> None:
    """As when their node is stopped; one more that replaces none is still one too many."""
    old = [await board.enter("alice") for _ in range(3)]
    new = [board.connect() for _ in old]
    for each, before in zip(new, old, strict=True):
        each.send(type="hello", id=1, token=board.token("alice"), session=before.peer.session)
    late = board.connect()
    late.send(type="hello", id=1, token=board.token("alice"))
    await board.settle()
    assert late.line.closed == (CloseCode.TOO_MANY_CONNECTIONS, "this user has too many connections")
    assert [each.line.closed for each in new] == [None] * 3
    assert (len(board.hub), board.router._successors) == (3, {})


async def test_a_token_is_refreshed_by_its_user_only(board: Switchboard) -> None:
    client = await board.enter("alice")
    (answer,) = await client.ask(type="auth.refresh", id=1, token=board.token("alice", 7_200))
    assert answer == {"type": "ok", "id": 1}
    (answer,) = await client.ask(type="auth.refresh", id=2, token=board.token("bob"))
    assert error_of(answer) == (2, "token_invalid")
    (answer,) = await client.ask(type="auth.refresh", id=3, token="nonsense")
    assert error_of(answer) == (3, "token_invalid")
    assert board.telemetry.tokens_refused == 1
    await board.advance(3_600)
    assert await client.listen() == []


class Issuer:
    """Publishes its newest keys to `board` when asked."""

    def __init__(self) -> None:
        self.board: Switchboard | None = None
        self.key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)

    async def refreshed(self) -> bool:
        if self.board is None:
            return False
        self.board.verifier.replace_issuer_keys(keys_of_jwks(jwks(k1=self.key.public_key()), TOKENS.algorithms))
        return True

    def token(self, expires_at: float) -> str:
        return sign({"sub": "alice", "exp": expires_at}, self.key, "EdDSA", {"kid": "k1"})


async def test_a_token_of_a_key_that_is_not_known_yet_waits_for_the_issuer() -> None:
    """Without news from there it is refused; with the new keys it says who its bearer is."""
    issuer = Issuer()
    async with running(Switchboard(issuer=issuer)) as board:
        token = issuer.token(board.clock.micros() / 1e6 + 600)
        refused = board.connect()
        (answer,) = await refused.ask(type="hello", id=1, token=token)
        assert error_of(answer) == (1, "token_invalid")
        issuer.board = board
        client = board.connect()
        client.send(type="hello", id=1, token=token)
        assert client.line.heard() == []
        (welcome,) = await client.listen()
        assert fields(welcome, "type", "user") == ("welcome", "alice")


async def test_a_refresh_that_cannot_be_checked_is_refused_and_ends_nothing() -> None:
    """The lanes of the logins have ended."""
    issuer = Issuer()
    board = Switchboard(issuer=issuer)
    async with running(board):
        client = await board.enter("alice")
    client.send(type="auth.refresh", id=1, token=issuer.token(board.clock.micros() / 1e6 + 600))
    board.loop.tick()
    (answer,) = client.line.heard()
    assert error_of(answer) == (1, "unavailable")
    assert client.line.closed is None


async def test_a_token_that_runs_out_is_warned_of_and_ends_the_connection(board: Switchboard) -> None:
    """It is forgotten everywhere when it is closed, not when the socket is gone."""
    client = await board.enter("alice")
    await board.advance(3_541)
    assert await client.listen() == [{"type": "token_expiring", "in_ms": 64_000}]
    await board.advance(65)
    assert client.line.closed == (CloseCode.TOKEN_EXPIRED, "the token expired")
    assert len(board.hub) == 0


async def test_a_connection_without_hello_is_ended(board: Switchboard) -> None:
    client = board.connect()
    await board.advance(11)
    assert client.line.closed == (CloseCode.AUTH_TIMEOUT, "no valid hello in time")


async def test_a_refused_request_is_answered_before_the_welcome(board: Switchboard) -> None:
    client = board.connect()
    (answer,) = await client.ask(type="history", id=0, match=M1)
    assert error_of(answer) == (0, "unauthenticated")


# ---- messages


async def test_a_message_is_answered_when_it_is_stored_and_pushed_to_all_others(board: Switchboard) -> None:
    alice, laptop, bob = [await board.enter(name) for name in ("alice", "alice", "bob")]
    answer = await send(alice, 1)
    assert fields(answer, "type", "id", "match", "seq", "duplicate") == ("ok", 1, "m1", 2, False)
    for client in (laptop, bob):
        (message,) = await client.listen()
        assert fields(message, "type", "seq", "n", "sender", "body") == ("message", 2, 1, "alice", {"text": "hi"})
        assert message["created_at"] == answer["created_at"]


async def test_a_message_sent_again_is_answered_alike_and_pushed_to_nobody(board: Switchboard) -> None:
    alice, bob = await board.enter("alice"), await board.enter("bob")
    first = await send(alice, 1)
    await bob.listen()
    assert await send(alice, 1) == {**first, "duplicate": True}
    assert await bob.listen() == []
    assert error_of(await send(alice, 1, "another text")) == (1, "client_id_conflict", "no")


async def test_a_refused_message_says_whether_it_is_stored(board: Switchboard) -> None:
    alice, carol = await board.enter("alice"), await board.enter("carol")
    assert error_of(await send(carol, 1)) == (1, "not_member", "no")
    assert error_of(await send(alice, 2, "")) == (2, "bad_request", "no")
    (answer,) = await alice.ask(type="message.send", id=3, match=M1, client_id="c", body={"text": "x"}, reply_to=99)
    assert error_of(answer) == (3, "no_such_reply", "no")
    await board.store.close()
    answer = await send(alice, 4)
    assert (*error_of(answer), answer["retry_after_ms"]) == (4, "unavailable", "no", 1_000)


async def test_messages_over_the_rate_are_refused_and_counted() -> None:
    policy = replace(POLICY, messages=RatePolicy(5, 2))
    async with running(Switchboard(policy=policy)) as board:
        await board.make(M1, "alice", "bob")
        alice = await board.enter("alice")
        await send(alice, 1)
        await send(alice, 2)
        answer = await send(alice, 3)
        assert error_of(answer) == (3, "rate_limited", "no")
        assert board.telemetry.rate_limited == 1
        await board.advance(0.25)
        assert fields(await send(alice, 3), "type", "seq") == ("ok", 4)


async def test_a_message_is_stored_and_pushed_though_its_sender_is_gone(board: Switchboard) -> None:
    alice, bob = await board.enter("alice"), await board.enter("bob")
    alice.send(type="message.send", id=1, match=M1, client_id="c1", body={"text": "bye"})
    alice.hang_up()
    (message,) = await bob.listen()
    assert fields(message, "seq", "body") == (2, {"text": "bye"})
    assert alice.line.heard() == []


# ---- receipts


async def test_a_receipt_is_stored_and_told_to_the_others(board: Switchboard) -> None:
    """It is answered when it has an id, also when it moves nothing, or has nothing to move."""
    alice, laptop, bob = [await board.enter(name) for name in ("alice", "alice", "bob")]
    await send(bob, 1)
    await board.advance(1)
    for client in (alice, laptop):
        await client.listen()
    assert await alice.ask(type="receipt", match=M1, delivered=2) == []
    assert await alice.ask(type="receipt", id=7, match=M1, read=2) == [{"type": "ok", "id": 7}]
    await board.advance(1)
    receipt = {"type": "receipt", "match": M1, "user": "alice", "delivered": 2, "read": 2}
    assert await laptop.listen() == await bob.listen() == [receipt]
    assert await alice.ask(type="receipt", id=8, match=M1, read=1) == [{"type": "ok", "id": 8}]
    assert await alice.ask(type="receipt", id=9, match=M1) == [{"type": "ok", "id": 9}]
    await board.advance(1)
    assert await laptop.listen() == await bob.listen() == []


async def test_a_receipt_of_a_stranger_does_nothing(board: Switchboard) -> None:
    bob, carol = await board.enter("bob"), await board.enter("carol")
    assert await carol.ask(type="receipt", id=1, match=M1, read=1) == [{"type": "ok", "id": 1}]
    await board.advance(1)
    assert await bob.listen() == []


async def test_a_receipt_that_could_not_be_stored_is_refused(board: Switchboard) -> None:
    alice = await board.enter("alice")
    await board.store.close()
    (answer,) = await alice.ask(type="receipt", id=1, match=M1, read=1)
    assert error_of(answer) == (1, "unavailable")
    assert await alice.ask(type="receipt", match=M1, read=1) == []


# ---- reads


async def test_history_is_answered_to_members_only(board: Switchboard) -> None:
    alice, carol = await board.enter("alice"), await board.enter("carol")
    await send(alice, 1)
    (page,) = await alice.ask(type="history", id=2, match=M1, limit=1)
    assert fields(page, "type", "id", "match", "complete") == ("ok", 2, "m1", False)
    (page,) = await alice.ask(type="history", id=3, match=M1, after=0)
    messages = page["messages"]
    assert isinstance(messages, list)
    assert [entry["type"] for entry in messages] == ["members", "message"]
    (answer,) = await carol.ask(type="history", id=4, match=M1)
    assert error_of(answer) == (4, "not_member")
    (answer,) = await carol.ask(type="history", id=5, match="no such")
    assert error_of(answer) == (5, "not_member")


async def test_sync_answers_what_came_after_and_nothing_to_strangers(board: Switchboard) -> None:
    alice, carol = await board.enter("alice"), await board.enter("carol")
    await send(alice, 1)
    (answer,) = await alice.ask(type="sync", id=2, cursors={M1: [0, 0], "other": [0, 0]})
    matches = answer["matches"]
    assert isinstance(matches, dict)
    assert list(matches) == [M1]
    assert [entry["seq"] for entry in matches[M1]["entries"]] == [1, 2]
    (answer,) = await carol.ask(type="sync", id=3, cursors={M1: [0, 0]})
    assert answer == {"type": "ok", "id": 3, "matches": {}, "receipts": []}


async def test_matches_are_paged(board: Switchboard) -> None:
    """Each user's own."""
    await board.advance(1)
    await board.make("m2", "alice", "carol")
    alice, carol = await board.enter("alice"), await board.enter("carol")
    (page,) = await alice.ask(type="matches", id=1, limit=1)
    matches = page["matches"]
    assert isinstance(matches, list)
    assert ([match["match"] for match in matches], page["complete"]) == (["m2"], False)
    (page,) = await alice.ask(type="matches", id=2, before=matches[0]["last_at"])
    matches = page["matches"]
    assert isinstance(matches, list)
    assert ([match["match"] for match in matches], page["complete"]) == ([M1], True)
    (page,) = await carol.ask(type="matches", id=3, before=1)
    assert page == {"type": "ok", "id": 3, "matches": [], "complete": True}


async def test_reads_are_refused_while_the_store_is_away(board: Switchboard) -> None:
    alice = await board.enter("alice")
    await board.store.close()
    requests: tuple[Json, ...] = (
        {"type": "history", "match": M1},
        {"type": "matches"},
        {"type": "presence.watch", "users": ["bob"]},
    )
    for number, request in enumerate(requests):
        (answer,) = await alice.ask(id=number, **request)
        assert (*error_of(answer), answer["retry_after_ms"]) == (number, "unavailable", 1_000)


async def test_only_so_many_questions_of_a_connection_wait(board: Switchboard) -> None:
    """One more is refused at once; when they are answered there is room again."""
    alice = await board.enter("alice")
    asked = UNDER_WAY_MAX + LOOKUPS_MAX
    for number in range(asked + 1):
        alice.send(type="matches", id=number)
    first, *answers = await alice.listen()
    assert (*error_of(first), first["retry_after_ms"]) == (asked, "rate_limited", RETRY_MS)
    assert [answer["id"] for answer in answers] == list(range(asked))
    assert board.telemetry.rate_limited == 1
    assert alice.peer.lookups is None
    (answer,) = await alice.ask(type="matches", id=99)
    assert answer["type"] == "ok"


async def test_a_slow_reader_gets_its_pages_as_it_reads(board: Switchboard) -> None:
    """Many pages asked for in one go wait for the socket and not in the outbox."""
    alice = await board.enter("alice")
    alice.line.stop_reading()
    for number in range(10):
        alice.send(type="history", id=number, match=M1)
    assert len(await alice.listen()) == UNDER_WAY_MAX
    alice.line.read_on()
    assert len(await alice.listen()) == 10 - UNDER_WAY_MAX
    assert alice.peer.lookups is None


async def test_a_fault_in_an_answer_ends_its_connection_alone(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, told vaguely, and the other connections go on."""
    alice, bob = await board.enter("alice"), await board.enter("bob")

    def fault(appended: object, sender: object = None) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr("server.delivery.Delivery.message_stored", fault)
        await alice.ask(type="message.send", id=1, match=M1, client_id="c1", body={"text": "hi"})
    assert alice.line.closed == (1011, "a fault of the server")
    assert [record.message for record in caplog.records] == ["peer.fault"]
    assert board.telemetry.internal_errors == 1
    (answer,) = await bob.ask(type="ping", id=2)
    assert answer["type"] == "ok"


async def test_partners_no_more_are_watched_no_more(board: Switchboard) -> None:
    """Who left a match neither sees those who stayed nor is seen by them, from then on."""
    await board.make("m2", "alice", "carol")
    alice, bob = await board.enter("alice"), await board.enter("bob")
    await alice.ask(type="presence.watch", id=1, users=["bob", "carol"])
    await bob.ask(type="presence.watch", id=1, users=["alice"])
    change = await board.store.set_members(MatchId(M1), ())
    assert isinstance(change, MembersSet)
    board.router.members_set(change)
    await board.settle()
    assert board.watches.watched(alice.peer) == ("carol",)
    assert board.watches.watched(bob.peer) == ()


async def test_a_read_whose_connection_is_gone_is_dropped(board: Switchboard) -> None:
    """A watch is not begun for it: nobody would end it."""
    alice = await board.enter("alice")
    alice.send(type="presence.watch", id=1, users=["bob"])
    alice.send(type="history", id=2, match=M1)
    alice.hang_up()
    assert await alice.listen() == []
    assert len(board.watches) == 0
    assert board.bus._watched == {}


async def test_a_watch_that_could_not_be_renewed_is_renewed_when_the_store_is_back(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody had asked, so nobody is told of the error."""
    alice, bob = await board.enter("alice"), await board.enter("bob")
    await alice.ask(type="presence.watch", id=1, users=["bob"])

    async def away(*_: object) -> frozenset[UserId]:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "partners", away)
        await board.make(M1, "alice")
        for _ in range(3):
            await board.advance(1)
        assert [push["type"] for push in await alice.listen()] == ["members"]
        assert board.watches.watched(alice.peer) == ("bob",)
        assert len(board.router._lookups._unanswered) == 1
    bob.hang_up()
    await board.advance(1)
    assert board.watches.watched(alice.peer) == ()
    assert (board.router._lookups._unanswered, await alice.listen()) == ({}, [])


async def test_a_watch_that_is_renewed_takes_the_place_of_none_that_the_client_asked_for_meanwhile(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after that, and holds of whom the client wants to see by then."""
    await board.make("m2", "alice", "carol")
    await board.make("m3", "alice", "dave")
    alice = await board.enter("alice")
    await alice.ask(type="presence.watch", id=1, users=["bob"])
    with monkeypatch.context() as patch:
        patch.setattr("server.lookups.LOOKUPS_MAX", 0)
        await board.make("m3", "alice")
    alice.send(type="presence.watch", id=2, users=["bob", "carol"])
    board.router.settle(board.clock.now() + 1)
    await board.settle()
    assert board.watches.watched(alice.peer) == ("bob", "carol")
    await board.make("m2", "alice")
    await board.advance(2)
    assert (board.watches.watched(alice.peer), board.router._lookups._unanswered) == (("bob",), {})
    with monkeypatch.context() as patch:
        patch.setattr("server.lookups.LOOKUPS_MAX", 0)
        await alice.ask(type="presence.watch", id=3, users=["alice"])
    assert alice.peer.watch_asked == 0


async def test_who_is_gone_is_not_asked_for_again(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await board.enter("alice")
    await alice.ask(type="presence.watch", id=1, users=["bob"])
    monkeypatch.setattr("server.lookups.LOOKUPS_MAX", 0)
    await board.make(M1, "alice")
    alice.hang_up()
    await board.advance(1)
    assert (board.router._lookups._unanswered, board.bus._watched) == ({}, {})


# ---- presence


async def test_partners_are_watched_and_strangers_left_out(board: Switchboard) -> None:
    alice = await board.enter("alice")
    (answer,) = await alice.ask(type="presence.watch", id=1, users=["bob", "carol", "alice", "bob"])
    presence = answer["presence"]
    assert isinstance(presence, list)
    assert [(state["user"], state["status"]) for state in presence] == [("bob", "offline"), ("alice", "online")]
    bob, carol = await board.enter("bob"), await board.enter("carol")
    await board.advance(1)
    (news,) = await alice.listen()
    assert news["type"] == "presence"
    left_at = board.clock.micros()
    bob.hang_up()
    carol.hang_up()
    await board.advance(1.75)
    assert await alice.listen() == []
    await board.advance(0.25)
    await board.advance(0.25)
    (news,) = await alice.listen()
    changes = news["changes"]
    assert isinstance(changes, list)
    assert fields(changes[0], "user", "status", "last_seen") == ("bob", "offline", left_at)


async def test_watching_others_ends_watching_those_before(board: Switchboard) -> None:
    await board.make("m2", "alice", "carol")
    alice = await board.enter("alice")
    await alice.ask(type="presence.watch", id=1, users=["bob"])
    await alice.ask(type="presence.watch", id=2, users=["carol"])
    await board.enter("bob")
    await board.advance(1)
    assert await alice.listen() == []
    await alice.ask(type="presence.watch", id=3, users=[])
    await board.enter("carol")
    await board.advance(1)
    assert await alice.listen() == []
    assert len(board.watches) == 0


async def test_of_two_watches_the_later_asked_holds_though_it_is_answered_first(board: Switchboard) -> None:
    """Reads of one connection may be answered in another order; each tells how its users are."""
    await board.make("m2", "alice", "carol")
    alice = await board.enter("alice")
    jobs = board.reads._jobs
    alice.send(type="presence.watch", id=1, users=["bob"])
    alice.send(type="presence.watch", id=2, users=["carol"])
    jobs.rotate(1)
    second, first = await alice.listen()
    assert (second["id"], first["id"]) == (2, 1)
    assert [state["user"] for state in first["presence"]] == ["bob"]  # type: ignore[attr-defined]
    assert list(board.bus._watched) == ["carol"]
    await board.enter("bob")
    await board.advance(1)
    assert await alice.listen() == []
    await board.enter("carol")
    await board.advance(1)
    assert len(await alice.listen()) == 1


# ---- typing


async def typed(*clients: Client) -> list[list[tuple[object, ...]]]:
    return [[fields(message, "match", "user", "on") for message in await client.listen()] for client in clients]


async def test_typing_is_forwarded_to_the_other_members_within_its_interval(board: Switchboard) -> None:
    """The user's own devices are not told; with an id it is answered, forwarded or not."""
    alice, laptop, bob, carol = [await board.enter(name) for name in ("alice", "alice", "bob", "carol")]
    assert await alice.ask(type="typing", match=M1, on=True) == []
    assert await alice.ask(type="typing", id=1, match=M1, on=True) == [{"type": "ok", "id": 1}]
    await board.advance(1)
    assert await typed(laptop, bob, carol) == [[], [(M1, "alice", True)], []]
    await alice.ask(type="typing", match=M1, on=False)
    await board.advance(1)
    assert await typed(bob) == [[(M1, "alice", False)]]
    assert (board.telemetry.typing_forwarded, board.telemetry.typing_suppressed) == (2, 1)


async def test_each_kind_of_typing_is_told_apart(board: Switchboard) -> None:
    """A message ends both, a departure what was shown."""
    alice, bob = await board.enter("alice"), await board.enter("bob")
    for kind in ("text", "recording", "recording"):
        await alice.ask(type="typing", match=M1, on=True, kind=kind)
    await board.advance(1)
    assert await kinds(bob) == [(True, None), (True, "recording")]
    await alice.ask(type="typing", match=M1, on=False)
    alice.hang_up()
    await board.advance(1)
    assert await kinds(bob) == [(False, None), (False, "recording")]


async def kinds(client: Client) -> list[tuple[object, object]]:
    return [(message["on"], message.get("kind")) for message in await client.listen()]


async def test_typing_is_not_told_in_a_crowd(board: Switchboard) -> None:
    """It is answered all the same, and what was shown before the crowd came is taken back."""
    crowd = [f"u{number}" for number in range(TYPING_MEMBERS_MAX - 1)]
    await board.make("m2", "alice", *crowd)
    alice, other = await board.enter("alice"), await board.enter(crowd[0])
    await alice.ask(type="typing", match="m2", on=True)
    await board.advance(1)
    assert await typed(other) == [[("m2", "alice", True)]]
    await board.make("m2", "alice", *crowd, "one more")
    await board.advance(3)
    await other.listen()
    assert (await alice.ask(type="typing", id=1, match="m2", on=True))[-1] == {"type": "ok", "id": 1}
    await alice.ask(type="typing", id=2, match="m2", on=False)
    await alice.ask(type="typing", id=3, match="m2", on=True)
    await board.advance(1)
    assert await typed(other) == [[("m2", "alice", False)]]
    assert (board.telemetry.typing_forwarded, board.telemetry.typing_suppressed) == (2, 2)


async def test_typing_that_waits_for_the_store_is_ended_by_a_message(board: Switchboard) -> None:
    """It would be shown behind it."""
    alice, bob = await board.enter("alice"), await board.enter("bob")
    board.hub._members.clear()
    alice.send(type="typing", match=M1, on=True)
    (stored,) = await board.store.append([Append(MatchId(M1), alice.peer.user, ClientId("c1"), Raw(b'{"text":"hi"}'))])
    assert isinstance(stored, Appended)
    board.delivery.message_stored(stored, alice.peer)
    await board.advance(1)
    assert [message["type"] for message in await bob.listen()] == ["message"]


async def test_typing_in_a_match_that_is_not_known_here_asks_the_store(board: Switchboard) -> None:
    """Once; what does not exist is not remembered."""
    alice, bob = await board.enter("alice"), await board.enter("bob")
    board.hub._members.clear()
    await alice.ask(type="typing", id=1, match=M1, on=True)
    await board.advance(1)
    assert await typed(bob) == [[(M1, "alice", True)]]
    assert board.hub.members(MatchId(M1)) == ("alice", "bob")
    (answer,) = await alice.ask(type="typing", id=2, match="no such", on=True)
    assert error_of(answer) == (2, "not_member")
    assert board.hub.members(MatchId("no such")) is None


async def test_typing_of_a_stranger_is_refused(board: Switchboard) -> None:
    """With or without an id; and of one who left."""
    bob, carol = await board.enter("bob"), await board.enter("carol")
    (answer,) = await carol.ask(type="typing", id=1, match=M1, on=True)
    assert error_of(answer) == (1, "not_member")
    (answer,) = await carol.ask(type="typing", match=M1, on=True)
    assert error_of(answer) == ("not_member",)
    await board.make(M1, "alice", "carol")
    await bob.listen()
    (answer,) = await bob.ask(type="typing", id=2, match=M1, on=True)
    assert error_of(answer) == (2, "not_member")


async def test_typing_ends_when_the_users_last_device_is_gone(board: Switchboard) -> None:
    alice, laptop, bob = [await board.enter(name) for name in ("alice", "alice", "bob")]
    await alice.ask(type="typing", match=M1, on=True)
    await board.advance(1)
    alice.hang_up()
    await board.advance(1)
    assert await typed(bob) == [[(M1, "alice", True)]]
    laptop.hang_up()
    laptop.hang_up()
    await board.advance(1)
    assert await typed(bob) == [[(M1, "alice", False)]]


async def test_typing_ends_quietly_in_a_match_that_was_forgotten_here(board: Switchboard) -> None:
    """Its members are not looked up for it: they see it expire."""
    alice, bob = await board.enter("alice"), await board.enter("bob")
    await alice.ask(type="typing", match=M1, on=True)
    await board.advance(1)
    await bob.listen()
    board.hub._members.clear()
    alice.hang_up()
    await board.advance(1)
    assert await typed(bob) == [[]]


# ---- the end


async def test_clients_are_sent_away_spread_over_the_time_there_is(board: Switchboard) -> None:
    """The first at once, so that not all come to the other nodes together."""
    clients = [await board.enter(f"user{number}") for number in range(4)]
    waiting = board.connect()
    board.router.going_away(1_000)
    told = [await client.listen() for client in clients]
    assert told == [[{"type": "going_away", "after_ms": 250 * number}] for number in range(4)]
    assert await waiting.listen() == []
    waiting.hang_up()


async def test_a_malformed_message_is_answered_and_many_end_the_connection(board: Switchboard) -> None:
    alice = await board.enter("alice")
    (answer,) = await alice.ask(type="dance", id=1)
    assert error_of(answer) == (1, "unknown_type")
    for _ in range(19):
        alice.peer.received(b"[]")
    assert len(await alice.listen()) == 19
    assert alice.line.closed == (CloseCode.TOO_MANY_ERRORS, "too many malformed messages")
    assert len(board.hub) == 0


async def test_a_closed_store_is_refused_as_the_port_says(board: Switchboard) -> None:
    """What the tests above rely on."""
    await board.store.close()
    with pytest.raises(StoreUnavailable):
        await board.store.members((MatchId(M1),))


async def test_who_is_invisible_is_never_seen_online(board: Switchboard) -> None:
    """Not for the moment between the connection and the answer of the store either; their own welcome tells it."""
    await board.make("m1", "alice", "bob")
    await board.store.set_presence(UserId("bob"), PresenceWish(OwnStatus.INVISIBLE, "hush"))
    alice = await board.enter("alice")
    (watching,) = await alice.ask(type="presence.watch", id=1, users=["bob"])
    bob = await board.enter("bob")
    assert bob.welcome["presence"] == {"status": "invisible", "text": "hush", "last_seen": "exact"}
    again = await board.enter("bob")
    await board.advance(0.5)
    again.hang_up()
    bob.hang_up()
    await board.advance(5)
    assert [states_of(watching), await alice.listen()] == [["offline"], []]


async def test_how_somebody_wants_to_be_shown_may_change_while_they_are_here(board: Switchboard) -> None:
    await board.make("m1", "alice", "bob")
    alice = await board.enter("alice")
    await board.enter("bob")
    await alice.ask(type="presence.watch", id=1, users=["bob"])
    board.relay.notice(PersonNews(UserId("bob"), OwnPresence(OwnStatus.DND, "In an exam"), 1))
    await board.advance(0.5)
    (news,) = await alice.listen()
    (change,) = changes_of(news)
    assert (change["status"], change["text"], change["change"]) == ("dnd", "In an exam", "status")


def changes_of(news: Json) -> list[Json]:
    """Return the states that a push or an answer has."""
    return msgspec.convert(news.get("changes", news.get("presence")), list[Json])


def states_of(news: Json) -> list[object]:
    return [each["status"] for each in changes_of(news)]
