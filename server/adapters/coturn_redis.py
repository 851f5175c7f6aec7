"""coturn's Redis: gives coturn the secrets that this node signs with, and hears there what its relays carried.

Guarantees: a secret is known to coturn before and after every reconnect, so that rotating is putting a new one first in the
settings; a loss of messages is repaired by the total that coturn tells at an allocation's end. Never takes a secret away, and
reads no client's address. While Redis is away calls go on and nothing is counted.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from msgspec import Struct
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from server.adapters.redis.client import close_client, make_client
from server.telemetry import event
from turn.accounts import PATTERN, SECRETS_KEY

SILENCE_S: Final = 5.0
PAUSE_S: Final = 2.0

_log = logging.getLogger(__name__)


class CoturnRedisSettings(Struct, frozen=True):
    """Where it is, and of which relays it is about. No secret shows."""

    url: str
    realm: str
    secrets: tuple[str, ...]
    # After so long without a message the connection is asked whether it lives; after as long again it is given up.
    silence_s: float = SILENCE_S
    pause_s: float = PAUSE_S

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return f"CoturnRedisSettings({self.realm})"


class CoturnRedis:
    """Run `run` for as long as the node lives; `heard` gets each message's channel and text."""

    def __init__(self, settings: CoturnRedisSettings, heard: Callable[[str, str], None]) -> None:
        """Raise `BusUnusable` for an address that cannot be used."""
        self._settings = settings
        self._heard = heard
        self._client: Redis = make_client(settings.url)
        self.is_connected: Final = asyncio.Event()

    async def run(self) -> None:
        """Connect, listen, and connect again, until cancelled."""
        while True:
            try:
                await self._live()
            except (RedisError, OSError) as problem:
                # Its text may hold an address; its kind does not.
                _log.warning("coturn_redis.lost", extra=event(problem=type(problem).__name__))
            self.is_connected.clear()
            await asyncio.sleep(self._settings.pause_s)

    async def close(self) -> None:
        """Give up the connections."""
        await close_client(self._client)

    async def _live(self) -> None:
        realm = self._settings.realm
        if self._settings.secrets:
            await self._client.sadd(SECRETS_KEY.format(realm=realm), *self._settings.secrets)
        ear = self._client.pubsub()
        try:
            await ear.psubscribe(PATTERN.format(realm=realm))
            _log.info("coturn_redis.connected")
            await self._listen(ear)
        finally:
            with suppress(RedisError, OSError):
                await ear.aclose()  # type: ignore[no-untyped-call]

    async def _listen(self, ear: PubSub) -> None:
        was_asked = False
        while True:
            message = await ear.get_message(timeout=self._settings.silence_s)
            if message is not None:
                was_asked = False
                self._take(message)
            elif was_asked:
                raise ConnectionError("silent")
            else:
                was_asked = True
                await ear.ping()

    def _take(self, message: dict[str, object]) -> None:
        if message["type"] == "psubscribe":
            self.is_connected.set()
        channel, data = message["channel"], message["data"]
        if message["type"] == "pmessage" and isinstance(channel, bytes) and isinstance(data, bytes):
            self._heard(channel.decode("utf-8", "replace"), data.decode("utf-8", "replace"))
