"""What /metrics says, as plain numbers."""

import re
from typing import Final

_NUMBER: Final = re.compile(r"^duologue_(\w+?)(?:_total)?(\{[^}]*\})? (\S+)$", re.MULTILINE)
_GAUGE: Final = re.compile(r"^# HELP duologue_(\w+) (.*)\n# TYPE duologue_\1 gauge$", re.MULTILINE)
# A gauge that is not at zero when nobody is there says so in its line of help.
_LEVEL: Final = "A level: "
# The request for the numbers is itself a connection.
OWN_REQUEST: Final = {"http_connections_open": 1.0}


def read_numbers(text: str) -> dict[str, float]:
    """Return every number by its name without prefix and suffix; one with a label keeps it, `name{label="value"}`."""
    return {name + labels: float(value) for name, labels, value in _NUMBER.findall(text)}


def read_gauges(text: str) -> dict[str, float]:
    """Return those that are zero when nobody is there, without the request that asks for them."""
    names = {name for name, help_line in _GAUGE.findall(text) if not help_line.startswith(_LEVEL)}
    numbers = read_numbers(text)
    return {
        name: value - OWN_REQUEST.get(name, 0.0) for name, value in numbers.items() if name.partition("{")[0] in names
    }
