"""Lists of ICE servers that a provider gave, kept per user: used until half their life is over, and longer if it is away."""

from typing import Final

from protocol.ids import Micros, UserId
from turn.credentials import US_PER_S
from turn.managed import Grant
from turn.servers import IceList

KEPT_MAX: Final = 10_000
LEFT_AT_LEAST_S: Final = 600
# What has less left is no help to a call that begins now.


class GrantBook:
    """Bounded: of more than `kept_max` users the one whose list came first is forgotten."""

    __slots__ = ("_kept", "_kept_max")

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        # With the moment when half of its life is over.
        self._kept: dict[UserId, tuple[Micros, IceList]] = {}

    def keep(self, user: UserId, grant: Grant, asked_at: Micros) -> IceList:
        """Remember what was given; its life began when it was asked for."""
        life_us = grant.ttl_s * US_PER_S
        found = IceList(grant.servers, Micros(asked_at + life_us))
        self._kept.pop(user, None)
        self._kept[user] = (Micros(asked_at + life_us // 2), found)
        if len(self._kept) > self._kept_max:
            del self._kept[next(iter(self._kept))]
        return found

    def fresh(self, user: UserId, now: Micros) -> IceList | None:
        """Return the user's list while it is in the first half of its life."""
        half, found = self._kept.get(user, (now, None))
        return found if now < half else None

    def usable(self, user: UserId, now: Micros) -> IceList | None:
        """Return the user's list while a call may still begin with it."""
        _, found = self._kept.get(user, (now, None))
        if found is None or found.expires_at - now < LEFT_AT_LEAST_S * US_PER_S:
            return None
        return found
