"""What this node knows of calls without asking: those in which its connections sit, and what was heard lately.

Guarantees: a later version is never replaced by an earlier one; while other nodes cannot be heard nothing is believed for
longer than STALE_AFTER_S; which connections sit where is known until they are gone, whatever else was forgotten.
Bounded: of calls without a seat here the latest RECENT_MAX are kept.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from protocol.calls import CallId
from protocol.ids import SessionId, UserId
from server.core.calls import CallRow
from signaling.call import Call

RECENT_MAX: Final = 2_000
STALE_AFTER_S: Final = 2.0
# Another node's change may go unheard for so long (promise P9).

decode_call: Final[Callable[[bytes], Call]] = msgspec.json.Decoder(Call).decode
encode_call: Final[Callable[[Call], bytes]] = msgspec.json.Encoder().encode


class Known(Struct):
    """A call as it was at `version`; `call` may be ahead of it by what is not written yet (mute, quality)."""

    version: int
    call: Call
    good_until: float


class CallBook:
    """The newest known state of each call. `node` is how seats name this node."""

    __slots__ = ("_hears_others", "_known", "_now", "_seats", "node")

    def __init__(self, node: str, now: Callable[[], float]) -> None:
        self.node = node
        self._now = now
        self._hears_others = True
        self._known: dict[CallId, Known] = {}
        self._seats: dict[SessionId, CallId] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def seats(self) -> int:
        """Connections of this node that sit in a call."""
        return len(self._seats)

    def call_at(self, session: SessionId) -> CallId | None:
        """Tell in which call a connection of this node sits."""
        return self._seats.get(session)

    def is_seated(self, user: UserId) -> bool:
        """Tell whether the user is known to sit in a call, on whatever node."""
        return any(known.call.seat_of(user) is not None for known in self._known.values())

    def calls_here(self) -> tuple[CallId, ...]:
        """Return the calls in which connections of this node sit."""
        return tuple(dict.fromkeys(self._seats.values()))

    def get(self, call: CallId) -> Known | None:
        """Return what may be believed of a call; None: ask the store."""
        known = self._known.get(call)
        return known if known is not None and known.good_until > self._now() else None

    def learn(self, row: CallRow) -> Known:
        """Take in what was read, unless something later is known; return what holds."""
        known = self.get(row.call)
        if known is not None and known.version >= row.version:
            return known
        return self.hear(row.call, row.version, decode_call(row.value))

    def hear(self, name: CallId, version: int, call: Call) -> Known:
        """Take in a change; return what holds."""
        known = self._known.get(name)
        if known is not None and known.version > version:
            return known
        good_until = math.inf if self._hears_others else self._now() + STALE_AFTER_S
        self._known.pop(name, None)
        known = self._known[name] = Known(version, call, good_until)
        self._note_seats(name, call)
        if len(self._known) > RECENT_MAX:
            self._drop_old()
        return known

    def is_news(self, name: CallId, version: int) -> bool:
        """Tell whether nothing as new is known."""
        known = self._known.get(name)
        return known is None or known.version < version

    def hears_others(self, *, hears: bool) -> None:
        """Believe changes of other nodes to be heard, or not; what went unheard before is forgotten."""
        self._hears_others = hears
        self.forget()

    def forget(self) -> None:
        """Believe nothing; which connections sit where stays."""
        self._known.clear()

    def leave(self, session: SessionId) -> None:
        """A connection is gone."""
        self._seats.pop(session, None)

    def _note_seats(self, name: CallId, call: Call) -> None:
        here = {seat.session for seat in call.seats if seat.node == self.node and seat.lost_at is None}
        gone = [session for session, where in self._seats.items() if where == name and session not in here]
        for session in gone:
            del self._seats[session]
        for session in here:
            self._seats[session] = name

    def _drop_old(self) -> None:
        here = set(self._seats.values())
        for name in [name for name in self._known if name not in here][: RECENT_MAX // 8]:
            del self._known[name]
