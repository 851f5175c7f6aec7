"""The connection below the page: tokens that end, a server that falls silent."""

import asyncio
import json
import signal

import pytest
from playwright.async_api import Route, WebSocket, WebSocketRoute, expect

from tests.browser.conftest import NewPerson
from tests.support.private_server import PrivateServer, private_server

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_token_is_renewed_before_it_ends_and_the_connection_stays(new_person: NewPerson) -> None:
    """Tokens of twelve seconds for more than twelve seconds, one connection, nothing to see."""
    with private_server(TOKEN_WARNING_S="10.8", TOKEN_GRACE_S="0") as server:
        ada = await new_person("Ada", url=server.http_url)
        await ada.page.reload()
        sockets: list[WebSocket] = []
        renewed = asyncio.Semaphore(0)

        def opened(socket: WebSocket) -> None:
            sockets.append(socket)

        async def short_lived(route: Route) -> None:
            asked = json.loads(route.request.post_data or "{}")
            renewed.release()
            await route.continue_(post_data=json.dumps({**asked, "ttl_s": 12}))

        await ada.page.route("**/v1/tokens", short_lived)
        ada.page.on("websocket", opened)
        ada.page.on("framenavigated", lambda _: sockets.clear())  # the page before it may just have connected
        await ada.page.reload()
        for _ in range(12):  # the first is asked for on entering; then one each 1.2 s
            await asyncio.wait_for(renewed.acquire(), 60)
        await expect(ada.banner).to_be_hidden()
        assert len(sockets) == 1
        assert not sockets[0].is_closed()


async def test_a_silent_server_is_noticed_and_found_again(new_person: NewPerson) -> None:
    """The browser sees no lost connection when a server freezes; the client asks and gets no answer."""
    with private_server(PING_AFTER_S="0.5", PING_TIMEOUT_S="0.5") as server:
        ada, bo = await new_person("Ada", url=server.http_url), await new_person("Bo", url=server.http_url)
        await ada.start_match("Bo")
        await bo.open("Ada")
        server.program.process.send_signal(signal.SIGSTOP)
        # Connecting again waits for the frozen server, so the banner stays.
        await expect(ada.banner).to_be_visible()
        await ada.say("Still there?")
        await ada.sees_ticks("Still there?", "Waiting to be sent")
        server.program.process.send_signal(signal.SIGCONT)
        await bo.reads("Still there?")
        await expect(ada.banner).to_be_hidden()
        await ada.sees_ticks("Still there?", "Read")


async def test_a_connection_that_is_closed_for_good_says_why_and_what_to_do(
    new_person: NewPerson, dev_server: PrivateServer
) -> None:
    """Close codes from 4500 on: the page does not come back by itself, people decide."""
    ada = await new_person("Ada")
    routes: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        route.connect_to_server()
        routes.append(route)

    await ada.page.route_web_socket("**/ws", through)
    await ada.page.reload()
    await expect(ada.page.get_by_text("No conversations yet.")).to_be_visible()
    await ada.start_match("Bo")
    await routes[-1].close(code=4500, reason="replaced")
    await expect(ada.banner).to_contain_text("This conversation was continued in another tab.")
    await ada.say("Here again")
    await ada.page.get_by_role("button", name="Use it here").click()
    await expect(ada.banner).to_be_hidden()
    await ada.sees_ticks("Here again", "Sent")
    await routes[-1].close(code=4501, reason="token")
    await ada.page.get_by_role("button", name="Sign in again").click()
    await expect(ada.page.get_by_role("alert")).to_have_text("Your session has ended.")
    await ada.sign_in(dev_server.http_url)
    await ada.open("Bo")
    await ada.reads("Here again")
