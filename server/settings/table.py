"""The table of settings in `docs/operations.md`, rendered from the settings themselves so that it cannot be wrong."""

from typing import Final

from msgspec import structs

from server.settings.fields import Settings
from server.settings.parse import expectation, is_secret, meta_of, type_of
from server.settings.values import NO_SECRET, Secret

BEGIN: Final = "<!-- settings: rendered by server/settings/table.py, do not edit -->"
END: Final = "<!-- settings: end -->"
_HEADING: Final = "| name | value | default | what it does |\n|---|---|---|---|"


def render() -> str:
    """Write the table as Markdown, markers included."""
    return "\n".join([BEGIN, _HEADING, *(_row(field) for field in structs.fields(Settings) if meta_of(field)), END])


def replace_table(document: str) -> str:
    """Return `document` with the table between the markers rendered anew."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + render() + after


def _row(field: structs.FieldInfo) -> str:
    meta = meta_of(field)
    assert meta is not None
    name = f"`{field.name.upper()}`" + (f", `{field.name.upper()}_FILE`" if is_secret(field) else "")
    return f"| {name} | {_value(field)} | {_default(field)} | {meta.description} |"


def _value(field: structs.FieldInfo) -> str:
    kind, meta = type_of(field), meta_of(field)
    if kind in (int, float):
        assert meta is not None
        unit = (meta.extra or {}).get("unit", "")
        whole = "" if kind is int else ", fractions allowed"
        return f"{meta.ge:,} to {meta.le:,} {unit}".strip() + whole
    return "list" if kind in (tuple[str, ...], tuple[Secret, ...]) else expectation(field)


def _default(field: structs.FieldInfo) -> str:
    value = field.default
    if isinstance(value, tuple):
        return ", ".join(f"`{part}`" for part in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value not in ("", NO_SECRET) else ""
