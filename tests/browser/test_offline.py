"""What is written is not lost: not by a dead server, not by a reload, and it is not doubled either."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewPerson
from tests.browser.people import Person
from tests.support.private_server import private_server

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def cannot_come_back(page: Page) -> None:
    """Cut the page from its tokens, so that it cannot connect again, though it can be loaded."""
    await page.route("**/v1/tokens", lambda route: route.abort())


async def may_come_back(person: Person) -> None:
    """Undo `cannot_come_back`."""
    await person.page.unroute("**/v1/tokens")
    await person.network_is_back()


async def test_a_message_written_offline_survives_a_reload_and_arrives_once(
    new_person: NewPerson, tmp_path: Path
) -> None:
    """The server ends and starts again on its data; the page is reloaded before it has a connection."""
    data = tmp_path / "chat.sqlite3"
    with private_server(data) as first:
        ada, bo = await new_person("Ada", url=first.http_url), await new_person("Bo", url=first.http_url)
        await ada.start_match("Bo")
        await ada.say("before")
        await bo.open("Ada")
        await bo.reads("before")
        await cannot_come_back(ada.page)
    await expect(ada.banner).to_contain_text("No connection")
    await ada.say("while away")
    await ada.say("and one more")
    await ada.sees_ticks("while away", "Waiting to be sent")
    with private_server(data, port=first.port):
        await ada.page.reload()
        await ada.reads("before", "while away", "and one more")
        await ada.sees_ticks("and one more", "Waiting to be sent")
        await bo.network_is_back()
        await bo.say("I am back")
        await bo.reads("before", "I am back")
        await may_come_back(ada)
        await bo.reads("before", "I am back", "while away", "and one more")
        await expect(ada.banner).to_be_hidden()
        await ada.sees_ticks("and one more", "Read")
        await ada.page.reload()
        await ada.reads("before", "I am back", "while away", "and one more")


async def test_the_banner_counts_down_and_the_page_comes_back_by_itself(new_person: NewPerson, tmp_path: Path) -> None:
    """Nobody presses anything: what was missed is there."""
    data = tmp_path / "chat.sqlite3"
    with private_server(data) as first:
        ada, bo = await new_person("Ada", url=first.http_url), await new_person("Bo", url=first.http_url)
        await ada.start_match("Bo")
        await bo.open("Ada")
    await expect(ada.banner).to_contain_text("No connection")
    await expect(bo.banner).to_contain_text("No connection")
    await bo.say("Anybody?")
    with private_server(data, port=first.port):
        await ada.reads("Anybody?")
        await expect(ada.banner).to_be_hidden()
        await expect(ada.page.get_by_text("Online", exact=True)).to_be_visible()


async def test_a_message_that_can_never_be_sent_says_so_and_can_be_discarded(
    new_person: NewPerson, tmp_path: Path
) -> None:
    """Ada is taken out of the match while she is away."""
    data = tmp_path / "chat.sqlite3"
    with private_server(data) as server:
        ada = await new_person("Ada", url=server.http_url)
        await ada.start_match("Bo, Cy")
        # The answer to the sending of it is made up here: in earnest she would also be told to leave.
        await ada.page.evaluate(
            """() => {
                const send = WebSocket.prototype.send;
                WebSocket.prototype.send = function (text) {
                    const { type, id } = JSON.parse(text);
                    if (type !== "message.send") return send.call(this, text);
                    const data = JSON.stringify({ type: "error", id, code: "not_member", message: "no", stored: "no" });
                    this.onmessage(new MessageEvent("message", { data }));
                };
            }"""
        )
        await ada.say("too late")
        await expect(ada.page.get_by_text("You are no longer in this match.")).to_be_visible()
        await ada.sees_ticks("too late", "Not sent")
        await ada.page.get_by_role("button", name="Try again").click()
        await ada.sees_ticks("too late", "Not sent")
        await ada.page.get_by_role("button", name="Discard").click()
        await expect(ada.row("too late")).to_have_count(0)
        await ada.page.reload()
        await expect(ada.field).to_be_visible()
        await expect(ada.row("too late")).to_have_count(0)
