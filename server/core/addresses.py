"""Whose address counts: the client's behind trusted proxies, and what is counted as one client. Pure.

Guarantees: what a peer says of others is heard only when the peer is a proxy named in the settings; of a chain the
right-most hop that is no such proxy is the client, because everything left of it is only what that client said. What
cannot be read ends the chain at the proxy that passed it on.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HOPS_MAX: Final = 32
# More than anybody has; the rest is what a client made up.
# RFC 7239 section 4: pairs of one hop are parted by semicolons, values may be quoted.
_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^\s;",]*))', re.IGNORECASE)
_WITH_PORT: Final = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}")


class TrustedProxies:
    """The proxies whose word on a client's address is taken."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Sequence[str] = ()) -> None:
        """Each is an address or a network like `10.0.0.0/8`; ValueError for anything else."""
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, peer: str) -> bool:
        """Tell whether `peer` is one of them."""
        if not self._networks:
            return False
        address = parse(peer)
        return address is not None and self._has(address)

    def client(self, peer: str, x_forwarded_for: Sequence[str], forwarded: Sequence[str] = ()) -> str:
        """Return the client's address: `peer` itself, or what the trusted proxies say (header values in their order).

        `Forwarded` is read where there is no `X-Forwarded-For`.
        """
        if not self.trusts(peer):
            return peer
        client = parse(peer)
        assert client is not None  # or it would not be trusted
        hops = _x_forwarded_for(x_forwarded_for) if x_forwarded_for else _forwarded(forwarded)
        for hop in hops:
            address = parse(hop)
            if address is None:
                break
            client = address
            if not self._has(address):
                break
        return str(client)

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks if network.version == address.version)


def parse(text: str) -> Address | None:
    """Read an address as a peer name or a header has it; one that is IPv4 within IPv6 is IPv4. None for what is none."""
    with_port = _WITH_PORT.fullmatch(text)
    if with_port is not None:
        text = with_port[1] or with_port[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def counted_as(address: str) -> str:
    """Name what is counted as one client: an IPv4 address, or the /64 of an IPv6 one, which one client has whole."""
    if ":" not in address:
        return address
    parsed = parse(address)
    if parsed is None or isinstance(parsed, ipaddress.IPv4Address):
        return address if parsed is None else str(parsed)
    # Not as `ip_network` writes it: that takes five times as long, at every connect.
    return f"{int(parsed) >> 64:016x}::/64"


def _x_forwarded_for(values: Sequence[str]) -> Iterator[str]:
    """Give the hops, the nearest first."""
    for hop in reversed(",".join(values).split(",")[-HOPS_MAX:]):
        yield hop.strip()


def _forwarded(values: Sequence[str]) -> Iterator[str]:
    """Give the `for` of each hop, the nearest first; a hop without one reads as nothing."""
    # No address holds a comma, so that one within quotes only makes a hop that cannot be read.
    for element in reversed(",".join(values).split(",")[-HOPS_MAX:]):
        found = _FOR.search(element)
        yield (found[1] or found[2] or "") if found else ""
