"""Who blocked whom and how users want to be shown, in the embedded store: what its threads do with those tables."""

from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Cursor
from typing import Final

import msgspec

from protocol.from_client import LastSeen, OwnStatus
from protocol.from_server import OwnPresence
from protocol.ids import MatchId, Micros, UserId
from protocol.limits import BLOCKS_MAX
from server.adapters.sqlite.rows import json_list
from server.adapters.sqlite.statements import SQL
from server.core.log import Refused
from server.core.pages import is_storable
from server.core.people import NOBODY, TOO_MANY_BLOCKS, Pair, Person, PresenceWish, Unread

Execute = Callable[..., Cursor]
_DEFAULT: Final = (OwnPresence(), 0)


def people(execute: Execute, users: Sequence[UserId]) -> list[Person]:
    """Read what is kept of each user."""
    wanted = json_list([user for user in users if is_storable(user)])
    blocked: dict[UserId, set[UserId]] = {}
    blocked_by: dict[UserId, set[UserId]] = {}
    for user, other, is_blocker in execute(SQL["blocks_of_users"], {"users": wanted}):
        (blocked if is_blocker else blocked_by).setdefault(user, set()).add(other)
    shown = {
        user: (OwnPresence(OwnStatus(status), text, LastSeen(last_seen)), version)
        for user, status, text, last_seen, version in execute(SQL["presence_of_users"], (wanted,))
    }
    if not (blocked or blocked_by or shown):  # As it is nearly always.
        return [NOBODY] * len(users)
    return [
        Person(frozenset(blocked.get(user, ())), frozenset(blocked_by.get(user, ())), *shown.get(user, _DEFAULT))
        for user in users
    ]


def pairs(execute: Execute, match_no: int, members: Sequence[UserId]) -> tuple[Pair, ...]:
    """Read who of a match's present members has blocked whom of them."""
    rows = execute(SQL["blocks_among_members"], (match_no,)).fetchall()
    return tuple((blocker, blocked) for blocker, blocked in rows if blocked in members)


def set_block(execute: Execute, user: UserId, other: UserId, *, is_on: bool) -> bool | Refused:
    """Block, or take it back, within the transaction under way; tell whether that is news."""
    if is_on and execute(SQL["count_blocks"], (user, other)).fetchone()[0] >= BLOCKS_MAX:
        return TOO_MANY_BLOCKS
    return execute(SQL["add_block" if is_on else "drop_block"], (user, other)).rowcount > 0


def set_presence(execute: Execute, user: UserId, wish: PresenceWish, now: Micros) -> Person:
    """Change how the user is shown, within the transaction under way."""
    (person,) = people(execute, (user,))
    presence, version = wish.applied(person.presence), max(now, person.version + 1)
    execute(SQL["set_presence"], (user, presence.status, presence.text, presence.last_seen, version))
    return Person(person.blocked, person.blocked_by, presence, version)


def hidden_unread(execute: Execute, user: UserId, among: Sequence[Unread]) -> Mapping[MatchId, int]:
    """Count unread messages and missed calls of those whom the user blocked."""
    wanted = [(each.match, each.read, each.last) for each in among if is_storable(each.match)]
    found = execute(SQL["hidden_unread"], {"user": user, "wanted": msgspec.json.encode(wanted).decode()})
    return dict(found.fetchall())
