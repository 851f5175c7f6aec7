"""API keys: how the app's backend proves itself on the HTTP API. Pure; keys are compared in constant time."""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

_NAME_CHARS: Final = 16


class ApiKeys:
    """The keys live at one moment (several, so that they can be rotated); kept as hashes only."""

    __slots__ = ("_digests",)

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def accepts(self, presented: str) -> bool:
        """Say whether `presented` is one of the keys."""
        return self.name(presented) is not None

    def name(self, presented: str) -> str | None:
        """Name the key that `presented` is, without giving it away; None for no key.

        It takes a time that depends on neither its text nor which key it is. The name is the same on every node.
        """
        digest = _digest(presented)
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return digest.hex()[:_NAME_CHARS] if found else None


def _digest(key: str) -> bytes:
    # Equal lengths, whatever was presented: compare_digest is only constant-time between equal lengths.
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
