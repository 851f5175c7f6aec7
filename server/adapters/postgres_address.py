"""Where a PostgreSQL is: the URL that an operator wrote, without ever showing the password in it."""

from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

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
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        shown = _shown(parts.hostname, parts.port, parts.path)
    except ValueError:
        # Several hosts in one URL are the driver's to read; they have no password in the part after the last @.
        return _read_many(url)
    # An @ further on is the end of a password with a slash in it.
    if parts.scheme not in SCHEMES or "@" in parts.path + parts.query + parts.fragment:
        raise StoreUnusable(_UNREADABLE)
    modes = [value for name, value in pairs if name == POOL_MODE]
    query = urlencode([pair for pair in pairs if pair[0] != POOL_MODE])
    return Address(urlunsplit(parts._replace(query=query)), shown, _is_pooled(modes))


def _read_many(url: str) -> Address:
    scheme, _, rest = url.partition("://")
    hosts = rest.rpartition("@")[2].partition("/")[0]
    if scheme not in SCHEMES or "," not in hosts:
        raise StoreUnusable(_UNREADABLE)
    return Address(url, f"postgresql://{hosts}", None)


def _shown(host: str | None, port: int | None, path: str) -> str:
    place = f"[{host}]" if host and ":" in host else host or ""
    return f"postgresql://{place}{f':{port}' if port else ''}{path}"


def _is_pooled(modes: list[str]) -> bool | None:
    match modes:
        case []:
            return None
        case ["transaction"]:
            return True
        case ["session"]:
            return False
        case _:
            raise StoreUnusable(f"{POOL_MODE} in the address of the store is transaction or session")
