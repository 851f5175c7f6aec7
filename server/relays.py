"""What calls get through firewalls with, by the settings: makes the desk that hands out ICE servers."""

import logging

from server.ice import IceDesk, IceParts
from server.ports import Clock, Limiter
from server.settings import Settings
from server.telemetry import Telemetry, event
from turn.configured import ConfiguredSource

_log = logging.getLogger(__name__)


def make_ice_desk(settings: Settings, clock: Clock, limiter: Limiter, telemetry: Telemetry) -> IceDesk:
    """Make the desk; warn of what is allowed and unwise."""
    if settings.turn_username:
        _log.warning("turn.one_password_for_all", extra=event(better="TURN_SECRETS"))
    return IceDesk(
        IceParts(
            source=ConfiguredSource(settings.relays),
            limiter=limiter,
            clock=clock,
            telemetry=telemetry,
            per_min=settings.call_ice_per_min,
        )
    )
