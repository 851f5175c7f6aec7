"""Ends sessions and refuses tokens before their time, on every node.

A revocation is stored, then it holds here and closes what it concerns, then the other nodes are told over the bus. The
store is also asked every `POLL_S` what is new, so that it holds everywhere within 2 s when no news comes through.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from protocol.close_codes import CloseCode
from protocol.ids import Micros, SessionId, UserId
from server.core.notices import Kick, Notice, Revoked
from server.core.revocations import Revocation, RevocationBook
from server.core.tokens import LEEWAY_S, Claims
from server.hub import Hub
from server.ports import Clock, Revocations, Sessions, StoreUnavailable
from server.telemetry import event

POLL_S: Final = 1.0
FORGET_EVERY: Final = 60
# Polls between two looks for what holds no longer.
REASON: Final = "this session was ended: sign in again"
_log: Final = logging.getLogger(__name__)


class RevokerParts(Struct, frozen=True):
    """What a revoker works with; `announce` tells the other nodes."""

    store: Revocations
    book: RevocationBook
    hub: Hub
    sessions: Sessions
    clock: Clock
    token_max_ttl_s: int
    announce: Callable[[Notice], None]


class Revoker:
    """One for each node. `load` before connections are taken, then `run`."""

    __slots__ = ("_parts", "_position")

    def __init__(self, parts: RevokerParts) -> None:
        self._parts = parts
        self._position = 0

    async def load(self) -> None:
        """Learn all that the store has and this node does not know; raise `StoreUnavailable`."""
        page = await self._parts.store.revocations(self._position)
        self._position = page.position
        self._learn(page.revocations)

    async def run(self) -> None:
        """Ask the store what is new, until cancelled; while it is away what is known holds."""
        polls = 0
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.load()
            except StoreUnavailable as unavailable:
                _log.debug("revocations.unavailable", extra=event(reason=unavailable.reason))
            polls += 1
            if polls % FORGET_EVERY == 0:
                self._parts.book.forget(self._parts.clock.micros())

    async def sign_out(self, user: UserId) -> None:
        """End all sessions of `user` and refuse the tokens that were issued until now."""
        now = self._parts.clock.micros()
        # No kick: it could come late and hit who has signed in again meanwhile.
        await self._revoke(Revocation(user, None, now, self._last_expiry(now)))

    async def end_session(self, user: UserId, session: SessionId) -> bool:
        """End one session and refuse its token; False when the user has no such session.

        A token with a `jti` is refused alone. One without cannot be told from others: then all of the user's that were
        issued no later than it are refused, and other sessions on such tokens end with it.
        """
        found = [info for info in await self._parts.sessions.of(user) if info.session == session]
        if not found:
            return False
        await self._revoke(self._of_token(found[0].claims))
        self._close(user, session, CloseCode.TOKEN_INVALID, REASON)
        self._parts.announce(Kick(user, int(CloseCode.TOKEN_INVALID), REASON, session))
        return True

    def apply(self, notice: Notice) -> None:
        """Do what another node announced: `Kick` and `Revoked`; other notices are not for us."""
        match notice:
            case Kick():
                self._close(notice.user, notice.session, notice.code, notice.reason)
            case Revoked():
                now = self._parts.clock.micros()
                until = self._last_expiry(now) if notice.until is None else notice.until
                self._learn([Revocation(notice.user, notice.token_id, notice.issued_before, until)])
            case _:
                return

    async def _revoke(self, revocation: Revocation) -> None:
        await self._parts.store.revoke(revocation)
        self._learn([revocation])
        self._parts.announce(Revoked(revocation.user, revocation.token_id, revocation.issued_before, revocation.until))

    def _of_token(self, claims: Claims) -> Revocation:
        until = max(Micros(round((claims.expires_at + LEEWAY_S) * 1_000_000)), self._parts.clock.micros())
        if claims.token_id is not None:
            return Revocation(claims.user, claims.token_id, None, Micros(until))
        # 0, for a token that does not say when it was issued: only such tokens are meant.
        issued_at = Micros(round((claims.issued_at or 0.0) * 1_000_000))
        return Revocation(claims.user, None, issued_at, self._last_expiry(self._parts.clock.micros()))

    def _last_expiry(self, now: Micros) -> Micros:
        return Micros(now + round((self._parts.token_max_ttl_s + 2 * LEEWAY_S) * 1_000_000))

    def _learn(self, revocations: Iterable[Revocation]) -> None:
        for revocation in self._parts.book.add_all(revocations):
            for recipient in self._parts.hub.connections(revocation.user):
                claims = recipient.claims
                if claims is not None and revocation.refuses(claims):
                    recipient.close(CloseCode.TOKEN_INVALID, REASON)

    def _close(self, user: UserId, session: SessionId | None, code: int, reason: str) -> None:
        for recipient in self._parts.hub.connections(user):
            if session is None or recipient.session == session:
                recipient.close(_close_code(code), reason)


def _close_code(code: int) -> CloseCode:
    """Read the code of a notice; that of a newer version is a final one."""
    try:
        return CloseCode(code)
    except ValueError:
        return CloseCode.TOKEN_INVALID
