"""What `python -m turn config` is told: arguments, the realm and secrets of the settings, and coturn's Redis."""

import argparse
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from turn.configuration import RelayConfiguration
from turn.coturn import DEBIAN_VERSION, CoturnOptions, CoturnRedis, Version

_VERSION: Final = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
# What a line of the file carries unchanged.
_VALUE: Final = re.compile(r"[!-~]+")
DEFAULT_REDIS_PORT: Final = 6379
PORT_MAX: Final = 65_535


class OptionsRefused(Exception):
    """No configuration can be written from this; the text is one line that says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `config`."""
    add = parser.add_argument
    add(
        "--relay-ip",
        action="append",
        required=True,
        metavar="IP",
        help="an address of the relay's machine; repeat it for IPv6",
    )
    add("--external-ip", metavar="IP", help="its public address, when NAT is in front of it")
    add("--realm", metavar="NAME", help="the relay's name (TURN_REALM)")
    add("--port", type=int, default=3478, help="for UDP and TCP (3478)")
    add("--tls-port", type=int, default=5349, help="for TLS (5349); 443 passes most firewalls")
    add("--cert", metavar="FILE", default="", help="certificate chain; without one there is no TLS")
    add("--key", metavar="FILE", default="", help="its private key")
    add("--ports", metavar="FROM-TO", default="49152-65535", help="UDP ports of relayed addresses (49152-65535)")
    add("--user-quota", type=int, default=48, metavar="N", help="allocations of one user at once (48)")
    add("--total-quota", type=int, default=1200, metavar="N", help="…of everybody (1200)")
    add("--max-bps", type=int, default=400_000, metavar="BYTES", help="bytes per second of one allocation (400000)")
    add("--deny", action="append", default=[], metavar="NETWORK", help="also never relay to this address or network")
    add("--coturn-version", metavar="VERSION", default=".".join(map(str, DEBIAN_VERSION)), help="(4.6.1)")


def options_from(
    given: argparse.Namespace, configuration: RelayConfiguration, environment: Mapping[str, str]
) -> CoturnOptions:
    """Make the options, or raise `OptionsRefused`."""
    realm = given.realm or configuration.realm
    if not realm:
        raise OptionsRefused("TURN_REALM: is not set; or give --realm turn.example.org")
    if bool(given.cert) != bool(given.key):
        raise OptionsRefused("--cert and --key: give both or none")
    lowest, highest = _ports(given.ports)
    version = _version(given.coturn_version)
    return CoturnOptions(
        realm=_value("--realm", realm),
        relay_ips=tuple(_address("--relay-ip", text) for text in given.relay_ip),
        external_ip=_address("--external-ip", given.external_ip) if given.external_ip else None,
        secrets=configuration.secrets,
        port=_port("--port", given.port),
        tls_port=_port("--tls-port", given.tls_port),
        certificate=_value("--cert", given.cert) if given.cert else "",
        key=_value("--key", given.key) if given.key else "",
        min_port=lowest,
        max_port=highest,
        user_quota=_count("--user-quota", given.user_quota),
        total_quota=_count("--total-quota", given.total_quota),
        max_bytes_per_s=_count("--max-bps", given.max_bps),
        denied=tuple(_network(text) for text in given.deny),
        redis=_redis(environment.get("TURN_REDIS_URL", "").strip()),
        version=version,
    )


def _value(name: str, text: str) -> str:
    if not _VALUE.fullmatch(text):
        raise OptionsRefused(f"{name}: {text[:60]!r} has a character that coturn's file cannot carry")
    return text


def _address(name: str, text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise OptionsRefused(f"{name}: {text[:60]!r} is no IP address") from None


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise OptionsRefused(f"--deny: {text[:60]!r} is no address and no network like 198.51.100.0/24") from None


def _port(name: str, number: int) -> int:
    if not 1 <= number <= PORT_MAX:
        raise OptionsRefused(f"{name}: {number} is no port")
    return number


def _ports(text: str) -> tuple[int, int]:
    lowest, dash, highest = text.partition("-")
    if not (dash and lowest.isdecimal() and highest.isdecimal() and 1024 <= int(lowest) <= int(highest) <= PORT_MAX):
        raise OptionsRefused(f"--ports: {text[:60]!r} is not like 49152-65535")
    return int(lowest), int(highest)


def _count(name: str, number: int) -> int:
    if number < 1:
        raise OptionsRefused(f"{name}: {number} is not at least 1")
    return number


def _version(text: str) -> Version:
    found = _VERSION.fullmatch(text)
    version: Version = (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)
    if version < DEBIAN_VERSION:
        oldest = ".".join(map(str, DEBIAN_VERSION))
        raise OptionsRefused(f"--coturn-version: {text[:60]!r} is not like {oldest}, the oldest that is known here")
    return version


def _redis(url: str) -> CoturnRedis | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, port, database = parts.hostname, parts.port or DEFAULT_REDIS_PORT, int(parts.path.strip("/") or 0)
    except ValueError:
        host, port, database, parts = None, 0, 0, urlsplit("")
    if parts.scheme != "redis" or not host:
        raise OptionsRefused("TURN_REDIS_URL: coturn's files know redis://:password@host:port/database only")
    password = unquote(parts.password or "")
    if password and not _VALUE.fullmatch(password):
        raise OptionsRefused("TURN_REDIS_URL: a password with characters that coturn's file cannot carry")
    return CoturnRedis(host, port, database, password)
