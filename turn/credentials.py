"""Credentials that end: what coturn calls `use-auth-secret` (draft-uberti-behave-turn-rest-00).

The relay knows the secret and nothing of our users: it believes `<end>:<subject>` when the password is its HMAC. The end
bounds when an allocation may begin; one that is there goes on (coturn, and every relay that follows it).
SHA-1 is what the relays speak; as an HMAC it is not weakened by collisions.
"""

import hmac
from base64 import b64encode
from typing import Final

from msgspec import Struct

from protocol.ids import Micros, UserId

US_PER_S: Final = 1_000_000
SUBJECT_CHARS: Final = 16
_SUBJECT_LABEL: Final = b"duologue turn subject\x00"


class Credential(Struct, frozen=True):
    """A name and a password for a relay; the password does not show."""

    username: str
    password: str

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return f"Credential({self.username!r}, [secret])"


def ephemeral(secret: str, subject: str, expires_at: Micros) -> Credential:
    """Make a credential that the relay accepts for new allocations until `expires_at`, rounded down to a second."""
    username = f"{expires_at // US_PER_S}:{subject}"
    digest = hmac.digest(secret.encode(), username.encode(), "sha1")
    return Credential(username, b64encode(digest).decode())


def subject_of(secret: str, user: UserId) -> str:
    """Name `user` for relays: the same for every call, so that a quota holds, and not told by whoever lacks the secret.

    Hexadecimal, because it ends in the relay's logs, its Redis keys and its quota, which splits at colons.
    """
    return hmac.digest(secret.encode(), _SUBJECT_LABEL + user.encode(), "sha256").hex()[:SUBJECT_CHARS]
