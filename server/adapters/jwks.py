"""The issuer's public keys, read from a JWKS file or address and kept fresh.

Guarantees: fetched in a thread with a time limit and a size cap, never twice at once; a failure keeps the last good keys
(`stale-if-error`) and is logged as one warning; keys that the issuer removed stop working at the next refresh. An unknown
key may ask for a refresh at once, at most every `MIN_INTERVAL_S`, so that made-up keys cannot flood the issuer.
Refuses redirects (the address in the settings is the one that is trusted) and schemes other than https and http.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Final, Protocol
from urllib.error import HTTPError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from msgspec import Struct

from server.core.keys import KeysRefused, VerificationKey, keys_of_jwks
from server.telemetry import event

FETCH_TIMEOUT_S: Final = 5.0
MIN_INTERVAL_S: Final = 10.0
DOCUMENT_MAX_BYTES: Final = 1024 * 1024

_log = logging.getLogger(__name__)


class JwksUnusable(Exception):
    """The keys cannot be read; the text says why in one line and can be shown to an operator."""


class JwksSource(Struct, frozen=True):
    """Where the keys are: `location` is a path or an http(s) address; which of its keys count; how often to look."""

    location: str
    algorithms: frozenset[str]
    refresh_s: float = 300.0
    timeout_s: float = FETCH_TIMEOUT_S
    min_interval_s: float = MIN_INTERVAL_S


class _Deadline(Struct, frozen=True):
    """How long a fetch may take: each wait for the network `limit_s`, all of it until `at`."""

    limit_s: float
    at: float
    now: Callable[[], float]


class Jwks:
    """Keeps a verifier's issuer keys fresh: `start` once, then `run` for as long as the server lives."""

    __slots__ = ("_asked", "_asked_at", "_now", "_on_keys", "_source", "_waiting")

    def __init__(
        self,
        source: JwksSource,
        on_keys: Callable[[tuple[VerificationKey, ...]], None],
        now: Callable[[], float],
    ) -> None:
        """`on_keys` gets every new set of keys, on the event loop; `now` is a monotonic clock in seconds."""
        self._source = source
        self._on_keys = on_keys
        self._now = now
        self._asked = asyncio.Event()
        self._asked_at = now() - source.min_interval_s
        # Answers to those who asked, given after the refresh that they asked for.
        self._waiting: list[asyncio.Future[bool]] = []

    async def start(self) -> None:
        """Read the keys for the first time, or raise `JwksUnusable`."""
        self._on_keys(await self._read())

    async def run(self) -> None:
        """Refresh at the interval and when asked, until cancelled."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._source.refresh_s):
                        await self._asked.wait()
                refreshed = await self._refresh()
                self._asked.clear()
                self._answer(refreshed)
        finally:
            self._answer(False)

    async def refreshed(self) -> bool:
        """Ask for newer keys because a token names an unknown one; True when it is worth verifying that token again.

        False at once when somebody asked within the last `min_interval_s`, and when the refresh failed.
        """
        now = self._now()
        if not self._waiting:
            if now - self._asked_at < self._source.min_interval_s:
                return False
            self._asked_at = now
            self._asked.set()
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        return await answer

    async def _refresh(self) -> bool:
        try:
            keys = await self._read()
        except JwksUnusable as error:
            _log.warning("jwks.refresh_failed", extra=event(reason=str(error), keys="kept"))
            return False
        self._on_keys(keys)
        return True

    def _answer(self, refreshed: bool) -> None:
        for answer in self._waiting:
            # Whoever asked may have gone.
            if not answer.done():
                answer.set_result(refreshed)
        self._waiting.clear()

    async def _read(self) -> tuple[VerificationKey, ...]:
        location, limit_s = self._source.location, self._source.timeout_s
        try:
            document = await asyncio.to_thread(_fetch, location, _Deadline(limit_s, self._now() + limit_s, self._now))
            return keys_of_jwks(document, self._source.algorithms)
        except (ValueError, OSError, HTTPException) as error:
            raise JwksUnusable(f"JWKS {location}: {str(error) or type(error).__name__}") from None


def _fetch(location: str, deadline: _Deadline) -> bytes:
    if not location.startswith(("https://", "http://")):
        return _fetch_file(Path(location), deadline)
    # S310: the two schemes are checked above, and the opener below knows no others.
    request = Request(location, headers={"Accept": "application/jwk-set+json, application/json"})  # noqa: S310
    try:
        with _opener().open(request, timeout=deadline.limit_s) as answer:
            return _read_bounded(answer, deadline)
    except HTTPError as error:
        error.close()
        raise


def _fetch_file(path: Path, deadline: _Deadline) -> bytes:
    # A pipe or a device could block the thread for ever.
    if path.exists() and not path.is_file():
        raise KeysRefused("not a regular file")
    with path.open("rb") as file:
        return _read_bounded(file, deadline)


def _opener() -> OpenerDirector:
    """Build an opener that follows no redirect: without a handler for it, every 3xx is an HTTPError."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor()):
        opener.add_handler(handler)
    return opener


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes: ...


def _read_bounded(stream: _Readable, deadline: _Deadline) -> bytes:
    document = b""
    while chunk := stream.read1(65_536):
        document += chunk
        if len(document) > DOCUMENT_MAX_BYTES:
            raise KeysRefused(f"larger than {DOCUMENT_MAX_BYTES} bytes")
        # The socket's own time limit starts again with every byte.
        if deadline.now() > deadline.at:
            raise TimeoutError("too slow")
    return document
