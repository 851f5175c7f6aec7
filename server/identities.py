"""Whom a token or a ticket speaks for: the verifier, the tickets and, for tokens of unknown keys, the issuer's newest keys.

Refused are also tokens that were revoked, and whoever failed too often (`server.failures`). An `address` is the client's;
"" where it must not count.
"""

from collections.abc import Callable
from typing import Protocol

from protocol.errors import CATALOGUE, ErrorCode
from server.core.revocations import RevocationBook
from server.core.tokens import Claims, TokenRefused, TokenVerifier
from server.failures import Failures
from server.ports import Tickets


class IssuerKeys(Protocol):
    """The issuer's public keys, kept fresh."""

    async def refreshed(self) -> bool:
        """Look for newer keys; True when it is worth verifying a token again."""


class Identities:
    """Answers "who is this?"; `wall_s` reads seconds since the Unix epoch, in which tokens expire."""

    __slots__ = ("_failures", "_issuer", "_revocations", "_tickets", "_verifier", "wall_s")

    def __init__(
        self,
        verifier: TokenVerifier,
        tickets: Tickets,
        wall_s: Callable[[], float],
        issuer: IssuerKeys | None = None,
        *,
        revocations: RevocationBook | None = None,
        failures: Failures | None = None,
    ) -> None:
        """Without `revocations` nothing is revoked, without `failures` nobody fails too often."""
        self._verifier = verifier
        self._tickets = tickets
        self._issuer = issuer
        # Not `or`: an empty book is false.
        self._revocations = RevocationBook() if revocations is None else revocations
        self._failures = failures
        self.wall_s = wall_s

    def verify(self, token: str, address: str = "") -> Claims:
        """Return whom `token` speaks for, by the keys at hand; raise `TokenRefused`."""
        if self._failures is not None:
            self._failures.check_address(address)
        try:
            return self._check(self._verifier.verify(token, self.wall_s()))
        except TokenRefused as refused:
            if self.may_know_more(refused):
                raise
            raise self._counted(address, refused) from None

    def may_know_more(self, refused: TokenRefused) -> bool:
        """Tell whether `verify_again` could answer otherwise."""
        return refused.unknown_key and self._issuer is not None

    async def verify_again(self, token: str, refused: TokenRefused, address: str = "") -> Claims | TokenRefused:
        """Ask the issuer for newer keys and verify `token` with them; `refused` when there are none."""
        if self._issuer is not None and await self._issuer.refreshed():
            try:
                return self._check(self._verifier.verify(token, self.wall_s()))
            except TokenRefused as still_refused:
                refused = still_refused
        return self._counted(address, refused)

    async def identify(self, token: str, address: str = "") -> Claims | TokenRefused:
        """Verify `token`, with newer keys of the issuer if it takes that."""
        try:
            return self.verify(token, address)
        except TokenRefused as refused:
            return await self.verify_again(token, refused, address) if self.may_know_more(refused) else refused

    async def redeem(self, ticket: str, address: str = "") -> Claims | TokenRefused:
        """Return whom `ticket` speaks for, and end it."""
        try:
            if self._failures is not None:
                self._failures.check_address(address)
            claims = await self._tickets.redeem(ticket)
            if claims is None:
                raise TokenRefused(ErrorCode.TICKET_INVALID, CATALOGUE[ErrorCode.TICKET_INVALID].what_to_do)
            return self._check(claims)
        except TokenRefused as refused:
            return self._counted(address, refused)

    async def issue_ticket(self, claims: Claims) -> str:
        """Return a ticket that stands for `claims` once."""
        return await self._tickets.issue(claims)

    def _check(self, claims: Claims) -> Claims:
        """Return the claims of a good token, unless it was revoked or its subject has to wait."""
        if self._revocations.refuses(claims):
            raise TokenRefused(ErrorCode.TOKEN_INVALID, "token refused: revoked", subject=claims.user)
        if self._failures is not None:
            self._failures.check_subject(claims)
        return claims

    def _counted(self, address: str, refused: TokenRefused) -> TokenRefused:
        return refused if self._failures is None else self._failures.failed(address, refused)
