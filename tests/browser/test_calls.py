"""Two people see each other through a relay and nothing else, whatever happens on the way: Debian's coturn, real media."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.callers import PATIENCE_MS, Caller, NewCaller, meet, talk
from tests.browser.conftest import PHONE
from tests.support.private_coturn import PrivateCoturn, private_coturn
from tests.support.private_server import PrivateServer, private_server
from tests.support.programs import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Many calls of few people in a short time.
OFTEN = {"CALL_STARTS_PER_MIN": "1000", "CALL_UNANSWERED_MAX": "1000", "CALL_ICE_PER_MIN": "1000"}
REFUSED = """
navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("not allowed", "NotAllowedError"));
"""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCoturn]:
    """Run the relay that all calls here go through."""
    with private_coturn(tmp_path_factory.mktemp("relay")) as relay:
        yield relay


@pytest.fixture(scope="module")
def dev_server(relay: PrivateCoturn) -> Iterator[PrivateServer]:
    """Run a server whose calls never go directly."""
    with private_server(None, port=None, dev=True, CALL_RELAY_ONLY="true", **relay.settings, **OFTEN) as server:
        yield server


async def test_a_call_from_its_ring_to_its_line_in_the_log(new_caller: NewCaller) -> None:
    """Ring on two devices, answer on one; moving pictures both ways over the relay; mute; both share at once; hang up."""
    ada, bo = await new_caller("Ada 1"), await new_caller("Bo 1", size=PHONE)
    tablet = await new_caller("Bo 1")
    await meet(ada, bo)
    await ada.press("Video call")
    for device in (bo, tablet):
        await expect(device.sheet).to_contain_text("Ada 1 is calling")
    await expect(ada.status).to_have_text("Ringing…")
    await expect(bo.page).to_have_title("Ada 1 is calling…")
    await bo.press("Accept with video")
    await expect(tablet.sheet).to_have_count(0)
    await expect(tablet.page.get_by_role("alert").filter(has_text="Answered on another device.")).to_be_visible()
    for caller in (ada, bo):
        await caller.sees_moving_pictures()
        assert await caller.routes() == [["relay", "relay"]]
    await ada.press("Mute")
    await expect(bo.tile("Ada 1").get_by_role("img", name="Microphone off")).to_be_visible()
    await ada.press("Unmute")
    await expect(bo.tile("Ada 1").get_by_role("img", name="Microphone off")).to_be_hidden()
    await asyncio.gather(*(caller.press("Share screen") for caller in (ada, bo)))
    for caller, other in ((ada, "Bo 1"), (bo, "Ada 1")):
        await expect(caller.tile(f"{other}'s screen")).to_be_visible()
        await caller.sees_moving_pictures()
    words = [await shown_words(caller) for caller in (ada, bo)]
    assert words[0] == words[1]
    assert len(words[0]) == 8
    await bo.press("Hang up")
    for caller in (ada, bo):
        await expect(caller.view).to_contain_text("Call ended")
        await caller.press("Close")
        await expect(caller.entries).to_have_text([re.compile(r"^Video call, 0:\d\d$")])
    await ada.press("Voice call")  # the line of the last call covers nothing
    await expect(bo.sheet).to_be_visible()
    await ada.press("Hang up")
    await tablet.person.open("Ada 1")
    await expect(tablet.entries).to_have_text([re.compile(r"^Video call, 0:\d\d$"), "Missed voice call"])


async def shown_words(caller: Caller) -> list[str]:
    """Ask for the words to compare."""
    await caller.press("Compare words")
    await expect(caller.view.locator(".call-words li")).to_have_count(8)
    words = await caller.view.locator(".call-words li").all_inner_texts()
    await caller.view.locator(".call-words").get_by_role("button", name="Close").click()
    return words


async def test_a_lost_socket_is_not_a_lost_call(new_caller: NewCaller) -> None:
    """The picture goes on while the connection to the server is away; what was missed is made up for; then a restart."""
    ada, bo = await new_caller("Ada 2"), await new_caller("Bo 2")
    await meet(ada, bo)
    await talk(ada, bo)
    before = await ada.usernames()
    await asyncio.gather(*(caller.cut_socket() for caller in (ada, bo)))
    await ada.press("Share screen")
    await expect(bo.tile("Ada 2's screen")).to_be_visible()
    for caller in (ada, bo):
        await caller.sees_moving_pictures()
    assert await ada.usernames() == before
    await ada.press("Hang up")
    await expect(bo.view).to_contain_text("Call ended")


async def test_a_relay_that_dies_is_gone_around_with_new_credentials(new_caller: NewCaller, tmp_path: Path) -> None:
    """Its allocations are gone, the connection breaks, and is made anew through the one that comes after it."""
    with ExitStack() as stack:
        relay = stack.enter_context(private_coturn(tmp_path))
        server = stack.enter_context(
            private_server(None, port=None, dev=True, CALL_RELAY_ONLY="true", **relay.settings, **OFTEN)
        )
        ada, bo = await new_caller("Ada", url=server.http_url), await new_caller("Bo", url=server.http_url)
        await meet(ada, bo)
        await talk(ada, bo)
        before = await ada.usernames()
        relay.stop()
        stack.enter_context(private_coturn(tmp_path, port=relay.port))
        await expect(ada.tile("Bo").get_by_text("Reconnecting…")).to_be_visible(timeout=PATIENCE_MS)
        await expect(ada.tile("Bo").get_by_text("Reconnecting…")).to_be_hidden(timeout=PATIENCE_MS)
        for caller in (ada, bo):
            await caller.sees_moving_pictures()
            assert await caller.routes() == [["relay", "relay"]]
        assert await ada.usernames() != before


async def test_nobody_answers_somebody_declines_and_one_calls_back(new_caller: NewCaller) -> None:
    """Each leaves its line, as each side sees it; the line calls back."""
    ada, bo = await new_caller("Ada 4"), await new_caller("Bo 4")
    await meet(ada, bo)
    await ada.press("Voice call")
    await bo.press("Decline")
    await expect(ada.view).to_contain_text("Call declined")
    await ada.view.get_by_role("button", name="Call again").click()
    await expect(bo.sheet).to_be_visible()
    await ada.press("Hang up")
    await expect(bo.sheet).to_have_count(0)
    await expect(bo.entries).to_have_text(["Voice call declined", "Missed voice call"])
    await expect(ada.entries).to_have_text(["Voice call declined", "Voice call, no answer"])
    await bo.page.get_by_role("button", name="Call back").last.click()
    await ada.press("Accept")
    await expect(bo.view.get_by_role("timer")).not_to_be_empty(timeout=PATIENCE_MS)
    assert await bo.routes() == [["relay", "relay"]]


async def test_who_has_no_devices_can_take_part_and_is_told_what_to_do(new_caller: NewCaller) -> None:
    """Permission is refused: the call goes on, one way."""
    ada, bo = await new_caller("Ada 5"), await new_caller("Bo 5", script=REFUSED)
    await meet(ada, bo)
    await ada.press("Video call")
    await bo.press("Accept with video")
    await bo.sees_moving_pictures()
    await expect(bo.view.get_by_role("alert")).to_contain_text("Your microphone and camera are blocked.")
    await expect(ada.tile("Bo 5").get_by_role("img", name="Microphone off")).to_be_visible()


async def test_a_group_sees_each_other(new_caller: NewCaller) -> None:
    """Three people, three connections; who leaves leaves the others."""
    ada, bo, cy = [await new_caller(name) for name in ("Ada 6", "Bo 6", "Cy 6")]
    await ada.person.start_match("Bo 6, Cy 6")
    await ada.press("Video call")
    for caller in (bo, cy):
        await caller.press("Accept with video")
    for caller in (ada, bo, cy):
        await caller.sees_moving_pictures(2)
    await ada.press("Hang up")
    await expect(bo.tile("Ada 6")).to_have_count(0)
    await bo.sees_moving_pictures()
    await bo.press("Hang up")
    await expect(cy.view).to_contain_text(re.compile("Call ended|Waiting"))


async def test_the_test_before_a_call_tells_what_works(new_caller: NewCaller) -> None:
    """Devices, each relay, and a loop through it."""
    ada = await new_caller("Ada 7")
    await ada.press("Test camera, sound and connection")
    dialog = ada.page.get_by_role("dialog")
    await expect(dialog.get_by_role("status")).to_have_text("Ready for calls.", timeout=PATIENCE_MS)
    for found in ("The microphone works", "The camera works", "transport=udp answers in", "transport=tcp answers in"):
        await expect(dialog.get_by_text(found)).to_be_visible()
    await expect(dialog.get_by_text("Through the relay:")).to_be_visible()


async def test_a_relay_that_refuses_is_told_at_once(new_caller: NewCaller, relay: PrivateCoturn) -> None:
    """A wrong secret gives no candidate and, from the browser, no failure either: the page says it."""
    wrong = relay.settings | {"TURN_SECRETS": "not-the-secret-of-the-relay"}
    with private_server(None, port=None, dev=True, CALL_RELAY_ONLY="true", **wrong, **OFTEN) as server:
        ada, bo = await new_caller("Ada", url=server.http_url), await new_caller("Bo", url=server.http_url)
        await meet(ada, bo)
        await ada.press("Voice call")
        await bo.press("Accept")
        for caller in (ada, bo):
            await expect(caller.view.get_by_role("alert")).to_contain_text("The relay refused the call")
        await ada.press("Hang up")
        for caller in (ada, bo):
            await caller.press("Close")
            await expect(caller.entries).to_have_text(["Voice call, could not connect"])


async def test_a_dead_relay_ends_the_call_in_time(new_caller: NewCaller) -> None:
    """Browsers take 40 s to say so; the connect timer does not."""
    nowhere = {"TURN_SERVER_URL": f"turn:127.0.0.1:{free_port()}?transport=udp", "TURN_SECRETS": "nobody-listens-there"}
    with private_server(
        None, port=None, dev=True, CALL_RELAY_ONLY="true", CALL_CONNECT_S="2", **nowhere, **OFTEN
    ) as server:
        ada, bo = await new_caller("Ada", url=server.http_url), await new_caller("Bo", url=server.http_url)
        await meet(ada, bo)
        await ada.press("Voice call")
        await bo.press("Accept")
        for caller in (ada, bo):
            await expect(caller.view).to_contain_text("Could not connect")
