"""Where a PostgreSQL is: the URL that an operator wrote, without ever showing the password in it."""

from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct
from typing_extensions import override

from server.ports import StoreUnusable

SCHEMES: Final = ("postgresql", "postgres")
# A parameter of ours in the URL: whether something between us and the server hands transactions of one connection to
# several backends. Without it that is found out.
POOL_MODE: Final = "pool_mode"
_UNREADABLE: Final = (
    "the address of the store cannot be read; it is like postgresql://user:password@host:5432/name, with special "
    "characters in names and password written as %XX"
)


class Address(Struct, frozen=True):
    """A database: `url` for the driver, `shown` for people; `is_pooled` None when that must be found out."""

    url: str
    shown: str
    is_pooled: bool | None

    # A traceback shows values, and this one holds a password.
    @override
    def __repr__(self) -> str:
        return f"Address({self.shown})"


def read_address(url: str) -> Address:
    """Read a URL; raise `StoreUnusable`, which tells nothing of it, when that cannot be done."""
    place, _, query = url.partition("?")
    shown = _show(place)
    # An @ further on is the end of a password with a slash or question mark in it.
    if shown is None or "@" in query or not all("=" in pair for pair in query.split("&") if query):
        raise StoreUnusable(_UNREADABLE)
    ours = [pair for pair in query.split("&") if pair.startswith(f"{POOL_MODE}=")]
    others = "&".join(pair for pair in query.split("&") if pair not in ours)
    return Address(f"{place}?{others}" if others else place, shown, _is_pooled(ours))


def _show(place: str) -> str | None:
    """Give the address without user and password; None when that cannot be done for certain."""
    try:
        parts = urlsplit(place)
        host, port = parts.hostname, parts.port
    except ValueError:
        return _show_many(place)
    if parts.scheme not in SCHEMES or "@" in parts.path + parts.fragment:
        return None
    return _shown(host, port, parts.path)


def _show_many(place: str) -> str | None:
    """Several hosts in one address are the driver's to read; after the last @ there is no password."""
    scheme, _, rest = place.partition("://")
    hosts = rest.rpartition("@")[2].partition("/")[0]
    return f"postgresql://{hosts}" if scheme in SCHEMES and "," in hosts else None


def _shown(host: str | None, port: int | None, path: str) -> str:
    place = f"[{host}]" if host and ":" in host else host or ""
    return f"postgresql://{place}{f':{port}' if port else ''}{path}"


def _is_pooled(modes: list[str]) -> bool | None:
    match modes:
        case []:
            return None
        case ["pool_mode=transaction"]:
            return True
        case ["pool_mode=session"]:
            return False
        case _:
            raise StoreUnusable(f"{POOL_MODE} in the address of the store is transaction or session")
