"""People at browsers: what a test says that they do, in terms of what they see and not of elements."""

import re
from dataclasses import dataclass, field

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, expect

# What Chromium itself writes when a test has stopped the server or cut the network, or somebody leaves while the page connects.
CUT_NETWORK = re.compile(
    r"net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|FAILED|INTERNET_DISCONNECTED|EMPTY_RESPONSE)"
    r"|WebSocket is closed before the connection is established"
)


@dataclass(slots=True)
class Person:
    """Someone signed in as `name` in one tab."""

    name: str
    page: Page
    complaints: list[str] = field(default_factory=list)

    @property
    def context(self) -> BrowserContext:
        """The browser profile that the tab belongs to."""
        return self.page.context

    @property
    def field(self) -> Locator:
        """Where messages are written."""
        return self.page.get_by_role("textbox", name="Message to")

    @property
    def banner(self) -> Locator:
        """What tells of a lost connection."""
        return self.page.get_by_role("status")

    @property
    def texts(self) -> Locator:
        """The messages of the open conversation."""
        return self.page.locator(".row .text")

    def row(self, text: str) -> Locator:
        """The message that says just this."""
        return self.page.locator(".row.message").filter(has=self.page.get_by_text(text, exact=True))

    def listed(self, title: str) -> Locator:
        """The conversation of this title in the list."""
        named = self.page.locator(".name").get_by_text(title, exact=True)
        return self.page.get_by_role("navigation").get_by_role("listitem").get_by_role("button").filter(has=named)

    async def sign_in(self, url: str) -> None:
        """Open the page and type the name."""
        await self.page.goto(url)
        await self.page.get_by_label("Your name").fill(self.name)
        await self.page.get_by_role("button", name="Start chatting").click()
        await expect(self.page.get_by_role("heading", name="Chats")).to_be_visible()

    async def start_match(self, names: str) -> None:
        """Start a match with the people named, separated by commas."""
        await self.page.get_by_role("button", name="New match", exact=True).click()
        await self.page.get_by_role("dialog").get_by_role("textbox").fill(names)
        await self.page.get_by_role("dialog").get_by_role("button", name="Start chatting").click()
        await expect(self.page.get_by_role("dialog")).to_have_count(0)
        await expect(self.field).to_be_visible()

    async def open(self, title: str) -> None:
        """Choose a conversation of the list."""
        await self.listed(title).click()
        await expect(self.field).to_be_visible()

    async def say(self, text: str) -> None:
        """Write a message and press Enter."""
        await self.field.fill(text)
        await self.field.press("Enter")

    async def reads(self, *texts: str) -> None:
        """See just these messages, in this order."""
        await expect(self.texts).to_have_text(list(texts))

    async def sees_ticks(self, text: str, ticks: str) -> None:
        """See how far an own message has come: `Sent`, `Delivered`, `Read` and so on."""
        await expect(self.row(text).get_by_role("img", name=ticks)).to_be_visible()

    async def network_is_back(self) -> None:
        """Let the browser say that there is a network again: nobody waits for the back-off to end."""
        await self.page.evaluate("void dispatchEvent(new Event('online'))")

    def watch_console(self) -> None:
        """Collect what the page complains about: errors, broken promises, violations of the content policy."""

        def hear(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not CUT_NETWORK.search(message.text):
                self.complaints.append(f"{message.type}: {message.text}")

        self.page.on("console", hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
