"""What the desk is handed: an event of a call, who asked for it, and what came of it."""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from protocol.calls import CallId
from protocol.ids import MatchId, SessionId, UserId
from server.core.log import Refused
from signaling.call import Call
from signaling.decision import Decision
from signaling.events import Event


class Settled(Struct, frozen=True):
    """An event has been decided: the call as it is then, and what came of it."""

    call: Call | None
    decision: Decision


Outcome = Settled | Refused
Done = Callable[[Outcome], None]
Admit = Callable[[], Awaitable[Refused | None]]


class Soft(Struct, frozen=True):
    """An event that was answered, and told to the connections `told`, before it was written."""

    event: Event
    told: frozenset[SessionId]


class Job(Struct):
    """An event under way. `call` or `match` says of what; `user` is whose event it is, if anybody's.

    `before` are events that were answered already and wait to be written: those that `take` has when the event is decided.
    Who was not told of them then, because they took their seat meanwhile, on this node or another, is told when they are
    written.
    """

    event: Event | None
    done: Done
    call: CallId | None = None
    match: MatchId | None = None
    user: UserId | None = None
    admit: Admit | None = None
    take: Callable[[], Sequence[Soft]] = tuple
    before: tuple[Soft, ...] = ()
    attempts: int = 0
    # In place of the call's line: for what another line waits for.
    own_line: str = ""

    @property
    def line(self) -> str:
        """Which events it waits behind."""
        return self.own_line or self.call or self.match or ""


def silently(_: Outcome) -> None:
    """Tell nobody."""


def soft_events(waiting: Sequence[Soft]) -> tuple[Soft, ...]:
    """Return the last of each kind and connection, in order."""
    latest: dict[tuple[type, object], Soft] = {}
    for each in waiting:
        key = (type(each.event), getattr(each.event, "session", None))
        latest.pop(key, None)
        latest[key] = each
    return tuple(latest.values())
