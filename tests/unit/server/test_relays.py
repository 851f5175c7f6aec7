"""The desk that the settings make, and what is warned of."""

import pytest

from protocol.ids import UserId
from server.adapters.limiter_memory import MemoryLimiter
from server.ice import IceDesk
from server.relays import make_ice_desk
from server.settings import from_environment
from server.telemetry import Telemetry
from tests.support.clock import FakeClock
from tests.support.tokens import SECRET


def desk(**environment: str) -> IceDesk:
    clock = FakeClock()
    settings = from_environment({"TOKEN_SECRETS": SECRET, **environment})
    return make_ice_desk(settings, clock, MemoryLimiter(clock.micros), Telemetry())


async def test_without_settings_nothing_is_handed_out() -> None:
    ice = desk()
    assert not ice.has_relay
    assert (await ice.for_test(UserId("alice"))).servers == ()


async def test_secrets_make_credentials_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    ice = desk(TURN_SERVER_URL="turn:t", TURN_SECRETS="a-secret-3f9a1c7d5e2b", TURN_TTL_S="600")
    found = await ice.for_test(UserId("alice"))
    assert ice.has_relay
    assert found.ttl_s == 600
    assert ":" in found.servers[0].username
    assert not caplog.records


async def test_one_password_for_all_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    ice = desk(TURN_SERVER_URL="turn:t", TURN_USERNAME="u", TURN_PASSWORD="p")
    assert (await ice.for_test(UserId("alice"))).servers[0].username == "u"
    assert [record.message for record in caplog.records] == ["turn.one_password_for_all"]
