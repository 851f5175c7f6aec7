"""Whom a token or a ticket speaks for: the verifier, the tickets and, for tokens of unknown keys, the issuer's newest keys."""

from collections.abc import Callable
from typing import Protocol

from protocol.errors import CATALOGUE, ErrorCode
from server.core.tokens import Claims, TokenRefused, TokenVerifier
from server.ports import Tickets


class IssuerKeys(Protocol):
    """The issuer's public keys, kept fresh."""

    async def refreshed(self) -> bool:
        """Look for newer keys; True when it is worth verifying a token again."""


class Identities:
    """Answers "who is this?"; `wall_s` reads seconds since the Unix epoch, in which tokens expire."""

    __slots__ = ("_issuer", "_tickets", "_verifier", "wall_s")

    def __init__(
        self, verifier: TokenVerifier, tickets: Tickets, wall_s: Callable[[], float], issuer: IssuerKeys | None = None
    ) -> None:
        self._verifier = verifier
        self._tickets = tickets
        self._issuer = issuer
        self.wall_s = wall_s

    def verify(self, token: str) -> Claims:
        """Return whom `token` speaks for, by the keys at hand; raise `TokenRefused`."""
        return self._verifier.verify(token, self.wall_s())

    def may_know_more(self, refused: TokenRefused) -> bool:
        """Tell whether `verify_again` could answer otherwise."""
        return refused.unknown_key and self._issuer is not None

    async def verify_again(self, token: str, refused: TokenRefused) -> Claims | TokenRefused:
        """Ask the issuer for newer keys and verify `token` with them; `refused` when there are none."""
        if self._issuer is None or not await self._issuer.refreshed():
            return refused
        try:
            return self.verify(token)
        except TokenRefused as still_refused:
            return still_refused

    async def identify(self, token: str) -> Claims | TokenRefused:
        """Verify `token`, with newer keys of the issuer if it takes that."""
        try:
            return self.verify(token)
        except TokenRefused as refused:
            return await self.verify_again(token, refused) if self.may_know_more(refused) else refused

    async def redeem(self, ticket: str) -> Claims | TokenRefused:
        """Return whom `ticket` speaks for, and end it."""
        claims = await self._tickets.redeem(ticket)
        if claims is None:
            return TokenRefused(ErrorCode.TICKET_INVALID, CATALOGUE[ErrorCode.TICKET_INVALID].what_to_do)
        return claims

    async def issue_ticket(self, claims: Claims) -> str:
        """Return a ticket that stands for `claims` once."""
        return await self._tickets.issue(claims)
