"""For everybody: by keyboard alone, on a phone, in the dark, with a screen reader."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import PHONE, NewPerson, NewProfile
from tests.support.private_server import PrivateServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What a screen reader would call "button" and no more.
NAMELESS = re.compile(r"^\s*- (button|textbox|link|img|dialog|navigation|region)(:| \[|$)", re.MULTILINE)


async def background(page: Page, selector: str) -> int:
    """Return how light an element's background is, from 0 to 255."""
    colour = await page.locator(selector).evaluate("element => getComputedStyle(element).backgroundColor")
    return max(int(number) for number in re.findall(r"\d+", colour)[:3])


async def test_everything_can_be_done_with_the_keyboard(new_person: NewPerson, dev_server: PrivateServer) -> None:
    """Sign in, start two matches, write, go through the list, and back; the focus is always to be seen."""
    ada = await new_person("Ada")
    keyboard = ada.page.keyboard
    await ada.page.get_by_role("button", name="Sign out").press("Enter")
    await keyboard.type("Ada")
    await keyboard.press("Enter")
    for name in ("Bo", "Cy"):
        await ada.page.get_by_role("button", name="New match", exact=True).focus()
        await keyboard.press("Enter")
        await keyboard.type(name)
        await keyboard.press("Enter")
        await expect(ada.page.get_by_role("textbox", name=f"Message to {name}")).to_be_focused()
        await keyboard.type("Hello")
        await keyboard.press("Shift+Enter")
        await keyboard.type(name)
        await keyboard.press("Enter")
        await ada.reads(f"Hello\n{name}")
    await keyboard.press("Escape")
    await expect(ada.listed("Cy")).to_be_focused()
    await keyboard.press("ArrowDown")
    await expect(ada.listed("Bo")).to_be_focused()
    outline = await ada.listed("Bo").evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    await keyboard.press("Home")
    await expect(ada.listed("Cy")).to_be_focused()
    await keyboard.press("End")
    await keyboard.press("Enter")
    await expect(ada.page.get_by_role("textbox", name="Message to Bo")).to_be_focused()
    await keyboard.press("Shift+Tab")
    await expect(ada.page.get_by_role("region", name="Messages with Bo")).to_be_focused()


async def test_the_dialog_keeps_and_gives_back_the_focus(new_person: NewPerson) -> None:
    """Escape closes it and nothing else."""
    ada = await new_person("Ada")
    await ada.start_match("Bo")
    button = ada.page.get_by_role("button", name="New match", exact=True)
    await button.click()
    await expect(ada.page.get_by_role("dialog", name="New match")).to_be_visible()
    await ada.page.keyboard.type("Ada")
    await ada.page.keyboard.press("Enter")
    await expect(ada.page.get_by_role("alert")).to_have_text("That is you. Who else?")
    await ada.page.keyboard.press("Escape")
    await expect(ada.page.get_by_role("dialog")).to_have_count(0)
    await expect(button).to_be_focused()
    await expect(ada.field).to_be_visible()


async def test_a_phone_shows_one_thing_at_a_time(new_person: NewPerson, new_profile: NewProfile) -> None:
    """List, conversation, and back by the button of the page and by that of the browser."""
    ada = await new_person("Ada", await new_profile(size=PHONE))
    bo = await new_person("Bo")
    await bo.start_match("Ada")
    await bo.say("Hello " * 40)
    await expect(ada.field).to_be_hidden()
    await ada.open("Bo")
    await expect(ada.page.get_by_role("navigation")).to_be_hidden()
    overflow = await ada.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0
    await ada.page.get_by_role("button", name="Back to the list").click()
    await expect(ada.listed("Bo")).to_be_visible()
    await expect(ada.field).to_be_hidden()
    await ada.open("Bo")
    await ada.page.go_back()
    await expect(ada.listed("Bo")).to_be_visible()


async def test_dark_and_light_follow_the_system_or_the_choice(new_person: NewPerson, new_profile: NewProfile) -> None:
    """The choice is kept for the next visit."""
    ada = await new_person("Ada", await new_profile(dark=True))
    assert await background(ada.page, ".sidebar") < 60
    await ada.page.emulate_media(color_scheme="light")
    assert await background(ada.page, ".sidebar") > 200
    for label in ("Theme: as the system", "Theme: light"):
        await ada.page.get_by_role("button", name=label).click()
    await ada.page.reload()
    await expect(ada.page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert await background(ada.page, ".sidebar") < 60


async def test_everything_has_a_name(new_person: NewPerson) -> None:
    """No control and no picture is nameless, on any screen; new messages of others are spoken."""
    ada, bo = await new_person("Ada"), await new_person("Bo")
    assert NAMELESS.findall(await bo.page.locator("body").aria_snapshot()) == []
    await ada.start_match("Bo")
    await ada.say("Hello")
    await bo.open("Ada")
    await bo.say("Good morning")
    await expect(ada.page.locator("[aria-live=polite]")).to_have_text("Bo: Good morning")
    snapshot = await ada.page.locator("body").aria_snapshot()
    assert NAMELESS.findall(snapshot) == []
    assert 'img "Read"' in snapshot
    await ada.page.get_by_role("button", name="New match", exact=True).click()
    assert NAMELESS.findall(await ada.page.locator("body").aria_snapshot()) == []
