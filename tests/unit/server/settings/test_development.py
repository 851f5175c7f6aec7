"""Development mode: a key that all know, a secret that nobody knows, and no address but loopback."""

import stat
from pathlib import Path

import pytest

from server.settings import SettingsError, for_development, from_environment
from server.settings.development import SECRET_FILE
from tests.support.tokens import SECRET

FRESH = "fresh-9f3b1c7d5e2a4860b7c1d2e3f4a5b6c7"


def never() -> str:
    raise AssertionError("the kept secret was there")


def database(folder: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"sqlite:{folder}/data/duologue.db"}


def test_it_needs_no_settings_at_all_and_keeps_its_secret(tmp_path: Path) -> None:
    first = for_development(database(tmp_path), lambda: FRESH)
    file = tmp_path / "data" / SECRET_FILE
    assert first.development
    assert [key.reveal() for key in first.api_keys] == ["dev"]
    assert [secret.reveal() for secret in first.token_secrets] == [FRESH]
    assert first.algorithms == {"HS256"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    again = for_development(database(tmp_path), lambda: "another" + FRESH)
    assert [secret.reveal() for secret in again.token_secrets] == [FRESH]


@pytest.mark.parametrize("damage", [b"", b"cut\n", b"\xff" * 50], ids=["empty", "cut", "binary"])
def test_a_damaged_secret_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SECRET_FILE).write_bytes(damage)
    settings = for_development(database(tmp_path), lambda: FRESH)
    assert settings.token_secrets[0].reveal() == (tmp_path / "data" / SECRET_FILE).read_text().strip() == FRESH


def test_secrets_of_the_environment_come_first(tmp_path: Path) -> None:
    settings = for_development({**database(tmp_path), "TOKEN_SECRETS": SECRET, "API_KEYS": FRESH}, never)
    assert [secret.reveal() for secret in settings.token_secrets] == [SECRET]
    assert [key.reveal() for key in settings.api_keys] == [FRESH, "dev"]
    assert not (tmp_path / "data").exists()


def test_in_memory_the_secret_is_forgotten_with_the_rest() -> None:
    settings = for_development({"DATABASE_URL": "memory:"}, lambda: FRESH)
    assert settings.token_secrets[0].reveal() == FRESH


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "chat.example"])
def test_it_is_refused_on_other_addresses_and_leaves_no_trace(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        for_development({**database(tmp_path), "HOST": host, "PORT": "x"}, lambda: FRESH)
    assert caught.value.problems == (
        "PORT: expected an integer from 0 to 65,535, got 'x'",
        f"HOST: development mode has a public API key and listens on loopback only, not on {host!r}",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(SettingsError, match=f"^DATABASE_URL: cannot use .*/data/{SECRET_FILE}: "):
        for_development(database(tmp_path), lambda: FRESH)


def test_the_key_dev_is_refused_without_development_mode() -> None:
    with pytest.raises(SettingsError, match="API_KEYS: number 1 is shorter"):
        from_environment({"TOKEN_SECRETS": SECRET, "API_KEYS": "dev"})
