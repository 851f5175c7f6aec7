"""The desk that the settings make, and what is warned of."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from protocol.ids import UserId
from server.adapters.memory.limiter import MemoryLimiter
from server.relays import Relays, open_relays
from server.settings import SettingsError, from_environment
from server.telemetry import Telemetry
from tests.support.clock import FakeClock
from tests.support.provider_double import TOKEN, TWILIO_SID, provider_double
from tests.support.tokens import SECRET
from turn.accounts import RelayUse


class Teller(NamedTuple):
    """A `RelayReport`."""

    relayed: Callable[[RelayUse], None]


def relays(**environment: str) -> Relays:
    clock = FakeClock()
    settings = from_environment({"TOKEN_SECRETS": SECRET, **environment})
    return open_relays(settings, clock, MemoryLimiter(clock.micros), Telemetry())


async def test_without_settings_nothing_is_handed_out() -> None:
    ice = relays()
    assert not ice.desk.has_relay
    assert (await ice.desk.for_test(UserId("alice"))).servers == ()
    numbers = Telemetry()
    ice.tell(numbers)
    assert numbers.breaker_state == {}
    await ice.close()


async def test_secrets_make_credentials_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    ice = relays(TURN_SERVER_URL="turn:t", TURN_SECRETS="a-secret-3f9a1c7d5e2b", TURN_TTL_S="600")
    found = await ice.desk.for_test(UserId("alice"))
    assert ice.desk.has_relay
    assert found.ttl_s == 600
    assert ":" in found.servers[0].username
    assert not caplog.records


async def test_one_password_for_all_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    ice = relays(TURN_SERVER_URL="turn:t", TURN_USERNAME="u", TURN_PASSWORD="p")
    assert (await ice.desk.for_test(UserId("alice"))).servers[0].username == "u"
    assert [record.message for record in caplog.records] == ["turn.one_password_for_all"]


async def test_a_provider_is_asked_with_the_settings(caplog: pytest.LogCaptureFixture) -> None:
    with provider_double() as double:
        double.status = 503
        ice = relays(
            STUN_SERVER_URL="stun:s",
            TWILIO_ACCOUNT_SID=TWILIO_SID,
            TWILIO_AUTH_TOKEN=TOKEN,
            TURN_API_URL=double.url,
            CALL_RELAY_ONLY="true",
        )
        found = await ice.desk.for_test(UserId("alice"))
        assert found.is_degraded
        assert found.servers[0].urls == ("stun:s:3478",)
        double.status = 201
        assert not (await ice.desk.for_test(UserId("alice"))).is_degraded
        numbers = Telemetry()
        ice.tell(numbers)
        assert numbers.breaker_state == {"turn_provider": 0}
        await ice.close()


COTURN = {"TURN_SERVER_URL": "turn:t", "TURN_SECRETS": "a-secret-3f9a1c7d5e2b", "TURN_REALM": "calls.test"}


async def test_what_coturn_says_is_counted_with_and_without_somebody_to_tell() -> None:
    ice = relays(**COTURN, TURN_REDIS_URL="redis://127.0.0.1:1/2")
    assert len(ice.work) == 1
    found = await ice.desk.for_test(UserId("alice"))
    channel = f"turn/realm/calls.test/user/{found.servers[0].username}/allocation/1/traffic"
    told: list[RelayUse] = []
    ice.heard(channel, "rcvp=1, rcvb=10, sentp=1, sentb=1")
    ice.start(Teller(told.append))
    ice.heard(channel, "rcvp=1, rcvb=20, sentp=1, sentb=2")
    ice.heard("nobody's", "")
    assert [(use.received_bytes, use.sent_bytes) for use in told] == [(20, 2)]
    await ice.close()


async def test_without_coturns_redis_nothing_is_heard() -> None:
    ice = relays(STUN_SERVER_URL="stun:s")
    ice.heard("turn/realm/r/user/1:a/allocation/1/traffic", "rcvp=1, rcvb=10, sentp=1, sentb=1")
    assert ice.work == ()


def test_a_redis_that_cannot_be_used_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"^TURN_REDIS_URL: the Redis URL cannot be used: ") as refused:
        relays(**COTURN, TURN_REDIS_URL="http://planted:planted@cache")
    assert "planted" not in str(refused.value)
