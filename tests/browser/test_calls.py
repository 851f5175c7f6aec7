"""People see each other through a relay and nothing else, whatever happens on the way: Debian's coturn, real media.

They keep their pages from test to test: to begin with one costs more than most calls.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.callers import PATIENCE_MS, Caller, NewCaller, meet, talk
from tests.browser.conftest import PHONE, callers_of, people_of, profiles_of
from tests.support.private_coturn import SECRET, PrivateCoturn, private_coturn
from tests.support.private_server import PrivateServer, private_server
from tests.support.programs import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Many calls of few people in a short time.
OFTEN = {"CALL_STARTS_PER_MIN": "1000", "CALL_UNANSWERED_MAX": "1000", "CALL_ICE_PER_MIN": "1000"}
OVER = re.compile(r"^V(ideo|oice) call, \d:\d\d$")


class MortalRelay:
    """The relay that all calls here go through, and those that take its place."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.coturn: PrivateCoturn = stack.enter_context(private_coturn(folder))

    def replace(self, secret: str = SECRET) -> None:
        """Kill it with all its allocations, and have another one there, which may know another secret."""
        self.coturn.stop()
        again = private_coturn(self._folder, port=self.coturn.port, secret=secret)
        self.coturn = self._stack.enter_context(again)


@dataclass(frozen=True)
class Cast:
    """Who calls whom: Bo has a phone and a tablet, and likes it dark."""

    ada: Caller
    bo: Caller
    tablet: Caller
    cy: Caller

    @property
    def all(self) -> tuple[Caller, ...]:
        return (self.ada, self.bo, self.tablet, self.cy)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalRelay]:
    """Run the relay."""
    with ExitStack() as stack:
        yield MortalRelay(tmp_path_factory.mktemp("relay"), stack)


@pytest.fixture(scope="module")
def dev_server(relay: MortalRelay) -> Iterator[PrivateServer]:
    """Run a server whose calls never go directly."""
    settings = {**relay.coturn.settings, **OFTEN}
    with private_server(None, port=None, dev=True, CALL_RELAY_ONLY="true", **settings) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def players(browser: Browser, dev_server: PrivateServer) -> AsyncIterator[Cast]:
    """Bring everybody in."""
    async with profiles_of(browser) as new_profile, people_of(new_profile, dev_server.http_url) as new_person:
        come = callers_of(new_person, new_profile)
        cast = Cast(await come("Ada"), await come("Bo", size=PHONE, dark=True), await come("Bo"), await come("Cy"))
        await meet(cast.ada, cast.bo)
        await meet(cast.ada, cast.cy)
        yield cast


@pytest_asyncio.fixture(loop_scope="session")
async def cast(players: Cast) -> Cast:
    """Return everybody, in no call, whatever the test before left: Ada and Bo look at their conversation."""
    for caller in players.all:
        await caller.leave()
    for caller in players.all:
        await caller.clear()
    await players.ada.person.open("Bo")
    return players


async def test_a_call_from_its_ring_to_its_line_in_the_log(cast: Cast) -> None:
    """Ring on two devices, answer on one; moving pictures both ways over the relay; mute; both share at once; words; move
    it to the other device; hang up.
    """
    ada, bo, tablet = cast.ada, cast.bo, cast.tablet
    await tablet.person.open("Ada")
    await ada.press("Video call")
    for device in (bo, tablet):
        await expect(device.sheet).to_contain_text("Ada is calling")
    await expect(ada.status).to_have_text("Ringing…")
    await expect(bo.page).to_have_title("Ada is calling…")
    await bo.press("Accept with video")
    await expect(tablet.sheet).to_have_count(0)
    await expect(tablet.page.get_by_role("alert").filter(has_text="Answered on another device.")).to_be_visible()
    await relayed(ada, bo)
    await ada.press("Mute")
    await expect(bo.tile("Ada").get_by_role("img", name="Microphone off")).to_be_visible()
    await ada.press("Unmute")
    await expect(bo.tile("Ada").get_by_role("img", name="Microphone off")).to_be_hidden()
    await asyncio.gather(*(caller.press("Share screen") for caller in (ada, bo)))
    for caller, other in ((ada, "Bo"), (bo, "Ada")):
        await expect(caller.tile(f"{other}'s screen")).to_be_visible()
        await caller.sees_moving_pictures()
    await ada.page.evaluate("stopSharing()")
    await expect(bo.tile("Ada's screen")).to_have_count(0)
    await expect(ada.control("Share screen")).to_be_visible()
    words = [await shown_words(caller) for caller in (ada, bo)]
    assert words[0] == words[1]
    assert len(words[0]) == 8
    await tablet.press("Continue here")
    await expect(bo.view).to_have_count(0)
    await relayed(ada, tablet)
    await tablet.press("Hang up")
    for caller in (ada, tablet):
        await expect(caller.view).to_contain_text("Call ended")
    await tablet.press("Close")
    stars = ada.view.get_by_role("button", name="4 stars")
    await stars.press("Enter")
    await expect(stars.and_(ada.view.get_by_role("button", pressed=True))).to_be_focused()
    await ada.page.keyboard.press("Escape")
    await expect(ada.view).to_have_count(0)
    for caller in (ada, bo, tablet):
        await expect(caller.entries.last).to_have_text(OVER)


async def relayed(*callers: Caller) -> None:
    """Everybody sees the other move, over the relay."""
    for caller in callers:
        await caller.sees_moving_pictures()
        assert await caller.routes() == [["relay", "relay"]]


async def shown_words(caller: Caller) -> list[str]:
    """Ask for the words to compare."""
    await caller.press("Compare words")
    await expect(caller.view.locator(".call-words li")).to_have_count(8)
    words = await caller.view.locator(".call-words li").all_inner_texts()
    await caller.view.get_by_role("group", name="Words to compare").get_by_role("button", name="Close").click()
    return words


async def test_neither_lost_sockets_nor_a_dead_relay_nor_other_devices_end_a_call(
    cast: Cast, relay: MortalRelay
) -> None:
    """The picture goes on while the server is away, what was missed is made up for; the way through a relay that died is
    made anew through the one that comes after it, with other credentials.
    """
    ada, bo = cast.ada, cast.bo
    await talk(ada, bo)
    before = await ada.usernames()
    await asyncio.gather(*(caller.cut_socket() for caller in (ada, bo)))
    await ada.press("Share screen")
    await expect(bo.tile("Ada's screen")).to_be_visible()
    for caller in (ada, bo):
        await caller.sees_moving_pictures()
    assert await ada.usernames() == before
    await ada.press("Devices")
    await ada.page.get_by_label("Microphone", exact=True).select_option(label="Fake Audio Input 2")
    await ada.page.get_by_label("Camera", exact=True).select_option(label="fake_device_0")
    await ada.press("Done")
    assert await ada.page.evaluate("until(() => sends('audio') === 'Fake Audio Input 2', 10000)")
    relay.replace()
    note = ada.tile("Bo").get_by_text("Reconnecting…")
    await expect(note).to_be_visible(timeout=PATIENCE_MS)
    await ada.has_other_credentials(before)
    await expect(note).to_be_hidden(timeout=PATIENCE_MS)
    await relayed(ada, bo)
    await ada.press("Hang up")
    await expect(bo.view).to_contain_text("Call ended")


async def test_nobody_answers_somebody_declines_and_one_calls_back(cast: Cast) -> None:
    """Each leaves its line, as each side sees it; the line calls back."""
    ada, bo = cast.ada, cast.bo
    await ada.press("Voice call")
    await bo.press("Decline")
    await expect(ada.view).to_contain_text("Call declined")
    await ada.control("Call again").click()
    await expect(bo.sheet).to_be_visible()
    await ada.press("Hang up")
    await expect(bo.sheet).to_have_count(0)
    await expect(bo.entries.nth(-2)).to_have_text("Voice call declined")
    await expect(bo.entries.last).to_have_text("Missed voice call")
    await expect(ada.entries.last).to_have_text("Voice call, no answer")
    await bo.page.get_by_role("button", name="Call back").last.click()
    await ada.press("Accept")
    await expect(bo.view.get_by_role("timer")).not_to_be_empty(timeout=PATIENCE_MS)
    assert await bo.routes() == [["relay", "relay"]]


async def test_who_is_called_while_in_a_call_may_answer_and_leaves_the_first(cast: Cast) -> None:
    """The second caller is told nothing of the first call, the first that it is over."""
    ada, bo, cy = cast.ada, cast.bo, cast.cy
    await ada.press("Voice call")
    await bo.press("Accept")
    await expect(ada.view.get_by_role("timer")).not_to_be_empty(timeout=PATIENCE_MS)
    await cy.press("Voice call")
    await expect(ada.sheet).to_contain_text("Answering ends the call you are in.")
    await expect(cy.status).to_have_text("Ringing…")
    await ada.press("Accept")
    await expect(bo.view).to_contain_text("Call ended")
    for caller in (ada, cy):
        await expect(caller.view.get_by_role("timer")).not_to_be_empty(timeout=PATIENCE_MS)
    await expect(ada.page.get_by_role("region", name="Call with Cy")).to_be_visible()


async def test_a_call_by_keyboard_alone(cast: Cast) -> None:
    """The focus is where it makes sense at every turn; who writes when a call ends goes on writing."""
    ada, bo = cast.ada, cast.bo
    keys = ada.page.keyboard
    await ada.page.get_by_role("button", name="Voice call", exact=True).focus()
    await keys.press("Enter")
    await expect(ada.view).to_be_focused()
    await bo.press("Accept")
    await expect(ada.control("Compare words")).to_be_visible(timeout=PATIENCE_MS)
    for name in ("Compare words", "Show the conversation", "Mute", "Camera on", "Share screen", "Devices", "Hang up"):
        await keys.press("Tab")
        await expect(ada.control(name)).to_be_focused()
    await keys.press("m")
    await expect(bo.tile("Ada").get_by_role("img", name="Microphone off")).to_be_visible()
    await ada.control("Devices").press("Enter")
    await expect(ada.page.get_by_role("dialog")).to_be_visible()
    await keys.press("Escape")
    await expect(ada.control("Devices")).to_be_focused()
    await ada.control("Compare words").press("Enter")
    await expect(ada.view.get_by_role("group", name="Words to compare")).to_be_focused()
    await keys.press("Escape")
    await expect(ada.control("Compare words")).to_be_focused()
    await keys.press("Escape")
    await expect(ada.person.field).to_be_focused()
    await keys.type("one moment")
    await bo.press("Hang up")
    await expect(ada.page.get_by_role("alert").filter(has_text="Call ended")).to_be_visible()
    await expect(ada.person.field).to_be_focused()
    await keys.press("Enter")
    await expect(ada.person.row("one moment")).to_be_visible()


async def test_who_has_no_devices_can_take_part_and_is_told_what_to_do(cast: Cast) -> None:
    """Permission is refused: the call goes on, one way; given after all, it goes on both ways."""
    ada, bo = cast.ada, cast.bo
    await bo.page.evaluate("refuse(true)")
    await ada.press("Video call")
    await bo.press("Accept with video")
    await bo.sees_moving_pictures()
    await expect(bo.view.get_by_role("alert")).to_contain_text("Your microphone and camera are blocked.")
    await expect(ada.tile("Bo").get_by_role("img", name="Microphone off")).to_be_visible()
    await bo.page.evaluate("refuse(false)")
    await bo.press("Camera on")
    await ada.sees_moving_pictures()


async def test_a_group_sees_each_other_and_lets_others_in(cast: Cast) -> None:
    """Who ignored the ring may join, who left may be rung again; who leaves leaves the others."""
    ada, bo, cy = cast.ada, cast.bo, cast.cy
    await ada.person.start_match("Bo, Cy")
    await cy.person.open("Ada, Bo")
    await ada.press("Video call")
    await bo.press("Accept with video")
    await cy.press("Ignore")
    await cy.press("Join call")
    for caller in (ada, bo, cy):
        await caller.sees_moving_pictures(2)
    await cy.press("Hang up")
    await expect(ada.tile("Cy")).to_have_count(0)
    await cy.press("Close")
    await expect(cy.page.get_by_role("button", name="Join call")).to_be_visible()
    await ada.press("Ring the others")
    await expect(ada.status).to_have_text("Ringing Cy…")
    await cy.press("Decline")
    await expect(ada.control("Ring the others")).to_be_visible()
    await ada.press("Hang up")
    await expect(bo.view).to_contain_text(re.compile("Call ended|Waiting"))


async def test_the_test_before_a_call_tells_what_works(cast: Cast) -> None:
    """Devices, each relay, and a loop through it."""
    page = cast.cy.page
    await cast.cy.press("Test camera, sound and connection")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("status")).to_have_text("Ready for calls.", timeout=PATIENCE_MS)
    for found in ("The microphone works", "The camera works", "transport=udp answers in", "transport=tcp answers in"):
        await expect(dialog.get_by_text(found)).to_be_visible()
    await expect(dialog.get_by_text("Through the relay:")).to_be_visible()
    await page.keyboard.press("Escape")


async def test_a_relay_that_refuses_is_told_at_once(cast: Cast, relay: MortalRelay) -> None:
    """A wrong secret gives no candidate and, from the browser, no failure either: the page says it."""
    relay.replace(secret="another-secret-than-the-server-has")
    ada, bo = cast.ada, cast.bo
    await ada.press("Voice call")
    await bo.press("Accept")
    for caller in (ada, bo):
        await expect(caller.view.get_by_role("alert")).to_contain_text("The relay refused the call")
    await ada.press("Hang up")
    for caller in (ada, bo):
        await caller.press("Close")
        await expect(caller.entries.last).to_have_text("Voice call, could not connect")
    relay.replace()


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
