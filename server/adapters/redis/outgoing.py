"""What waits to be routed: bounded in bytes, in order, cut into calls of the `route` script.

When Redis is slow, ephemeral frames go first (the latest of each key replaces those before it, and all are dropped when
there is no room), then durable ones: their commit is never reported as routed, so that the outbox sends it again. Notices
are kept; when even they are too many, the other nodes are made to notice a gap, which has them repair.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final

from msgspec import Struct

from protocol.ids import UserId
from server.adapters.redis.wire import rest_of_item
from server.core.latest import Key

LOOKUPS_MAX: Final = 500
CALL_MAX_BYTES: Final = 256 * 1024
NOTICES_MAX: Final = 10_000
# Beside the frame: the entry itself, its key and the references to its users.
ENTRY_BYTES: Final = 200

DURABLE, LATEST, NOTICE, GAP = b"D", b"L", b"N", b"G"
_PLACES: Final = tuple(place.to_bytes(2, "big") for place in range(LOOKUPS_MAX))
_NO_KEY: Final = rest_of_item(b"", None)


class Commit(Struct, eq=False):
    """What one row of the outbox stands for."""

    is_lost: bool = False


class Entry(Struct, frozen=True, eq=False, gc=False):
    """One item, or (with a `route_id` and no frame) the end of a commit. `size` is what it counts for in bytes."""

    kind: bytes
    users: tuple[UserId, ...]
    rest: bytes
    size: int
    commit: Commit | None = None
    route_id: int | None = None


def _entry(kind: bytes, users: tuple[UserId, ...], rest: bytes, commit: Commit | None = None) -> Entry:
    return Entry(kind, users, rest, len(rest) + ENTRY_BYTES, commit)


_GAP: Final = _entry(GAP, (), _NO_KEY)


class RouteCall(Struct, eq=False):
    """One call of the script: `number` is given when it is first sent, and stays when it is sent again."""

    entries: tuple[Entry, ...]
    number: int = 0

    @property
    def has_items(self) -> bool:
        """Whether anything is to be sent; else there were only ends of commits."""
        return any(entry.route_id is None for entry in self.entries)

    def arguments(self) -> list[bytes | str | int]:
        """Return what the script gets after the call's number."""
        places: dict[UserId, bytes] = {}
        items: list[bytes | str | int] = []
        for entry in self.entries:
            if entry.route_id is not None:
                continue
            for user in entry.users:
                if user not in places:
                    places[user] = _PLACES[len(places)]
            items += (entry.kind + b"".join([places[user] for user in entry.users]), entry.rest)
        return [len(places), *places, *items]

    def route_ids(self) -> list[int]:
        """Return the commits that are out when this call is done."""
        return [
            entry.route_id
            for entry in self.entries
            if entry.route_id is not None and entry.commit is not None and not entry.commit.is_lost
        ]


class Outgoing:
    """The queue of one node."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        # By the key of latest-wins frames together with their recipients, others by their number.
        self._entries: dict[object, Entry] = {}
        self._numbers = count()
        self._commit = Commit()
        self._notices = 0
        self.bytes = 0
        self.dropped_ephemeral = 0
        self.dropped_durable = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add_durable(self, users: Sequence[UserId], frame: bytes) -> None:
        """Queue a frame that the present commit counts with."""
        rest = rest_of_item(frame, None)
        for part in _parts(users):
            entry = _entry(DURABLE, part, rest, self._commit)
            if self._has_room(entry) or (self.drop_ephemeral() and self._has_room(entry)):
                self._put(next(self._numbers), entry)
            else:
                self._commit.is_lost = True
                self.dropped_durable += 1

    def add_latest(self, users: Sequence[UserId], frame: bytes, key: Key) -> None:
        """Queue a frame in place of the one before it with the same key and recipients."""
        rest = rest_of_item(frame, key)
        for part in _parts(users):
            place = (key, part)
            self._remove(place)
            entry = _entry(LATEST, part, rest)
            if self._has_room(entry):
                self._put(place, entry)
            else:
                self.dropped_ephemeral += 1

    def add_notice(self, notice: bytes) -> None:
        """Queue something for every other node."""
        if self._notices >= NOTICES_MAX:
            self._drop_notices()
            self._put(next(self._numbers), _GAP)
        self._put(next(self._numbers), _entry(NOTICE, (), rest_of_item(notice, None)))

    def end_commit(self, route_id: int) -> None:
        """What was queued as durable since the last call is the commit `route_id`."""
        self._put(next(self._numbers), Entry(b"", (), b"", ENTRY_BYTES, self._commit, route_id))
        self._commit = Commit()

    def take(self) -> RouteCall:
        """Take what fits into one call, from the front."""
        users: set[UserId] = set()
        size = 0
        taken: list[object] = []
        for place, entry in self._entries.items():
            size += len(entry.rest)
            # Counted exactly only where the bound may be near.
            most = len(users) + len(entry.users)
            if taken and (size > CALL_MAX_BYTES or (most > LOOKUPS_MAX and _together(users, entry) > LOOKUPS_MAX)):
                break
            users.update(entry.users)
            taken.append(place)
        return RouteCall(tuple(self._remove_known(place) for place in taken))

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Queue again what was taken and not done, before everything else."""
        behind = self._entries
        self._entries, self.bytes, self._notices = {}, 0, 0
        for entry in entries:
            self._put(next(self._numbers), entry)
        for place, entry in behind.items():
            self._put(place, entry)

    def give_up(self, call: RouteCall) -> None:
        """Forget a call of which nobody knows whether it was done; its notices may be told twice, and are kept."""
        self._lose(call)
        self.put_back([entry for entry in call.entries if entry.kind in {NOTICE, GAP}])

    def refuse(self, call: RouteCall) -> None:
        """Forget a call that cannot be done; if it had notices, let the others notice a gap instead."""
        self._lose(call)
        if any(entry.kind == NOTICE for entry in call.entries):
            self.put_back([_GAP])

    def _lose(self, call: RouteCall) -> None:
        for entry in call.entries:
            if entry.commit is not None and entry.route_id is None:
                entry.commit.is_lost = True
                self.dropped_durable += 1

    def drop_ephemeral(self) -> bool:
        """Forget all latest-wins frames; whether there were any."""
        ephemeral = [place for place, entry in self._entries.items() if entry.kind == LATEST]
        for place in ephemeral:
            self._remove(place)
        self.dropped_ephemeral += len(ephemeral)
        return bool(ephemeral)

    def _drop_notices(self) -> None:
        for place in [place for place, entry in self._entries.items() if entry.kind in {NOTICE, GAP}]:
            self._remove(place)

    def _has_room(self, entry: Entry) -> bool:
        return self.bytes + entry.size <= self._max_bytes

    def _put(self, place: object, entry: Entry) -> None:
        self._entries[place] = entry
        self.bytes += entry.size
        self._notices += entry.kind == NOTICE

    def _remove(self, place: object) -> None:
        if place in self._entries:
            self._remove_known(place)

    def _remove_known(self, place: object) -> Entry:
        entry = self._entries.pop(place)
        self.bytes -= entry.size
        self._notices -= entry.kind == NOTICE
        return entry


def _together(users: set[UserId], entry: Entry) -> int:
    return len(users) + sum(user not in users for user in entry.users)


def _parts(users: Sequence[UserId]) -> Sequence[tuple[UserId, ...]]:
    if 0 < len(users) <= LOOKUPS_MAX:
        return (tuple(users),)
    return [tuple(users[start : start + LOOKUPS_MAX]) for start in range(0, len(users), LOOKUPS_MAX)]
