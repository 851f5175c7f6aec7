"""Long conversations: reading upwards, and what happens below meanwhile."""

from collections.abc import Sequence
from typing import Final

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewPerson
from tests.support.private_server import PrivateServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

BACKEND = {"Authorization": "Bearer dev"}


async def post_all(server: PrivateServer, match: str, texts: Sequence[str], sender: str = "Bo") -> None:
    """Post messages as the app's backend does, one after the other."""
    async with httpx.AsyncClient(base_url=server.http_url, headers=BACKEND) as http:
        await http.put(f"/v1/matches/{match}", json={"members": ["Ada", "Bo"]})
        for number, text in enumerate(texts):
            message = {"sender": sender, "client_id": f"{match}-{sender}-{number}", "body": {"text": text}}
            answer = await http.post(f"/v1/matches/{match}/messages", json=message)
            assert answer.status_code == 201, answer.text


# To the top and, in one go, until older messages are above: how far from the top the reader is then. Not by a key, which a
# slow browser might act on after they came.
GO_UP: Final = """async scroller => {
  const rows = () => scroller.querySelectorAll(".row .text").length;
  const before = rows();
  const patience = performance.now() + 30000;
  scroller.scrollTop = 0;
  while (rows() === before && performance.now() < patience) await new Promise(requestAnimationFrame);
  return scroller.scrollTop;
}"""


async def test_300_messages_are_read_up_to_the_first(new_person: NewPerson, dev_server: PrivateServer) -> None:
    """Page by page as the reader scrolls, complete and in order, without moving what is being read."""
    texts = [f"Message {number}" for number in range(1, 301)]
    await post_all(dev_server, "long", texts)
    ada = await new_person("Ada")
    await expect(ada.page).to_have_title("(300) Duologue")
    await ada.open("Bo")
    await expect(ada.page.get_by_text("New messages", exact=True)).to_be_attached()
    scroller = ada.page.get_by_role("region", name="Messages with Bo")
    await scroller.focus()
    beginning = ada.page.get_by_text("This is the beginning.")
    while not await beginning.count():
        # What was at the top is still in sight: the reader is not thrown to the new top.
        assert await scroller.evaluate(GO_UP) > 0
    await ada.reads(*texts)
    await ada.page.keyboard.press("Home")
    await expect(beginning).to_be_in_viewport(ratio=1)
    await ada.page.get_by_role("button", name="Go to the end").click()
    await expect(ada.row("Message 300")).to_be_in_viewport()
    await expect(ada.page).to_have_title("Duologue")


async def test_a_reader_of_old_messages_is_told_of_new_ones(new_person: NewPerson, dev_server: PrivateServer) -> None:
    """The place is kept; a button counts what came below."""
    await post_all(dev_server, "long", [f"Message {number}" for number in range(1, 61)])
    ada = await new_person("Ada")
    await ada.open("Bo")
    scroller = ada.page.get_by_role("region", name="Messages with Bo")
    await expect(ada.row("Message 60")).to_be_attached()
    await scroller.evaluate("element => { element.scrollTop = element.scrollHeight / 3 }")
    await expect(ada.page.get_by_role("button", name="Go to the end")).to_be_visible()
    await post_all(dev_server, "long", ["News", "More news"], sender="Ada")  # from another device of hers
    async with httpx.AsyncClient(base_url=dev_server.http_url, headers=BACKEND) as http:
        for number in range(2):
            message = {"sender": "Bo", "client_id": f"late-{number}", "body": {"text": f"Late {number}"}}
            await http.post("/v1/matches/long/messages", json=message)
    await ada.page.get_by_role("button", name="2 new messages").click()
    await expect(ada.row("Late 1")).to_be_in_viewport()
    await expect(ada.page).to_have_title("Duologue")


async def test_a_line_tells_where_the_new_messages_begin(new_person: NewPerson, dev_server: PrivateServer) -> None:
    """After the last one that was read, however many pages had to be read to find it."""
    await post_all(dev_server, "long", [f"Message {number}" for number in range(1, 11)])
    await post_all(dev_server, "long", ["My answer"], sender="Ada")
    async with httpx.AsyncClient(base_url=dev_server.http_url, headers=BACKEND) as http:
        for number in range(70):
            message = {"sender": "Bo", "client_id": f"new-{number}", "body": {"text": f"New {number}"}}
            await http.post("/v1/matches/long/messages", json=message)
    ada = await new_person("Ada")
    await ada.open("Bo")
    marked = ada.page.locator(".row:has(.new-line)")
    await expect(marked).to_have_count(1)
    await expect(marked.locator(".text")).to_have_text("New 0")
    await expect(marked).to_be_in_viewport()
    await expect(ada.page).to_have_title("(70) Duologue")
    await ada.page.get_by_role("button", name="Go to the end").click()
    await expect(ada.page).to_have_title("Duologue")
