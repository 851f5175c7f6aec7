"""`python -m tests.call_proof [--picture FILE]`: two real browsers call each other through a relay alone; PASS or FAIL.

The relay is Debian's coturn with credentials that end, the pictures are Chromium's. Each line says what was seen.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, async_playwright, expect

from tests.browser.callers import PATIENCE_MS, WATCHED, Caller, meet
from tests.browser.conftest import DESKTOP, FLAGS, PHONE
from tests.browser.people import Person
from tests.support.private_coturn import PrivateCoturn, private_coturn
from tests.support.private_server import private_server
from tests.support.programs import find_program

CALLS: Final = 5
OFTEN: Final = {"CALL_STARTS_PER_MIN": "1000", "CALL_UNANSWERED_MAX": "1000", "CALL_ICE_PER_MIN": "1000"}
RELAYED: Final = [["relay", "relay"]]
FIRST_PICTURE: Final = "until(async () => (await framesDecoded()).some((frames) => frames > 0) && Date.now(), 30000)"

Step = Callable[["Stage"], Awaitable[str]]


class Stage:
    """A server, a relay, and people on two browsers."""

    def __init__(self, browser: Browser, url: str, folder: Path, relay: PrivateCoturn, picture: Path) -> None:
        self.browser, self.url, self.folder, self.relay, self.picture = browser, url, folder, relay, picture
        self.stack = ExitStack()
        self.people: list[Person] = []

    async def come(self, name: str, size: tuple[int, int] = DESKTOP, url: str | None = None) -> Caller:
        """Bring somebody in."""
        context = await self.browser.new_context(viewport={"width": size[0], "height": size[1]}, locale="en-GB")
        context.set_default_timeout(PATIENCE_MS)
        await context.add_init_script(WATCHED)
        person = Person(name, await context.new_page())
        person.watch_console()
        self.people.append(person)
        await person.sign_in(self.url if url is None else url)
        return Caller(person)

    async def pair(self) -> None:
        """Two people, one of them on a phone, in a conversation."""
        self.maya, self.tomas = await self.come("Maya"), await self.come("Tomás", PHONE)
        await meet(self.maya, self.tomas)


async def rings(stage: Stage) -> str:
    """Both devices of the callee ring, the one that did not answer stops."""
    tablet = await stage.come("Tomás")
    await stage.maya.press("Video call")
    for device in (stage.tomas, tablet):
        await expect(device.sheet).to_contain_text("Maya is calling")
    await stage.tomas.press("Accept with video")
    await expect(tablet.page.get_by_role("alert").filter(has_text="Answered on another device.")).to_be_visible()
    await tablet.page.close()
    return "two devices rang, one answered, the other was told so"


async def moves(stage: Stage) -> str:
    """The picture moves on both sides, over the relay."""
    for caller in (stage.maya, stage.tomas):
        await caller.sees_moving_pictures()
        assert await caller.routes() == RELAYED
    return "moving pictures both ways, both ends of each connection are relay candidates"


async def mutes(stage: Stage) -> str:
    """Mute is seen on the other side."""
    muted = stage.tomas.tile("Maya").get_by_role("img", name="Microphone off")
    await stage.maya.press("Mute")
    await expect(muted).to_be_visible()
    await stage.maya.press("Unmute")
    await expect(muted).to_be_hidden()
    return "muted and unmuted, seen on the other side"


async def shares(stage: Stage) -> str:
    """Both share their screens in the same moment: offers collide, and both come through."""
    await asyncio.gather(*(caller.press("Share screen") for caller in (stage.maya, stage.tomas)))
    await expect(stage.maya.tile("Tomás's screen")).to_be_visible()
    await expect(stage.tomas.tile("Maya's screen")).to_be_visible()
    for caller in (stage.maya, stage.tomas):
        await caller.sees_moving_pictures()
        await caller.press("Stop sharing")
    await stage.maya.page.screenshot(path=stage.picture)
    return f"both screens shared at once and seen; a picture of it: {stage.picture}"


async def resumes(stage: Stage) -> str:
    """Both sockets are cut; the call goes on."""
    await asyncio.gather(*(caller.cut_socket() for caller in (stage.maya, stage.tomas)))
    for caller in (stage.maya, stage.tomas):
        await caller.sees_moving_pictures()
    await stage.maya.press("Camera off")
    await expect(stage.tomas.tile("Maya")).not_to_have_attribute("data-picture", "")
    await stage.maya.press("Camera on")
    await expect(stage.tomas.tile("Maya")).to_have_attribute("data-picture", "")
    return "both sockets cut and resumed, the picture went on"


async def restarts(stage: Stage) -> str:
    """The relay dies and another one comes; the way through it is found with other credentials."""
    before = await stage.maya.usernames()
    broken = stage.maya.tile("Tomás").get_by_text("Reconnecting…")
    stage.relay.stop()
    stage.stack.enter_context(private_coturn(stage.folder, port=stage.relay.port))
    await expect(broken).to_be_visible(timeout=PATIENCE_MS)
    began = time.monotonic()
    await expect(broken).to_be_hidden(timeout=PATIENCE_MS)
    took_s = time.monotonic() - began
    for caller in (stage.maya, stage.tomas):
        await caller.sees_moving_pictures()
    assert await stage.maya.usernames() != before
    return f"relay killed; ICE restarted with new credentials {took_s:.1f} s after it was noticed"


async def ends(stage: Stage) -> str:
    """The call's line says how long it was."""
    await stage.tomas.press("Hang up")
    for caller in (stage.maya, stage.tomas):
        await caller.press("Close")
    line = await stage.maya.entries.inner_text()
    assert line.startswith("Video call, 0:"), line
    return f"hung up; the log says “{line}” on both sides"


async def is_quick(stage: Stage) -> str:
    """From answering to the first decoded picture, on both sides."""
    took_ms: list[float] = []
    for _ in range(CALLS):
        await stage.maya.press("Video call")
        await expect(stage.tomas.sheet).to_be_visible()
        accepted = await stage.tomas.page.evaluate("Date.now()")
        await stage.tomas.press("Accept with video")
        seen = await asyncio.gather(*(each.page.evaluate(FIRST_PICTURE) for each in (stage.maya, stage.tomas)))
        took_ms.append(max(seen) - accepted)
        await stage.tomas.press("Hang up")
        for caller in (stage.maya, stage.tomas):
            await caller.press("Close")
    assert max(took_ms) < 30_000
    spread = ", ".join(f"{each:.0f}" for each in sorted(took_ms))
    return f"accept to picture on both sides: median {statistics.median(took_ms):.0f} ms of {CALLS} calls ({spread})"


async def refuses(stage: Stage) -> str:
    """A relay that knows another secret."""
    wrong = stage.relay.settings | {"TURN_SECRETS": "not-the-secret-of-the-relay"}
    with private_server(None, port=None, dev=True, CALL_RELAY_ONLY="true", **wrong, **OFTEN) as server:
        ada, bo = await stage.come("Ada", url=server.http_url), await stage.come("Bo", url=server.http_url)
        await meet(ada, bo)
        await ada.press("Voice call")
        began = time.monotonic()
        await bo.press("Accept")
        await expect(ada.view.get_by_role("alert")).to_contain_text("The relay refused the call")
        took_s = time.monotonic() - began
        await ada.press("Hang up")
        await ada.press("Close")
        await expect(ada.entries).to_have_text(["Voice call, could not connect"])
        for caller in (ada, bo):
            await caller.page.close()
    assert took_s < 2, f"it took {took_s:.1f} s"
    return f"a wrong secret is told {took_s:.1f} s after accepting, and the log says that it could not connect"


STEPS: Final[tuple[Step, ...]] = (rings, moves, mutes, shares, resumes, restarts, ends, is_quick, refuses)


@asynccontextmanager
async def stage_in(folder: Path, picture: Path) -> AsyncIterator[Stage]:
    """Set everything up, and take it down."""
    with private_coturn(folder) as relay, ExitStack() as stack:
        server = stack.enter_context(
            private_server(None, port=None, dev=True, CALL_RELAY_ONLY="true", **relay.settings, **OFTEN)
        )
        async with async_playwright() as playwright:
            chromium = find_program("chromium", "chromium-browser", "google-chrome")
            browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            stage = Stage(browser, server.http_url, folder, relay, picture)
            with stage.stack:
                yield stage
                await browser.close()


async def prove(picture: Path) -> int:
    """Go through all steps; those after a failed one may fail because of it."""
    seen = failed = 0
    expect.set_options(timeout=PATIENCE_MS)
    with tempfile.TemporaryDirectory(prefix="duologue-calls-") as folder:
        async with stage_in(Path(folder), picture) as stage:
            await stage.pair()
            for step in STEPS:
                try:
                    print(f"PASS {await step(stage)}", flush=True)
                    seen += 1
                except Exception as problem:  # noqa: BLE001 - a step that falls over has failed, and the others still count
                    print(f"FAIL {step.__doc__} {type(problem).__name__}: {problem}", flush=True)
                    failed += 1
            complaints = [complaint for person in stage.people for complaint in person.complaints]
            print(f"{'FAIL' if complaints else 'PASS'} complaints in the browsers' consoles: {len(complaints)}")
    print(f"\n{'FAIL' if failed or complaints else 'PASS'} {seen} of {len(STEPS)} seen, {len(complaints)} complaints")
    return 1 if failed or complaints else 0


def main() -> int:
    """Prove it; 1 when anything was not as claimed."""
    parser = argparse.ArgumentParser(prog="python -m tests.call_proof", description=__doc__)
    parser.add_argument("--picture", type=Path, default=Path(tempfile.gettempdir()) / "duologue-call.png")
    began = time.monotonic()
    code = asyncio.run(prove(parser.parse_args().picture))
    print(f"in {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
