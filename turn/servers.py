"""The list of ICE servers that one participant of a call gets, and where it comes from."""

from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct

from protocol.ids import Micros, UserId
from turn.urls import IceUrl, order

USERNAME_MAX_BYTES: Final = 509
# RFC 8489 section 14.3 allows fewer than 513; Chromium takes no more than this.


class IceServer(Struct, frozen=True, omit_defaults=True):
    """One RTCIceServer. STUN servers have no credential; it does not show."""

    urls: tuple[str, ...]
    username: str = ""
    credential: str = ""

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return f"IceServer({', '.join(self.urls)})"


class IceList(Struct, frozen=True):
    """What a source gives: new calls may begin with it until `expires_at`; running ones go on.

    `is_degraded`: relays are configured and none could be had, so that calls through strict firewalls will fail.
    """

    servers: tuple[IceServer, ...]
    expires_at: Micros
    is_degraded: bool = False


class IceSource(Protocol):
    """Where lists of ICE servers come from. Answers within seconds and never raises: without relays it is degraded."""

    @property
    def has_relay(self) -> bool:
        """Whether relays are configured at all."""

    async def servers(self, user: UserId, now: Micros) -> IceList:
        """Return the servers for `user` now."""


def ice_servers(
    stun: Sequence[IceUrl], relays: Sequence[IceUrl], username: str, password: str
) -> tuple[IceServer, ...]:
    """Write addresses as RTCIceServers: STUN first, then the relays with their credential, UDP before TCP before TLS."""
    plain = tuple(url.text for url in stun)
    relayed = tuple(url.text for url in sorted(relays, key=order))
    return (
        *((IceServer(plain),) if plain else ()),
        *((IceServer(relayed, username, password),) if relayed else ()),
    )
