"""Slows down who guesses: failed authentications are counted by address and by subject, here and in the whole cluster.

Nothing here waits: this node's own count is exact and at once; what it counted is told to the shared limiter behind the
scenes, whose answer then holds here, too. So a block that several nodes' counts add up to holds on a node from the first
failure there on; while the limiter is away each node's own count holds.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from protocol.errors import CATALOGUE, ErrorCode
from server.core.addresses import counted_as
from server.core.failures import FailureBook
from server.core.limiting import FixedWindow
from server.core.tokens import Claims, TokenRefused
from server.ports import Limiter

TOLD_MAX: Final = 10_000
# Failures that wait to be told; of a flood that is faster the oldest are counted here only.


class Failures:
    """Both counts. Without an address (a unix socket, a live connection) only the subject counts."""

    __slots__ = ("_book", "_micros", "_shared", "_untold", "_wake")

    def __init__(self, rule: FixedWindow, micros: Callable[[], int], shared: Limiter | None = None) -> None:
        """`shared` counts for several nodes; run `run` then."""
        self._book = FailureBook(rule)
        self._micros = micros
        self._shared = shared
        self._untold: deque[str] = deque(maxlen=TOLD_MAX)
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._book)

    def check_address(self, address: str) -> None:
        """Raise `TokenRefused` when nothing from there is looked at for now."""
        # The usual case costs a look at an empty dictionary.
        if self._book and address:
            _refuse(self._book.address_waits_ms(_address(address), self._micros()))

    def check_subject(self, claims: Claims) -> None:
        """Raise `TokenRefused` when the user's tokens of before are not taken for now."""
        if self._book:
            _refuse(self._book.subject_waits_ms(_subject(claims.user), claims.issued_at, self._micros()))

    def failed(self, address: str, refused: TokenRefused) -> TokenRefused:
        """Count a refusal and return what to answer: itself, or that the subject must wait.

        A token that only ran out, and having to wait, are no failures.
        """
        if refused.code in (ErrorCode.TOKEN_EXPIRED, ErrorCode.RATE_LIMITED):
            return refused
        if address:
            self._count(_address(address))
        if refused.subject is None:
            return refused
        key = _subject(refused.subject)
        wait_ms = self._book.subject_waits_ms(key, None, self._micros())
        self._count(key)
        return _waits(wait_ms) if wait_ms else refused

    def _count(self, key: str) -> None:
        self._book.failed(key, self._micros())
        if self._shared is not None:
            self._untold.append(key)
            self._wake.set()

    async def run(self) -> None:
        """Tell the shared limiter, and heed what it says, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.tell()

    async def tell(self) -> None:
        """Tell the shared limiter what it has not been told."""
        while self._shared is not None and self._untold:
            key = self._untold.popleft()
            decision = await self._shared.take(key, self._book.rule)
            self._book.heed(key, decision, self._micros())


def _address(address: str) -> str:
    return f"address:{counted_as(address)}"


def _subject(user: str) -> str:
    return f"subject:{user}"


def _refuse(wait_ms: int) -> None:
    if wait_ms:
        raise _waits(wait_ms)


def _waits(wait_ms: int) -> TokenRefused:
    what_to_do = CATALOGUE[ErrorCode.RATE_LIMITED].what_to_do
    return TokenRefused(
        ErrorCode.RATE_LIMITED, f"Too many failed authentications. {what_to_do}", retry_after_ms=wait_ms
    )
