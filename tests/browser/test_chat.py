"""Two people at two browsers chat: the main job."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewPerson

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_match_appears_in_the_other_window_and_both_chat(new_person: NewPerson) -> None:
    """Nobody reloads: the match, the messages and the presence of the other come by themselves."""
    ada, bo = await new_person("Ada"), await new_person("Bo")
    await ada.start_match("Bo")
    await expect(bo.listed("Ada")).to_be_visible()
    await ada.say("Hello Bo!")
    await expect(bo.listed("Ada")).to_have_accessible_name(re.compile("1 unread"))
    await expect(bo.page).to_have_title("(1) Duologue")
    await bo.open("Ada")
    await bo.reads("Hello Bo!")
    await expect(bo.page).to_have_title("Duologue")
    await bo.say("Hello Ada!\nHow are you?")
    await ada.reads("Hello Bo!", "Hello Ada!\nHow are you?")
    await expect(ada.page.get_by_text("Online", exact=True)).to_be_visible()
    await expect(ada.page.get_by_text("You and Bo were matched")).to_be_visible()


async def test_ticks_go_from_sent_to_delivered_to_read(new_person: NewPerson) -> None:
    """Sent while the other is away, delivered when they come, read when they look."""
    ada = await new_person("Ada")
    await ada.start_match("Bo")
    await ada.say("Are you there?")
    await ada.sees_ticks("Are you there?", "Sent")
    bo = await new_person("Bo")
    await ada.sees_ticks("Are you there?", "Delivered")
    await bo.open("Ada")
    await ada.sees_ticks("Are you there?", "Read")


async def test_typing_is_seen_and_ends_with_the_message(new_person: NewPerson) -> None:
    """The other's writing shows in the conversation, and in the list."""
    ada, bo = await new_person("Ada"), await new_person("Bo")
    await ada.start_match("Bo")
    await bo.open("Ada")
    await bo.field.press_sequentially("Hm")
    await expect(ada.page.locator(".typing-slot").get_by_text("Bo is typing…")).to_be_visible()
    await expect(ada.listed("Bo")).to_have_accessible_name(re.compile("Bo is typing…"))
    await bo.field.press("Enter")
    await ada.reads("Hm")
    await expect(ada.page.locator(".typing-slot").get_by_text("Bo is typing…")).to_be_hidden()


async def test_markup_stays_text(new_person: NewPerson) -> None:
    """Neither in the conversation nor in the list nor in a name is anything but text made of what people write."""
    name = "<b>Ada</b>"
    ada, bo = await new_person(name), await new_person("Bo")
    attack = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    await ada.start_match("Bo")
    await ada.say(attack)
    await bo.open(name)
    await bo.reads(attack)
    await ada.reads(attack)
    for person in (ada, bo):
        assert await person.page.locator("img[src=x], .row script, nav b, header b").count() == 0
        assert await person.page.title() == "Duologue"


async def test_web_addresses_become_harmless_links(new_person: NewPerson) -> None:
    """Only http and https are links, which open elsewhere and tell nothing of us."""
    ada = await new_person("Ada")
    await ada.start_match("Bo")
    await ada.say("See https://example.org/a?b=1, not javascript:alert(1).")
    links = ada.page.locator(".row a")
    await expect(links).to_have_count(1)
    await expect(links).to_have_attribute("href", "https://example.org/a?b=1")
    await expect(links).to_have_attribute("rel", "noopener noreferrer nofollow")


async def test_three_people_are_a_group(new_person: NewPerson) -> None:
    """Messages of a group carry their sender; a message is read when all others have read it."""
    ada, bo, cy = await new_person("Ada"), await new_person("Bo"), await new_person("Cy")
    await ada.start_match("Bo, Cy")
    await ada.say("Hello both")
    await bo.open("Ada, Cy")
    await bo.reads("Hello both")
    await expect(bo.row("Hello both").get_by_text("Ada", exact=True)).to_be_visible()
    await ada.sees_ticks("Hello both", "Delivered")
    await cy.open("Ada, Bo")
    await ada.sees_ticks("Hello both", "Read")


async def test_two_windows_of_one_profile_are_two_people(new_person: NewPerson) -> None:
    """As the sign-in card suggests: chat with yourself."""
    ada = await new_person("Ada")
    bo = await new_person("Bo", ada.context)
    await ada.start_match("Bo")
    await ada.say("It is me")
    await bo.open("Ada")
    await bo.reads("It is me")
    await ada.page.reload()
    await ada.reads("It is me")
