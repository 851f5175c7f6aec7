"""The ways to run one statement over connections: what an error means for who asked, and which is tried again.

Guarantees: a missing month is made; a deadlock is tried again; whatever may have been stored is said to be, so that the
caller repeats the same.
"""

from typing import Final

from protocol.ids import Micros
from server.adapters.postgres.connections import Connections, Rows
from server.adapters.postgres.errors import ERRORS, Verdict, ends_connection, judge, name_of, unavailable
from server.ports import StoreUnavailable

ATTEMPTS: Final = 4
PARTITIONS: Final = "SELECT duologue.make_partitions($1, $2)"


class RowRefused(StoreUnavailable):
    """The database will not hold one of the rows: nothing was stored."""


async def read(connections: Connections, statement: str, *arguments: object) -> Rows:
    """Run a statement that changes nothing, once more where the connection was gone; raise `StoreUnavailable`."""
    return await _twice(connections, statement, arguments, maybe_stored=False)


async def repeatable(connections: Connections, statement: str, *arguments: object) -> Rows:
    """Run a statement that may be run twice, as `read` does; `StoreUnavailable` says that it perhaps was run."""
    return await _twice(connections, statement, arguments, maybe_stored=True)


async def _twice(
    connections: Connections, statement: str, arguments: tuple[object, ...], *, maybe_stored: bool
) -> Rows:
    try:
        return await connections.fetch(statement, *arguments)
    except ERRORS as error:
        # Another connection may do better, but a server that gives no answer is not waited for twice.
        if not ends_connection(error) or isinstance(error, TimeoutError):
            raise unavailable(error, maybe_stored=maybe_stored) from error
    try:
        return await connections.fetch(statement, *arguments)
    except ERRORS as error:
        raise unavailable(error, maybe_stored=maybe_stored) from error
    except StoreUnavailable as error:  # not sent this time
        raise StoreUnavailable(error.reason, maybe_stored=maybe_stored, retry_after_ms=error.retry_after_ms) from error


async def write(connections: Connections, statement: str, *arguments: object) -> Rows:
    """Run a writing statement; raise `RowRefused` when a row is at fault, else `StoreUnavailable`."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await connections.fetch(statement, *arguments)
        except ERRORS as error:
            await _mend(connections, error, is_last=attempt == ATTEMPTS)
    raise AssertionError("the last attempt returns or raises")


async def _mend(connections: Connections, error: Exception, *, is_last: bool) -> None:
    """Return when the same statement may be run again; raise what the caller must know."""
    match judge(error):
        case Verdict.ROW:
            raise RowRefused(name_of(error)) from error
        case Verdict.AGAIN if not is_last:
            return
        case Verdict.PARTITION if not is_last:
            at = time_without_partition(error)
            if at is None:
                raise unavailable(error) from error
            await write(connections, PARTITIONS, at, 0)
        case verdict:
            raise unavailable(error, maybe_stored=verdict is Verdict.PERHAPS) from error


def time_without_partition(error: Exception) -> Micros | None:
    """Read the time from the detail, "Partition key of the failing row contains (created_at) = (1795…)."."""
    detail = str(getattr(error, "detail", None) or "")
    digits = detail.rpartition("(")[2].partition(")")[0]
    return Micros(int(digits)) if digits.isdecimal() else None
