"""Whose bytes a relay relayed: what coturn tells in Redis, put together with what a credential was minted for.

coturn (4.6.1 and newer, `redis-statsdb`) publishes what each allocation carried since it last said so, every 4096 packets, and
all of it when the allocation ends. The sum is right in the end also when something in between was missed. Its messages hold
clients' addresses; what is read here does not.
"""

import re
from typing import Final

from msgspec import Struct

from protocol.ids import Micros, UserId
from turn.credentials import US_PER_S

KEPT_MAX: Final = 100_000
KEPT_AFTER_US: Final = 6 * 3600 * US_PER_S
# A call goes on when its credential has ended; the longest takes less.
PATTERN: Final = "turn/realm/{realm}/user/*/allocation/*"
SECRETS_KEY: Final = "turn/realm/{realm}/secret"
_CHANNEL: Final = re.compile(
    r"turn/realm/[^/]+/user/(?P<username>[^/]+)/allocation/(?P<number>\d{1,24})/(?P<kind>status|traffic|total_traffic)"
)
_TRAFFIC: Final = re.compile(r"rcvp=\d{1,20}, rcvb=(?P<received>\d{1,20}), sentp=\d{1,20}, sentb=(?P<sent>\d{1,20})")
_NEW: Final = "new "


class RelayUse(Struct, frozen=True):
    """What one allocation carried between the relay and `user`: since last told, and in all once it `has_ended`.

    `received_bytes` came from the user, `sent_bytes` went there. `call` is None for a test before a call.
    """

    call: str | None
    user: UserId
    allocation: str
    received_bytes: int
    sent_bytes: int
    total_bytes: int
    has_ended: bool = False


class _Minted(Struct, frozen=True):
    user: UserId
    call: str | None
    until: Micros


class _Count(Struct):
    received_bytes: int = 0
    sent_bytes: int = 0


class RelayAccounts:
    """Bounded: of too many credentials the oldest are forgotten, and what comes of forgotten or foreign ones is not counted."""

    __slots__ = ("_counts", "_kept_max", "_minted")

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._minted: dict[str, _Minted] = {}
        self._counts: dict[str, dict[str, _Count]] = {}

    def __len__(self) -> int:
        return len(self._minted)

    def minted(self, username: str, user: UserId, call: str | None, expires_at: Micros, now: Micros) -> None:
        """Remember for whom and what a credential is; one of the same second may be for both a test and a call."""
        known = self._minted.pop(username, None)
        kept_call = call if call is not None or known is None else known.call
        self._minted[username] = _Minted(user, kept_call, Micros(expires_at + KEPT_AFTER_US))
        while len(self._minted) > self._kept_max or self._minted[next(iter(self._minted))].until < now:
            oldest = next(iter(self._minted))
            del self._minted[oldest]
            self._counts.pop(oldest, None)

    def heard(self, channel: str, text: str) -> RelayUse | None:
        """Take one message; returns what it adds, None for one that adds nothing or is nobody's here."""
        found = _CHANNEL.fullmatch(channel)
        minted = self._minted.get(found["username"]) if found else None
        if found is None or minted is None:
            return None
        counts = self._counts.setdefault(found["username"], {})
        if found["kind"] == "status":
            # A coturn that was started anew counts its allocations from one again.
            if text.startswith(_NEW):
                counts.pop(found["number"], None)
            return None
        traffic = _TRAFFIC.fullmatch(text)
        if traffic is None:
            return None
        return _use(minted, found, _Count(int(traffic["received"]), int(traffic["sent"])), counts)


def _use(minted: _Minted, place: re.Match[str], said: _Count, counts: dict[str, _Count]) -> RelayUse:
    """Add what was said: all that the allocation carried when it ends, else what came on top."""
    number, has_ended = place["number"], place["kind"] == "total_traffic"
    before = counts.pop(number, _Count())
    if has_ended:
        after = said
    else:
        after = _Count(before.received_bytes + said.received_bytes, before.sent_bytes + said.sent_bytes)
        counts[number] = after
    return RelayUse(
        call=minted.call,
        user=minted.user,
        allocation=f"{place['username']}/{number}",
        received_bytes=max(0, after.received_bytes - before.received_bytes),
        sent_bytes=max(0, after.sent_bytes - before.sent_bytes),
        total_bytes=after.received_bytes + after.sent_bytes,
        has_ended=has_ended,
    )
