"""One person, several devices and tabs."""

import re

import pytest
from playwright.async_api import BrowserContext, WebSocket, expect

from tests.browser.conftest import NewPerson, NewProfile
from tests.browser.people import Person

pytestmark = pytest.mark.asyncio(loop_scope="session")


def frames_of(profile: BrowserContext, kind: str) -> list[str]:
    """Collect what the pages of `profile` send that names `kind`, from now on."""
    frames: list[str] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", lambda frame: frames.append(str(frame)) if kind in str(frame) else None)

    profile.on("page", lambda page: page.on("websocket", listen))
    return frames


async def test_a_second_device_is_in_sync(new_person: NewPerson, new_profile: NewProfile) -> None:
    """What is there is watched with one request; what is sent, received and read on one device shows on the other."""
    ada, bo = await new_person("Ada"), await new_person("Bo")
    for names in ("Cy, Dora", "Bo"):
        await ada.start_match(names)
    profile = await new_profile()
    watches = frames_of(profile, "presence.watch")
    laptop = await new_person("Ada", profile)
    await laptop.open("Bo")
    await ada.say("From my phone")
    await laptop.reads("From my phone")
    assert len(watches) == 1
    await laptop.sees_ticks("From my phone", "Delivered")
    await ada.page.keyboard.press("Escape")
    await laptop.page.keyboard.press("Escape")
    await bo.open("Ada")
    await bo.say("Hello")
    await expect(ada.listed("Bo")).to_have_accessible_name(re.compile("1 unread"))
    await expect(laptop.listed("Bo")).to_have_accessible_name(re.compile("1 unread"))
    await ada.open("Bo")
    await expect(laptop.listed("Bo")).not_to_have_accessible_name(re.compile("unread"))
    await expect(laptop.page).to_have_title("Duologue")


async def test_two_tabs_with_the_same_name_share_what_is_unsent(new_person: NewPerson) -> None:
    """Each message of either tab arrives once."""
    ada = await new_person("Ada")
    other = await new_person("Ada", ada.context)
    bo = await new_person("Bo")
    await ada.start_match("Bo")
    await other.open("Bo")
    await bo.open("Ada")
    for number in range(4):
        await (ada if number % 2 else other).say(f"Number {number}")
        await expect(bo.texts).to_have_count(number + 1)
    texts = [f"Number {number}" for number in range(4)]
    for person in (ada, other, bo):
        await person.reads(*texts)
    await expect(ada.page.get_by_role("img", name="Waiting to be sent")).to_have_count(0)


async def test_a_duplicated_tab_does_not_throw_its_original_out(new_person: NewPerson) -> None:
    """`sessionStorage` is copied with the tab, the connection is not."""
    ada, bo = await new_person("Ada"), await new_person("Bo")
    await ada.start_match("Bo")
    async with ada.context.expect_page() as opened:
        await ada.page.evaluate("void open(location.href)")
    copy = Person("Ada", await opened.value)
    await expect(copy.field).to_be_visible()
    await bo.open("Ada")
    await bo.say("Both of you?")
    await copy.reads("Both of you?")
    await ada.reads("Both of you?")
    await expect(ada.banner).to_be_hidden()
    await copy.page.reload()
    await copy.reads("Both of you?")
    await expect(copy.banner).to_be_hidden()


async def test_signing_out_ends_it_for_this_tab_only(new_person: NewPerson) -> None:
    """The card is there again, and stays after a reload; the number on the app's picture is gone."""
    ada = await new_person("Ada")
    other = await new_person("Ada", ada.context)
    await ada.page.evaluate("navigator.clearAppBadge = async () => { window.badge = 'cleared'; }")
    await ada.page.get_by_role("button", name="Sign out").click()
    await expect(ada.page.get_by_label("Your name")).to_be_focused()
    assert await ada.page.evaluate("window.badge") == "cleared"
    await ada.page.reload()
    await expect(ada.page.get_by_label("Your name")).to_be_visible()
    await expect(other.page.get_by_role("heading", name="Chats")).to_be_visible()
