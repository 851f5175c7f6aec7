"""`python -m server.settings`: write the table of settings into docs/operations.md anew."""

from pathlib import Path

from server.settings.table import replace_table

document = Path(__file__).parents[2] / "docs" / "operations.md"
document.write_text(replace_table(document.read_text("utf-8")), "utf-8")
print(f"{document} is current")
