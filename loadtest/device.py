"""One device of one user, cheap enough for ten thousand in a process: no task while nothing happens, no object an entry.

The rules are those of docs/protocol.md, as in `loadtest.resuming`, which keeps everything it saw and costs ten times as
much.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from loadtest.callers import Caller
from loadtest.client import decode_sent, decode_synced
from loadtest.connection import Connection, HandshakeRefused, open_connection
from loadtest.evidence import Held
from loadtest.frames import text_frame
from loadtest.inbox import Inbox
from loadtest.meters import PRESENCE_CHANGED, PRESENCE_SEEN
from loadtest.outgoing import Outgoing
from loadtest.scene import Scene, User, close_within
from protocol.calls import CallPush
from protocol.close_codes import comes_back
from protocol.errors import CATALOGUE
from protocol.from_client import (
    ClientMessage,
    ClientState,
    ClientStateSet,
    Hello,
    History,
    PresenceWatch,
    Receipt,
    Sync,
    Typing,
)
from protocol.from_server import (
    Entry,
    Error,
    Gap,
    GoingAway,
    Presence,
    PresenceChanged,
    Push,
    Reset,
    Watching,
    Welcome,
)
from protocol.ids import DeviceId, MatchId, Micros, Seq, SessionId, UserId
from protocol.limits import HELLO_CURSORS_MAX, SYNC_CURSORS_MAX

_MESSAGE: Final = b'{"type":"message",'
_OK: Final = b'{"type":"ok",'
_TYPING: Final = b'{"type":"typing",'
_RECEIPT: Final = b'{"type":"receipt",'
WELCOME_WITHIN_S: Final = 30.0
_RETRY_FIRST_S: Final = 0.2
_RETRY_MAX_S: Final = 10.0
_REFUSED_RETRY_S: Final = 1.0

_encode: Final = msgspec.json.Encoder().encode
_decode_push: Final = msgspec.json.Decoder(Push | Error | Welcome).decode
_decode_watching: Final = msgspec.json.Decoder(Watching).decode


class _OkHead(msgspec.Struct):
    id: int


_decode_head: Final = msgspec.json.Decoder(_OkHead).decode


class Asked(NamedTuple):
    """A request under way."""

    answered: Callable[[bytes], None]
    refused: Callable[[Error | None], None]


class Device:
    """Call `start()`; it comes back by itself until `stop()`. Everything it does is a plain call."""

    __slots__ = (
        "_asked",
        "_connection",
        "_dialled_us",
        "_failures",
        "_go_away_s",
        "_is_stopping",
        "_last_id",
        "_lost_us",
        "_scene",
        "_session",
        "_silent",
        "away",
        "caller",
        "connects",
        "inbox",
        "index",
        "is_hidden",
        "is_ready",
        "looked_us",
        "name",
        "outgoing",
        "sees",
        "trouble",
        "user",
    )

    def __init__(self, scene: Scene, user: User, index: int, name: str) -> None:
        self._scene = scene
        self.user = user
        self.index = index
        # Among all devices of the run: it is in the names of its messages.
        self.name = name
        self.inbox = Inbox(scene, user, self._sync)
        self.outgoing = Outgoing(scene, user, index, self)
        self.caller = Caller(scene, self)
        self.sees: dict[UserId, Presence] = {}
        self.connects = 0
        self.is_ready = False
        self.is_hidden = False
        # Nobody looks at it: what comes is delivered and not read.
        self.looked_us = 0
        # When it was last brought to somebody's eyes, or welcomed.
        self.away = False
        # It is gone because its user wanted so, or a scenario did in their name.
        self.trouble = ""
        self._connection: Connection | None = None
        self._session: SessionId | None = None
        self._asked: dict[int, Asked] = {}
        self._last_id = 0
        self._failures = 0
        self._lost_us = 0
        self._dialled_us = 0
        self._go_away_s = 0.0
        self._is_stopping = False
        self._silent = False

    # ---- coming and going

    async def come(self, after_s: float = 0.0) -> None:
        """Connect, say hello and wait for the welcome; on a failure try again later, until it is stopped."""
        if after_s:
            await asyncio.sleep(after_s)
        while not self._is_stopping and not await self._come_once():
            self._failures += 1
            await asyncio.sleep(min(_RETRY_FIRST_S * 2.0**self._failures, _RETRY_MAX_S) * self._scene.chance.random())

    async def _come_once(self) -> bool:
        scene = self._scene
        self._dialled_us = scene.now_us()
        welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(WELCOME_WITHIN_S):
                self._connection = connection = await open_connection(
                    scene.url, partial(self._hear_welcome, welcomed), tls=scene.tls
                )
                connection.closed.add_done_callback(partial(self._lost, connection, welcomed))
                self._say_hello()
                await welcomed
        except (OSError, HandshakeRefused, _NotWelcome) as problem:
            self.trouble = _named(problem)
            scene.meters.count(f"connect failed: {self.trouble}")
            if connection is not None:
                connection.abort()
            return False
        return True

    def _say_hello(self) -> None:
        self.connects += 1
        self.outgoing.connection = self.connects
        known = [held for held in self.inbox.held.values() if held.last][:HELLO_CURSORS_MAX]
        cursors = {held.match: held.cursor for held in known}
        device = DeviceId(self.name) if self.name else None
        state = ClientState.INACTIVE if self.is_hidden else ClientState.ACTIVE
        self.tell(
            Hello(
                self.next_id(),
                self.user.token,
                device=device,
                session=self._session,
                cursors=cursors,
                client_state=state,
            )
        )

    def _hear_welcome(self, welcomed: "asyncio.Future[None]", payload: bytes) -> None:
        if welcomed.done():
            return
        heard = _decode_push(payload)
        if isinstance(heard, Welcome):
            self._welcome(heard)
            welcomed.set_result(None)
        elif isinstance(heard, Error):
            welcomed.set_exception(_NotWelcome(heard.code))

    def _welcome(self, welcome: Welcome) -> None:
        assert self._connection is not None
        scene, now_us = self._scene, self._scene.now_us()
        self._connection.on_text = self._text
        self._session, self._failures, self.is_ready, self._silent = welcome.session, 0, True, False
        scene.meters.time("connect", now_us - self._dialled_us)
        if self._lost_us and not self.away:
            scene.meters.time("comeback", now_us - self._lost_us)
        timers = welcome.timers
        scene.presence_bound_us = timers.presence_debounce_ms * 1000
        scene.silence_bound_us = (timers.ping_after_ms + timers.ping_timeout_ms + timers.presence_debounce_ms) * 1000
        if not self.user.connected:
            scene.meters.count(PRESENCE_CHANGED)
        self.user.came(now_us)
        for summary in welcome.matches:
            held = self.inbox.held.get(summary.match)
            if held is None:
                scene.meters.count("strangers")
            elif not held.last:
                held.begin(summary.last_seq, summary.last_at)
        self.inbox.welcomed(now_us, was_away=self.away)
        self.looked_us = now_us
        self.away = False
        self.sees.clear()
        if self.user.partners:
            self.ask(PresenceWatch(0, self.user.partners), self._watching)
        self.outgoing.welcomed()

    def _lost(self, connection: Connection, welcomed: "asyncio.Future[None]", closed: "asyncio.Future[int]") -> None:
        if not welcomed.done():
            welcomed.set_exception(_NotWelcome(f"closed with {closed.result()}"))
            return
        if connection is not self._connection or not self.is_ready:
            return
        scene, code = self._scene, closed.result()
        self.is_ready = False
        self.user.went(scene.now_us(), silent=self._silent)
        if not self.user.connected:
            scene.meters.count(PRESENCE_CHANGED)
        self.outgoing.lost()
        self.caller.lost()
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.refused(None)
        if self.away or self._is_stopping:
            return
        self._lost_us = scene.now_us()
        scene.meters.count(f"closed with {code}")
        if comes_back(code):
            told, self._go_away_s = self._go_away_s, 0.0
            scene.spawn(self.come(told + _RETRY_FIRST_S * scene.chance.random()))
        else:
            self.trouble = f"closed with {code}, which says not to come back"
            scene.meters.count("gave up")

    def leave(self, back_after_s: float | None) -> None:
        """Say goodbye, and come back after a while (None: not by itself)."""
        if self.is_ready and not self.away and self._connection is not None:
            self.away = True
            self._scene.spawn(self._leave(self._connection, back_after_s))

    async def _leave(self, connection: Connection, back_after_s: float | None) -> None:
        """Whoever came back before the end of this connection would be counted twice, and then for ever."""
        await close_within(5.0, connection.close())
        connection.abort()
        if back_after_s is not None:
            await self.come(back_after_s)

    def drop(self, back_after_s: float) -> None:
        """Lose the network without a word, and find it again after a while."""
        if self.is_ready and not self.away and self._connection is not None:
            self.away = self._silent = True
            self._connection.abort()
            self._scene.spawn(self.come(back_after_s))

    def cut(self) -> None:
        """Lose the connection by no wish of the user: it comes back at once, and what it missed counts."""
        if self.is_ready and self._connection is not None:
            self._silent = True
            self._connection.abort()

    def pause(self) -> None:
        """Read nothing until `resume`."""
        if self.is_ready and self._connection is not None:
            self.away = True
            self._connection.pause()

    def resume(self) -> None:
        """Read again."""
        if self._connection is not None:
            self._connection.resume()
        if self.is_ready:
            self.away, self.inbox.counts_from_us = False, self._scene.now_us()
        elif not self._is_stopping:  # closed as too slow meanwhile
            self._scene.spawn(self.come())

    def hide(self) -> None:
        """Go into the background, as a tab behind others or a phone in a pocket."""
        self.is_hidden = True
        self._scene.meters.count("hidden")
        if self.is_ready:
            self.tell(ClientStateSet(ClientState.INACTIVE))

    def show(self) -> None:
        """Come to somebody's eyes again; what came meanwhile is read."""
        self.is_hidden, self.looked_us = False, self._scene.now_us()
        self.inbox.read_all()
        if self.is_ready:
            self.tell(ClientStateSet(ClientState.ACTIVE))

    async def stop(self) -> None:
        """Say goodbye for good."""
        self._is_stopping = True
        if self.is_ready and self._connection is not None:
            await close_within(5.0, self._connection.close())

    # ---- speaking

    def say(self, match: MatchId, due_us: int, key: int, length: int) -> None:
        """Send a message that was due at `due_us`, now or as soon as there is a connection."""
        self.outgoing.say(match, due_us, key, length)

    def typing(self, match: MatchId, on: bool) -> None:
        """Tell that its user types."""
        if self.is_ready:
            self.tell(Typing(match, on))

    def read_back(self, share: float) -> None:
        """Read a page of history from a place in a match, as somebody who scrolls does; `share` says where."""
        if self.is_ready and self.user.match_names:
            match = self.user.match_names[int(share * len(self.user.match_names))]
            held, asked_us = self.inbox.held[match], self._scene.now_us()
            before = Micros(int(held.last_at - share * 60_000_000)) if held.last else None

            def answered(_: bytes) -> None:
                self._scene.meters.time("history", self._scene.now_us() - asked_us)

            self.ask(History(0, match, before), answered)

    def call(self, share: float) -> None:
        """Call the others of a match; `share` says of which."""
        if self.is_ready and self.user.match_names:
            self.caller.start(self.user.match_names[int(share * len(self.user.match_names))], f"{self.index}")

    def next_id(self) -> int:
        """Return an id that no request of this device has had."""
        self._last_id += 1
        return self._last_id

    def tell(self, message: ClientMessage) -> None:
        """Send something."""
        if self._connection is not None:
            self._connection.write(text_frame(_encode(message)))

    def ask(
        self,
        request: ClientMessage,
        answered: Callable[[bytes], None],
        refused: Callable[[Error | None], None] = lambda _: None,
    ) -> None:
        """Send a request, with an id of its own; exactly one of the two is called (None: the connection went)."""
        request_id = self.next_id()
        self._asked[request_id] = Asked(answered, refused)
        self.tell(msgspec.structs.replace(request, id=request_id))

    def flush_receipts(self) -> None:
        """Tell how far its user has got and read, as an app does once in a while."""
        if self.is_ready:
            waiting, self.inbox.unread = self.inbox.unread, {}
            for match, seq in waiting.items():
                read = None if self.is_hidden else Seq(seq)
                self.tell(Receipt(match, Seq(seq), read))
                if read is not None:
                    self.user.read[match] = max(seq, self.user.read.get(match, 0))

    # ---- hearing

    def _text(self, payload: bytes) -> None:
        if payload.startswith(_MESSAGE):
            self.inbox.pushed(self._scene.arrival(payload))
        elif payload.startswith(_OK):
            self._answer(payload)
        elif payload.startswith(_TYPING):
            self._scene.meters.count("typing seen")
        elif payload.startswith(_RECEIPT):
            self._scene.meters.count("receipts seen")
        else:
            self._hear(payload)

    def _hear(self, payload: bytes) -> None:
        try:
            heard = _decode_push(payload)
        except msgspec.DecodeError:
            self._scene.meters.count("not understood")
            return
        if isinstance(heard, CallPush):
            self.caller.hear(heard)
        elif isinstance(heard, Entry):
            self.inbox.entry(heard, is_pushed=True)
        else:
            self._do(heard)

    def _do(self, heard: Push | Error | Welcome) -> None:
        match heard:
            case PresenceChanged(changes):
                self._scene.meters.count(PRESENCE_SEEN, len(changes))
                self._see(changes)
            case Gap(match) if match in self.inbox.held:
                self.inbox.gap(match)
            case Reset(match) if match in self.inbox.held:
                self.inbox.reset(match)
            case GoingAway(after_ms):
                self._go_away_s = after_ms / 1000
            case Error():
                self._error(heard)
            case _:
                return

    def _answer(self, payload: bytes) -> None:
        request_id = _decode_head(payload).id
        answered = self.outgoing.answered(request_id, partial(decode_sent, payload))
        if answered is None:
            asked = self._asked.pop(request_id, None)
            if asked is not None:
                asked.answered(payload)
            return
        number, sent = answered
        due_us = self.outgoing.book.due_us[number]
        if due_us >= self.inbox.counts_from_us:
            self._scene.meters.time("ack", self._scene.now_us() - due_us)
        self.inbox.own(sent.match, sent.seq, sent.created_at, number)
        self.user.read[sent.match] = max(sent.seq, self.user.read.get(sent.match, 0))

    def _error(self, error: Error) -> None:
        if not isinstance(error.id, int):
            self._scene.meters.count(f"error {error.code}")
        elif not self.outgoing.refused(error) and error.id in self._asked:
            self._scene.meters.count(f"error {error.code}")
            self._asked.pop(error.id).refused(error)

    def _watching(self, payload: bytes) -> None:
        self._see(_decode_watching(payload).presence)

    def _see(self, changes: Sequence[Presence]) -> None:
        """Keep the newer of two: news may overtake the answer that was read before."""
        for each in changes:
            known = self.sees.get(each.user)
            if known is None or each.v > known.v:
                self.sees[each.user] = each

    def _sync(self, matches: Sequence[Held]) -> None:
        for start in range(0, len(matches), SYNC_CURSORS_MAX):
            part = matches[start : start + SYNC_CURSORS_MAX]
            request = Sync(0, {held.match: held.cursor for held in part})
            self.ask(request, self._synced, partial(self._sync_refused, part))

    def _synced(self, payload: bytes) -> None:
        for match, page in decode_synced(payload).matches.items():
            self.inbox.page(match, page)

    def _sync_refused(self, matches: Sequence[Held], error: Error | None) -> None:
        for held in matches:
            held.is_asking = False
        if error is not None and CATALOGUE[error.code].temporary:
            asyncio.get_running_loop().call_later(_REFUSED_RETRY_S, self.inbox.ask_for, matches)


class _NotWelcome(Exception):
    """The server did not answer `hello` with `welcome`."""


def _named(problem: Exception) -> str:
    match problem:
        case _NotWelcome():
            return str(problem)
        case HandshakeRefused(status=status):
            return f"HTTP {status}" if status else "closed in the handshake"
        case TimeoutError():
            return "no welcome in time"
        case _:
            return type(problem).__name__
