"""Addresses of STUN and TURN servers (RFC 7064, RFC 7065), as strictly as the strictest browser reads them.

One malformed address makes `new RTCPeerConnection` throw, so that no call works at all; what some browser ignores without a
word (TURN ports that Chromium never dials, TLS over UDP) costs a minute of somebody's waiting. Both are refused here.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal

from msgspec import Struct

Scheme = Literal["stun", "stuns", "turn", "turns"]
Transport = Literal["udp", "tcp"]

_SHAPE: Final = re.compile(
    r"(?P<scheme>[a-z]+):(?P<host>\[[^\]]*\]|[^:?\[\]]*)(?::(?P<port>[^?]*))?(?:\?(?P<query>.*))?"
)
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_TRANSPORTS: Final[dict[str, Transport]] = {"transport=udp": "udp", "transport=tcp": "tcp"}
HOST_MAX_CHARS: Final = 253
PORT_MAX: Final = 65_535
# RFC 7064 section 3.2, RFC 7065 section 3.2.
DEFAULT_PORT: Final = 3478
DEFAULT_TLS_PORT: Final = 5349
# libwebrtc (`TurnPort::AllowedTurnPort`) dials below 1024 only these and 53, which networks intercept.
LOW_PORTS: Final = (80, 443)
_FIRST_HIGH_PORT: Final = 1024
_SHOWN_CHARS: Final = 60


class UrlRefused(ValueError):
    """An address cannot be used; the text says why and shows no more of it than is safe."""


class IceUrl(Struct, frozen=True):
    """One server as one transport reaches it."""

    scheme: Scheme
    host: str
    port: int
    transport: Transport

    @property
    def is_relay(self) -> bool:
        """Whether it is a TURN server, which needs credentials."""
        return self.scheme in ("turn", "turns")

    @property
    def is_tls(self) -> bool:
        """Whether it is spoken to in TLS."""
        return self.scheme in ("stuns", "turns")

    @property
    def text(self) -> str:
        """The address as browsers take it, every part spelt out; `stun:` must not name a transport."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"?transport={self.transport}" if self.is_relay else ""
        return f"{self.scheme}:{host}:{self.port}{query}"


def parse_ice_url(text: str) -> IceUrl:
    """Read `stun:host`, `turn:host:3478?transport=udp` and the like, or raise `UrlRefused`."""
    lowered = text.strip().lower()
    _refuse_look_alikes(lowered)
    found = _SHAPE.fullmatch(lowered)
    if found is None or found["scheme"] not in ("stun", "stuns", "turn", "turns"):
        raise UrlRefused(f"{text[:_SHOWN_CHARS]!r} is not like turn:turn.example.org:3478?transport=udp")
    scheme: Scheme = found["scheme"]  # type: ignore[assignment]  # one of the four, see above
    is_tls = scheme in ("stuns", "turns")
    port = _port(found["port"], DEFAULT_TLS_PORT if is_tls else DEFAULT_PORT)
    url = IceUrl(scheme, _host(found["host"]), port, _transport(scheme, found["query"], is_tls=is_tls))
    if url.is_relay and port < _FIRST_HIGH_PORT and port not in LOW_PORTS:
        raise UrlRefused(f"{url.text!r}: browsers dial no TURN server at a port below 1024 but 80 and 443")
    return url


def order(url: IceUrl) -> int:
    """Sort what is cheapest for the network first: STUN, TURN over UDP, over TCP, over TLS."""
    return (2 if url.transport == "tcp" else 1) + url.is_tls if url.is_relay else 0


def _refuse_look_alikes(text: str) -> None:
    # Told without the address: it holds a password.
    if "@" in text:
        raise UrlRefused("names and passwords do not belong in an address; set TURN_USERNAME and TURN_PASSWORD")
    if "://" in text:
        raise UrlRefused(f"{text[:_SHOWN_CHARS]!r}: write turn:host, without //")


def _host(text: str) -> str:
    try:
        if text.startswith("[") and "%" not in text:  # no browser knows a zone
            return IPv6Address(text[1:-1]).compressed
        if text.replace(".", "").isdigit():
            return str(IPv4Address(text))
    except AddressValueError:
        raise UrlRefused(f"{text[:_SHOWN_CHARS]!r} is no IP address") from None
    if len(text) > HOST_MAX_CHARS or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise UrlRefused(f"{text[:_SHOWN_CHARS]!r} is no host name (an international one is written xn--…)")
    return text


def _port(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not _PORT.fullmatch(text) or int(text) > PORT_MAX:
        raise UrlRefused(f"{text[:_SHOWN_CHARS]!r} is no port (1 to 65535)")
    return int(text)


def _transport(scheme: Scheme, query: str | None, *, is_tls: bool) -> Transport:
    if query is None:
        return "tcp" if is_tls else "udp"
    if scheme in ("stun", "stuns"):
        raise UrlRefused("a stun: address takes no ?transport=")
    transport = _TRANSPORTS.get(query)
    if transport is None:
        raise UrlRefused(f"{f'?{query[:_SHOWN_CHARS]}'!r}: only ?transport=udp and ?transport=tcp are known")
    if is_tls and transport == "udp":
        raise UrlRefused("turns: with ?transport=udp is DTLS, which browsers do not speak; use ?transport=tcp")
    return transport
