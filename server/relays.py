"""What calls get through firewalls with, by the settings: makes the desk that hands out ICE servers, and what is behind it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from server.adapters.ice_managed import ManagedSource, Provider
from server.ice import IceDesk, IceParts
from server.ports import BusUnusable, Clock, Limiter, RelayReport
from server.settings import Settings, SettingsError
from server.shared import Work
from server.telemetry import Telemetry, event
from turn.accounts import RelayAccounts
from turn.configured import ConfiguredSource
from turn.servers import ice_servers

_log = logging.getLogger(__name__)


class Coturn(Protocol):
    """What is heard of coturn's Redis."""

    @property
    def is_connected(self) -> asyncio.Event:
        """Set while it is heard."""

    async def run(self) -> None:
        """Listen until cancelled."""

    async def close(self) -> None:
        """Give up the connections."""


class Relays:
    """The desk, what has to run for it, what it counts, and how it ends."""

    def __init__(self, desk: IceDesk, managed: ManagedSource | None, telemetry: Telemetry) -> None:
        self.desk = desk
        self.work: tuple[Work, ...] = ()
        self._managed = managed
        self._telemetry = telemetry
        self._accounts: RelayAccounts | None = None
        self.coturn: Coturn | None = None
        self._report: RelayReport | None = None

    def listen(self, coturn: Coturn, accounts: RelayAccounts) -> None:
        """Hear from now on what relays carry."""
        self.coturn, self._accounts, self.work = coturn, accounts, (coturn.run,)

    def start(self, report: RelayReport) -> None:
        """Tell `report`, too, from now on."""
        self._report = report

    def heard(self, channel: str, text: str) -> None:
        """coturn says something."""
        use = self._accounts.heard(channel, text) if self._accounts is not None else None
        if use is None:
            return
        self._telemetry.relay_received_bytes += use.received_bytes
        self._telemetry.relay_sent_bytes += use.sent_bytes
        if self._report is not None:
            self._report.relayed(use)

    def tell(self, numbers: Telemetry) -> None:
        """Write what is not counted in place."""
        if self._managed is not None:
            guard = self._managed.guard
            numbers.breaker_state[guard.name] = int(guard.state)
            numbers.breaker_opened[guard.name] = guard.opened

    async def close(self) -> None:
        """Give up what is connected."""
        if self._managed is not None:
            await self._managed.close()
        if self.coturn is not None:
            await self.coturn.close()


def open_relays(settings: Settings, clock: Clock, limiter: Limiter, telemetry: Telemetry) -> Relays:
    """Make what the settings name; warn of what is allowed and unwise. Nothing is asked of anybody yet."""
    if settings.turn_username:
        _log.warning("turn.one_password_for_all", extra=event(better="TURN_SECRETS"))
    managed = _managed(settings, clock)
    accounts = RelayAccounts() if settings.turn_redis_url else None
    desk = IceDesk(
        IceParts(
            source=managed or ConfiguredSource(settings.relays),
            limiter=limiter,
            clock=clock,
            telemetry=telemetry,
            per_min=settings.call_ice_per_min,
            accounts=accounts,
        )
    )
    relays = Relays(desk, managed, telemetry)
    if accounts is not None:
        relays.listen(_coturn(settings, relays.heard), accounts)
    return relays


def _coturn(settings: Settings, heard: Callable[[str, str], None]) -> Coturn:
    # Imported here: the client of Redis takes long to load, and most nodes need none for this.
    from server.adapters.coturn_redis import CoturnRedis, CoturnRedisSettings  # noqa: PLC0415

    where = settings.relays
    try:
        return CoturnRedis(CoturnRedisSettings(settings.turn_redis_url, where.realm, where.secrets), heard)
    except BusUnusable as unusable:
        raise SettingsError([f"TURN_REDIS_URL: {unusable}"]) from None


def _managed(settings: Settings, clock: Clock) -> ManagedSource | None:
    relays = settings.relays
    if relays.account is None:
        return None
    fallback = ice_servers(relays.reflectors, (), "", "")
    return ManagedSource(Provider(relays.account, fallback, relays.api_url), clock.now)
