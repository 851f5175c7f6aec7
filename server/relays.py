"""What calls get through firewalls with, by the settings: makes the desk that hands out ICE servers, and what is behind it."""

import logging
from collections.abc import Awaitable, Callable

from msgspec import Struct

from server.adapters.ice_managed import ManagedSource, Provider
from server.ice import IceDesk, IceParts
from server.ports import Clock, Limiter
from server.settings import Settings
from server.shared import Tell, Work
from server.telemetry import Telemetry, event
from turn.configured import ConfiguredSource
from turn.servers import IceSource, ice_servers

_log = logging.getLogger(__name__)


class Relays(Struct, frozen=True):
    """The desk, what has to run for it, what it counts, and how it ends."""

    desk: IceDesk
    work: tuple[Work, ...]
    tell: Tell
    close: Callable[[], Awaitable[None]]


def open_relays(settings: Settings, clock: Clock, limiter: Limiter, telemetry: Telemetry) -> Relays:
    """Make what the settings name; warn of what is allowed and unwise. Nothing is asked of anybody yet."""
    if settings.turn_username:
        _log.warning("turn.one_password_for_all", extra=event(better="TURN_SECRETS"))
    managed = _managed(settings, clock)
    source: IceSource = managed or ConfiguredSource(settings.relays)
    desk = IceDesk(
        IceParts(source=source, limiter=limiter, clock=clock, telemetry=telemetry, per_min=settings.call_ice_per_min)
    )

    def tell(numbers: Telemetry) -> None:
        if managed is not None:
            numbers.breaker_state[managed.guard.name] = int(managed.guard.state)
            numbers.breaker_opened[managed.guard.name] = managed.guard.opened

    async def close() -> None:
        if managed is not None:
            await managed.close()

    return Relays(desk, (), tell, close)


def _managed(settings: Settings, clock: Clock) -> ManagedSource | None:
    relays = settings.relays
    if relays.account is None:
        return None
    fallback = ice_servers(relays.reflectors, (), "", "")
    return ManagedSource(Provider(relays.account, fallback, relays.api_url), clock.now)
