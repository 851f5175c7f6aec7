"""Which tokens are refused before they expire. Pure.

A revocation names one token by its `jti`, or all of a user's tokens that were issued up to a moment. While there is one of
the second kind, the user's tokens that do not say when they were issued are refused. Each holds until a time after which
every token that it concerns has expired by itself; then it is forgotten, which bounds the book.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from protocol.ids import Micros, UserId
from server.core.tokens import Claims

US_PER_S: Final = 1_000_000


class Revocation(Struct, frozen=True):
    """Refuse the user's token `token_id`; without one, all that were issued at `issued_before` or earlier."""

    user: UserId
    token_id: str | None
    issued_before: Micros | None
    until: Micros

    def refuses(self, claims: Claims) -> bool:
        """Tell whether the token with these claims is meant."""
        if claims.user != self.user:
            return False
        if self.token_id is not None:
            return claims.token_id == self.token_id
        return claims.issued_at is None or claims.issued_at * US_PER_S <= (self.issued_before or 0)


def joined(known: Revocation | None, revocation: Revocation) -> Revocation:
    """Return what two that name the same come to."""
    if known is None:
        return revocation
    before = revocation.issued_before
    if before is not None:
        before = max(before, known.issued_before or before)
    return Revocation(revocation.user, revocation.token_id, before, max(known.until, revocation.until))


class RevocationPage(Struct, frozen=True):
    """What a store has; ask with `position` for what came after."""

    revocations: tuple[Revocation, ...]
    position: int


class _OfUser(Struct):
    issued_before: Micros = Micros(-1)
    # Until when the above holds; 0 for never.
    until: Micros = Micros(0)
    tokens: dict[str, Micros] = {}


class RevocationBook:
    """All revocations that a node knows of."""

    __slots__ = ("_users",)

    def __init__(self) -> None:
        self._users: dict[UserId, _OfUser] = {}

    def __len__(self) -> int:
        return len(self._users)

    def add(self, revocation: Revocation) -> bool:
        """Refuse from now on what it names; False when that was refused already for as long."""
        known = self._users.get(revocation.user)
        if known is None:
            known = self._users[revocation.user] = _OfUser()
        if revocation.token_id is not None:
            if known.tokens.get(revocation.token_id, 0) >= revocation.until:
                return False
            known.tokens[revocation.token_id] = revocation.until
            return True
        before = revocation.issued_before or Micros(0)
        if known.issued_before >= before and known.until >= revocation.until:
            return False
        known.issued_before, known.until = max(known.issued_before, before), max(known.until, revocation.until)
        return True

    def add_all(self, revocations: Iterable[Revocation]) -> list[Revocation]:
        """Add many; return those that said something new."""
        return [revocation for revocation in revocations if self.add(revocation)]

    def refuses(self, claims: Claims) -> bool:
        """Tell whether the token with these claims is revoked."""
        known = self._users.get(claims.user)
        if known is None:
            return False
        if claims.token_id is not None and claims.token_id in known.tokens:
            return True
        if not known.until:
            return False
        return claims.issued_at is None or claims.issued_at * US_PER_S <= known.issued_before

    def forget(self, now: Micros) -> None:
        """Drop what holds no longer."""
        for user, known in list(self._users.items()):
            for token_id in [token_id for token_id, until in known.tokens.items() if until <= now]:
                del known.tokens[token_id]
            if known.until <= now:
                known.issued_before, known.until = Micros(-1), Micros(0)
            if not known.tokens and not known.until:
                del self._users[user]
