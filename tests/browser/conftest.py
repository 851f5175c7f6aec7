"""One Chromium, and people who use it, each with a profile of their own. No test may leave a complaint in any console.

Starting Chromium takes as long as a test, so these tests share it, and with it the event loop.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.browser.callers import SMALL, WATCHED, Caller, NewCaller
from tests.browser.people import Person
from tests.support.private_server import PrivateServer
from tests.support.programs import find_program

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # Calls: a camera that shows a moving figure, permissions without a question, media over the loopback alone.
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=fps=10",
    "--allow-loopback-in-peer-connection",
)
DESKTOP = (1280, 800)
PHONE = (390, 844)

# A shared machine stalls now and then; what is expected is waited for, never slept for.
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)

NewProfile = Callable[..., Awaitable[BrowserContext]]
NewPerson = Callable[..., Awaitable[Person]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Run the Chromium of the machine."""
    async with async_playwright() as playwright:
        chromium = find_program("chromium", "chromium-browser", "google-chrome")
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        await browser.close()


@asynccontextmanager
async def profiles_of(browser: Browser) -> AsyncIterator[NewProfile]:
    """Make browser profiles until the block ends."""
    profiles: list[BrowserContext] = []

    async def make(*, size: tuple[int, int] = DESKTOP, dark: bool = False) -> BrowserContext:
        width, height = size
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(PATIENCE_MS)
        profiles.append(context)
        return context

    yield make
    for context in profiles:
        await context.close()


@asynccontextmanager
async def people_of(new_profile: NewProfile, server: str) -> AsyncIterator[NewPerson]:
    """Bring people in until the block ends, on `server` unless told otherwise.

    They leave before their server does: one that is stopped waits for pages, which would first find another node.
    """
    people: list[Person] = []

    async def make(name: str, profile: BrowserContext | None = None, url: str | None = None) -> Person:
        context = profile if profile is not None else await new_profile()
        person = Person(name, await context.new_page())
        person.watch_console()
        people.append(person)
        await person.sign_in(server if url is None else url)
        return person

    yield make
    assert {person.name: person.complaints for person in people if person.complaints} == {}
    for person in people:
        await person.page.context.close()


def callers_of(new_person: NewPerson, new_profile: NewProfile) -> NewCaller:
    """Bring people with cameras in."""

    async def make(name: str, *, url: str | None = None, size: tuple[int, int] = DESKTOP, dark: bool = False) -> Caller:
        profile = await new_profile(size=size, dark=dark)
        await profile.add_init_script(WATCHED + SMALL)
        return Caller(await new_person(name, profile, url))

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def new_profile(browser: Browser) -> AsyncIterator[NewProfile]:
    """Make browser profiles: `await new_profile(size=PHONE)`."""
    async with profiles_of(browser) as make:
        yield make


@pytest_asyncio.fixture(loop_scope="session")
async def new_person(new_profile: NewProfile, dev_server: PrivateServer) -> AsyncIterator[NewPerson]:
    """Bring people in: `await new_person("Ada")`, each with a profile of their own unless one is given."""
    async with people_of(new_profile, dev_server.http_url) as make:
        yield make


@pytest_asyncio.fixture(loop_scope="session")
async def new_caller(new_person: NewPerson, new_profile: NewProfile) -> NewCaller:
    """Bring people with cameras in: `await new_caller("Ada")`."""
    return callers_of(new_person, new_profile)
