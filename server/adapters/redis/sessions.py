"""The `Sessions` port on Redis: every node writes its own sessions, anew every `REFRESH_S`; a node that died writes no more.

Changes are collected and written together, at most `WRITTEN_AT_ONCE` a call so that none holds Redis up. What could not be
written is written at the next refresh: nothing but the list of sessions depends on it.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from protocol.ids import SessionId, UserId
from server.adapters.guard import Guard
from server.adapters.memory.sessions import MemorySessions
from server.adapters.redis.client import ERRORS
from server.core.sessions import SessionInfo
from server.ports import StoreUnavailable
from server.telemetry import event

REFRESH_S: Final = 30.0
LIFETIME_MS: Final = 90_000
WRITTEN_AT_ONCE: Final = 200
_UNTIL_CHARS: Final = 13
_SCRIPT: Final = Path(__file__).with_name("sessions.lua").read_text("utf-8")
_log: Final = logging.getLogger(__name__)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SessionInfo).decode


class RedisSessions:
    """Sessions of all nodes of one `prefix`; run `run`."""

    __slots__ = ("_changed", "_digest", "_guard", "_here", "_prefix", "_redis", "_wake")

    def __init__(self, redis: Redis, prefix: str, node: str, guard: Guard) -> None:
        """`guard` is Redis's."""
        self._redis = redis
        self._guard = guard
        self._prefix = prefix
        self._here = MemorySessions(node)
        # What is still to be written; None: gone.
        self._changed: dict[tuple[UserId, SessionId], SessionInfo | None] = {}
        self._wake = asyncio.Event()
        self._digest = ""

    @property
    def node(self) -> str:
        """The name that this node was given."""
        return self._here.node

    def add(self, session: SessionInfo) -> None:
        """Note it; it is written soon."""
        self._here.add(session)
        self._change(session.user, session.session, session)

    def remove(self, user: UserId, session: SessionId) -> None:
        """Note that it is gone."""
        self._here.remove(user, session)
        self._change(user, session, None)

    async def of(self, user: UserId) -> Sequence[SessionInfo]:
        """Read the user's sessions; those of this node as they are, the others' as they were written."""
        self._guard.check()
        try:
            with self._guard.asking(*ERRORS):
                kept, now_ms = await self._read(user)
        except ERRORS:
            raise StoreUnavailable("Redis, which has the list of sessions, does not answer") from None
        found = {session.session: session for session in _unpack(kept, now_ms) if session.node != self.node}
        found |= {session.session: session for session in await self._here.of(user)}
        return sorted(found.values(), key=lambda session: session.connected_at)

    async def run(self) -> None:
        """Write what changes, and everything anew before it ends, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    while True:
                        await self._wake.wait()
                        await self.write()
            for session in self._here:
                self._changed[session.user, session.session] = session
            await self.write()

    async def write(self) -> None:
        """Write what has changed; what cannot be written is left to the next refresh."""
        self._wake.clear()
        while self._changed:
            some = dict(islice(self._changed.items(), WRITTEN_AT_ONCE))
            for place in some:
                del self._changed[place]
            if not self._guard.allows():
                self._changed.clear()
                return
            try:
                with self._guard.asking(*ERRORS):
                    await self._write(some)
            except ERRORS as error:
                _log.warning("sessions.not_written", extra=event(reason=type(error).__name__))
                self._changed.clear()

    async def close(self) -> None:
        """Leave in good order: this node has no sessions any more."""
        for session in self._here:
            self.remove(session.user, session.session)
        await self.write()

    def _change(self, user: UserId, session: SessionId, info: SessionInfo | None) -> None:
        self._changed[user, session] = info
        self._wake.set()

    async def _write(self, changes: dict[tuple[UserId, SessionId], SessionInfo | None]) -> None:
        keys = [self._key(user) for user, _ in changes]
        arguments: list[str | bytes | int] = [LIFETIME_MS]
        for (_, session), info in changes.items():
            arguments += (session, b"" if info is None else _encode(info))
        if not self._digest:
            self._digest = await self._redis.script_load(_SCRIPT)
        try:
            await self._redis.evalsha(self._digest, len(keys), *keys, *arguments)
        except NoScriptError:  # Redis was restarted or emptied.
            await self._redis.eval(_SCRIPT, len(keys), *keys, *arguments)

    async def _read(self, user: UserId) -> tuple[dict[bytes, bytes], int]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            # Within a pipeline they only note what to ask, whatever their types say.
            _ = pipeline.hgetall(self._key(user)), pipeline.time()
            kept, (seconds, micros) = await pipeline.execute()
        return kept, seconds * 1000 + micros // 1000

    def _key(self, user: UserId) -> str:
        return f"{self._prefix}ss:{user}"


def _unpack(kept: dict[bytes, bytes], now_ms: int) -> list[SessionInfo]:
    found = []
    for value in kept.values():
        # Another version may keep something else there.
        with suppress(ValueError, msgspec.MsgspecError):
            if int(value[:_UNTIL_CHARS]) > now_ms:
                found.append(_decode(value[_UNTIL_CHARS:]))
    return found
