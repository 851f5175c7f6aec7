"""The HTTP API as an app's backend uses it, on one kept-alive connection; typed answers, `ApiError` for the rest."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec import Struct

from loadtest.tls import port_of
from protocol.from_server import Entry
from protocol.ids import MatchId, Micros, Seq, UserId
from protocol.limits import PAGE_MAX

T = TypeVar("T")

_BODY_MAX_BYTES: Final = 16 * 1024 * 1024


class ApiError(Exception):
    """An answer of 400 or above: its status and the catalogue's code (empty when the body holds none)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"HTTP {status} {code}: {message}")
        self.status = status
        self.code = code


class Answer(Struct, frozen=True):
    """An HTTP answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def read(self, kind: type[T]) -> T:
        """Decode the JSON body."""
        return msgspec.json.decode(self.body, type=kind)


class _Problem(Struct):
    code: str = ""
    message: str = ""


class _ProblemBody(Struct):
    error: _Problem


class MintedToken(Struct, frozen=True):
    """The answer to `POST /v1/tokens`."""

    token: str
    user: UserId
    expires_at: Micros


class Ticket(Struct, frozen=True):
    """The answer to `POST /v1/tickets`."""

    ticket: str
    expires_in_s: int


class MatchView(Struct, frozen=True):
    """A match as the backend sees it."""

    match: MatchId
    members: tuple[UserId, ...]
    last_seq: Seq
    last_at: Micros
    messages: int


class EntriesPage(Struct, frozen=True):
    """One page of a log."""

    messages: tuple[Entry, ...]
    complete: bool


class Posted(Struct, frozen=True):
    """The answer to posting a message."""

    match: MatchId
    seq: Seq
    created_at: Micros
    duplicate: bool


class Reached(Struct, frozen=True):
    """The answer to an app event."""

    connections: int


class Api:
    """A backend (or, with a user's token as `key`, a user) talking to `/v1`. Requests go one after the other."""

    def __init__(self, url: str, key: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", port_of(parts)
        self._authority = parts.netloc
        self._key = key
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def token(self, user: str, ttl_s: int = 3600) -> str:
        """Mint an access token."""
        answer = await self.call("POST", "/v1/tokens", {"user": user, "ttl_s": ttl_s})
        return answer.read(MintedToken).token

    async def ticket(self, user: str) -> str:
        """Mint a one-use ticket for `/ws?ticket=`."""
        return (await self.call("POST", "/v1/tickets", {"user": user})).read(Ticket).ticket

    async def put_match(self, match: str, members: Sequence[str]) -> MatchView:
        """Make a match, or set its members."""
        answer = await self.call("PUT", f"/v1/matches/{quote(match, safe='')}", {"members": list(members)})
        return answer.read(MatchView)

    async def match(self, match: str) -> MatchView:
        """Read a match."""
        return (await self.call("GET", f"/v1/matches/{quote(match, safe='')}")).read(MatchView)

    async def end_match(self, match: str) -> None:
        """End a match; its log stays readable here."""
        await self.call("DELETE", f"/v1/matches/{quote(match, safe='')}")

    async def entries(
        self, match: str, *, before: int | None = None, after: int | None = None, limit: int = PAGE_MAX
    ) -> EntriesPage:
        """Read one page of a log, newest first, or oldest first above `after`."""
        wanted = {"before": before, "after": after, "limit": limit}
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        answer = await self.call("GET", f"/v1/matches/{quote(match, safe='')}/messages?{query}")
        return answer.read(EntriesPage)

    async def log(self, match: str) -> list[Entry]:
        """Read the whole log of a match, oldest first."""
        entries: list[Entry] = []
        complete = False
        while not complete:
            page = await self.entries(match, after=entries[-1].created_at if entries else 0)
            entries += page.messages
            complete = page.complete
        return entries

    async def post(self, match: str, sender: str, client_id: str, text: str) -> Posted:
        """Post a message in a user's name."""
        body = {"sender": sender, "client_id": client_id, "body": {"text": text}}
        return (await self.call("POST", f"/v1/matches/{quote(match, safe='')}/messages", body)).read(Posted)

    async def event(self, user: str, name: str, data: dict[str, object]) -> int:
        """Push an app event to the user's devices; return how many connections it went to."""
        answer = await self.call("POST", f"/v1/users/{quote(user, safe='')}/events", {"name": name, "data": data})
        return answer.read(Reached).connections

    async def call(self, method: str, target: str, body: object = None) -> Answer:
        """Make one request; raise `ApiError` for a status of 400 and above, `OSError` when nobody answers."""
        answer = await self.exchange(method, target, b"" if body is None else msgspec.json.encode(body))
        if answer.status >= 400:
            raise _api_error(answer)
        return answer

    async def exchange(self, method: str, target: str, body: bytes = b"") -> Answer:
        """Make one request and return whatever came; once again on a kept connection that had gone."""
        async with self._turn:
            if self._streams is not None:
                try:
                    return await self._exchange(method, target, body)
                except (OSError, EOFError):
                    self.close()
            return await self._exchange(method, target, body)

    def close(self) -> None:
        """Give up the kept connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, method: str, target: str, body: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=_BODY_MAX_BYTES, ssl=self._tls)
        reader, writer = self._streams
        writer.write(self._head(method, target, len(body)) + body)
        answer = await _read_answer(reader)
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def _head(self, method: str, target: str, length: int) -> bytes:
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {self._authority}",
            f"Authorization: Bearer {self._key}",
            f"Content-Length: {length}",
            *(["Content-Type: application/json"] if length else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode()


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    status = int(status_line.split(" ", 2)[1])
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, await _read_chunks(reader))
    return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks: list[bytes] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)


def _api_error(answer: Answer) -> ApiError:
    try:
        problem = answer.read(_ProblemBody).error
    except msgspec.DecodeError:
        problem = _Problem()
    return ApiError(answer.status, problem.code, problem.message)
