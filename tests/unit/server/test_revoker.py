"""Ended sessions and refused tokens, on one node and on two that share a store."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from protocol.close_codes import CloseCode
from protocol.ids import MatchId, Micros, Seq, SessionId, UserId
from server.adapters.memory.store import MemoryStore
from server.core.notices import Kick, MembersNews, Notice, Revoked
from server.core.tokens import Claims
from server.revoker import POLL_S, Revoker, RevokerParts
from tests.support.switchboard import TOKENS, Client, Switchboard, running
from tests.support.tokens import sign

ALICE, BOB = UserId("alice"), UserId("bob")


class Node:
    """A switchboard with its revoker, and what that announced."""

    def __init__(self, board: Switchboard) -> None:
        self.board = board
        self.announced: list[Notice] = []
        assert isinstance(board.store, MemoryStore)
        self.revoker = Revoker(
            RevokerParts(
                store=board.store,
                book=board.revocations,
                hub=board.hub,
                sessions=board.sessions,
                clock=board.clock,
                token_max_ttl_s=TOKENS.max_ttl_s,
                announce=self.announced.append,
            )
        )

    def session_of(self, client: Client) -> SessionId:
        return client.peer.session

    async def enters(self, token: str) -> bool:
        client = self.board.connect()
        answer, *_ = await client.ask(type="hello", id=1, token=token)
        client.hang_up()
        return answer["type"] == "welcome"


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running(Switchboard()) as board:
        yield Node(board)


def closed(client: Client) -> int | None:
    return client.line.closed[0] if client.line.closed else None


def token_without_id(board: Switchboard, issued_ago_s: float | None) -> str:
    now = board.clock.micros() / 1e6
    iat = {} if issued_ago_s is None else {"iat": now - issued_ago_s}
    return sign({"sub": "alice", "exp": now + 600, **iat})


async def test_signing_out_ends_all_sessions_and_refuses_the_tokens_of_before(node: Node) -> None:
    board = node.board
    old, theirs = board.token("alice"), board.token("bob")
    phone, laptop, bob = await board.enter("alice"), await board.enter("alice"), await board.enter("bob")
    ticket = await board.tickets.issue(board.verifier.verify(old, board.clock.micros() / 1e6))
    await node.revoker.sign_out(ALICE)
    assert (closed(phone), closed(laptop), closed(bob)) == (CloseCode.TOKEN_INVALID, CloseCode.TOKEN_INVALID, None)
    assert not await node.enters(old)
    assert not await node.enters(token_without_id(board, None))
    assert await node.enters(theirs)
    client = board.connect()
    assert (await client.ask(type="hello", id=1, ticket=ticket))[0]["code"] == "token_invalid"
    await board.advance(0.001)
    assert await node.enters(board.token("alice"))
    assert [type(notice) for notice in node.announced] == [Revoked]


async def test_ending_one_session_refuses_its_token_alone(node: Node) -> None:
    board = node.board
    shared = board.token("alice")
    first, second = board.connect(), board.connect()
    for client in (first, second):
        await client.ask(type="hello", id=1, token=shared)
    other = await board.enter("alice")
    assert await node.revoker.end_session(ALICE, node.session_of(first))
    # On the same token: it cannot be told whose it is.
    assert (closed(first), closed(second), closed(other)) == (CloseCode.TOKEN_INVALID, CloseCode.TOKEN_INVALID, None)
    assert not await node.enters(shared)
    assert await node.enters(board.token("alice"))
    assert [type(notice) for notice in node.announced] == [Revoked, Kick]


async def test_after_a_refresh_it_is_the_newer_token_that_is_refused(node: Node) -> None:
    board = node.board
    older, newer = board.token("alice"), board.token("alice")
    client = board.connect()
    await client.ask(type="hello", id=1, token=older)
    await client.ask(type="auth.refresh", id=2, token=newer)
    assert await node.revoker.end_session(ALICE, node.session_of(client))
    assert not await node.enters(newer)
    assert await node.enters(older)


async def test_a_token_without_an_id_takes_those_issued_no_later_along(node: Node) -> None:
    board = node.board
    older, it, newer = (token_without_id(board, ago) for ago in (30, 20, 10))
    session = board.connect()
    await session.ask(type="hello", id=1, token=it)
    assert await node.revoker.end_session(ALICE, node.session_of(session))
    assert closed(session) == CloseCode.TOKEN_INVALID
    assert [await node.enters(token) for token in (older, it, newer)] == [False, False, True]


async def test_a_token_that_says_nothing_of_itself_takes_its_like_along(node: Node) -> None:
    board = node.board
    bare = token_without_id(board, None)
    session = board.connect()
    await session.ask(type="hello", id=1, token=bare)
    assert await node.revoker.end_session(ALICE, node.session_of(session))
    assert not await node.enters(bare)
    assert await node.enters(token_without_id(board, 3_600))


async def test_there_is_no_such_session(node: Node) -> None:
    bob = await node.board.enter("bob")
    assert not await node.revoker.end_session(ALICE, node.session_of(bob))
    assert not await node.revoker.end_session(ALICE, SessionId("never"))
    assert closed(bob) is None
    assert node.announced == []


async def test_another_node_does_what_is_announced(node: Node) -> None:
    async with running(Switchboard(store=node.board.store)) as board:
        other = Node(board)
        alice = await board.enter("alice")
        token = board.token("alice")
        await node.revoker.sign_out(ALICE)
        for notice in node.announced:
            other.revoker.apply(notice)
        assert closed(alice) == CloseCode.TOKEN_INVALID
        assert not await other.enters(token)
        assert other.announced == []


async def test_kicks_are_of_a_session_or_of_a_user(node: Node) -> None:
    one, two, three = [await node.board.enter("alice") for _ in range(3)]
    node.revoker.apply(Kick(ALICE, int(CloseCode.GOING_AWAY), "moved", node.session_of(one)))
    assert (closed(one), closed(two)) == (CloseCode.GOING_AWAY, None)
    node.revoker.apply(Kick(ALICE, 4_999, "of a newer version"))
    assert (closed(two), closed(three)) == (CloseCode.TOKEN_INVALID, CloseCode.TOKEN_INVALID)
    node.revoker.apply(MembersNews(MatchId("m"), Seq(1), (ALICE,)))
    bob = await node.board.enter("bob")
    node.revoker.apply(Revoked(BOB, issued_before=node.board.clock.micros()))
    assert closed(bob) == CloseCode.TOKEN_INVALID
    assert node.announced == []


async def test_without_news_the_store_tells(node: Node) -> None:
    async with running(Switchboard(store=node.board.store)) as board:
        other = Node(board)
        await other.revoker.load()
        alice = await board.enter("alice")
        await node.revoker.sign_out(ALICE)
        await other.revoker.load()
        assert closed(alice) == CloseCode.TOKEN_INVALID
        await board.advance(0.001)
        newer = await board.enter("alice")
        await other.revoker.load()
        assert closed(newer) is None


async def test_a_node_that_starts_knows_what_was_revoked(node: Node) -> None:
    token = node.board.token("alice")
    await node.revoker.sign_out(ALICE)
    async with running(Switchboard(store=node.board.store)) as board:
        later = Node(board)
        assert await later.enters(token)
        await later.revoker.load()
        assert not await later.enters(token)


async def test_while_the_store_is_away_what_is_known_holds(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.revoker.POLL_S", 0.0)
    monkeypatch.setattr("server.revoker.FORGET_EVERY", 3)
    assert POLL_S <= 1.0
    board = node.board
    token = board.token("alice")
    await node.revoker.sign_out(ALICE)
    await board.store.close()
    async with asyncio.TaskGroup() as tasks:
        running_ = tasks.create_task(node.revoker.run())
        for _ in range(20):
            await asyncio.sleep(0)
        assert board.revocations.refuses(board.verifier.verify(token, board.clock.micros() / 1e6))
        board.clock.advance(2 * TOKENS.max_ttl_s)
        for _ in range(50):  # turns of the loop, more than it takes
            await asyncio.sleep(0)
        assert len(board.revocations) == 0
        running_.cancel()


async def test_what_is_revoked_is_kept_until_the_token_would_have_expired(node: Node) -> None:
    board = node.board
    client = await board.enter("alice")
    claims = client.peer.claims
    assert isinstance(claims, Claims)
    await node.revoker.end_session(ALICE, node.session_of(client))
    board.revocations.forget(Micros(round(claims.expires_at * 1e6)))
    assert board.revocations.refuses(claims)
