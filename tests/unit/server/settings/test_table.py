"""The documented settings are the real ones."""

import runpy
from pathlib import Path

from msgspec import structs

from server.settings import Settings, from_environment
from server.settings.table import render, replace_table
from tests.support.tokens import SECRET

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"


def test_the_table_is_written_by_a_command() -> None:
    before = OPERATIONS.read_bytes()
    runpy.run_module("server.settings", run_name="__main__")
    assert OPERATIONS.read_bytes() == before


def test_the_documentation_shows_this_table() -> None:
    document = OPERATIONS.read_text("utf-8")
    assert replace_table(document) == document, "run: python -m server.settings"
    assert render() in document


def test_every_setting_has_help_and_a_default_within_its_bounds() -> None:
    defaults = {
        field.name.upper(): str(value)
        for field in structs.fields(Settings)
        if isinstance(value := field.default, int | float | str) and not isinstance(value, bool)
    }
    assert from_environment({**defaults, "TOKEN_SECRETS": SECRET}) == from_environment({"TOKEN_SECRETS": SECRET})
    for row in render().splitlines()[3:-1]:
        name, value, _, help_line = (cell.strip() for cell in row.strip("|").split("|"))
        assert name
        assert value
        assert help_line.endswith(".")


def test_a_stale_table_is_replaced_and_the_prose_kept() -> None:
    before, after = "# Title\n\n", "\n\nMore.\n"
    stale = render().replace("8000", "9999")
    assert replace_table(before + stale + after) == before + render() + after
