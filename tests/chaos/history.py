"""Everything of a failed run in one file: what was done when, what clients did and saw, the store's logs, the nodes' logs."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from loadtest.record import ClientLog
from loadtest.resuming import ResumingClient
from protocol.from_server import Entry
from protocol.ids import MatchId
from tests.chaos.cluster import Node


def write_history(
    seed: int,
    done: Sequence[tuple[float, str]],
    clients: Sequence[ResumingClient],
    stored: Mapping[MatchId, Sequence[Entry]],
    nodes: Sequence[Node],
) -> str:
    """Write a folder with the history, and return its name."""
    folder = Path(tempfile.mkdtemp(prefix=f"duologue-chaos-seed-{seed}-"))
    history = {
        "seed": seed,
        "nemesis": done,
        "clients": [_client(client.log) for client in clients],
        "stored": {match: list(entries) for match, entries in stored.items()},
    }
    (folder / "history.json").write_bytes(msgspec.json.format(msgspec.json.encode(history), indent=1))
    for node in nodes:
        (folder / f"{node.name}.log").write_text(node.log, encoding="utf-8")
    return str(folder)


def _client(log: ClientLog) -> dict[str, object]:
    return {
        "name": log.name,
        "connections": log.connections,
        "close_codes": log.close_codes,
        "resets": log.resets,
        "submitted": list(log.submitted.values()),
        "shown": {match: [(entry.seq, entry.created_at) for entry in entries] for match, entries in log.shown.items()},
    }
