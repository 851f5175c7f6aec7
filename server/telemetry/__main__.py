"""`python -m server.telemetry`: write the table of numbers into docs/operations.md anew."""

from pathlib import Path

from server.telemetry.table import replace_table

if __name__ == "__main__":
    operations = Path(__file__).parents[2] / "docs" / "operations.md"
    operations.write_text(replace_table(operations.read_text("utf-8")), "utf-8")
