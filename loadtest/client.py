"""A client of `duologue.v1`: typed requests and answers, pushes as they come. One connection, no reconnect.

Answers are decoded by the request that asked (several share the type `ok`), pushes by the union of the protocol; a
message that is neither fails loudly. `loadtest.resuming` adds cursors, resending and reconnecting.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Self, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from loadtest.connection import Connection, open_connection
from protocol.close_codes import CloseCode
from protocol.errors import ErrorCode
from protocol.from_client import (
    AuthRefresh,
    Body,
    ClientMessage,
    ClientState,
    ClientStateSet,
    Hello,
    History,
    JsonObject,
    LastSeen,
    Matches,
    MessageSend,
    OwnStatus,
    Ping,
    PresenceSet,
    PresenceWatch,
    Receipt,
    Sync,
    Typing,
)
from protocol.from_server import Error, HistoryPage, MatchesPage, Ok, Push, Sent, Synced, Watching, Welcome
from protocol.ids import ClientId, Cursor, DeviceId, MatchId, Micros, RequestId, Seq, SessionId, UserId

A = TypeVar("A")
P = TypeVar("P")
Cursors = Mapping[MatchId, Cursor]

_encode: Final = msgspec.json.Encoder().encode
_decode_push: Final = msgspec.json.Decoder(Push).decode
_decode_error: Final = msgspec.json.Decoder(Error).decode
decode_ok: Final = msgspec.json.Decoder(Ok).decode
decode_sent: Final = msgspec.json.Decoder(Sent).decode
decode_history: Final = msgspec.json.Decoder(HistoryPage).decode
decode_synced: Final = msgspec.json.Decoder(Synced).decode
decode_matches: Final = msgspec.json.Decoder(MatchesPage).decode
decode_watching: Final = msgspec.json.Decoder(Watching).decode
decode_welcome: Final = msgspec.json.Decoder(Welcome).decode


class _Envelope(Struct):
    type: str
    id: RequestId | None = None


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


class Refused(Exception):
    """The server answered a request with `error`."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error

    @property
    def code(self) -> ErrorCode:
        """Why, from the catalogue."""
        return self.error.code


class Closed(Exception):
    """The connection ended before the answer came."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class _Pending(NamedTuple):
    answered: Callable[[bytes], None]
    refused: Callable[[Refused | Closed], None]


class _Waiter(NamedTuple):
    wants: Callable[[Push | Error], bool]
    found: "asyncio.Future[Push | Error]"


class Client:
    """One connection. `pushes` holds what came and was not an answer, with the loop's time in seconds, in order."""

    __slots__ = (
        "__weakref__",
        "_connection",
        "_last_id",
        "_on_push",
        "_pending",
        "_token",
        "_waiters",
        "pushes",
        "welcome",
    )

    def __init__(self, *, token: str | None = None, on_push: Callable[[Push], None] | None = None) -> None:
        """Make one that is not connected; with `on_push` nothing is kept in `pushes`."""
        self._token = token
        self._on_push = on_push
        self._pending: dict[RequestId, _Pending] = {}
        self._waiters: list[_Waiter] = []
        self._last_id = 0
        self._connection: Connection | None = None
        self.pushes: list[tuple[float, Push | Error]] = []
        self.welcome: Welcome | None = None

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        token: str | None = None,
        ticket: str | None = None,
        headers: Mapping[str, str] | None = None,
        on_push: Callable[[Push], None] | None = None,
    ) -> Self:
        """Connect to `ws://…/ws`. `token` goes into `hello`, `ticket` into the address; raise `HandshakeRefused`."""
        client = cls(token=token, on_push=on_push)
        await client.open(url, query=f"ticket={ticket}" if ticket else "", headers=headers)
        return client

    async def open(
        self,
        url: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        local_address: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect and upgrade, from `local_address` when one is given."""
        self._connection = await open_connection(
            url, self._receive, query=query, headers=headers, local_address=local_address, tls=tls
        )
        self._connection.closed.add_done_callback(self._lost)

    # ---- requests

    async def hello(
        self,
        cursors: Cursors | None = None,
        *,
        device: str | None = None,
        session: SessionId | None = None,
        client_state: ClientState = ClientState.ACTIVE,
    ) -> Welcome:
        """Authenticate and resume; what was missed follows as pushes."""
        request = Hello(
            self.next_id(),
            token=self._token,
            device=DeviceId(device) if device else None,
            session=session,
            cursors=dict(cursors or {}),
            client_state=client_state,
        )
        self.welcome = await self.request(request, decode_welcome)
        return self.welcome

    async def send(
        self, match: str, text: str, client_id: str, *, data: JsonObject | None = None, reply_to: int | None = None
    ) -> Sent:
        """Post a message; when this returns it is stored."""
        request = MessageSend(
            self.next_id(),
            MatchId(match),
            ClientId(client_id),
            Body(text, data),
            None if reply_to is None else Seq(reply_to),
        )
        return await self.request(request, decode_sent)

    async def history(
        self, match: str, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> HistoryPage:
        """Read one page: newest first below `before`, or oldest first above `after`."""
        low = None if after is None else Micros(after)
        high = None if before is None else Micros(before)
        return await self.request(History(self.next_id(), MatchId(match), high, low, limit), decode_history)

    async def sync(self, cursors: Cursors) -> Synced:
        """Read what came after each cursor."""
        return await self.request(Sync(self.next_id(), dict(cursors)), decode_synced)

    async def matches(self, *, before: int | None = None, limit: int = 100) -> MatchesPage:
        """Read one page of the user's matches."""
        high = None if before is None else Micros(before)
        return await self.request(Matches(self.next_id(), high, limit), decode_matches)

    async def receipt(self, match: str, *, delivered: int | None = None, read: int | None = None) -> Ok:
        """Tell how far the match was delivered and read."""
        low = None if delivered is None else Seq(delivered)
        high = None if read is None else Seq(read)
        return await self.request(Receipt(MatchId(match), low, high, self.next_id()), decode_ok)

    async def watch(self, *users: str) -> Watching:
        """Watch the presence of `users`, and of nobody else."""
        return await self.request(PresenceWatch(self.next_id(), tuple(map(UserId, users))), decode_watching)

    async def refresh(self, token: str) -> Ok:
        """Replace the connection's token."""
        return await self.request(AuthRefresh(self.next_id(), token), decode_ok)

    async def ping(self) -> Ok:
        """Ask for a sign of life; also a way to know that all sent before was handled."""
        return await self.request(Ping(self.next_id()), decode_ok)

    async def attend(self, state: ClientState) -> Ok:
        """Tell whether somebody looks."""
        return await self.request(ClientStateSet(state, self.next_id()), decode_ok)

    async def show(
        self, *, status: OwnStatus | None = None, text: str | None = None, last_seen: LastSeen | None = None
    ) -> Ok:
        """Change how this user is shown; what is left out stays."""
        wish = PresenceSet(_set(status), _set(text), _set(last_seen), self.next_id())
        return await self.request(wish, decode_ok)

    def typing(self, match: str, on: bool = True) -> None:
        """Tell that this user is typing; there is no answer."""
        self.tell(Typing(MatchId(match), on))

    # ---- what the above stand on

    def next_id(self) -> int:
        """Return an id that no request of this connection has had."""
        self._last_id += 1
        return self._last_id

    def tell(self, message: ClientMessage) -> None:
        """Send a message and expect nothing."""
        self._open_connection().send_text(_encode(message))

    def ask(
        self,
        request: ClientMessage,
        answered: Callable[[bytes], None],
        refused: Callable[[Refused | Closed], None],
    ) -> None:
        """Send a request that has an id; exactly one of the two is called, later."""
        assert isinstance(request.id, int | str)
        closed = self._open_connection().closed
        if closed.done():
            asyncio.get_running_loop().call_soon(refused, Closed(_code_of(closed)))
            return
        self._pending[request.id] = _Pending(answered, refused)
        self.tell(request)

    async def request(self, request: ClientMessage, decode: Callable[[bytes], A]) -> A:
        """Send a request that has an id and wait for its answer; raise `Refused` or `Closed`."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ask(request, _if_waiting(answer, answer.set_result), _if_waiting(answer, answer.set_exception))
        return decode(await answer)

    def send_raw(self, payload: bytes) -> None:
        """Send a text message that may be anything."""
        self._open_connection().send_text(payload)

    def write_raw(self, data: bytes) -> None:
        """Write bytes into the socket that may be anything, no frame is put around them."""
        self._open_connection().write(data)

    async def next(self, kind: type[P], *, matching: Callable[[P], bool] = lambda _: True, within_s: float = 30) -> P:
        """Return the first push of `kind` that came or comes and matches, and take it and all before out of `pushes`."""
        for _, push in self.pushes:
            if isinstance(push, kind) and matching(push):
                self._forget_up_to(push)
                return push
        waiter = _Waiter(lambda push: isinstance(push, kind) and matching(push), self._new_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(within_s):
                found = await waiter.found
        finally:
            self._waiters.remove(waiter)
        assert isinstance(found, kind)
        self._forget_up_to(found)
        return found

    # ---- the connection

    @property
    def is_open(self) -> bool:
        """Whether the socket is there."""
        return self._connection is not None and not self._connection.closed.done()

    async def closed(self) -> int:
        """Wait for the end and return the close code, 1006 when the socket was just gone."""
        return await asyncio.shield(self._open_connection().closed)

    async def closed_before(self, other: "asyncio.Future[None]") -> int | None:
        """Wait for the end or for `other`; return the close code, None when `other` came first."""
        closed = self._open_connection().closed
        await asyncio.wait((closed, other), return_when=asyncio.FIRST_COMPLETED)
        return _code_of(closed) if closed.done() else None

    async def close(self, code: int = CloseCode.NORMAL) -> int:
        """Say goodbye and wait for the end; with another code it is none."""
        return await self._open_connection().close(code)

    def abort(self) -> None:
        """Cut the socket without a word."""
        self._open_connection().abort()

    def pause(self) -> None:
        """Stop reading."""
        self._open_connection().pause()

    def resume(self) -> None:
        """Read again."""
        self._open_connection().resume()

    def _open_connection(self) -> Connection:
        assert self._connection is not None, "not connected"
        return self._connection

    def _forget_up_to(self, push: object) -> None:
        last = next(index for index, (_, each) in enumerate(self.pushes) if each is push)
        del self.pushes[: last + 1]

    def _new_future(self) -> "asyncio.Future[Push | Error]":
        return asyncio.get_running_loop().create_future()

    def _receive(self, payload: bytes) -> None:
        envelope = _decode_envelope(payload)
        match envelope.type:
            case "ok" | "welcome":
                self._take(envelope.id).answered(payload)
            case "error" if envelope.id in self._pending:
                self._take(envelope.id).refused(Refused(_decode_error(payload)))
            case "error":
                self._keep(_decode_error(payload))
            case _:
                self._push(_decode_push(payload))

    def _take(self, request_id: RequestId | None) -> _Pending:
        assert request_id is not None
        return self._pending.pop(request_id)

    def _push(self, push: Push) -> None:
        if self._on_push is not None:
            self._on_push(push)
        else:
            self._keep(push)

    def _keep(self, push: Push | Error) -> None:
        self.pushes.append((asyncio.get_running_loop().time(), push))
        for waiter in self._waiters:
            if not waiter.found.done() and waiter.wants(push):
                waiter.found.set_result(push)
                break

    def _lost(self, closed: "asyncio.Future[int]") -> None:
        pending = list(self._pending.values())
        self._pending.clear()
        for each in pending:
            each.refused(Closed(_code_of(closed)))


def _code_of(closed: "asyncio.Future[int]") -> int:
    return CloseCode.ABNORMAL if closed.cancelled() else closed.result()


def _if_waiting(answer: "asyncio.Future[bytes]", settle: Callable[[A], None]) -> Callable[[A], None]:
    """Settle a future unless whoever waited has gone."""

    def settle_once(value: A) -> None:
        if not answer.done():
            settle(value)

    return settle_once


def _set(value: A | None) -> A | UnsetType:
    return UNSET if value is None else value
