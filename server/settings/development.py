"""Development mode, `python -m server --dev`: an API key that everybody knows, on an address that nobody else reaches.

The token secret is random and kept beside the database, so that tokens outlive a restart and no secret is in the source.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import structs

from server.settings.checks import SECRET_MIN_BYTES
from server.settings.fields import Settings
from server.settings.parse import read, refuse_problems
from server.settings.values import Secret, SettingsError

API_KEY: Final = "dev"
SECRET_FILE: Final = "development-token-secret"  # noqa: S105 - a file's name


def for_development(environment: Mapping[str, str], new_secret: Callable[[], str]) -> Settings:
    """Read the settings as `from_environment` does and add the key `dev` and a secret; refuses all but loopback.

    `new_secret` returns at least 32 random characters; it is called once in the life of a data directory.
    """
    settings, unread = read(environment)
    settings = structs.replace(settings, development=True, api_keys=(*settings.api_keys, Secret(API_KEY)))
    # Checked before anything is written: a refused start leaves no trace.
    stand_in = settings.token_secrets or (Secret(new_secret()),)
    refuse_problems(structs.replace(settings, token_secrets=stand_in), unread)
    if settings.token_secrets:
        return settings
    return structs.replace(settings, token_secrets=(_kept_secret(settings.sqlite_path, stand_in[0]),))


def _kept_secret(database: Path | None, fresh: Secret) -> Secret:
    """Return the secret of this data directory, made from `fresh` the first time."""
    if database is None:
        return fresh
    path = database.parent / SECRET_FILE
    try:
        kept = path.read_text("utf-8", "replace").strip() if path.exists() else ""
        if len(kept) >= SECRET_MIN_BYTES and "\ufffd" not in kept:
            return Secret(kept)
        _write_private(path, fresh.reveal())
    except OSError as error:
        raise SettingsError([f"DATABASE_URL: cannot use {path}: {error.strerror}"]) from None
    return fresh


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with open(
        unfinished, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)
    ) as file:
        file.write(text + "\n")
    unfinished.replace(path)
