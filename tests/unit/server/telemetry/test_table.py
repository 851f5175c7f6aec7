"""The documented numbers are the real ones."""

import runpy
from pathlib import Path

from server.telemetry.table import render, replace_table

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"


def test_the_table_is_written_by_a_command() -> None:
    before = OPERATIONS.read_bytes()
    runpy.run_module("server.telemetry", run_name="__main__")
    assert OPERATIONS.read_bytes() == before


def test_the_documentation_shows_this_table() -> None:
    document = OPERATIONS.read_text("utf-8")
    assert replace_table(document) == document, "run: python -m server.telemetry"
    assert render() in document


def test_a_stale_table_is_replaced_and_the_prose_kept() -> None:
    before, after = "# Title\n\n", "\n\nMore.\n"
    stale = render().replace("gauge", "gouge")
    assert replace_table(before + stale + after) == before + render() + after
