"""Real media between two people of the load tester (aiortc), through a relay, on the embedded server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from loadtest.media import Caller
from protocol.calls import CallEntry, CallOutcome, CallReason
from tests.support.people import People, fresh, people_on, unlimited_server
from tests.support.private_coturn import PrivateCoturn, private_coturn
from tests.support.private_server import PrivateServer

FRAMES = 10
WITHIN_S = 120


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCoturn]:
    """Run a TURN server."""
    with private_coturn(tmp_path_factory.mktemp("coturn")) as coturn:
        yield coturn


@pytest.fixture(scope="module")
def server(relay: PrivateCoturn) -> Iterator[PrivateServer]:
    """Run a server that hands it out."""
    with unlimited_server(None, **relay.settings) as running:
        yield running


@asynccontextmanager
async def callers(people: People, *names: str) -> AsyncIterator[list[Caller]]:
    """Have people with cameras on the server, who take part until the block ends."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        found = []
        running = []
        for name in names:
            caller = Caller(await people.api.token(name), relay_only=True)
            await caller.connect(people.server.ws_url)
            stack.push_async_callback(caller.close)
            running.append(group.create_task(caller.run()))
            found.append(caller)
        yield found
        for task in running:
            task.cancel()


async def test_two_people_see_and_hear_each_other_through_a_relay(server: PrivateServer, relay: PrivateCoturn) -> None:
    """Ring, answer, sound and pictures both ways, hang up; the log has the length."""
    async with asyncio.timeout(WITHIN_S), people_on(server) as people:
        alice_name, bob_name = people.users("alice", "bob")
        match = await people.match(alice_name, bob_name)
        async with callers(people, alice_name, bob_name) as (alice, bob):
            await alice.call(match, fresh("start"))
            await bob.answer(fresh("accept"))
            for caller in (alice, bob):
                await caller.connected()
                (link,) = caller.links.values()
                await link.received(FRAMES)
                assert min(link.frames.values()) >= FRAMES
            await alice.hang_up()
            ended = await bob.ended
            assert (ended.reason, ended.by) == (CallReason.HANGUP, alice_name)
            entry = (await bob.client.history(match)).messages[0]
        assert isinstance(entry, CallEntry)
        assert entry.state is CallOutcome.COMPLETED
        assert entry.duration_ms == ended.duration_ms
        assert entry.duration_ms
    assert "ALLOCATE processed, success" in relay.output()


async def test_nobody_s_address_is_in_what_was_signalled(server: PrivateServer) -> None:
    """Who is relayed only shows the relay's address in the description that the other gets."""
    async with asyncio.timeout(WITHIN_S), people_on(server) as people:
        alice_name, bob_name = people.users("alice", "bob")
        match = await people.match(alice_name, bob_name)
        async with callers(people, alice_name, bob_name) as (alice, bob):
            await alice.call(match, fresh("start"))
            await bob.answer(fresh("accept"))
            for caller in (alice, bob):
                await caller.connected()
                (link,) = caller.links.values()
                lines = link.connection.remoteDescription.sdp.splitlines()
                candidates = [line for line in lines if line.startswith("a=candidate:")]
                assert candidates
                assert all(" typ relay" in line for line in candidates)
            await bob.hang_up()
            await alice.ended


async def test_three_people_are_connected_each_with_each(server: PrivateServer) -> None:
    """A mesh: whoever sat before makes the offer."""
    async with asyncio.timeout(WITHIN_S), people_on(server) as people:
        names = people.users("alice", "bob", "carol")
        match = await people.match(*names)
        async with callers(people, *names) as (alice, bob, carol):
            await alice.call(match, fresh("start"))
            for caller in (bob, carol):
                await caller.answer(fresh("accept"))
            for caller in (alice, bob, carol):
                while len(caller.links) < 2:
                    caller.met.clear()
                    await caller.met.wait()
                await caller.connected()
            for caller in (alice, bob, carol):
                await caller.hang_up()
                await caller.ended
