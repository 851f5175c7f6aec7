"""What people see of each other: status and words, nothing of a page that nobody looks at, nothing across a block."""

import re

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewPerson
from tests.browser.people import Person
from tests.support.private_server import PrivateServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Headless browsers show every page all the time.
VISIBILITY = """state => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
    document.dispatchEvent(new Event('visibilitychange'));
}"""


async def set_status(person: Person, label: str, words: str) -> None:
    """Choose a status and say something with it."""
    await person.page.get_by_role("button", name="Change your status").click()
    await person.page.get_by_role("radio", name=label, exact=True).check()
    await person.page.get_by_label("In your own words").fill(words)
    await person.page.keyboard.press("Enter")
    await expect(person.page.get_by_role("dialog")).to_have_count(0)


async def test_status_words_and_blocks_between_two_people(new_person: NewPerson, dev_server: PrivateServer) -> None:
    """One sets a status, looks away, blocks the other and takes it back, on two devices; the other sees just what they may."""
    ada, bo = await new_person("Ada"), await new_person("Bo")
    await ada.start_match("Bo")
    await bo.open("Ada")
    seen_by_ada, seen_by_bo = ada.page.locator(".conversation .presence"), bo.page.locator(".conversation .presence")

    await set_status(bo, "Do not disturb", "In an exam")
    await expect(seen_by_ada).to_have_text("Do not disturb · In an exam")
    await expect(ada.listed("Bo")).to_have_accessible_name(re.compile("Do not disturb · In an exam"))

    # Nobody looks at Ada's page: messages come, how others are waits until somebody does.
    await ada.page.evaluate(VISIBILITY, "hidden")
    await ada.say("Good luck")  # What came before it on her connection has come, too.
    await bo.reads("Good luck")
    await set_status(bo, "Online", "Done!")
    await bo.say("It went well")
    await ada.reads("Good luck", "It went well")
    await expect(seen_by_ada).to_have_text("Do not disturb · In an exam")
    await ada.page.evaluate(VISIBILITY, "visible")
    await expect(seen_by_ada).to_have_text("Online · Done!")

    # Blocked with the keyboard: open the menu, down to the second line, away from "Cancel" to the grave one.
    more = ada.page.get_by_role("button", name="More about this conversation")
    await more.press("Enter")
    await expect(ada.page.get_by_role("menuitemcheckbox", name="Read privately")).to_be_focused()
    await ada.page.keyboard.press("ArrowDown")
    await ada.page.keyboard.press("Enter")
    await expect(ada.page.get_by_role("button", name="Cancel")).to_be_focused()
    await ada.page.get_by_role("button", name="Block Bo").press("Enter")
    await expect(ada.page.get_by_text("You have blocked Bo.")).to_be_visible()
    await expect(ada.field).to_be_hidden()
    await expect(ada.page.get_by_role("button", name="Voice call")).to_be_hidden()
    await expect(seen_by_ada).to_have_text("Blocked")
    await bo.say("Are you there?")
    await expect(bo.page.get_by_text("This message cannot be delivered.")).to_be_visible()
    await expect(seen_by_bo).to_have_text("")

    # Taken back and set again from elsewhere: the keyboard stays in the place of the field.
    laptop = await new_person("Ada")
    await ada.page.get_by_role("button", name="Unblock Bo").focus()
    await laptop.page.get_by_role("button", name="Change your status").press("Enter")
    await laptop.page.get_by_role("button", name="Unblock Bo").press("Enter")
    await expect(laptop.page.get_by_role("heading", name="Your status")).to_be_focused()
    await expect(ada.field).to_be_focused()
    async with httpx.AsyncClient(base_url=dev_server.http_url, headers={"Authorization": "Bearer dev"}) as http:
        (await http.put("/v1/users/Ada/blocks/Bo")).raise_for_status()
    await expect(laptop.page.get_by_role("button", name="Unblock Bo")).to_be_visible()
    await expect(ada.page.get_by_role("button", name="Unblock Bo")).to_be_focused()

    await ada.page.keyboard.press("Enter")
    await expect(ada.field).to_be_focused()
    await expect(seen_by_ada).to_have_text("Online · Done!")
    await bo.page.get_by_role("button", name="Try again").click()
    await ada.reads("Good luck", "It went well", "Are you there?")
