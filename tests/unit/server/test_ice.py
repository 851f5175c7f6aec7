"""Who gets ICE servers, and how often."""

import pytest

from protocol.ids import Micros, UserId
from server.adapters.memory.limiter import MemoryLimiter
from server.ice import IceDesk, IceParts, IceRefused, Participation
from server.telemetry import Telemetry
from tests.support.clock import FakeClock
from turn.configuration import RelayConfiguration
from turn.configured import ConfiguredSource
from turn.servers import IceList

ALICE, BOB = UserId("alice"), UserId("bob")
RELAYED = RelayConfiguration(turn_urls=("turn:t",), secrets=("a-secret-3f9a1c7d5e2b",))


class Broken:
    """A source whose relays are gone."""

    has_relay = True

    async def servers(self, user: UserId, now: Micros) -> IceList:
        """Return nothing, for a while that is over."""
        return IceList((), Micros(now - 1), is_degraded=True)


def desk(clock: FakeClock, telemetry: Telemetry, source: Broken | None = None) -> IceDesk:
    limiter = MemoryLimiter(clock.micros)
    return IceDesk(
        IceParts(
            source=source or ConfiguredSource(RELAYED),
            limiter=limiter,
            clock=clock,
            telemetry=telemetry,
            per_min=3,
        )
    )


async def test_a_participant_gets_servers_that_end() -> None:
    clock, telemetry = FakeClock(), Telemetry()
    found = await desk(clock, telemetry).for_participant(Participation("call", ALICE))
    assert found.servers[0].urls == ("turn:t:3478?transport=udp",)
    assert found.ttl_s == 3600
    assert found.expires_at == clock.micros() + 3_600_000_000
    assert not found.is_degraded
    assert (telemetry.ice_issued, telemetry.ice_degraded) == (1, 0)


async def test_each_user_is_counted_whatever_it_is_for() -> None:
    clock, telemetry = FakeClock(), Telemetry()
    ice = desk(clock, telemetry)
    await ice.for_test(ALICE)
    await ice.for_participant(Participation("one", ALICE))
    await ice.for_participant(Participation("two", ALICE))
    with pytest.raises(IceRefused) as refused:
        await ice.for_test(ALICE)
    await ice.for_test(BOB)
    assert telemetry.ice_refused == 1
    clock.advance(refused.value.retry_after_ms / 1000)
    await ice.for_test(ALICE)


async def test_a_source_without_its_relays_is_told() -> None:
    clock, telemetry = FakeClock(), Telemetry()
    ice = desk(clock, telemetry, Broken())
    assert ice.has_relay
    found = await ice.for_test(ALICE)
    assert (found.is_degraded, found.ttl_s) == (True, 0)
    assert telemetry.ice_degraded == 1
