"""The Lua scripts of `redis/`, each with the prelude in front, called by digest.

Functions of Redis 7 would need one library name for all versions of a rolling deploy; EVALSHA lets two live side by side.
"""

import hashlib
from pathlib import Path
from typing import Final

from msgspec import Struct

_FOLDER: Final = Path(__file__).parent


class Script(Struct, frozen=True):
    """A script and the digest that Redis knows it by."""

    name: str
    text: bytes
    digest: bytes


def _read(name: str) -> Script:
    text = b"".join((_FOLDER / f"{part}.lua").read_bytes() for part in ("prelude", name))
    # SHA-1 is the name that Redis gives to a script, not a protection.
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


LEASE: Final = _read("lease")
LEAVE: Final = _read("leave")
REAP: Final = _read("reap")
REGISTER: Final = _read("register")
ROUTE: Final = _read("route")
SETTLE: Final = _read("settle")
WATCH: Final = _read("watch")
SCRIPTS: Final = (LEASE, LEAVE, REAP, REGISTER, ROUTE, SETTLE, WATCH)
