"""The desk that the settings make, and what is warned of."""

import pytest

from protocol.ids import UserId
from server.adapters.limiter_memory import MemoryLimiter
from server.relays import Relays, open_relays
from server.settings import from_environment
from server.telemetry import Telemetry
from tests.support.clock import FakeClock
from tests.support.provider_double import TOKEN, TWILIO_SID, provider_double
from tests.support.tokens import SECRET


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
