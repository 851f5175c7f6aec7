"""From environment variables to `Settings`. Secrets may come from a file named in `<NAME>_FILE`, as containers give them.

An empty variable is an absent one (compose files pass those). Lists are separated by commas or line ends.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, structs

from server.settings.checks import NO_TOKENS, check
from server.settings.fields import Settings
from server.settings.values import Secret, SettingsError

SECRET_FILE_MAX_BYTES: Final = 65_536
_SHOWN_CHARS: Final = 60
_SEPARATORS: Final = re.compile(r"[,\r\n]")
_ALIKE: Final = 0.88
# From here on two names are one and its slip: API_KEY and API_KEYS are 0.93, HOST and HOSTNAME 0.67.


class _Problem(Exception):
    """Why one setting cannot be read."""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read and check all settings, or raise `SettingsError` with every problem."""
    settings, unread = read(environment)
    refuse_problems(settings, unread)
    return settings


def refuse_problems(settings: Settings, unread: list[str]) -> None:
    """Raise `SettingsError` for what could not be read and what does not fit together, if there is anything."""
    problems = check(settings)
    if any(problem.startswith("TOKEN_SECRETS") for problem in unread):
        # There are secrets, they just could not be read.
        problems = [problem for problem in problems if problem != NO_TOKENS]
    if unread or problems:
        raise SettingsError([*unread, *problems])


def read(environment: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Read each setting on its own; those that cannot be read keep their default and are told in the list."""
    values: dict[str, object] = {}
    problems: list[str] = []
    for field in structs.fields(Settings):
        if meta_of(field) is None:
            continue
        try:
            text = _text_of(field, environment)
            if text:
                values[field.name] = _parse(field, text)
        except _Problem as problem:
            problems.append(str(problem))
    return structs.replace(Settings(), **values), problems


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that is no setting and looks like a slip of one that is not set.

    The environment belongs to other programs too, so that this is worth a warning and not a refusal.
    """
    fields = [field for field in structs.fields(Settings) if meta_of(field) is not None]
    names = {field.name.upper() for field in fields}
    names |= {f"{field.name.upper()}_FILE" for field in fields if is_secret(field)}
    unset = [name for name in names if name not in environment]
    found = ((name, get_close_matches(name, unset, 1, _ALIKE)) for name in sorted(environment) if name not in names)
    return [f"{name} is no setting; {close[0]} is one and is not set" for name, close in found if close]


def meta_of(field: structs.FieldInfo) -> Meta | None:
    """Give the bounds and help of a setting; None for a field that no variable sets."""
    return next((extra for extra in getattr(field.type, "__metadata__", ()) if isinstance(extra, Meta)), None)


def type_of(field: structs.FieldInfo) -> object:
    """Give the type of a setting without its bounds."""
    return getattr(field.type, "__origin__", field.type)


def is_secret(field: structs.FieldInfo) -> bool:
    """Say whether the setting holds secrets, and so may come from a file."""
    return type_of(field) in (Secret, tuple[Secret, ...])


def expectation(field: structs.FieldInfo) -> str:
    """Say in words what values a number or choice may have."""
    kind, meta = type_of(field), meta_of(field)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is bool:
        return "true or false"
    if kind not in (int, float) or meta is None:
        return "text"
    return f"{'an integer' if kind is int else 'a number'} from {meta.ge:,} to {meta.le:,}"


def _text_of(field: structs.FieldInfo, environment: Mapping[str, str]) -> str:
    name = field.name.upper()
    text = environment.get(name, "").strip()
    file = environment.get(f"{name}_FILE", "").strip() if is_secret(field) else ""
    if text and file:
        raise _Problem(f"{name} and {name}_FILE are both set")
    return _read_secret_file(f"{name}_FILE", Path(file)) if file else text


def _read_secret_file(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_MAX_BYTES + 1)
        text = content.decode("utf-8-sig").strip()
    except OSError as error:
        raise _Problem(f"{name}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _Problem(f"{name}: {path} is not UTF-8 text") from None
    if len(content) > SECRET_FILE_MAX_BYTES:
        raise _Problem(f"{name}: {path} is larger than {SECRET_FILE_MAX_BYTES} bytes")
    if not text:
        raise _Problem(f"{name}: {path} is empty")
    return text


def _parse(field: structs.FieldInfo, text: str) -> object:
    kind = type_of(field)
    if kind is Secret:
        return Secret(text)
    if kind == tuple[Secret, ...]:
        return tuple(Secret(part) for part in _split(text))
    if kind == tuple[str, ...]:
        return _split(text)
    if get_origin(kind) is Literal:
        text = text.lower()
    try:
        return msgspec.convert(text, field.type, strict=False)
    except msgspec.ValidationError:
        raise _Problem(f"{field.name.upper()}: expected {expectation(field)}, got {text[:_SHOWN_CHARS]!r}") from None


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in map(str.strip, _SEPARATORS.split(text)) if part)
