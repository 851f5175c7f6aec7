"""A browser and a program that has a camera, too (aiortc in the load tester): each calls the other through a relay."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import expect

import loadtest.media
from loadtest.api import Api
from protocol.calls import CallReason
from tests.browser.callers import SMALL, WATCHED, Caller
from tests.browser.conftest import NewPerson, NewProfile
from tests.support.people import fresh, unlimited_server
from tests.support.private_coturn import PrivateCoturn, private_coturn
from tests.support.private_server import PrivateServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

FRAMES = 10
WITHIN_S = 150


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCoturn]:
    """Run a TURN server."""
    with private_coturn(tmp_path_factory.mktemp("relay")) as relay:
        yield relay


@pytest.fixture(scope="module")
def server(relay: PrivateCoturn) -> Iterator[PrivateServer]:
    """Run a server whose calls never go directly."""
    with unlimited_server(None, CALL_RELAY_ONLY="true", **relay.settings) as server:
        yield server


@asynccontextmanager
async def program_of(server: PrivateServer, user: str) -> AsyncIterator[loadtest.media.Caller]:
    """Have a program on the server that speaks for `user`."""
    api = Api(server.http_url, "dev")
    caller = loadtest.media.Caller(await api.token(user))
    api.close()
    await caller.connect(server.ws_url)
    running = asyncio.create_task(caller.run())
    try:
        yield caller
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await caller.close()


async def browser_of(new_person: NewPerson, new_profile: NewProfile, server: PrivateServer, name: str) -> Caller:
    """Bring somebody with a browser in."""
    profile = await new_profile()
    await profile.add_init_script(WATCHED + SMALL)
    return Caller(await new_person(name, profile, server.http_url))


async def test_a_browser_and_a_program_call_each_other(
    new_person: NewPerson, new_profile: NewProfile, server: PrivateServer
) -> None:
    """Moving pictures both ways, whoever called; whoever hangs up ends it for both."""
    browser = await browser_of(new_person, new_profile, server, "Ada M")
    async with asyncio.timeout(WITHIN_S):
        async with program_of(server, "Bo M") as program:
            await browser.person.start_match("Bo M")
            await browser.press("Video call")
            await program.answer(fresh("answer"))
            await both_see(browser, program)
            await program.hang_up()
            await expect(browser.view).to_contain_text("Call ended")
            await browser.press("Close")
        async with program_of(server, "Bo M") as program:
            (match,) = (await program.client.matches()).matches
            await program.call(match.match, fresh("start"))
            await browser.press("Accept with video")
            await both_see(browser, program)
            await browser.press("Hang up")
            assert (await program.ended).reason is CallReason.HANGUP


async def both_see(browser: Caller, program: loadtest.media.Caller) -> None:
    """Wait until each has decoded some of the other's pictures, which came through the relay."""
    await program.connected()
    (link,) = program.links.values()
    await link.received(FRAMES)
    await browser.sees_moving_pictures()
    assert await browser.routes() == [["relay", "relay"]]
