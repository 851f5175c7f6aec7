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
STATUS_TEXT_MAX_CHARS: Final = 100
BLOCKS_MAX: Final = 1_000
# Users whom one user may have blocked.
MEMBERS_MIN: Final = 2
MEMBERS_MAX: Final = 50
TYPING_MEMBERS_MAX: Final = 20
# Members of a match up to which typing is told.
EVENT_NAME_MAX_CHARS: Final = 64

CALL_PARTICIPANTS_MAX: Final = 6
# Every seat sends its picture to every other: more than this and homes' upstream lines give in.
SDP_MAX_CHARS: Final = 48 * 1024
# Chromium's offer has 5 KB, with a second camera and a screen 13; quotes and line ends escaped it fits a frame.
SDP_LINES_MAX: Final = 2_000
SDP_MEDIA_MAX: Final = 32
SDP_CANDIDATES_MAX: Final = 100
CANDIDATE_MAX_CHARS: Final = 512
CANDIDATES_BATCH_MAX: Final = 20
STREAMS_MAX: Final = 8
SIGNALS_KEPT_MAX: Final = 128
# That a client keeps, for each seat, until its call ends.
FEEDBACK_ISSUES_MAX: Final = 10
FEEDBACK_MAX_CHARS: Final = 64
FEEDBACK_HOURS: Final = 24
CALL_NEGOTIATION_MS: Final = 15_000
CALL_ICE_RESTART_MS: Final = 2_000
CALL_CANDIDATES_MS: Final = 100
CALL_STATS_MS: Final = 10_000

SYNC_DELAY_MS: Final = 500
# How long a client waits for the entries between before it asks with `sync`.
DEDUP_DAYS: Final = 35
GIVE_UP_DAYS: Final = 30
