"""A Redis for buses that live in virtual time: the real one and the server's own scripts, by the clock of the test.

What a script publishes is handed out when the loop turns. A node can stand still, lose an answer or its reader; the whole can
be away, come back with what it had, or with nothing. Each of a bus's calls is one synchronous exchange, so that nothing
happens at the same time and a run can be repeated.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import redis
from redis.exceptions import ResponseError

from server.adapters.redis import bus as bus_module
from server.adapters.redis.channel import ChannelLost
from server.adapters.redis.endpoint import Address, RedisEndpoint
from server.adapters.redis.link import RedisAway, Reply, ServerFacts
from server.adapters.redis.scripts import SCRIPTS
from server.adapters.redis.wire import Command
from server.ports import Clock
from tests.support.private_redis import PrivateRedis

DATABASE: Final = 9
_CLOCK: Final = "steady clock"
_PUBLISHED: Final = "steady published"
_ADDRESS: Final = ("steady", 0)
# Where a script has the time from, and to whom it tells something.
_OTHERWISE: Final = (
    (b"call('TIME')", f"call('LRANGE', '{_CLOCK}', 0, 1)".encode()),
    (b"call('PUBLISH', ", f"call('RPUSH', '{_PUBLISHED}', ".encode()),
)


class SteadyRedis:
    """Nodes are named by their `node_name`, without the incarnation."""

    def __init__(self, server: PrivateRedis, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._client = redis.Redis(unix_socket_path=str(server.socket), db=DATABASE)
        self._clock = clock
        self.loop = loop
        self._digests = {script.digest: self._load(script.text) for script in SCRIPTS}
        self._readers: dict[bytes, SteadyChannel] = {}
        self._frozen: dict[str, asyncio.Event] = {}
        self._losing: set[str] = set()
        self._run = 0
        self.is_away = False
        self.empty()

    def close(self) -> None:
        """Leave nothing there."""
        self._client.flushdb()
        self._client.close()

    # ---- what a test does to it

    def empty(self) -> None:
        """Forget everything, as FLUSHALL does."""
        self._client.flushdb()

    def leave(self, *, is_emptied: bool) -> None:
        """Be away from now on: nobody is answered, and readers are cut off."""
        self.is_away = True
        if is_emptied:
            self._run += 1
            self.empty()
        for reader in tuple(self._readers.values()):
            reader.cut("the server is away")

    def come_back(self) -> None:
        """Answer again."""
        self.is_away = False

    def freeze(self, node: str) -> None:
        """Let the node do nothing: what it asks waits, what it is told waits."""
        self._frozen[node] = asyncio.Event()

    def thaw(self, node: str) -> None:
        """Let it go on."""
        self._frozen.pop(node).set()
        for reader in tuple(self._readers.values()):
            reader.catch_up()

    def lose_answer(self, node: str) -> None:
        """Do what the node asks for next, and have it not find out."""
        self._losing.add(node)

    def cut_reader(self, node: str) -> None:
        """End what the node listens by."""
        for reader in tuple(self._readers.values()):
            if reader.node == node:
                reader.cut("cut by the test")

    # ---- what buses use in place of connections

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Have buses use this instead of connections."""
        with patch.object(bus_module, "RedisLink", _Links(self)), patch.object(bus_module, "open_channel", self._open):
            yield

    def is_frozen(self, node: str) -> bool:
        """Whether the node stands still."""
        return node in self._frozen

    async def link(self) -> "SteadyLink":
        """Return a connection for commands; raise `RedisAway`."""
        await asyncio.sleep(0)
        if self.is_away:
            raise RedisAway("away")
        return SteadyLink(self, f"run {self._run}")

    async def call(self, commands: Sequence[Command]) -> list[Reply]:
        """Do all of it; raise `RedisAway`."""
        node = _node_of(commands[0])
        while (thawed := self._frozen.get(node)) is not None:
            await thawed.wait()
        await asyncio.sleep(0)
        if self.is_away:
            raise RedisAway("away")
        replies = [self._do(command) for command in commands]
        if node in self._losing:
            self._losing.discard(node)
            raise RedisAway("the answer was lost")
        return replies

    def gone(self, channel: bytes, reader: "SteadyChannel") -> None:
        """A reader has ended."""
        if self._readers.get(channel) is reader:
            del self._readers[channel]

    def _do(self, command: Command) -> Reply:
        _, digest, _, *arguments = command
        assert isinstance(digest, bytes)
        seconds, micros = divmod(self._clock.micros(), 1_000_000)
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.delete(_CLOCK)
            pipeline.rpush(_CLOCK, seconds, micros)
            pipeline.evalsha(self._digests[digest].decode(), 0, *map(_flat, arguments))
            pipeline.lrange(_PUBLISHED, 0, -1)
            pipeline.delete(_PUBLISHED)
            _, _, reply, published, _ = pipeline.execute(raise_on_error=False)
        if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
            raise reply
        for channel, payload in zip(published[::2], published[1::2], strict=True):
            if (reader := self._readers.get(channel)) is not None:
                reader.publish(payload)
        return reply

    async def _open(
        self,
        endpoint: RedisEndpoint,
        address: Address,
        channel: bytes,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> "SteadyChannel":
        del endpoint, address
        await asyncio.sleep(0)
        if self.is_away:
            raise ChannelLost("away")
        reader = self._readers[channel] = SteadyChannel(self, channel, on_message, on_lost)
        return reader

    def _load(self, text: bytes) -> bytes:
        for usual, ours in _OTHERWISE:
            text = text.replace(usual, ours)
        assert _CLOCK.encode() in text
        self._client.script_load(text)
        return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


class _Links:
    """Stands where the class of connections stands."""

    def __init__(self, steady: SteadyRedis) -> None:
        self._steady = steady

    async def open(self, endpoint: RedisEndpoint, prefix: str, timeout_s: float) -> "SteadyLink":
        del endpoint, prefix, timeout_s
        return await self._steady.link()


class SteadyLink:
    """A connection for commands."""

    def __init__(self, steady: SteadyRedis, run_id: str) -> None:
        self._steady = steady
        self.address: Address = _ADDRESS
        self.facts = ServerFacts((7, 0), run_id, is_cluster=False, is_master=True, evicts=False)

    async def call(self, commands: Sequence[Command]) -> list[Reply]:
        return await self._steady.call(commands)

    async def close(self) -> None:
        """It holds nothing."""


class SteadyChannel:
    """A reader: hands on what is published in a later turn of the loop, in order."""

    def __init__(
        self,
        steady: SteadyRedis,
        channel: bytes,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._steady = steady
        self._channel = channel
        self._on_message = on_message
        self._on_lost = on_lost
        self._waiting: list[bytes] = []
        self._is_open = True
        self.node = channel.decode().partition("node:")[2].partition(":")[0]

    def publish(self, payload: bytes) -> None:
        self._waiting.append(payload)
        self.catch_up()

    def catch_up(self) -> None:
        self._steady.loop.call_soon(self._hand_on)

    def cut(self, reason: str) -> None:
        """End it as a cut connection does."""
        if self._is_open:
            self.close()
            self._steady.loop.call_soon(self._on_lost, reason)

    def close(self) -> None:
        self._is_open = False
        self._steady.gone(self._channel, self)

    def _hand_on(self) -> None:
        while self._waiting and self._is_open and not self._steady.is_frozen(self.node):
            self._on_message(self._waiting.pop(0))


def _node_of(command: Command) -> str:
    """Scripts have the prefix first and the node second."""
    name = command[4]
    return (name.decode() if isinstance(name, bytes) else str(name)).partition(":")[0]


def _flat(argument: str | int | bytes) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()
