"""Between rows of the PostgreSQL store and what is kept of users."""

from typing import Final

import asyncpg

from protocol.from_client import LastSeen, OwnStatus
from protocol.from_server import OwnPresence
from server.core.people import NOBODY, Person

PEOPLE: Final = "SELECT * FROM duologue.people($1)"
HIDDEN_UNREAD: Final = "SELECT * FROM duologue.hidden_unread($1, $2, $3, $4)"

OwnShown = tuple[OwnPresence, int]
# How a user wants to be shown, and the version of that.
_DEFAULT: Final = (OwnPresence(), 0)


def own_shown(row: asyncpg.Record) -> OwnShown:
    """Read how a user wants to be shown."""
    if row["status"] is None:
        return _DEFAULT
    return OwnPresence(OwnStatus(row["status"]), row["status_text"], LastSeen(row["last_seen"])), row["version"]


def person_of(row: asyncpg.Record) -> Person:
    """Read one user."""
    if row["status"] is None and not row["blocked"] and not row["blocked_by"]:  # As it is nearly always.
        return NOBODY
    return Person(frozenset(row["blocked"]), frozenset(row["blocked_by"]), *own_shown(row))
