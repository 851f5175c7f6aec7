"""The table of paths: everything that the server says, and what a block between two users makes of it.

Every push, every answer and every HTTP operation that a user may call has a row. A row that could tell of another user has
probes in tests/integration/test_paths.py, which try it before and after a block, in both directions.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Final, NewType, get_args, get_type_hints

from msgspec import Struct

from protocol.calls import (
    CallCancelled,
    CallEnded,
    CallEntry,
    CallIceServers,
    CallIncoming,
    CallJoined,
    CallMediaChanged,
    CallPeerJoined,
    CallPeerLeft,
    CallPeerState,
    CallQuality,
    CallRang,
    CallSeat,
    CallSignalled,
    CallSnapshot,
)
from protocol.from_server import (
    AppEvent,
    BlockChanged,
    Degraded,
    Error,
    Gap,
    GoingAway,
    HistoryPage,
    MatchesPage,
    MatchLeft,
    MatchMade,
    MatchSettings,
    MembersChanged,
    Message,
    Ok,
    PresenceChanged,
    PresenceOwn,
    ReceiptMoved,
    Reset,
    Sent,
    Skip,
    Synced,
    TokenExpiring,
    TypingSeen,
    Watching,
    Welcome,
)
from protocol.ids import UserId


class Rule(Enum):
    """What holds on a path between two users of whom one has blocked the other."""

    NOBODY = "tells of no other user"
    OWN = "goes to the user's own connections, about what that user did or decided"
    LOG = "who is a member of a match is the match's, whoever blocks whom"
    APP = "what the app's backend says is the app's"
    SKIP = "entries of whom the reader blocked are skipped in a match of more than two; in one of two none come"
    NOTHING = "neither of the two is told anything of the other"
    CALL = "the two are not in a call together, and neither is offered one that the other is in"


# What only tells of others in some rule's way has to have a probe there.
PROBED: Final = (Rule.SKIP, Rule.NOTHING, Rule.CALL)

Row = type[Struct] | str
# A type that the server says, or the name of an operation in `/openapi.json`.

MESSAGES: Final[Mapping[Row, Rule]] = {
    # Entries.
    Message: Rule.SKIP,
    CallEntry: Rule.SKIP,
    MembersChanged: Rule.LOG,
    Skip: Rule.NOBODY,
    # Other pushes.
    MatchMade: Rule.NOTHING,
    MatchLeft: Rule.NOBODY,
    MatchSettings: Rule.NOBODY,
    ReceiptMoved: Rule.NOTHING,
    TypingSeen: Rule.NOTHING,
    PresenceChanged: Rule.NOTHING,
    PresenceOwn: Rule.NOBODY,
    BlockChanged: Rule.OWN,
    AppEvent: Rule.NOBODY,
    Gap: Rule.NOBODY,
    Reset: Rule.NOBODY,
    Degraded: Rule.NOBODY,
    TokenExpiring: Rule.NOBODY,
    GoingAway: Rule.NOBODY,
    # Calls. Who has no seat in a call, and does not ring, is told of it by a snapshot only.
    CallIncoming: Rule.CALL,
    CallSnapshot: Rule.CALL,
    CallPeerJoined: Rule.CALL,
    CallRang: Rule.CALL,
    CallPeerLeft: Rule.CALL,
    CallEnded: Rule.CALL,
    CallPeerState: Rule.NOBODY,
    CallSignalled: Rule.NOBODY,
    CallMediaChanged: Rule.NOBODY,
    CallQuality: Rule.NOBODY,
    CallCancelled: Rule.NOBODY,
    CallJoined: Rule.NOBODY,
    # Answers.
    Welcome: Rule.NOTHING,
    HistoryPage: Rule.SKIP,
    Synced: Rule.NOTHING,
    MatchesPage: Rule.NOTHING,
    Watching: Rule.NOTHING,
    CallSeat: Rule.CALL,
    CallIceServers: Rule.NOBODY,
    Sent: Rule.NOBODY,
    Ok: Rule.NOBODY,
    Error: Rule.NOBODY,
}

# Those that only a backend may call say APP.
OPERATIONS: Final[Mapping[Row, Rule]] = {
    "make_token": Rule.APP,
    "make_ticket": Rule.NOBODY,
    "put_match": Rule.APP,
    "get_match": Rule.LOG,
    "end_match": Rule.APP,
    "list_messages": Rule.SKIP,
    "post_message": Rule.NOBODY,
    "list_matches": Rule.NOTHING,
    "list_sessions": Rule.OWN,
    "end_sessions": Rule.OWN,
    "end_session": Rule.OWN,
    "post_event": Rule.APP,
    "list_calls": Rule.OWN,
    "get_call": Rule.OWN,
    "end_call": Rule.APP,
    "get_call_settings": Rule.OWN,
    "put_call_settings": Rule.OWN,
    "list_blocks": Rule.OWN,
    "put_block": Rule.OWN,
    "end_block": Rule.OWN,
    "get_presence": Rule.APP,
}

ROWS: Final[Mapping[Row, Rule]] = {**MESSAGES, **OPERATIONS}

# Rows of rule CALL whose push goes to seats of a call only: the probe is that the two get no seats in one.
AMONG_SEATS: Final = (CallPeerJoined, CallPeerLeft, CallRang, CallEnded)


def names_users(kind: object, seen: frozenset[object] = frozenset()) -> bool:
    """Tell whether a value of this type can name a user, however deep inside."""
    if kind is UserId:
        return True
    if kind in seen or isinstance(kind, NewType):
        return False
    seen |= {kind}
    if isinstance(kind, type) and issubclass(kind, Struct):
        return any(names_users(hint, seen) for hint in get_type_hints(kind).values())
    return any(names_users(inner, seen) for inner in get_args(kind))


def members_of(union: object) -> Iterator[type[Struct]]:
    """Return the types of a union."""
    for kind in get_args(union):
        assert issubclass(kind, Struct)
        yield kind


def unprobed(probes: Iterable[Row]) -> list[str]:
    """Return the rows that could tell of another user and that no probe tries."""
    tried = {*probes, *AMONG_SEATS}
    return [str(row) for row, rule in ROWS.items() if rule in PROBED and row not in tried]
