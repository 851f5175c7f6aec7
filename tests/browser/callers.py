"""People who call each other: what they do and see, and what their browsers' own peer connections say of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from playwright.async_api import Locator, Page, expect

from tests.browser.people import Person

# A loaded machine takes long to encode; what is waited for comes within a second on an idle one.
PATIENCE_MS: Final = 30_000

# Keeps what the page makes, so that a test can ask the browser instead of the page.
WATCHED: Final = """
window.connections = [];
window.sockets = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(config) { super(config); connections.push(this); }
};
window.WebSocket = class extends WebSocket {
  constructor(...where) { super(...where); sockets.push(this); }
};
window.live = () => connections.filter((each) => each.connectionState === "connected");
window.statistics = async () => {
  const reports = await Promise.all(live().map((each) => each.getStats()));
  return reports.map((report) => [...report.values()]);
};
window.framesDecoded = async () => {
  const frames = (await statistics()).map((all) => all.filter(({ type, kind }) => type === "inbound-rtp" && kind === "video"));
  return frames.map((all) => all.reduce((sum, { framesDecoded }) => sum + framesDecoded, 0));
};
window.until = async (holds, patienceMs) => {
  const end = Date.now() + patienceMs;
  while (Date.now() < end) {
    const found = await holds();
    if (found) return found;
    await new Promise((resume) => setTimeout(resume, 30));
  }
  return null;
};
"""

# Small pictures, and few: all of them are made, coded and shown by the two processors that the tests have as well.
# What the browser itself would do, at the wish of its user: refuse devices, and end the sharing of the screen.
SMALL: Final = """
const { mediaDevices } = navigator;
const [userMedia, displayMedia] = [mediaDevices.getUserMedia, mediaDevices.getDisplayMedia].map((get) => get.bind(mediaDevices));
const small = (wanted) => wanted && { ...wanted, width: 160, height: 120, frameRate: 10 };
let refuses = false;
let shared;
mediaDevices.getUserMedia = async ({ audio, video }) => {
  if (refuses) throw new DOMException("not allowed", "NotAllowedError");
  return userMedia({ audio, video: small(video) });
};
mediaDevices.getDisplayMedia = async ({ video }) => {
  const stream = await displayMedia({ video: small(video) });
  [shared] = stream.getTracks();
  return stream;
};
window.refuse = (yes) => { refuses = yes; };
window.stopSharing = () => {
  shared.stop();
  shared.dispatchEvent(new Event("ended"));
};
window.sends = (kind) => live().at(-1).getSenders().find(({ track }) => track?.kind === kind)?.track.label;
"""

# Every live connection has decoded more pictures than it had.
MOVES: Final = """([count, patience]) => (async () => {
  const before = await until(async () => {
    const now = await framesDecoded();
    return now.length === count && now;
  }, patience);
  return before && await until(async () => {
    const now = await framesDecoded();
    return now.length === count && now.every((frames, index) => frames >= before[index] + 3);
  }, patience);
})()"""

ROUTES: Final = """async () => (await statistics()).map((all) => {
  const { selectedCandidatePairId } = all.find(({ type }) => type === "transport");
  const pair = all.find(({ id }) => id === selectedCandidatePairId);
  const ends = [pair.localCandidateId, pair.remoteCandidateId].map((each) => all.find(({ id }) => id === each));
  return ends.map(({ candidateType }) => candidateType);
})"""

USERNAMES: Final = (
    "() => live().map((each) => each.getConfiguration().iceServers.find(({ username }) => username).username)"
)


# Every live connection has another name at the relay than those.
RENAMED: Final = """([before, patience]) => until(() => {
  const names = live().map((each) => each.getConfiguration().iceServers.find(({ username }) => username).username);
  return names.length > 0 && names.every((name) => !before.includes(name));
}, patience)"""


@dataclass(slots=True)
class Caller:
    """A person with a camera, in a conversation."""

    person: Person

    @property
    def page(self) -> Page:
        return self.person.page

    @property
    def sheet(self) -> Locator:
        """What comes down when somebody calls."""
        return self.page.get_by_role("alertdialog")

    @property
    def view(self) -> Locator:
        """The call on the screen."""
        return self.page.get_by_role("region", name="Call with")

    @property
    def status(self) -> Locator:
        """The line that says how the call is."""
        return self.view.locator(".call-status")

    @property
    def entries(self) -> Locator:
        """The calls in the open conversation."""
        return self.page.locator(".call-entry .text")

    def tile(self, name: str) -> Locator:
        """Somebody's picture."""
        return self.view.get_by_role("figure", name=name, exact=True)

    def control(self, name: str) -> Locator:
        """A button of the call on the screen."""
        return self.view.get_by_role("button", name=name, exact=True)

    async def leave(self) -> None:
        """Take no part in any call any more. What goes by itself at that moment is not waited for."""
        await self.page.evaluate(
            "for (const each of document.querySelectorAll('.hang-up, .answer.decline')) each.click()"
        )

    async def clear(self) -> None:
        """See a call off that is over."""
        await expect(self.control("Hang up")).to_have_count(0)
        await self.page.evaluate("document.querySelector('.call .ended .plain')?.click()")

    async def press(self, name: str) -> None:
        """Press a button."""
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def sees_moving_pictures(self, count: int = 1) -> None:
        """See so many others move: their pictures are decoded, one after the other."""
        assert await self.page.evaluate(MOVES, [count, PATIENCE_MS]), await self.story()
        await expect(self.view.locator(".tile:not([data-mine])[data-picture]").first).to_be_visible()

    async def routes(self) -> list[list[str]]:
        """Return the kinds of both ends' candidates in use, for each connection."""
        found: list[list[str]] = await self.page.evaluate(ROUTES)
        return found

    async def usernames(self) -> list[str]:
        """Return the name that each connection has at the relay."""
        found: list[str] = await self.page.evaluate(USERNAMES)
        return found

    async def has_other_credentials(self, before: list[str]) -> None:
        """See the connections come about with other names at the relay than `before`."""
        assert await self.page.evaluate(RENAMED, [before, PATIENCE_MS]), await self.story()

    async def cut_socket(self) -> None:
        """Lose the connection to the server, not the one to the other side."""
        await self.page.evaluate("sockets.at(-1).close()")

    async def story(self) -> Any:
        """Return how the connections stand, for a test that fails."""
        return await self.page.evaluate(
            "connections.map((each) => [each.connectionState, each.iceConnectionState, each.signalingState])"
        )


NewCaller = Callable[..., Awaitable[Caller]]


async def meet(here: Caller, there: Caller) -> None:
    """Open the conversation of the two on both sides."""
    await here.person.start_match(there.person.name)
    await there.person.open(here.person.name)


async def talk(here: Caller, there: Caller) -> None:
    """Call with video and answer with video."""
    await here.press("Video call")
    await there.press("Accept with video")
    for caller in (here, there):
        await caller.sees_moving_pictures()
