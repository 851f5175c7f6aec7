"""What an error of PostgreSQL's means for the write or read that met it.

Guarantees: "not stored" only where the server said so; everything after which the commit may stand is "perhaps".
"""

from enum import Enum, auto
from typing import Final

import asyncpg

from server.ports import StoreUnavailable

# What the driver raises when the connection is gone, or no longer in step (asyncpg issue 1069: after
# pg_terminate_backend the next call may raise InternalClientError, which is no connection error).
LOST: Final = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
ERRORS: Final = (*LOST, asyncpg.PostgresError)
# Class 22 data, 23 integrity, 54 too large: they speak of a row, not of the store.
_ROW_CLASSES: Final = frozenset({"22", "23", "54"})
# Serialisation failure, deadlock: it did not happen, and the next attempt finds another situation.
_AGAIN: Final = frozenset({"40001", "40P01"})
# Class 08 connection; shutdowns, of which a commit may just have escaped; outcome unknown by name.
_PERHAPS_CLASSES: Final = frozenset({"08"})
_PERHAPS: Final = frozenset({"57P01", "57P02", "57P04", "57P05", "40003", "XX000"})
# The connection is of no more use: shutdowns, and a server that has become a standby.
_ENDED: Final = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25006", "25P03"})
_NO_PARTITION: Final = "no partition of relation"


class Verdict(Enum):
    """What became of a write."""

    ROW = auto()
    PARTITION = auto()
    AGAIN = auto()
    NOT_STORED = auto()
    PERHAPS = auto()


def judge(error: Exception) -> Verdict:
    """Tell what became of the write that raised `error`, one of `ERRORS`."""
    if not isinstance(error, asyncpg.PostgresError):
        return Verdict.PERHAPS
    state = _state(error)
    if isinstance(error, asyncpg.CheckViolationError) and _NO_PARTITION in str(error):
        return Verdict.PARTITION
    if state in _AGAIN:
        return Verdict.AGAIN
    if state[:2] in _ROW_CLASSES:
        return Verdict.ROW
    if state[:2] in _PERHAPS_CLASSES or state in _PERHAPS:
        return Verdict.PERHAPS
    return Verdict.NOT_STORED


def ends_connection(error: BaseException) -> bool:
    """Tell whether the connection that raised `error` must not be used again."""
    return not isinstance(error, asyncpg.PostgresError) or judge(error) is Verdict.PERHAPS or _state(error) in _ENDED


def unavailable(error: Exception, *, maybe_stored: bool = False) -> StoreUnavailable:
    """Say without data what PostgreSQL could not do."""
    return StoreUnavailable(name_of(error), maybe_stored=maybe_stored)


def name_of(error: Exception) -> str:
    """Name an error for the log. Messages of the server may quote rows, so only those about itself are repeated."""
    if not isinstance(error, asyncpg.PostgresError):
        return f"no answer from the database ({type(error).__name__})"
    told = str(error) if _state(error)[:2] in {"08", "25", "28", "3D", "42", "53", "55", "57"} else type(error).__name__
    return f"database error {_state(error)}: {told}"


def _state(error: asyncpg.PostgresError) -> str:
    return str(error.sqlstate or "XX000")
