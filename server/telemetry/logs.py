r"""Log lines: one line per event, `key=value`, to stderr, whatever the values hold.

    time=2026-11-21T10:00:00.000Z level=info logger=server.app event=ready address=http://127.0.0.1:8000

Line ends in values are escaped, so that nobody can forge a line. Nobody logs tokens; should somebody, they are blanked here
as a second line of defence: what looks like a token or follows a telling name, and the node's own secrets.
"""

import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

REDACTED: Final = "[redacted]"
_BARE: Final = re.compile(r"[\w.:/@+,\[\]-]+", re.ASCII)
# Shorter ones (the development key "dev") would blank ordinary words.
_KNOWN_SECRET_MIN_CHARS: Final = 16
_JWT: Final = re.compile(r"eyJ[\w-]+\.[\w-]+(\.[\w-]*)?", re.ASCII)
_SCHEME: Final = re.compile(r"\b(bearer|basic)(\s+|%20|\+)[^\s\"',;\\]+", re.IGNORECASE)
_NAMED: Final = re.compile(
    r"((?:token|ticket|authorization|api[_-]?key|secret|password)s?\\?[\"']?\s*[=:]\s*\\?[\"']?)(?!\[redacted\])[^\s\"'&,;}\\]+",
    re.IGNORECASE,
)


def event(**fields: object) -> dict[str, object]:
    """Give a log call its fields: `log.info("session.closed", extra=event(code=4008))`."""
    return {"fields": fields}


def configure_logs(level: str, known_secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Send every log line of the process to `stream` (stderr) in this form; replaces what was configured before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(known_secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class LineFormatter(logging.Formatter):
    """Writes a record as one line without secrets."""

    def __init__(self, known_secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._known = tuple(secret for secret in known_secrets if len(secret) >= _KNOWN_SECRET_MIN_CHARS)

    def format(self, record: logging.LogRecord) -> str:  # type: ignore[explicit-override]  # new in Python 3.12
        """Return the line, without its end."""
        pairs: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        pairs.update(getattr(record, "fields", {}))
        if record.exc_info:
            pairs["exception"] = self.formatException(record.exc_info)
        return self._redact(" ".join(f"{name}={_quote(str(value))}" for name, value in pairs.items()))

    def _redact(self, line: str) -> str:
        for secret in self._known:
            line = line.replace(secret, REDACTED)
        line = _JWT.sub(REDACTED, line)
        line = _SCHEME.sub(REDACTED, line)
        return _NAMED.sub(rf"\1{REDACTED}", line)


def _quote(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    # Lone surrogates cannot be encoded; a log line must never fail over its values.
    return msgspec.json.encode(text.encode("utf-8", "backslashreplace").decode()).decode()
