"""A node ends gracefully, or at once: what was answered is there when it is back."""

import asyncio
import random
import resource
import signal
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest

from loadtest.checker import check
from loadtest.client import Client, Closed, Refused
from loadtest.resuming import Identity, ResumingClient
from protocol.errors import ErrorCode
from protocol.from_client import Body
from protocol.from_server import GoingAway, Member, Message
from protocol.ids import MatchId, Seq, UserId
from tests.support.mortal_node import DRAIN_S, Node, node_in
from tests.support.people import (
    People,
    came,
    cursor_of,
    name_of,
    people_on,
    plain,
    say,
    texts_of,
    unlimited_server,
)

SEED = 5


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """Log, members, receipts, store epoch, tokens; a client resumes over it, and a duplicate is one still."""
    async with node_in(tmp_path) as node:
        async with people_on(node.server) as people:
            alice, bob, match = await people.pair()
            held, _ = await say(alice, match, "one", "two")
            await alice.send(match, "three", "third")
            await bob.receipt(match, delivered=4, read=2)
            log = list(map(plain, await people.api.log(match)))
            token, welcome = await people.api.token(name_of(bob)), bob.welcome
        node.signal(signal.SIGTERM)
        assert await node.ended() == 0
        await node.restart()
        async with people_on(node.server) as people:
            back = people.leaves(await Client.connect(node.server.ws_url, token=token))
            again = await back.hello({match: cursor_of(held)})
            assert welcome is not None
            assert again.store_epoch == welcome.store_epoch
            assert Member(name_of(back), Seq(4), Seq(2)) in again.matches[0].members
            assert again.matches[0].unread == 2
            assert texts_of(await came(back, Message)) == ["two", "three"]
            assert list(map(plain, await people.api.log(match))) == log
            alice = await people.come(name_of(alice))
            assert (await alice.send(match, "three", "third")).duplicate
            assert (await alice.send(match, "four", "fourth")).seq == 5


async def test_sigterm_sends_clients_away_and_answers_what_was_sent(tmp_path: Path) -> None:
    """`going_away` with spread delays; until then it serves; those that stay are closed with 4000; exit code 0."""
    async with node_in(tmp_path) as node, people_on(node.server) as people:
        alice, _, match = await people.pair()
        others = [await people.come(name_of(alice)) for _ in range(18)]
        unknown = await people.visitor()
        await people.api.call("GET", "/readyz")
        sending = asyncio.gather(*(say(alice, match, str(number)) for number in range(50)))
        await asyncio.sleep(0)  # they are on their way
        node.signal(signal.SIGTERM)
        after_ms = [(await alice.next(GoingAway)).after_ms]
        # What the end could overtake comes first.
        last_word, ready = await asyncio.gather(
            alice.send(match, "a last word", "last"), people.api.exchange("GET", "/readyz")
        )
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", node.server.port)
        assert ready.status == 503
        assert msgspec.json.decode(ready.body)["checks"]["accepting"] == "draining"
        answers = [*(answer for (answer,) in await sending), last_word]
        after_ms += [(await client.next(GoingAway)).after_ms for client in others]
        assert len(set(after_ms)) > 10
        assert max(after_ms) < int(DRAIN_S) * 1000
        assert [await client.closed() for client in (alice, *others, unknown)] == [4000] * 20
        assert await node.ended() == 0
        await node.restart()
        async with people_on(node.server) as later:
            log = await later.api.log(match)
            assert {answer.seq for answer in answers} == {entry.seq for entry in log[1:]}


async def test_a_node_that_everybody_left_ends_at_once(tmp_path: Path) -> None:
    """A client that goes when it is told is closed as it asks; nothing waits for the drain time."""
    async with node_in(tmp_path) as node, people_on(node.server) as people:
        alice, _, _ = await people.pair()
        others = [alice, await people.come(name_of(alice))]
        people.api.close()
        node.signal(signal.SIGINT)
        for client in others:
            await client.next(GoingAway)
            assert await client.close() == 1000
        assert await node.ended() == 0


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Though somebody stays and reads nothing; what was answered is kept."""
    async with node_in(tmp_path) as node, people_on(node.server) as people:
        alice, bob, match = await people.pair()
        sent = await alice.send(match, "kept", "c1")
        bob.pause()
        node.signal(signal.SIGTERM)
        await alice.next(GoingAway)
        node.signal(signal.SIGTERM)
        assert await node.ended() == -signal.SIGTERM
        assert await alice.closed() == 1006
        bob.resume()
        await node.restart()
        async with people_on(node.server) as later:
            assert (await later.api.match(match)).last_seq == sent.seq


async def chat(
    clients: list[ResumingClient], matches: list[MatchId], chance: random.Random, stop: asyncio.Event
) -> None:
    """Have everybody write until told to stop; who has three on their way waits."""
    number = 0
    while not stop.is_set():
        for client in (each for each in clients if each.log.unacked < 3):
            number += 1
            client.submit(chance.choice(matches), f"c{number}", Body(f"number {number}"))
        await asyncio.sleep(0.005)  # a pace, not a wait


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
async def test_no_acked_message_is_lost_in_mid_traffic(tmp_path: Path, ended_by: signal.Signals) -> None:
    """Ended while all write, and started again: nothing lost, doubled, out of order or missed by anybody."""
    chance, stop = random.Random(SEED), asyncio.Event()
    async with node_in(tmp_path) as node, AsyncExitStack() as stack:
        people = await stack.enter_async_context(people_on(node.server))
        users = people.users(*["user"] * 4)
        matches = [await people.match(*users), await people.match(*users[:2]), await people.match(*users)]
        tokens = {user: await people.api.token(user) for user in users}
        # Those of the second match are two; they write everywhere, the others where they are members.
        clients = [ResumingClient(identity(node, user, tokens[user]), chance.random) for user in users * 2]
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.run())
                await client.until(partial(is_ready, client))
            insiders = [client for client in clients if client.log.user in users[:2]]
            outsiders = [client for client in clients if client.log.user not in users[:2]]
            tasks.create_task(chat(insiders, matches, chance, stop))
            tasks.create_task(chat(outsiders, [matches[0], matches[2]], chance, stop))
            await clients[0].until(lambda: acked(clients[0]) >= 40)
            node.signal(ended_by)
            await node.ended()
            await node.restart()
            goal = acked(clients[0]) + 20
            await clients[0].until(lambda: acked(clients[0]) >= goal)
            stop.set()
            for client in clients:
                await client.until_all_acked()
            stored = {match: await people.api.log(match) for match in matches}
            for client in clients:
                for match in [match for match in matches if match in client.log.shown]:
                    await client.until_held(match, stored[match][-1].seq)
                await client.stop()
        report = check([client.log for client in clients], stored)
        assert report.faults == 0, report.render()
        assert report.unanswered == report.refused == 0
        assert all(client.log.connections >= 2 for client in clients)


def identity(node: Node, user: UserId, token: str) -> Identity:
    """Say who a client is."""
    return Identity(node.server.ws_url, user, lambda: token)


def is_ready(client: ResumingClient) -> bool:
    """Tell whether it was welcomed."""
    return client.is_ready


def acked(client: ResumingClient) -> int:
    """Count what was answered."""
    return len(client.log.submitted) - client.log.unacked


async def test_a_full_disk_refuses_messages_and_nothing_else(tmp_path: Path) -> None:
    """`unavailable` with a time to wait; reading goes on; with space again the same message is stored, once."""
    with unlimited_server(tmp_path / "duologue.db") as server:
        async with people_on(server) as people:
            await full_disk(people, server.program.pid)
        assert "Traceback" not in server.program.output()


async def full_disk(people: People, pid: int) -> None:
    """Let the server's files grow no more, then again."""
    alice, bob, match = await people.pair()
    await say(alice, match, "before")
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    with pytest.raises(Refused) as refused:
        await alice.send(match, "after", "c2")
    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert refused.value.error.retry_after_ms
    assert refused.value.error.stored in ("no", "unknown")
    assert (await people.api.exchange("GET", "/readyz")).status == 503
    assert texts_of((await bob.history(match)).messages) == ["before"]
    newcomer = await people.come(name_of(bob))
    assert newcomer.welcome is not None
    assert newcomer.welcome.matches[0].unread == 1
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    sent = await alice.send(match, "after", "c2")
    assert (await alice.send(match, "after", "c2")).seq == sent.seq == 3
    assert texts_of(await came(bob, Message)) == ["before", "after"]


async def test_a_client_that_never_hears_of_the_end_is_told_by_the_socket(tmp_path: Path) -> None:
    """After kill -9 requests under way fail as `Closed`, without a close code."""
    async with node_in(tmp_path) as node, people_on(node.server) as people:
        alice, _, _ = await people.pair()
        await node.kill()
        with pytest.raises(Closed):
            await alice.ping()
        assert await alice.closed() == 1006
