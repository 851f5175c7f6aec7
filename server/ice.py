"""Who gets ICE servers, and how often: users in a live call or rung by one, and a user who tests devices; nobody else.

A credential is worth money to whoever wants to move bytes through somebody else's relay. So each user's are counted, over
all nodes, and a refusal says when to come back.
"""

from typing import Final

from msgspec import Struct

from protocol.ids import Micros, UserId
from server.core.limiting import SlidingWindow
from server.ports import Clock, Limiter
from server.telemetry import Telemetry
from turn.accounts import RelayAccounts
from turn.servers import IceServer, IceSource

US_PER_S: Final = 1_000_000
RULE_NAME: Final = "ice"


class IceRefused(Exception):
    """The user has asked too often."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__(f"too many requests for ICE servers; again in {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms


class Participation(Struct, frozen=True):
    """That `user` has a seat, or an open leg, in the live call `call`. Made only from a call's row."""

    call: str
    user: UserId


class IceServers(Struct, frozen=True):
    """What one user gets: calls may begin with these servers for `ttl_s`, until `expires_at`.

    `is_degraded`: relays are configured and none could be had.
    """

    servers: tuple[IceServer, ...]
    ttl_s: int
    expires_at: Micros
    is_degraded: bool


class IceParts(Struct, frozen=True):
    """What the desk stands on."""

    source: IceSource
    limiter: Limiter
    clock: Clock
    telemetry: Telemetry
    per_min: int
    # Where relays tell what they carry: remembers for whom each credential is.
    accounts: RelayAccounts | None = None


class IceDesk:
    """Hands out lists of ICE servers. Answers within the source's time limit, at worst with STUN alone (`is_degraded`)."""

    __slots__ = ("_parts", "_rule")

    def __init__(self, parts: IceParts) -> None:
        self._parts = parts
        self._rule = SlidingWindow(RULE_NAME, parts.per_min, 60_000)

    @property
    def has_relay(self) -> bool:
        """Whether relays are configured; without one a user who wants to be relayed only cannot be called."""
        return self._parts.source.has_relay

    async def for_participant(self, participation: Participation) -> IceServers:
        """Return servers for a call that is set up or restarted now; raise `IceRefused`."""
        return await self._issue(participation.user, participation.call)

    async def for_test(self, user: UserId) -> IceServers:
        """Return servers for a test before a call, which counts like one; raise `IceRefused`."""
        return await self._issue(user, None)

    async def _issue(self, user: UserId, call: str | None) -> IceServers:
        parts = self._parts
        decision = await parts.limiter.take(user, self._rule)
        if not decision.allowed:
            parts.telemetry.ice_refused += 1
            raise IceRefused(max(1, decision.retry_after_ms))
        now = parts.clock.micros()
        found = await parts.source.servers(user, now)
        if parts.accounts is not None:
            for username in {server.username for server in found.servers if server.username}:
                parts.accounts.minted(username, user, call, found.expires_at, now)
        parts.telemetry.ice_issued += 1
        parts.telemetry.ice_degraded += found.is_degraded
        ttl_s = max(0, (found.expires_at - now) // US_PER_S)
        return IceServers(found.servers, ttl_s, found.expires_at, found.is_degraded)
