"""The reader of one Redis channel, on the parser in C: synchronous, in order, and it says when it is cut off.

redis-py's own PubSub reconnects without a word, and what was published in between is missing (measured, with and without
retries). This one never reconnects: whoever owns it is told, opens the next one and repairs.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import hiredis
from typing_extensions import override

from server.adapters.redis.endpoint import Address, RedisEndpoint
from server.adapters.redis.wire import pack_command

SUBSCRIBE_TIMEOUT_S: Final = 2.0


class ChannelLost(Exception):
    """The channel cannot be read (any more); the text says why."""


class RedisChannel(asyncio.Protocol):
    """Hands every message of one channel to `on_message`, as it arrives; `on_lost` is called once, but not after `close`."""

    def __init__(self, on_message: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._parser = hiredis.Reader()
        self._subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    async def subscribe(self, channel: bytes, credentials: tuple[str, ...]) -> None:
        """Authenticate and subscribe; raise `ChannelLost` when Redis refuses or ends the connection."""
        assert self._transport is not None
        auth = pack_command(("AUTH", *credentials)) if credentials else b""
        self._transport.write(auth + pack_command(("SUBSCRIBE", channel)))
        await self._subscribed

    @property
    def is_subscribed(self) -> bool:
        """Whether messages come."""
        return self._subscribed.done() and not self._subscribed.cancelled() and self._subscribed.exception() is None

    def close(self) -> None:
        """Read no more and tell nobody."""
        self._on_lost = _tell_nobody
        self._on_message = _ignore
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        # uvloop's transport is one by shape, not by inheritance.
        self._transport = cast(asyncio.Transport, transport)

    @override
    def data_received(self, data: bytes) -> None:
        """Parse and hand over; whatever is no message ends the connection."""
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not False:
                if isinstance(reply, list) and reply[0] == b"message":
                    self._on_message(reply[2])
                else:
                    self._answered(reply)
        except hiredis.ProtocolError as problem:
            self._fail(f"the reader was sent no RESP: {problem}")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        self._fail(f"the reader was cut off{f': {exc}' if exc else ''}")

    def _answered(self, reply: object) -> None:
        if isinstance(reply, list) and reply[0] == b"subscribe":
            if not self._subscribed.done():
                self._subscribed.set_result(None)
        elif reply != b"OK":
            self._fail(f"the reader was refused: {reply}")

    def _fail(self, reason: str) -> None:
        lost, self._on_lost = self._on_lost, _tell_nobody
        if not self._subscribed.done():
            self._subscribed.set_exception(ChannelLost(reason))
            self._subscribed.exception()  # Whoever waited may have given up; that is no news for the log.
        else:
            lost(reason)
        self.close()


async def open_channel(
    endpoint: RedisEndpoint,
    address: Address,
    channel: bytes,
    on_message: Callable[[bytes], None],
    on_lost: Callable[[str], None],
) -> RedisChannel:
    """Connect and subscribe within `SUBSCRIBE_TIMEOUT_S`, or raise `ChannelLost`."""
    reader: RedisChannel | None = None
    try:
        async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
            reader = await endpoint.dial(address, lambda: RedisChannel(on_message, on_lost))
            await reader.subscribe(channel, endpoint.credentials)
    except (OSError, ChannelLost) as problem:
        raise ChannelLost(str(problem) or f"no answer within {SUBSCRIBE_TIMEOUT_S:g} s") from None
    finally:
        if reader is not None and not reader.is_subscribed:
            reader.close()
    return reader


def _tell_nobody(reason: str) -> None:
    del reason


def _ignore(message: bytes) -> None:
    del message
