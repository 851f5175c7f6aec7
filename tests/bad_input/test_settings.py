"""Wrong settings: each is refused by name, all of them at once in one line, and no secret is ever in it."""

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from server.settings import Settings, SettingsError, from_environment
from server.settings.parse import expectation, is_secret, meta_of, type_of
from tests.support.private_server import inherited
from tests.support.programs import ROOT

SECRET = "kept-apart-5b9d2e7f1c4a8063d5e9f7b2"
GOOD = {"TOKEN_SECRETS": SECRET, "DATABASE_URL": "memory:"}
FIELDS = {field.name.upper(): field for field in structs.fields(Settings) if meta_of(field) is not None}
NUMBERS = {name: field for name, field in FIELDS.items() if type_of(field) in (int, float)}
NOT_NUMBERS = (
    "many",
    "1,5",
    "0x10",
    "1 000",
    "--1",
    "NaN",
    "inf",
    "1e999",
    "9" * 5_000,
    "\u0663",
    "1;2",
    "true",
    "1\n2",
    "null",
)


def refused(**settings: str) -> tuple[str, ...]:
    """Return what is said about these settings."""
    with pytest.raises(SettingsError) as error:
        from_environment({**GOOD, **settings})
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    assert len(str(error.value)) < 2_000
    return error.value.problems


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_bounds_or_none_is_refused_by_name(name: str) -> None:
    """One below, one above, and what is no number at all; an integer has no fraction."""
    meta = meta_of(NUMBERS[name])
    assert meta is not None
    assert meta.ge is not None
    assert meta.le is not None
    whole = ("1.5",) if type_of(NUMBERS[name]) is int else ()
    for value in (str(meta.ge - 1), str(meta.le + 1), "-1e308", *whole, *NOT_NUMBERS):
        (problem,) = refused(**{name: value})
        assert problem.startswith(f"{name}: expected {expectation(NUMBERS[name])}, got ")


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"DATABASE_URL": "mysql://root:hunter2@db"}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:"}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:///x.db"}, "DATABASE_URL"),
        ({"DATABASE_URL": "duologue.db"}, "DATABASE_URL"),
        ({"API_KEYS": "hunter2"}, "API_KEYS"),
        ({"API_KEYS": "hunter2 with blanks in it and thirty-two long"}, "API_KEYS"),
        ({"API_KEYS": f"{SECRET},{SECRET}"}, "API_KEYS"),
        ({"API_KEYS": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, "API_KEYS"),
        ({"TOKEN_SECRETS": "hunter2"}, "TOKEN_SECRETS"),
        ({"TOKEN_SECRETS": "change-me-change-me-change-me-change-me"}, "TOKEN_SECRETS"),
        ({"TOKEN_SECRETS": ""}, "no way to verify tokens"),
        ({"TOKEN_SECRETS": "", "TOKEN_SECRET": SECRET}, "no way to verify tokens"),
        ({"TOKEN_SECRETS": " , ,\n"}, "no way to verify tokens"),
        ({"TOKEN_SECRETS": "", "TOKEN_SECRETS_FILE": "/no/such/file"}, "TOKEN_SECRETS_FILE"),
        ({"TOKEN_SECRETS": "", "TOKEN_SECRETS_FILE": "/dev/null"}, "TOKEN_SECRETS_FILE"),
        ({"TOKEN_SECRETS": "", "TOKEN_SECRETS_FILE": "/dev/zero"}, "TOKEN_SECRETS_FILE"),
        ({"TOKEN_SECRETS": "", "TOKEN_SECRETS_FILE": "/tmp"}, "TOKEN_SECRETS_FILE"),
        ({"TOKEN_SECRETS_FILE": "/dev/null"}, "TOKEN_SECRETS and TOKEN_SECRETS_FILE"),
        ({"TOKEN_SECRETS": "-----BEGIN PUBLIC KEY----- MIIBIjANBgkqhkiG9w0BAQ"}, "TOKEN_SECRETS"),
        ({"TOKEN_ALGORITHMS": "none"}, "TOKEN_ALGORITHMS"),
        ({"TOKEN_ALGORITHMS": "HS256,RS256"}, "TOKEN_ALGORITHMS"),
        ({"TOKEN_ALGORITHMS": "RS256"}, "TOKEN_ALGORITHMS"),
        ({"TOKEN_ALGORITHMS": "hs256"}, "TOKEN_ALGORITHMS"),
        ({"JWKS_URL": "http://id.example/keys"}, "JWKS_URL"),
        ({"JWKS_URL": "ftp://id.example/keys"}, "JWKS_URL"),
        ({"JWKS_URL": "https://user:hunter2@id.example/keys"}, "JWKS_URL"),
        ({"JWKS_URL": "https://["}, "JWKS_URL"),
        ({"JWKS_URL": "https://id.example:99999/keys"}, "JWKS_URL"),
        ({"JWKS_URL": "https://id.example/keys", "JWKS_FILE": "keys.json"}, "JWKS_URL and JWKS_FILE"),
        ({"ALLOWED_ORIGINS": "app.example"}, "ALLOWED_ORIGINS"),
        ({"ALLOWED_ORIGINS": "https://app.example/"}, "ALLOWED_ORIGINS"),
        ({"ALLOWED_ORIGINS": "https://*.app.example/x"}, "ALLOWED_ORIGINS"),
        ({"ALLOWED_ORIGINS": "https://App.example"}, "ALLOWED_ORIGINS"),
        ({"OUTBOX_MAX_BYTES": "65536"}, "OUTBOX_MAX_BYTES"),
        ({"TYPING_EXPIRES_MS": "1000", "TYPING_INTERVAL_MS": "2000"}, "TYPING_EXPIRES_MS"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused_by_name(settings: dict[str, str], named: str) -> None:
    """And what it holds is not told where it may be a secret."""
    problems = refused(**settings)
    assert any(named in problem for problem in problems), problems
    assert "hunter2" not in str(problems)


def test_several_wrong_settings_are_told_at_once() -> None:
    """Nobody wants to find them one start at a time."""
    problems = refused(PORT="eighty", LOG_LEVEL="loud", API_KEYS="short", ALLOWED_ORIGINS="x", MAX_MEMBERS="1")
    assert [problem.partition(":")[0] for problem in problems] == [
        "PORT", "MAX_MEMBERS", "LOG_LEVEL", "API_KEYS", "ALLOWED_ORIGINS",
    ]  # fmt: skip


def start(settings: dict[str, str], *arguments: str) -> str:
    """Start a server that cannot, and return its only line."""
    environment = {**inherited(), "PORT": "0", "DATABASE_URL": "memory:", **settings}
    process = subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (process.returncode, process.stdout) == (2, ""), process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("duologue: cannot start: ")
    return line


def test_everything_wrong_at_once_is_one_line() -> None:
    """Every setting there is, each with a value that it cannot have: all are named, no secret is."""
    wrong = dict.fromkeys(NUMBERS, "-1e9")
    wrong |= {name: "hunter2" for name, field in FIELDS.items() if is_secret(field)}
    wrong |= {
        "LOG_LEVEL": "x\ny",
        "DATABASE_URL": "x\n:hunter2",
        "ALLOWED_ORIGINS": "\x1b[2J",
        "TOKEN_ALGORITHMS": "none",
    }
    wrong |= {"JWKS_URL": "gopher://hunter2"}
    line = start(wrong)
    assert [name for name in wrong if name not in line] == []
    assert "hunter2" not in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    "settings",
    [
        {"HOST": "\x1b[2J127.0.0.1\nforged: line", "TOKEN_SECRETS": SECRET},
        {"HOST": "a" * 5_000, "TOKEN_SECRETS": SECRET},
        {"JWKS_FILE": "/no\nsuch"},
        {"TOKEN_SECRETS_FILE": "/no\nsuch"},
        {"DATABASE_URL": "sqlite:/sys/no\nsuch.db", "TOKEN_SECRETS": SECRET},
    ],
    ids=lambda settings: "-".join(settings) + str(len(str(settings))),
)
def test_a_line_is_one_line_whatever_the_value_holds(settings: dict[str, str]) -> None:
    """Nobody forges a second one, or clears the terminal."""
    line = start(settings)
    assert "\x1b" not in line
    assert len(line) < 2_000


def test_a_key_file_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """Not JSON, not a key set, private keys, a secret in it: the line says which file."""
    for place, content in enumerate((b"[]", b"[" * 5_000, b'{"keys":[{"kty":"oct","k":"AAAA"}]}')):
        path = tmp_path / f"keys-{place}.json"
        path.write_bytes(content)
        assert path.name in start({"JWKS_FILE": str(path)})
