"""What stops a start: one line on stderr that says which setting and why, exit code 2, no traceback, no secret."""

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.private_server import inherited, private_server
from tests.support.programs import ROOT

SECRET = "test-only-hs256-71c4e9a2b86d4f03958e1d7c2a4b6f80"


def start(*arguments: str, **settings: str) -> str:
    """Start a server that cannot; return the line that it ends with."""
    environment = {**inherited(), "HOST": "127.0.0.1", "PORT": "0", "DATABASE_URL": "memory:"}
    if not arguments:
        environment["TOKEN_SECRETS"] = SECRET
    process = subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=ROOT,
        env={**environment, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (process.returncode, process.stdout) == (2, ""), process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("duologue: cannot start: ")
    return line


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"PORT": "eighty"}, ["PORT", "0 to 65,535", "eighty"]),
        ({"MESSAGE_BURST": "0", "LOG_LEVEL": "loud"}, ["MESSAGE_BURST", "LOG_LEVEL", "loud"]),
        ({"TOKEN_SECRETS": ""}, ["TOKEN_SECRETS", "JWKS_URL", "JWKS_FILE"]),
        ({"TOKEN_SECRETS": "hunter2-short"}, ["TOKEN_SECRETS", "32 bytes"]),
        ({"DATABASE_URL": "mysql://user:hunter2@db/x"}, ["DATABASE_URL", "mysql"]),
        (
            {"DATABASE_URL": "postgres://user:hunter2@127.0.0.1:1/x"},
            ["postgresql://127.0.0.1:1/x", "cannot be reached"],
        ),
        ({"HOST": "203.0.113.7"}, ["HOST", "203.0.113.7"]),
        ({"HOST": "no.such.host.invalid"}, ["HOST", "no.such.host.invalid"]),
        ({"TOKEN_SECRETS": "", "JWKS_FILE": "/no/such/keys.json"}, ["JWKS", "/no/such/keys.json"]),
        ({"TOKEN_SECRETS": "", "JWKS_URL": "http://127.0.0.1:1/keys"}, ["JWKS", "http://127.0.0.1:1/keys"]),
    ],
)
def test_a_wrong_setting_stops_the_start(settings: dict[str, str], words: list[str]) -> None:
    """The line names it and says what was expected or what went wrong."""
    line = start(**settings)
    assert all(word in line for word in words), line
    assert "hunter2" not in line
    assert SECRET not in line


def test_development_mode_is_for_this_machine_only() -> None:
    """Everybody knows its key."""
    assert "HOST" in start("--dev", HOST="0.0.0.0")


def test_what_another_process_holds_stops_the_start(tmp_path: Path) -> None:
    """A database, told with the process that holds it; a port; and neither harms the one that has them."""
    database = tmp_path / "duologue.db"
    with private_server(database) as first:
        line = start(DATABASE_URL=f"sqlite:{database}")
        assert str(database) in line
        assert str(first.program.pid) in line
        line = start(PORT=str(first.port))
        assert str(first.port) in line
        assert "in use" in line
        with socket.create_connection(("127.0.0.1", first.port)) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in connection.recv(100)


def test_a_file_that_is_no_store_stops_the_start(tmp_path: Path) -> None:
    """Text, another program's database, a folder: each is left as it was."""
    text, foreign = tmp_path / "text.db", tmp_path / "foreign.db"
    text.write_text("my shopping list, which is longer than a hundred bytes " * 3)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = text.read_bytes(), foreign.read_bytes()
    for path in (text, foreign, tmp_path):
        assert str(path) in start(DATABASE_URL=f"sqlite:{path}")
    assert (text.read_bytes(), foreign.read_bytes()) == before


@pytest.mark.parametrize("folder", ["it is there", "it would have to be made"])
def test_a_folder_that_cannot_be_written_stops_the_start(folder: str, tmp_path: Path) -> None:
    """Told with the path."""
    # Permissions do not stop root; what the kernel shows as files does.
    closed = Path("/sys") if os.geteuid() == 0 else tmp_path / "closed"
    if closed != Path("/sys"):
        closed.mkdir(0o500)
    path = closed / "duologue.db" if folder == "it is there" else closed / "new" / "duologue.db"
    assert str(path) in start(DATABASE_URL=f"sqlite:{path}")
