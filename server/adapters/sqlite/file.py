"""Opens the file of the embedded store, once.

Guarantees: one process at a time holds a file; commits reach the disk before they are answered (WAL with
`synchronous=FULL`: NORMAL would lose the last ones in a power cut); only the owner may read it. Refuses, with one line
each: no such folder, no permission, held by another process, no database, another program's, damaged, from the future.
"""

import fcntl
import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from server.adapters.sqlite.statements import SCHEMAS, SQL
from server.ports import StoreUnusable

# "DUOL" in ASCII; `file` and every SQLite tool show it.
APPLICATION_ID: Final = 0x44554F4C
SCHEMA_VERSION: Final = len(SCHEMAS)
# Larger files would take seconds to check; what is damaged there is noticed when it is read.
CHECKED_AT_OPEN_BYTES: Final = 32 * 1024 * 1024
WRITER_CACHE_KIB: Final = 32 * 1024
READER_CACHE_KIB: Final = 8 * 1024
# 16 MiB of log before it is written back: a page changed by ten batches is written back once.
CHECKPOINT_PAGES: Final = 4_000
LOG_MAX_BYTES: Final = 64 * 1024 * 1024
# We are alone, but for somebody who looks at the file with a tool.
BUSY_MS: Final = 2_000


class StoreFile:
    """The locked file and the connection that writes it; both belong to the thread that opened them."""

    __slots__ = ("_closing", "connection", "path")

    def __init__(self, path: Path, connection: sqlite3.Connection, closing: ExitStack) -> None:
        self.path = path
        self.connection = connection
        self._closing = closing

    def close(self) -> None:
        """Close the connection, then let the lock go."""
        self._closing.close()


def open_to_write(path: Path, new_epoch: str) -> StoreFile:
    """Lock, check and, where there is nothing yet, make the store at `path`; raise `StoreUnusable`."""
    path = path.resolve()
    with ExitStack() as closing:
        try:
            closing.callback(os.close, _lock(path))
            _make_private(path)
            connection = _connect(path, "rwc")
            closing.callback(connection.close)
            _prepare(connection, path, new_epoch)
        except OSError as error:
            raise _refusal(path, error.strerror or "it cannot be opened") from None
        except sqlite3.Error as error:
            raise _refusal(path, _explain(error)) from None
        return StoreFile(path, connection, closing.pop_all())


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open one more connection to a store that this process holds; it cannot write."""
    connection = _connect(path.resolve(), "ro")
    connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY_MS / 1000, cached_statements=256
    )


def _lock(path: Path) -> int:
    """Take the lock beside the store. A lock on the store's own file would fall whenever SQLite closes it."""
    if not path.parent.is_dir():
        raise _refusal(path, f"there is no folder {path.parent}")
    if path.is_dir():
        raise _refusal(path, "it is a folder, not a file")
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode("ascii", "replace")
        os.close(lock)
        raise _refusal(path, f"process {holder} holds it; one process at a time can use it") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _make_private(path: Path) -> None:
    """Make the file before SQLite does, which would let everybody read it; its log files take the same rights."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _prepare(connection: sqlite3.Connection, path: Path, new_epoch: str) -> None:
    application_id, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    is_new = (application_id, version, _pragma(connection, "schema_version")) == (0, 0, 0)
    if not is_new and application_id != APPLICATION_ID:
        raise _refusal(path, "it is the SQLite database of another program")
    if version > SCHEMA_VERSION:
        raise _refusal(path, f"a newer Duologue wrote it (schema {version}; this one knows {SCHEMA_VERSION})")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise _refusal(path, "this file system cannot hold a write-ahead log")
    connection.executescript(f"""
        PRAGMA synchronous = FULL;
        PRAGMA trusted_schema = OFF;
        PRAGMA secure_delete = OFF;
        PRAGMA cache_size = -{WRITER_CACHE_KIB};
        PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
        PRAGMA journal_size_limit = {LOG_MAX_BYTES};
    """)
    # Taking the write lock also tells a file that can be read only.
    connection.execute("BEGIN IMMEDIATE")
    if is_new:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _bring_up_to_date(connection, version)
    if is_new:
        connection.execute("INSERT INTO store (epoch) VALUES (?)", (new_epoch,))
    connection.execute("COMMIT")
    _check(connection, path)


def _bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Make what later schemas have, in the transaction under way: wholly or not at all."""
    for schema in SCHEMAS[version:]:
        # One by one: executescript would commit first.
        for statement in schema.split(";\n"):
            connection.execute(statement)
    if version < SCHEMA_VERSION:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute(SQL["epoch"]).fetchone()
    if path.stat().st_size > CHECKED_AT_OPEN_BYTES:
        return
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise _refusal(path, "it is damaged; restore it from a backup")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value = connection.execute(f"PRAGMA {name}").fetchone()[0]
    assert isinstance(value, int)
    return value


def _explain(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").split("_")[0]:
        case "NOTADB":
            return "it is no SQLite database"
        case "CORRUPT":
            return "it is damaged; restore it from a backup"
        case "READONLY":
            return "it can be read only"
        case "FULL":
            return "the disk is full"
        case "IOERR":
            return f"the disk fails or is full ({error.sqlite_errorname})"
        case "BUSY" | "LOCKED":
            return "another program writes to it"
        case _:
            return str(error)


def _refusal(path: Path, reason: str) -> StoreUnusable:
    return StoreUnusable(f"cannot use the store {path}: {reason}")
