"""Which settings are read and how, and with which words the start is refused."""

from pathlib import Path

import pytest

from server.settings import Settings, SettingsError, from_environment, misspelt
from tests.support.tokens import SECRET

OTHER = "another-b7c1d2e3f4a5b6c79f3b1c7d5e2a4860"
GOOD = {"TOKEN_SECRETS": SECRET}


def problems(**environment: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        from_environment({**GOOD, **environment})
    assert "\n" not in str(caught.value)
    return caught.value.problems


def revealed(settings: Settings) -> list[str]:
    return [secret.reveal() for secret in settings.token_secrets]


def test_one_secret_is_all_it_takes() -> None:
    settings = from_environment(GOOD)
    assert (settings.host, settings.port, settings.development) == ("127.0.0.1", 8000, False)
    assert settings.sqlite_path == Path("data/duologue.db")
    assert settings.algorithms == {"HS256"}
    assert settings.allowed_origins == ("same-origin",)
    assert settings.api_keys == ()


def test_each_type_is_read() -> None:
    settings = from_environment(
        {
            "TOKEN_SECRETS": f"{SECRET}, {OTHER},",
            "PORT": " 9000 ",
            "HEAD_TIMEOUT_S": "2.5",
            "LOG_LEVEL": "WARNING",
            "ALLOWED_ORIGINS": "https://app.example, same-origin",
            "DATABASE_URL": "memory:",
            "DEVELOPMENT": "true",
            "TURN_SERVER_URL": "turn:turn.example.org, turns:turn.example.org:443",
            "TURN_USERNAME": "duologue",
            "TURN_PASSWORD": "a, and b",
            "CALL_RELAY_ONLY": "true",
        }
    )
    assert settings.turn_password.reveal() == "a, and b"
    assert settings.call_relay_only
    assert settings.relays.turn_urls == ("turn:turn.example.org", "turns:turn.example.org:443")
    assert (settings.port, settings.head_timeout_s, settings.log_level) == (9000, 2.5, "warning")
    assert settings.allowed_origins == ("https://app.example", "same-origin")
    assert settings.sqlite_path is None
    assert revealed(settings) == [SECRET, OTHER]
    assert not settings.development


@pytest.mark.parametrize("empty", ["", "  ", "\r\n"], ids=ascii)
def test_an_empty_variable_is_an_absent_one(empty: str) -> None:
    assert from_environment({**GOOD, "PORT": empty, "HOST": empty, "JWKS_URL": empty}) == from_environment(GOOD)


@pytest.mark.parametrize(
    "name, value, problem",
    [
        ("PORT", "abc", "PORT: expected an integer from 0 to 65,535, got 'abc'"),
        ("PORT", "-1", "PORT: expected an integer from 0 to 65,535, got '-1'"),
        ("PORT", "65536", "PORT: expected an integer from 0 to 65,535, got '65536'"),
        ("PORT", "80.5", "PORT: expected an integer from 0 to 65,535, got '80.5'"),
        ("PORT", "true", "PORT: expected an integer from 0 to 65,535, got 'true'"),
        ("PING_AFTER_S", "nan", "PING_AFTER_S: expected a number from 0.1 to 3,600, got 'nan'"),
        ("PING_AFTER_S", "inf", "PING_AFTER_S: expected a number from 0.1 to 3,600, got 'inf'"),
        ("PING_AFTER_S", "1e999", "PING_AFTER_S: expected a number from 0.1 to 3,600, got '1e999'"),
        ("PING_AFTER_S", "25s", "PING_AFTER_S: expected a number from 0.1 to 3,600, got '25s'"),
        ("CALL_RELAY_ONLY", "maybe", "CALL_RELAY_ONLY: expected true or false, got 'maybe'"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: expected one of debug, info, warning, error, got 'loud'"),
        ("MESSAGE_BURST", "9" * 500, f"MESSAGE_BURST: expected an integer from 1 to 1,000,000, got {'9' * 60!r}"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_what_could(name: str, value: str, problem: str) -> None:
    assert problems(**{name: value}) == (problem,)


def test_every_problem_is_told_at_once() -> None:
    assert [problem.split(":")[0] for problem in problems(PORT="x", LOG_LEVEL="x", DATABASE_URL="x", API_KEYS="x")] == [
        "PORT",
        "LOG_LEVEL",
        "DATABASE_URL",
        "API_KEYS",
    ]


@pytest.mark.parametrize(
    "content, secrets",
    [
        (f"{SECRET}\n", [SECRET]),
        (f"{SECRET}\r\n{OTHER}\r\n", [SECRET, OTHER]),
        (f"\ufeff  {SECRET} , {OTHER}\n\n", [SECRET, OTHER]),
    ],
    ids=["unix", "windows", "spaced"],
)
def test_secrets_come_from_a_file_however_it_was_written(tmp_path: Path, content: str, secrets: list[str]) -> None:
    file = tmp_path / "secrets"
    file.write_bytes(content.encode())
    assert revealed(from_environment({"TOKEN_SECRETS_FILE": str(file)})) == secrets


@pytest.mark.parametrize(
    "content, why",
    [(None, "cannot read"), (b"", "is empty"), (b" \r\n", "is empty"), (b"\xff" * 40, "is not UTF-8"), (b"x" * 70_000, "is larger than")],
    ids=["missing", "empty", "blank", "binary", "huge"],
)  # fmt: skip
def test_a_secret_file_that_cannot_be_used_is_the_one_problem(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "secrets"
    if content is not None:
        file.write_bytes(content)
    (problem,) = problems(TOKEN_SECRETS="", TOKEN_SECRETS_FILE=str(file))
    assert problem.startswith("TOKEN_SECRETS_FILE: ")
    assert why in problem
    assert str(file) in problem


def test_a_folder_is_no_secret_file(tmp_path: Path) -> None:
    assert problems(API_KEYS_FILE=str(tmp_path)) == (f"API_KEYS_FILE: cannot read {tmp_path}: Is a directory",)


def test_a_secret_and_its_file_are_not_both_set(tmp_path: Path) -> None:
    assert problems(TOKEN_SECRETS_FILE=str(tmp_path)) == ("TOKEN_SECRETS and TOKEN_SECRETS_FILE are both set",)


def test_only_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9000")
    assert from_environment({**GOOD, "PORT_FILE": str(tmp_path / "port")}).port == 8000


def test_a_slip_of_a_setting_is_told() -> None:
    environment = {"API_KEY": "secret", "TOKEN_SECRET_FILE": "/x", "HOSTNAME": "box", "REDIS_URL": "", "PORT": "1"}
    assert misspelt(environment) == [
        "API_KEY is no setting; API_KEYS is one and is not set",
        "TOKEN_SECRET_FILE is no setting; TOKEN_SECRETS_FILE is one and is not set",
    ]


def test_what_is_set_has_no_slip() -> None:
    """A platform may pass both; only secrets have a file."""
    assert misspelt({"API_KEY": "secret", "API_KEYS": "secrets", "PORT_FILE": "x"}) == []
