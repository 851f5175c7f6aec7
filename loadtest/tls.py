"""Encrypted connections: which authorities are believed, and which port an address means.

Certificates are always checked. For one that no public authority has signed, say which one is to be believed (`--ca FILE`).
"""

import ssl
from typing import Final
from urllib.parse import SplitResult

_PORTS: Final = {"ws": 80, "http": 80, "wss": 443, "https": 443}


class BadAuthority(Exception):
    """The text of `--ca` holds no certificate; its text is for people."""


def trust(url: str, authority: str) -> ssl.SSLContext | None:
    """Return what checks the certificate behind `url`, None when it is not encrypted. `authority` is PEM, empty for the system's."""
    if not url.startswith(("wss://", "https://")):
        return None
    if authority and not authority.isascii():
        raise BadAuthority("--ca holds no certificate in PEM")
    try:
        return ssl.create_default_context(cadata=authority or None)
    except ssl.SSLError as problem:
        raise BadAuthority(f"--ca holds no certificate in PEM: {problem.reason or problem}") from None


def port_of(parts: SplitResult) -> int:
    """Return the port of an address, its scheme's own when it names none."""
    return parts.port or _PORTS.get(parts.scheme, 80)
