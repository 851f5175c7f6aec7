"""Writes a `turnserver.conf` for coturn that is a relay for calls and nothing else.

A relay sends what strangers want where they want. Left as it comes, coturn 4.6.1 relays to the machines of its own network
and to the cloud's metadata address; so everything that is not a public unicast address is denied here, TCP relaying and the
telnet console are off, and each user has a quota. Options are those of the version that is named: coturn warns of unknown
ones and goes on without them, which would be a hole that nobody sees.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from msgspec import Struct

Version = tuple[int, int, int]
Address = IPv4Address | IPv6Address

DEBIAN_VERSION: Final[Version] = (4, 6, 1)
# The oldest whose options are known here, and what Debian 12 has.
_TLS_1_2_BY_DEFAULT: Final[Version] = (4, 7, 0)
_LIMITS_REFUSALS: Final[Version] = (4, 14, 0)
_DTLS_ON_DEMAND: Final[Version] = (4, 17, 0)
# Security fixes up to here: CVE-2026-27624 (4.9), CVE-2026-40613 (4.10), canonical peer addresses (4.13.1).
SAFE_VERSION: Final[Version] = (4, 14, 0)

# IANA's special-purpose registries (RFC 6890 and successors), multicast apart, which `no-multicast-peers` denies.
DENIED: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
)


class CoturnRedis(Struct, frozen=True):
    """coturn's Redis: secrets are read there while it runs, and allocations are counted there."""

    host: str
    port: int = 6379
    database: int = 0
    password: str = ""

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return f"CoturnRedis({self.host}:{self.port}/{self.database})"


class CoturnOptions(Struct, frozen=True, kw_only=True):
    """What differs between relays. `relay_ips` are its own addresses, `external_ip` what NAT shows of them."""

    realm: str
    relay_ips: tuple[Address, ...]
    external_ip: Address | None = None
    secrets: tuple[str, ...] = ()
    port: int = 3478
    tls_port: int = 5349
    certificate: str = ""
    key: str = ""
    min_port: int = 49_152
    max_port: int = 65_535
    user_quota: int = 48
    total_quota: int = 1200
    max_bytes_per_s: int = 400_000
    denied: tuple[str, ...] = ()
    redis: CoturnRedis | None = None
    log: str = "stdout"
    version: Version = DEBIAN_VERSION

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return f"CoturnOptions({self.realm})"


def render(options: CoturnOptions) -> str:
    """Write the file; it holds the secrets, so keep it from others."""
    return "\n".join((*_head(options), "", *_sections(options), ""))


def _sections(options: CoturnOptions) -> Iterator[str]:
    for title, lines in (
        ("Where it listens, and where its relayed addresses are", _addresses(options)),
        ("Who may use it: names that end, signed with a secret of the server", _credentials(options)),
        ("Where it relays to: public unicast addresses, and itself, so that two relayed parties meet", _peers(options)),
        ("How much", _quotas(options)),
        ("What it does not do", _refusals(options)),
    ):
        yield f"# {title}."
        yield from lines
        yield ""


def _head(options: CoturnOptions) -> Iterator[str]:
    yield f"# turnserver.conf for coturn {'.'.join(map(str, options.version))}, written by: python -m turn config"
    if options.version < SAFE_VERSION:
        yield f"# Versions before {'.'.join(map(str, SAFE_VERSION))} have known holes; use one for tests, or with your distribution's fixes."


def _addresses(options: CoturnOptions) -> Iterator[str]:
    for address in options.relay_ips:
        yield f"listening-ip={address}"
    for address in options.relay_ips:
        yield f"relay-ip={address}"
    if options.external_ip is not None:
        yield f"external-ip={options.external_ip}/{options.relay_ips[0]}"
    yield f"listening-port={options.port}"
    yield f"min-port={options.min_port}"
    yield f"max-port={options.max_port}"
    yield from _tls(options)
    yield f"log-file={options.log}"
    yield "simple-log"


def _tls(options: CoturnOptions) -> Iterator[str]:
    if not options.certificate:
        yield "no-tls"
    else:
        yield f"tls-listening-port={options.tls_port}"
        yield f"cert={options.certificate}"
        yield f"pkey={options.key}"
        if options.version < _TLS_1_2_BY_DEFAULT:
            yield "no-tlsv1"
            yield "no-tlsv1_1"
    if options.version < _DTLS_ON_DEMAND:
        yield "no-dtls"


def _credentials(options: CoturnOptions) -> Iterator[str]:
    yield f"realm={options.realm}"
    yield "fingerprint"
    yield "use-auth-secret"
    if options.redis is not None:
        place = _redis(options.redis)
        yield f"redis-userdb={place}"
        yield f"redis-statsdb={place}"
    elif options.secrets:
        yield from (f"static-auth-secret={secret}" for secret in options.secrets)
    else:
        yield "# static-auth-secret=...  one line for each of TURN_SECRETS; without any, nobody is let in"
    # The `=` matters: without it the value is silently ignored.
    yield "stale-nonce=600"


def _redis(redis: CoturnRedis) -> str:
    password = f" password={redis.password}" if redis.password else ""
    return f'"ip={redis.host} dbname={redis.database}{password} port={redis.port} connect_timeout=5"'


def _peers(options: CoturnOptions) -> Iterator[str]:
    yield "no-multicast-peers"
    for network in (*DENIED, *options.denied):
        whole = ip_network(network)
        yield f"denied-peer-ip={whole[0]}-{whole[-1]}"
    # Behind NAT others know the outer address only. coturn 4.6.1 takes the inner one for the same; no option changes that.
    own = (options.external_ip, *options.relay_ips[1:]) if options.external_ip is not None else options.relay_ips
    yield from (f"allowed-peer-ip={address}" for address in own)


def _quotas(options: CoturnOptions) -> Iterator[str]:
    yield "# Allocations of one user at once: a browser takes one per network interface, address and person called."
    yield f"user-quota={options.user_quota}"
    yield f"total-quota={options.total_quota}"
    yield "# Bytes per second of one allocation, each way."
    yield f"max-bps={options.max_bytes_per_s}"


def _refusals(options: CoturnOptions) -> Iterator[str]:
    yield "no-tcp-relay"
    yield "no-cli"
    yield "no-software-attribute"
    yield "no-rfc5780"
    if options.version < _TLS_1_2_BY_DEFAULT:
        yield "no-stun-backward-compatibility"
        yield "response-origin-only-with-rfc5780"
    if options.version >= _LIMITS_REFUSALS:
        yield "unauthorized-ratelimit"
