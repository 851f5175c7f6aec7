"""The statements of `statements.sql`, by name."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def _read(path: Path) -> Mapping[str, str]:
    """Cut the file at its names; what stands before the first one is a comment."""
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    return MappingProxyType(dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True)))


SQL: Final = _read(Path(__file__).with_suffix(".sql"))
# What makes each schema out of the one before, from schema 1, which is made out of nothing.
SCHEMAS: Final = tuple(
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("schema.sql", "schema_2.sql", "schema_3.sql", "schema_4.sql")
)
