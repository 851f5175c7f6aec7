"""What is written for coturn: everything that has to be in the file, by version, and nothing that a version does not know."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec
import pytest

from turn.coturn import CoturnOptions, CoturnRedis, render

OWN = IPv4Address("198.51.100.7")
SECRET = "planted-3f9a1c7d5e2b"
OPTIONS = CoturnOptions(realm="turn.example.org", relay_ips=(OWN,), secrets=(SECRET, "old-3f9a1c7d5e2b4860"))


def lines(**changes: object) -> list[str]:
    return render(msgspec.structs.replace(OPTIONS, **changes)).splitlines()


def denies(written: list[str], address: str) -> bool:
    """Say whether a peer is in a denied range and not allowed by itself."""
    host = ip_address(address)
    for line in written:
        name, _, value = line.partition("=")
        if name == "denied-peer-ip":
            first, last = map(ip_address, value.split("-"))
            if first.version == host.version and int(first) <= int(host) <= int(last):
                return f"allowed-peer-ip={address}" not in written
    return False


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_only_public_addresses_are_relayed_to(address: str) -> None:
    assert denies(lines(), address)


def test_public_addresses_and_itself_are_relayed_to() -> None:
    written = lines()
    assert not any(denies(written, address) for address in ("8.8.8.8", "2600::1", str(OWN)))


def test_more_can_be_denied() -> None:
    assert denies(lines(denied=("8.8.8.0/24",)), "8.8.8.8")


def test_what_strangers_could_misuse_is_off() -> None:
    written = lines()
    for line in ("use-auth-secret", "no-tcp-relay", "no-cli", "no-multicast-peers", "no-rfc5780", "stale-nonce=600"):
        assert line in written
    assert [line for line in written if line.startswith("static-auth-secret")] == [
        f"static-auth-secret={SECRET}",
        "static-auth-secret=old-3f9a1c7d5e2b4860",
    ]
    assert not {"no-auth", "lt-cred-mech", "allow-loopback-peers"} & set(written)


def test_without_secrets_nobody_is_let_in() -> None:
    written = lines(secrets=())
    assert "use-auth-secret" in written
    assert not any(line.startswith("static-auth-secret") for line in written)


def test_secrets_may_be_in_redis() -> None:
    written = lines(redis=CoturnRedis("10.0.0.9", 6380, 2, "planted"))
    place = '"ip=10.0.0.9 dbname=2 password=planted port=6380 connect_timeout=5"'
    assert f"redis-userdb={place}" in written
    assert f"redis-statsdb={place}" in written
    assert not any(line.startswith("static-auth-secret") for line in written)
    assert 'redis-userdb="ip=r dbname=0 port=6379 connect_timeout=5"' in lines(redis=CoturnRedis("r"))


def test_nat_and_both_families() -> None:
    written = lines(relay_ips=(OWN, IPv6Address("2600::7")), external_ip=IPv4Address("8.8.4.4"))
    for line in (
        "relay-ip=198.51.100.7",
        "relay-ip=2600::7",
        "external-ip=8.8.4.4/198.51.100.7",
        "allowed-peer-ip=8.8.4.4",
    ):
        assert line in written
    assert "allowed-peer-ip=2600::7" in written
    assert "allowed-peer-ip=198.51.100.7" not in written


OF_4_6 = {"no-tlsv1", "no-tlsv1_1", "no-stun-backward-compatibility", "response-origin-only-with-rfc5780"}


@pytest.mark.parametrize(
    "version, there, not_there",
    [
        ((4, 6, 1), {*OF_4_6, "no-dtls"}, {"unauthorized-ratelimit"}),
        ((4, 7, 0), {"no-dtls"}, {*OF_4_6, "unauthorized-ratelimit"}),
        ((4, 14, 0), {"no-dtls", "unauthorized-ratelimit"}, OF_4_6),
        ((4, 17, 1), {"unauthorized-ratelimit"}, {*OF_4_6, "no-dtls"}),
    ],
    ids=["4.6.1", "4.7.0", "4.14.0", "4.17.1"],
)
def test_options_are_those_of_the_version(version: tuple[int, int, int], there: set[str], not_there: set[str]) -> None:
    written = set(lines(version=version, certificate="/etc/turn/chain.pem", key="/etc/turn/key.pem", tls_port=443))
    assert there <= written
    assert not not_there & written
    assert {"cert=/etc/turn/chain.pem", "pkey=/etc/turn/key.pem", "tls-listening-port=443"} <= written
    assert "no-tls" not in written


def test_an_old_version_is_called_one() -> None:
    assert "known holes" in lines()[1]
    assert "known holes" not in "\n".join(lines(version=(4, 17, 1)))


def test_no_secret_shows() -> None:
    assert "planted" not in repr(OPTIONS)
    assert "planted" not in repr(CoturnRedis("host", password="planted"))
