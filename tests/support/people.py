"""People of a test's own on a server that it shares with other tests: fresh names, fresh matches, connections that end.

Everything goes through the public protocol. Nothing is said to have stayed away because a while passed: `came` asks the
server something, and what it would have pushed before that is there when the answer is. On several nodes each next
connection is to the next node, and `came` first lets what is between the nodes arrive.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from itertools import count, cycle
from pathlib import Path
from secrets import token_hex
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from loadtest.api import Api
from loadtest.client import Client, Cursors, Refused, decode_ok
from protocol.errors import ErrorCode
from protocol.from_client import Body, ClientState, Typing, TypingKind
from protocol.from_server import AppEvent, Entry, Error, Message, Push, Sent
from protocol.ids import Cursor, MatchId, Micros, Seq, SessionId, UserId
from tests.support.numbers import read_gauges, read_numbers
from tests.support.private_server import PrivateServer, private_server

P = TypeVar("P")
# Limits that a test which is not about them does not want to meet.
UNLIMITED: Final = {
    "MESSAGE_RATE_PER_S": "1000000",
    "MESSAGE_BURST": "1000000",
    "FRAME_RATE_PER_S": "1000000",
    "FRAME_BURST": "1000000",
}
BEFORE_ALL: Final[Cursor] = (Seq(0), Micros(0))


def fresh(stem: str) -> str:
    """Return a name that nobody had before."""
    return f"{stem}-{token_hex(5)}"


def unlimited_server(database: Path | None = None, **settings: str) -> AbstractContextManager[PrivateServer]:
    """Run a server in dev mode without limits to how fast one may speak."""
    return private_server(database, port=None, dev=True, **UNLIMITED, **settings)


class People:
    """Makes users, matches and connections; what it opened is closed at its end."""

    def __init__(
        self, server: PrivateServer, stack: AsyncExitStack, key: str = "dev", others: Sequence[PrivateServer] = ()
    ) -> None:
        """The API is that of `server`; `others` are more nodes of its cluster."""
        self.server = server
        self.api = Api(server.http_url, key)
        self._stack = stack
        self._nodes = cycle((server, *others))
        self._between = Between()
        stack.callback(self.api.close)

    def users(self, *stems: str) -> list[UserId]:
        """Return fresh users."""
        return [UserId(fresh(stem)) for stem in stems]

    async def match(self, *members: str) -> MatchId:
        """Make a fresh match."""
        match = MatchId(fresh("match"))
        await self.api.put_match(match, members)
        return match

    async def visitor(self, user: str = "", *, token: str | None = None) -> Client:
        """Connect with a token of `user`, or this one, in hand, and say nothing yet."""
        token = await self.api.token(user) if user else token
        return self.leaves(await Client.connect(next(self._nodes).ws_url, token=token))

    async def join(self, *nodes: PrivateServer) -> None:
        """Have a watchman on each of `nodes`, so that `settled` knows what is between them."""
        for node in nodes:
            user = fresh("watchman")
            watchman = await Client.connect(node.ws_url, token=await self.api.token(user))
            await self.leaves(watchman).hello()
            self._between.add(watchman, self.leaves_api(Api(node.http_url, "dev")))

    async def settled(self) -> None:
        """Wait until what the nodes have told each other has arrived; on one there is nothing to wait for."""
        await self._between.settled()

    async def come(
        self,
        user: str,
        cursors: Cursors | None = None,
        *,
        device: str | None = None,
        session: SessionId | None = None,
        client_state: ClientState = ClientState.ACTIVE,
    ) -> Client:
        """Connect as `user` and say hello."""
        client = await self.visitor(user)
        await client.hello(cursors, device=device, session=session, client_state=client_state)
        return client

    async def pair(self) -> tuple[Client, Client, MatchId]:
        """Return two who are connected and their match."""
        alice, bob = self.users("alice", "bob")
        match = await self.match(alice, bob)
        return await self.come(alice), await self.come(bob), match

    def as_user(self, token: str) -> Api:
        """Return the HTTP API as one whose key is `token`."""
        return self.leaves_api(Api(self.server.http_url, token))

    def leaves_api(self, api: Api) -> Api:
        """Have the connection of `api` closed at the end."""
        self._stack.callback(api.close)
        return api

    def leaves(self, client: Client) -> Client:
        """Have `client` closed at the end."""
        self._stack.push_async_callback(client.close)
        _between[client] = self._between
        return client


class Between:
    """What is under way between nodes: frames of one node to another arrive in order, so that a last one ends it."""

    def __init__(self) -> None:
        self._watchmen: list[tuple[Client, Api]] = []
        self._numbers = count()

    def add(self, watchman: Client, api: Api) -> None:
        """Know one more node, by one who is connected there and its API."""
        self._watchmen.append((watchman, api))

    async def settled(self) -> None:
        """Have every node tell every other one something, and wait until it is heard."""
        number = next(self._numbers)
        for _, api in self._watchmen:
            for watchman, _ in self._watchmen:
                await api.event(name_of(watchman), f"settled {number}", {})
        for watchman, _ in self._watchmen:
            for _ in self._watchmen:
                await watchman.next(AppEvent, matching=lambda push: push.name == f"settled {number}")


_between: Final[WeakKeyDictionary[Client, Between]] = WeakKeyDictionary()


@asynccontextmanager
async def people_on(server: PrivateServer, *others: PrivateServer, key: str = "dev") -> AsyncIterator[People]:
    """Let people on `server`, and on more nodes of its cluster, until the block ends."""
    async with AsyncExitStack() as stack:
        people = People(server, stack, key, others)
        if others:
            await people.join(server, *others)
        yield people


# ---- saying and hearing


def name_of(client: Client) -> UserId:
    """Return who the server says that `client` is."""
    assert client.welcome is not None
    return client.welcome.user


async def say(client: Client, match: str, *texts: str) -> list[Sent]:
    """Send messages in one go, one after the other, and return their answers."""
    return list(await asyncio.gather(*(client.send(match, text, fresh("message")) for text in texts)))


async def type_in(client: Client, match: str, *, on: bool = True, kind: TypingKind = TypingKind.TEXT) -> None:
    """Tell that the user is typing, and wait until the server has dealt with it."""
    await client.request(Typing(MatchId(match), on, client.next_id(), kind), decode_ok)


async def came(client: Client, kind: type[P]) -> list[P]:
    """Return all pushes of `kind` up to now; forget them and everything else that came."""
    await _between[client].settled()
    await client.ping()
    pushes = [push for _, push in client.pushes]
    client.pushes.clear()
    return [push for push in pushes if isinstance(push, kind)]


async def everything_that_came(client: Client) -> list[Push | Error]:
    """Return all pushes up to now, and forget them."""
    await _between[client].settled()
    await client.ping()
    pushes = [push for _, push in client.pushes]
    client.pushes.clear()
    return pushes


def text_of(entry: object) -> str:
    """Return what a message says."""
    assert isinstance(entry, Message), entry
    return msgspec.json.decode(entry.body, type=Body).text


def texts_of(entries: Sequence[Entry]) -> list[str]:
    """Return what the messages among `entries` say."""
    return [text_of(entry) for entry in entries if isinstance(entry, Message)]


def plain(entry: object) -> object:
    """Return a message as plain values, so that two can be compared."""
    return msgspec.json.decode(msgspec.json.encode(entry))


def cursor_of(sent: Sent | Entry) -> Cursor:
    """Return the cursor that stands on an entry."""
    return (sent.seq, sent.created_at)


def code_of(problem: object) -> ErrorCode:
    """Return why something was refused."""
    assert isinstance(problem, Refused), problem
    return problem.code


# ---- the numbers


async def numbers(api: Api) -> dict[str, float]:
    """Read /metrics."""
    return read_numbers((await api.call("GET", "/metrics")).body.decode())


async def until_numbers(api: Api, hold: Callable[[dict[str, float]], bool]) -> None:
    """Wait until the numbers are such."""
    async with asyncio.timeout(60):
        while not hold(await numbers(api)):  # noqa: ASYNC110 - another process's numbers: there is no event to await
            await asyncio.sleep(0.02)


async def gauges_at_zero(api: Api) -> None:
    """Wait until nothing is left open but the connection that asks."""

    async def gauges() -> dict[str, float]:
        return read_gauges((await api.call("GET", "/metrics")).body.decode())

    assert len(await gauges()) >= 5
    async with asyncio.timeout(60):
        while any((await gauges()).values()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
