"""Sizes that are part of protocol v1. What an operator may change is in the settings and told in `welcome`."""

from typing import Final

FRAME_MAX_BYTES: Final = 64 * 1024
TEXT_MAX_CHARS: Final = 4_000
DATA_MAX_BYTES: Final = 16 * 1024
# A message's `data`, as compact JSON.
TOKEN_MAX_CHARS: Final = 4_096
REASON_MAX_BYTES: Final = 123
# RFC 6455 section 5.5: a control frame's payload is at most 125 bytes, two of them are the close code.

HELLO_CURSORS_MAX: Final = 500
SYNC_CURSORS_MAX: Final = 100
RESUME_ENTRIES_MAX: Final = 200
# Entries a match that `hello` and `sync` return at once; the remainder is told as a gap.
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
PAGE_MAX_BYTES: Final = 256 * 1024
# A page or a sync answer ends early here (with `complete: false`), so that no answer outgrows an outbox.
MATCHES_PAGE_MAX: Final = 100
WATCHED_MAX: Final = 200
MEMBERS_MIN: Final = 2
MEMBERS_MAX: Final = 50
EVENT_NAME_MAX_CHARS: Final = 64

SYNC_DELAY_MS: Final = 500
# How long a client waits for the entries between before it asks with `sync`.
DEDUP_DAYS: Final = 35
GIVE_UP_DAYS: Final = 30
