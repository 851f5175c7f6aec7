"""What nodes share besides the store, whatever it stands on."""

from collections.abc import Awaitable, Callable, Coroutine

from msgspec import Struct

from server.ports import Bus, Limiter, Sessions, Tickets
from server.telemetry import Telemetry

Work = Callable[[], Coroutine[None, None, None]]
Tell = Callable[[Telemetry], None]


class Shared(Struct, frozen=True):
    """The bus and what goes with it; `tell` writes what they count into a node's numbers."""

    bus: Bus
    tickets: Tickets
    limiter: Limiter
    sessions: Sessions
    work: tuple[Work, ...]
    tell: Tell
    close: Callable[[], Awaitable[None]]
