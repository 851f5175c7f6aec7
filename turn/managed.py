"""Relays as a service: what Twilio and Cloudflare are asked for, and how their answers are read.

The shapes are those of the providers' documentation; nobody here has an account, so they were never seen live. Answers are
strangers' text: bounded before they come here, read strictly, and every address in them is judged like one of our own.
What a browser would throw over, or never dial, is left out.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, assert_never

import msgspec
from msgspec import Struct

from turn.servers import IceServer
from turn.urls import IceUrl, UrlRefused, order, parse_ice_url

TWILIO_API: Final = "https://api.twilio.com"
CLOUDFLARE_API: Final = "https://rtc.live.cloudflare.com"
TTL_S: Final = 28_800
# Twice the longest call: a list is handed out until half its life is over, and whether relays of a provider drop calls when
# their credential ends is not documented.
TTL_MAX_S: Final = 86_400
URLS_MAX: Final = 5
# Each is an allocation per network interface of each participant; Firefox warns from five on.
CREATED: Final = 201
HTTPS_PORT: Final = 443
CREDENTIAL_MAX_CHARS: Final = 509


class ProviderRefused(Exception):
    """A provider gave no list that can be used; the text says why and holds nothing of the answer."""


class TwilioAccount(Struct, frozen=True):
    """An account of Twilio's Network Traversal Service."""

    sid: str
    token: str

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return "TwilioAccount([secret])"


class CloudflareKey(Struct, frozen=True):
    """A TURN key of Cloudflare Realtime."""

    key_id: str
    token: str

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return "CloudflareKey([secret])"


Account = TwilioAccount | CloudflareKey


class HttpRequest(Struct, frozen=True):
    """A POST; the headers hold a secret."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return "HttpRequest([secret])"


class HttpAnswer(Struct, frozen=True):
    """What came back, whole."""

    status: int
    body: bytes


class Grant(Struct, frozen=True):
    """ICE servers that may be used for `ttl_s` from when they were asked for."""

    servers: tuple[IceServer, ...]
    ttl_s: int


def request_for(account: Account, api_url: str = "") -> HttpRequest:
    """Write the request for a list; `api_url` is another place of the same API."""
    match account:
        case TwilioAccount(sid, token):
            return HttpRequest(
                f"{api_url or TWILIO_API}/2010-04-01/Accounts/{sid}/Tokens.json",
                (
                    ("Authorization", f"Basic {b64encode(f'{sid}:{token}'.encode()).decode()}"),
                    ("Content-Type", "application/x-www-form-urlencoded"),
                ),
                f"Ttl={TTL_S}".encode(),
            )
        case CloudflareKey(key_id, token):
            return HttpRequest(
                f"{api_url or CLOUDFLARE_API}/v1/turn/keys/{key_id}/credentials/generate-ice-servers",
                (("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")),
                msgspec.json.encode({"ttl": TTL_S}),
            )
        case _:
            assert_never(account)


class _Server(Struct):
    """Either an address or several; `url` is Twilio's older name for one."""

    urls: str | list[str]
    username: str = ""
    credential: str = ""


class _TwilioAnswer(Struct):
    ice_servers: list[_Server]
    ttl: str | int = TTL_S


class _CloudflareAnswer(Struct, rename="camel"):
    """An older call of that API answers with one server instead of a list."""

    ice_servers: list[_Server] | _Server


_TWILIO: Final = msgspec.json.Decoder(_TwilioAnswer)
_CLOUDFLARE: Final = msgspec.json.Decoder(_CloudflareAnswer)


def grant_of(account: Account, answer: HttpAnswer) -> Grant:
    """Read an answer, or raise `ProviderRefused`."""
    if answer.status not in (200, CREATED):
        raise ProviderRefused(_refusal(answer.status))
    try:
        match account:
            case TwilioAccount():
                twilio = _TWILIO.decode(answer.body)
                return Grant(_servers(twilio.ice_servers), _ttl_s(twilio.ttl))
            case CloudflareKey():
                servers = _CLOUDFLARE.decode(answer.body).ice_servers
                return Grant(_servers(servers if isinstance(servers, list) else [servers]), TTL_S)
            case _:
                assert_never(account)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Without msgspec's words: they may quote.
        raise ProviderRefused("the answer has not the documented shape") from None


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"the account is refused ({status})"
    if status == 404:
        return "there is no such account or key (404)"
    if status == 429:
        return "asked too often (429)"
    return f"status {status}"


def _ttl_s(told: str | int) -> int:
    text = str(told)
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= TTL_MAX_S and len(text) < 6):
        raise ProviderRefused("the answer has no usable ttl")
    return int(text)


def _servers(told: Sequence[_Server]) -> tuple[IceServer, ...]:
    """Keep one STUN server, and of the relays as many as browsers take well: the cheapest, and the last resort."""
    stun, relays = _sorted(told)
    if not relays:
        raise ProviderRefused("the answer has no relay that browsers can use")
    room = URLS_MAX - len(stun[:1])
    if len(relays) > room:
        # The last passes most firewalls: TLS, at 443 when the provider has that.
        relays = [*relays[: room - 1], relays[-1]]
    plain = (IceServer((stun[0].text,)),) if stun else ()
    return (*plain, *(IceServer((url.text,), server.username, server.credential) for url, server in relays))


def _sorted(told: Sequence[_Server]) -> tuple[list[IceUrl], list[tuple[IceUrl, _Server]]]:
    stun: list[IceUrl] = []
    relays: list[tuple[IceUrl, _Server]] = []
    for server in told:
        for url in _known([server.urls] if isinstance(server.urls, str) else server.urls):
            if not url.is_relay:
                stun.append(url)
            elif _has_credential(server):
                relays.append((url, server))
    relays.sort(key=lambda relay: (order(relay[0]), relay[0].port == HTTPS_PORT))
    return stun, relays


def _known(texts: Iterable[str]) -> Iterator[IceUrl]:
    for text in texts:
        try:
            yield parse_ice_url(text)
        except UrlRefused:
            continue


def _has_credential(server: _Server) -> bool:
    return 0 < len(server.username) <= CREDENTIAL_MAX_CHARS and 0 < len(server.credential) <= CREDENTIAL_MAX_CHARS
