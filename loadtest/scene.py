"""What all devices of one process share: where they connect, the clock, what is counted, what was said."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from loadtest.clock import Chance, monotonic_us
from loadtest.evidence import Texts, mark
from loadtest.meters import Meters
from protocol.from_server import Message
from protocol.ids import MatchId, UserId

_RECENT_MAX: Final = 4096
_decode_message: Final = msgspec.json.Decoder(Message).decode


class Arrival(NamedTuple):
    """A pushed message, as much of it as matters here. `due_us` is 0 for one that is not of this run."""

    match: MatchId
    seq: int
    created_at: int
    mark: int
    due_us: int


@dataclass(slots=True)
class Scene:
    """Shared by the devices of a process. `spawn` runs a coroutine; `now_us` is the coordinator's clock."""

    run: str
    url: str
    chance: Chance
    texts: Texts
    spawn: Callable[[Coroutine[object, object, None]], object]
    late_after_us: int
    is_following_receipts: bool
    call_s: float = 10.0
    ring_spare_s: float = 10.0
    # Somebody who rings longer than the server said, and so long more, rings without end.
    picks_up: bool = True
    # False: devices only ring, because somebody else of the same user has the microphone.
    tls: ssl.SSLContext | None = None
    meters: Meters = field(default_factory=Meters)
    offset_us: int = 0
    is_over: bool = False
    # Nothing new is written; what is under way goes on.
    presence_bound_us: int = 0
    # From a goodbye to when everybody must know; set by the first welcome.
    silence_bound_us: int = 0
    # The same from a loss without a word.
    _recent: dict[bytes, Arrival] = field(default_factory=dict)

    def now_us(self) -> int:
        """Return the time on the coordinator's clock."""
        return monotonic_us() + self.offset_us

    def arrival(self, payload: bytes) -> Arrival:
        """Decode a pushed message, once for all devices that it came to: they get the same bytes."""
        found = self._recent.get(payload)
        if found is None:
            message = _decode_message(payload)
            due_us = self._due_us(message.client_id)
            found = Arrival(message.match, message.seq, message.created_at, mark(message), due_us)
            if len(self._recent) >= _RECENT_MAX:
                self._recent.clear()
            self._recent[payload] = found
        return found

    def client_id(self, device: int, number: int, due_us: int) -> str:
        """Name a message so that whoever gets it knows when it was due."""
        return f"{self.run}.{device}.{number}.{due_us}"

    def _due_us(self, client_id: str) -> int:
        last = client_id.rpartition(".")[2]
        return int(last) if client_id.startswith(self.run) and last.isdecimal() else 0


class User:
    """A user played here: who they are, and the truth about whether they are there."""

    __slots__ = (
        "changed_us",
        "connected",
        "match_names",
        "matches",
        "name",
        "partners",
        "read",
        "silent",
        "token",
    )

    def __init__(self, name: str, token: str, matches: dict[MatchId, int], partners: tuple[UserId, ...]) -> None:
        self.name = UserId(name)
        self.token = token
        self.matches = matches
        # Each with its number, the same for all devices.
        self.match_names = tuple(matches)
        self.partners = partners
        # Whom they watch.
        self.connected = 0
        self.changed_us = 0
        # When `connected` last went from or to zero.
        self.silent = False
        # The last one went without a word.
        self.read: dict[MatchId, int] = {}
        # The highest that the server was told as read.

    def came(self, now_us: int) -> None:
        """Note a device that was welcomed."""
        if not self.connected:
            self.changed_us = now_us
        self.connected += 1

    def went(self, now_us: int, *, silent: bool) -> None:
        """Note a device that is gone."""
        self.connected -= 1
        if not self.connected:
            self.changed_us = now_us
            self.silent = silent


async def close_within(seconds: float, closing: Coroutine[object, object, int]) -> None:
    """Wait for a close, not for ever."""
    try:
        async with asyncio.timeout(seconds):
            await closing
    except TimeoutError:
        return
