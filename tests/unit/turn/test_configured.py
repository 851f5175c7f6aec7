"""Lists of ICE servers from the settings."""

import msgspec
import pytest

from protocol.ids import Micros, UserId
from turn.configuration import RelayConfiguration
from turn.configured import ConfiguredSource
from turn.credentials import ephemeral, subject_of
from turn.servers import IceServer

NEW, OLD = "new-3f9a1c7d5e2b4860", "old-3f9a1c7d5e2b4860"
NOW = Micros(1_795_000_000_900_000)
ALICE = UserId("alice")


async def test_nothing_configured_is_an_empty_list() -> None:
    source = ConfiguredSource(RelayConfiguration())
    assert not source.has_relay
    assert (await source.servers(ALICE, NOW)).servers == ()


async def test_stun_alone_needs_no_credential() -> None:
    source = ConfiguredSource(RelayConfiguration(stun_urls=("stun:a",)))
    found = await source.servers(ALICE, NOW)
    assert msgspec.to_builtins(found.servers) == ({"urls": ("stun:a:3478",)},)
    assert not found.is_degraded


async def test_the_first_secret_signs_for_the_user() -> None:
    source = ConfiguredSource(
        RelayConfiguration(turn_urls=("turns:t:443", "turn:t"), stun_urls=("stun:s",), secrets=(NEW, OLD), ttl_s=600)
    )
    assert source.has_relay
    found = await source.servers(ALICE, NOW)
    end = Micros(1_795_000_600_000_000)
    credential = ephemeral(NEW, subject_of(NEW, ALICE), end)
    assert found.expires_at == end
    assert found.servers == (
        IceServer(("stun:s:3478",)),
        IceServer(("turn:t:3478?transport=udp", "turns:t:443?transport=tcp"), credential.username, credential.password),
    )
    assert credential.password not in repr(found)


@pytest.mark.parametrize("user", ["alice", "bob"])
async def test_a_password_for_all_is_for_all(user: str) -> None:
    source = ConfiguredSource(RelayConfiguration(turn_urls=("turn:t",), username="u", password="p"))
    (server,) = (await source.servers(UserId(user), NOW)).servers
    assert (server.username, server.credential) == ("u", "p")
