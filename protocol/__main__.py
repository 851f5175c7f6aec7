"""Print the JSON document of the protocol: `python -m protocol > docs/protocol.json` renews the committed copy."""

from protocol.schema import pretty

print(pretty(), end="")
