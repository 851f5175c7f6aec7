"""How a run goes: which targets, how many windows, and that targets take turns so that drift hits all alike."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from loadtest.api import Api
from loadtest.connection import Connection
from loadtest.frames import text_frame
from loadtest.race.course import Load
from protocol.from_client import Body, MessageSend, Typing
from protocol.ids import ClientId, MatchId
from tests.benchmarks.load import MakeFrame, close_all, gather, open_all, window
from tests.benchmarks.measure import Window, quietest
from tests.benchmarks.targets import API_KEY, Target

OTHERS_MAX_CORES = 0.15
MORE_OFTEN = 4
# At most so many times the windows asked for, in search of quiet ones.
PAYLOAD_BYTES = 200
# Of a delivered message, about; the spikes in the design's references used the same.


@dataclass(frozen=True, slots=True)
class Plan:
    """What a benchmark gets."""

    targets: Sequence[Target]
    windows: int
    window_s: float
    quick: bool

    @property
    def duologue(self) -> Target:
        """Our server."""
        return self.targets[0]

    async def alternate(self, loads: Sequence[tuple[Target, Load]]) -> dict[str, list[Window]]:
        """Measure every target once, then again, until each has its windows."""
        calls = {target.name: partial(window, target, load, self.window_s) for target, load in loads}
        return await self.take_turns(calls)

    async def take_turns(self, calls: Mapping[str, Callable[[], Awaitable[Window]]]) -> dict[str, list[Window]]:
        """Call each in turn for its windows, more often while other programs disturb; return the quietest."""
        found: dict[str, list[Window]] = {name: [] for name in calls}
        for number in range(self.windows * MORE_OFTEN):
            if number >= self.windows and all(self._is_quiet(each) for each in found.values()):
                break
            for name, call in calls.items():
                progress(f"{name}, window {number + 1}")
                found[name].append(await call())
        progress("")
        return {name: quietest(each, self.windows) for name, each in found.items()}

    def _is_quiet(self, windows: list[Window]) -> bool:
        return all(each.others <= OTHERS_MAX_CORES for each in quietest(windows, self.windows))

    async def make_matches(self, matches: dict[str, list[str]]) -> None:
        """Make matches by name with these members."""
        apis = [Api(self.duologue.http_url, API_KEY) for _ in range(8)]
        waiting = iter(matches.items())

        async def make(api: Api) -> None:
            for match, members in waiting:
                await api.put_match(match, members)

        await gather([make(api) for api in apis])
        for api in apis:
            api.close()


@dataclass(slots=True)
class Sockets:
    """Connections that a benchmark opened, to be closed at its end."""

    opened: list[Connection]

    async def open(self, target: Target, users: Sequence[str], path: Callable[[int], str]) -> list[Connection]:
        """Connect more."""
        connections = await open_all(target, users, path)
        self.opened += connections
        return connections

    async def close(self) -> None:
        """Close them all."""
        await close_all(self.opened)


def progress(what: str) -> None:
    """Tell somebody who watches what is going on."""
    if sys.stderr.isatty():
        print(f"\r    {what:<60}", end="" if what else "\r", file=sys.stderr, flush=True)


def typing_frame(match: str) -> bytes:
    """Build the frame that tells of typing."""
    return text_frame(msgspec.json.encode(Typing(MatchId(match), True)))


def plain_frame() -> bytes:
    """Build a frame for the peers as large as one that our server delivers."""
    return text_frame(b'{"type":"message","text":"' + b"x" * (PAYLOAD_BYTES - 28) + b'"}')


def sending(match: str, sender: str, text: str = "Hello there, how are you doing today? Fine, I think.") -> MakeFrame:
    """Return what builds the frames that post messages, each with a client_id of its own."""
    sample = MessageSend(1_111_111_111, MatchId(match), ClientId(f"{sender}-2222222222"), Body(text))
    template = (
        msgspec.json.encode(sample).replace(b"%", b"%%").replace(b"1111111111", b"%d").replace(b"2222222222", b"%d")
    )
    return lambda number: text_frame(template % (number, number))


def constant(frame: bytes) -> MakeFrame:
    """Return what always gives this frame."""
    return lambda _: frame
