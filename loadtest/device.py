"""One device of one user, cheap enough for ten thousand in a process: no task while nothing happens, no object an entry.

The rules are those of docs/protocol.md, as in `loadtest.resuming`, which keeps everything it saw and costs ten times as
much. Sent away it is welcome elsewhere before it leaves, as apps on duologue.js are; a call by canned SDP is forgotten then.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
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
from protocol.close_codes import CloseCode, comes_back
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
_GOING_AWAY: Final = b'{"type":"going_away",'
WELCOME_WITHIN_S: Final = 30.0
REPLACED_WITHIN_S: Final = 2.0
# The server closes the connection that was taken over from; until then what comes over it counts.
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
        "_go_at_us",
        "_is_coming",
        "_is_stopping",
        "_last_id",
        "_lost_us",
        "_makes_room",
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
        self._go_at_us = 0
        # When the server asked it to leave for another.
        self._is_coming = False
        # `come` is under way, which nothing may begin a second time.
        self._makes_room = False
        # Its connection was closed for the one that is coming.
        self._is_stopping = False
        self._silent = False

    # ---- coming and going

    async def come(self, after_s: float = 0.0) -> None:
        """Connect, say hello and wait for the welcome; on a failure try again later, until it is stopped.

        A connection that it has serves until the welcome, and is left then.
        """
        self._is_coming = True
        if after_s:
            await asyncio.sleep(after_s)
        while not self._is_stopping and not await self._come_once():
            self._failures += 1
            await asyncio.sleep(min(_RETRY_FIRST_S * 2.0**self._failures, _RETRY_MAX_S) * self._scene.chance.random())

    def _come_back(self, after_s: float = 0.0) -> None:
        self._is_coming = True
        self._scene.spawn(self.come(after_s))

    async def _come_once(self) -> bool:
        scene = self._scene
        self._dialled_us = scene.now_us()
        welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(WELCOME_WITHIN_S):
                # The server says nothing before the hello.
                connection = await open_connection(scene.url, lambda _: None, tls=scene.tls)
                connection.on_text = partial(self._hear_welcome, connection, welcomed)
                connection.closed.add_done_callback(partial(self._lost, connection, welcomed))
                was_hidden = self.is_hidden
                self._say_hello(connection)
                await welcomed
        except (OSError, HandshakeRefused, _NotWelcome) as problem:
            self.trouble = _named(problem)
            scene.meters.count(f"connect failed: {self.trouble}")
            if connection is not None:
                connection.abort()
            self._made_room_in_vain()
            return False
        if self.is_hidden != was_hidden:
            self.tell(ClientStateSet(self._client_state()))
        return True

    def _say_hello(self, connection: Connection) -> None:
        self.connects += 1
        known = [held for held in self.inbox.held.values() if held.last][:HELLO_CURSORS_MAX]
        hello = Hello(
            self.next_id(),
            self.user.token,
            device=DeviceId(self.name) if self.name else None,
            session=self._session,
            cursors={held.match: held.cursor for held in known},
            client_state=self._client_state(),
        )
        connection.write(text_frame(_encode(hello)))

    def _client_state(self) -> ClientState:
        return ClientState.INACTIVE if self.is_hidden else ClientState.ACTIVE

    def _hear_welcome(self, connection: Connection, welcomed: "asyncio.Future[None]", payload: bytes) -> None:
        if welcomed.done():
            return
        heard = _decode_push(payload)
        if isinstance(heard, Welcome):
            self._welcome(connection, heard)
            welcomed.set_result(None)
        elif isinstance(heard, Error):
            welcomed.set_exception(_NotWelcome(heard.code))

    def _welcome(self, connection: Connection, welcome: Welcome) -> None:
        scene, now_us = self._scene, self._scene.now_us()
        if self.is_ready or self._makes_room:
            self._moved()
        else:
            self._came(now_us)
        self._connection, self._is_coming, self._go_at_us = connection, False, 0
        connection.on_text = self._text
        self.outgoing.connection = self.connects
        self._session, self._failures, self.is_ready, self._silent = welcome.session, 0, True, False
        scene.meters.time("connect", now_us - self._dialled_us)
        timers = welcome.timers
        scene.presence_bound_us = timers.presence_debounce_ms * 1000
        scene.silence_bound_us = (timers.ping_after_ms + timers.ping_timeout_ms + timers.presence_debounce_ms) * 1000
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

    def _came(self, now_us: int) -> None:
        """Note that its user has one more device."""
        if self._lost_us and not self.away:
            self._scene.meters.time("comeback", now_us - self._lost_us)
        self._lost_us = 0
        if not self.user.connected:
            self._scene.meters.count(PRESENCE_CHANGED)
        self.user.came(now_us)

    def _lost(self, connection: Connection, welcomed: "asyncio.Future[None]", closed: "asyncio.Future[int]") -> None:
        if not welcomed.done():
            welcomed.set_exception(_NotWelcome(f"closed with {closed.result()}"))
            return
        if connection is not self._connection or not self.is_ready:
            return
        code = closed.result()
        self.is_ready = False
        self._forget_asked()
        if self._is_coming and code == CloseCode.REPLACED:  # told sooner than the welcome that it makes room for
            self._makes_room = True
            return
        self._went()
        if self.away or self._is_stopping:
            return
        self._count_loss(code)
        if self._is_coming:
            return
        if comes_back(code):
            told_s = max(0, self._go_at_us - self._lost_us) / 1e6
            self._come_back(told_s + _RETRY_FIRST_S * self._scene.chance.random())
        else:
            self.trouble = f"closed with {code}, which says not to come back"
            self._scene.meters.count("gave up")

    def _went(self) -> None:
        """Note that its user has one device less."""
        self.user.went(self._scene.now_us(), silent=self._silent)
        if not self.user.connected:
            self._scene.meters.count(PRESENCE_CHANGED)

    def _count_loss(self, code: int) -> None:
        self._lost_us = self._scene.now_us()
        self._scene.meters.count(f"closed with {code}")

    def _made_room_in_vain(self) -> None:
        """Note that the connection which was closed for a new one is lost: the node that was to welcome it fell."""
        if self._makes_room:
            self._makes_room = False
            self._went()
            self._count_loss(CloseCode.REPLACED)

    def _forget_asked(self) -> None:
        """Have everything that has no answer asked again, or not at all: the connection that it was asked on is gone."""
        self.outgoing.lost()
        self.caller.lost()
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.refused(None)

    def _sent_away(self, after_s: float) -> None:
        self._go_at_us = self._scene.now_us() + int(after_s * 1e6)
        asyncio.get_running_loop().call_later(after_s, self._move_from, self._connection)

    def _move_from(self, connection: Connection | None) -> None:
        """Connect elsewhere, unless it has left meanwhile."""
        if connection is self._connection and self._is_free and not self._is_stopping:
            self._come_back()

    def _moved(self) -> None:
        """Go on elsewhere: what still comes over the connection so far counts, and what that server says of itself does not."""
        self._scene.meters.count("moved elsewhere")
        old, self._makes_room = self._connection, False
        if self.is_ready and old is not None:
            self._forget_asked()
            old.on_text = self._text_behind
            self._scene.spawn(_left(old))

    def _text_behind(self, payload: bytes) -> None:
        if not payload.startswith(_GOING_AWAY):
            self._text(payload)

    @property
    def _is_free(self) -> bool:
        """Whether it is connected, and neither gone on purpose nor about to connect."""
        return self.is_ready and not self.away and not self._is_coming

    def leave(self, back_after_s: float | None) -> None:
        """Say goodbye, and come back after a while (None: not by itself)."""
        if self._is_free and self._connection is not None:
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
        if self._is_free and self._connection is not None:
            self.away = self._silent = True
            self._connection.abort()
            self._come_back(back_after_s)

    def cut(self) -> None:
        """Lose the connection by no wish of the user: it comes back at once, and what it missed counts."""
        if self.is_ready and self._connection is not None:
            self._silent = True
            self._connection.abort()

    def pause(self) -> bool:
        """Read nothing until `resume`; return whether that is to be called: one that is away, or moves, goes on as it is."""
        if not self._is_free or self._connection is None:
            return False
        self.away = True
        self._connection.pause()
        return True

    def resume(self) -> None:
        """Read again."""
        if self._connection is not None:
            self._connection.resume()
        if self.is_ready:
            self.away, self.inbox.counts_from_us = False, self._scene.now_us()
        elif not self._is_stopping:  # closed as too slow meanwhile
            self._come_back()

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
                self._sent_away(after_ms / 1000)
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


async def _left(connection: Connection) -> None:
    """Close a connection that was taken over from, when the server does not; with another code than a goodbye's."""
    with suppress(TimeoutError):
        async with asyncio.timeout(REPLACED_WITHIN_S):
            await asyncio.shield(connection.closed)
    if not connection.closed.done():
        await close_within(5.0, connection.close(CloseCode.GOING_AWAY))
        connection.abort()


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
