"""The table of numbers in `docs/operations.md`, rendered from the numbers themselves so that it cannot be wrong."""

from typing import Final

from server.telemetry.counters import METRICS, Metric

BEGIN: Final = "<!-- metrics: rendered by server/telemetry/table.py, do not edit -->"
END: Final = "<!-- metrics: end -->"
_HEADING: Final = "| name | kind | what it tells |\n|---|---|---|"


def render() -> str:
    """Write the table as Markdown, markers included."""
    return "\n".join([BEGIN, _HEADING, *map(_row, METRICS), END])


def replace_table(document: str) -> str:
    """Return `document` with the table between the markers rendered anew."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + render() + after


def _row(metric: Metric) -> str:
    suffix = "_total" if metric.kind == "counter" else ""
    by = f", by `{metric.label}`" if metric.label else ""
    return f"| `duologue_{metric.name}{suffix}` | {metric.kind}{by} | {metric.help_line} |"
