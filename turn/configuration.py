"""How relays are reached, as an operator configures it, and everything that can be wrong with that.

Problems are whole sentences that begin with the setting's name and hold no secret; the server and `python -m turn` show the
same ones.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from turn.managed import Account, CloudflareKey, TwilioAccount
from turn.servers import USERNAME_MAX_BYTES
from turn.urls import IceUrl, UrlRefused, parse_ice_url

URLS_MAX: Final = 8
# Each address costs every participant an allocation per network interface, and gathering waits for the slowest.
SECRETS_MAX: Final = 8
SECRET_MIN_CHARS: Final = 16
SECRET_MAX_CHARS: Final = 255
# What a line of turnserver.conf, an environment variable and a Redis set all carry unchanged.
_SECRET: Final = re.compile(r"[!#$%&()*+\-./0-9:;<=>?@A-Z\[\]^_a-z{|}~]+")
_REALM: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_TWILIO_SID: Final = re.compile(r"AC[0-9a-f]{32}")
_CLOUDFLARE_KEY: Final = re.compile(r"[0-9a-f]{32}")
_TOKEN: Final = re.compile(r"[!-~]{8,512}")
_API_URL: Final = re.compile(r"(https://[a-z0-9.-]+|http://127\.0\.0\.1)(:[1-9][0-9]{0,4})?")
DEFAULT_TTL_S: Final = 3600


class RelayConfiguration(Struct, frozen=True, kw_only=True):
    """The relays of this installation. No secret shows."""

    turn_urls: tuple[str, ...] = ()
    stun_urls: tuple[str, ...] = ()
    username: str = ""
    password: str = ""
    secrets: tuple[str, ...] = ()
    realm: str = ""
    ttl_s: int = DEFAULT_TTL_S
    twilio_sid: str = ""
    twilio_token: str = ""
    cloudflare_key: str = ""
    cloudflare_token: str = ""
    api_url: str = ""

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return f"RelayConfiguration({', '.join((*self.stun_urls, *self.turn_urls))})"

    @property
    def relays(self) -> tuple[IceUrl, ...]:
        """The TURN servers; `UrlRefused` for what `problems` would have told."""
        return tuple(parse_ice_url(text) for text in self.turn_urls)

    @property
    def account(self) -> Account | None:
        """The provider of relays, if there is one."""
        if self.twilio_sid:
            return TwilioAccount(self.twilio_sid, self.twilio_token)
        return CloudflareKey(self.cloudflare_key, self.cloudflare_token) if self.cloudflare_key else None

    @property
    def reflectors(self) -> tuple[IceUrl, ...]:
        """The STUN servers; `UrlRefused` for what `problems` would have told."""
        return tuple(parse_ice_url(text) for text in self.stun_urls)


def problems(configuration: RelayConfiguration) -> Iterator[str]:
    """Tell everything that is wrong; nothing means that it can be used."""
    yield from _url_problems("TURN_SERVER_URL", configuration.turn_urls, is_relay=True)
    yield from _url_problems("STUN_SERVER_URL", configuration.stun_urls, is_relay=False)
    yield from _credential_problems(configuration)
    yield from _secret_problems(configuration.secrets)
    yield from _provider_problems(configuration)
    if configuration.realm and not _REALM.fullmatch(configuration.realm):
        yield "TURN_REALM: write a name like turn.example.org (letters, digits, dots and dashes)"


def _url_problems(name: str, texts: Sequence[str], *, is_relay: bool) -> Iterator[str]:
    urls: set[IceUrl] = set()
    for text in texts:
        try:
            url = parse_ice_url(text)
        except UrlRefused as refused:
            yield f"{name}: {refused}"
            continue
        if url.is_relay != is_relay:
            yield f"{name}: {url.text!r} belongs in {'STUN' if is_relay else 'TURN'}_SERVER_URL"
        if url in urls:
            yield f"{name}: {url.text!r} is there twice"
        urls.add(url)
    if len(texts) > URLS_MAX:
        yield f"{name}: more than {URLS_MAX} addresses; each costs every call an allocation and time"


def _credential_problems(configuration: RelayConfiguration) -> Iterator[str]:
    has_password = bool(configuration.username or configuration.password)
    if has_password and not (configuration.username and configuration.password):
        yield "TURN_USERNAME and TURN_PASSWORD: set both or none"
    elif len(configuration.username.encode()) > USERNAME_MAX_BYTES:
        yield f"TURN_USERNAME: longer than {USERNAME_MAX_BYTES} bytes"
    if has_password and configuration.secrets:
        yield "TURN_PASSWORD and TURN_SECRETS are both set; a relay takes one kind of credentials"
    has_credentials = has_password or bool(configuration.secrets)
    if configuration.turn_urls and not has_credentials:
        yield "TURN_SERVER_URL: a relay needs TURN_SECRETS, or TURN_USERNAME and TURN_PASSWORD"
    if has_credentials and not configuration.turn_urls:
        yield "TURN_SERVER_URL: is missing, but there are credentials for it"


def _secret_problems(secrets: Sequence[str]) -> Iterator[str]:
    if len(secrets) > SECRETS_MAX:
        yield f"TURN_SECRETS: more than {SECRETS_MAX}"
    if len(set(secrets)) < len(secrets):
        yield "TURN_SECRETS: one is there twice"
    for place, secret in enumerate(secrets, start=1):
        if not SECRET_MIN_CHARS <= len(secret) <= SECRET_MAX_CHARS:
            yield f"TURN_SECRETS: number {place} has not {SECRET_MIN_CHARS} to {SECRET_MAX_CHARS} characters"
        elif not _SECRET.fullmatch(secret):
            yield f"TURN_SECRETS: number {place} holds a character that coturn's files cannot carry"


def _provider_problems(configuration: RelayConfiguration) -> Iterator[str]:
    sid, key = configuration.twilio_sid, configuration.cloudflare_key
    if bool(sid) != bool(configuration.twilio_token):
        yield "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN: set both or none"
    if bool(key) != bool(configuration.cloudflare_token):
        yield "CLOUDFLARE_TURN_KEY_ID and CLOUDFLARE_TURN_API_TOKEN: set both or none"
    if sid and not _TWILIO_SID.fullmatch(sid):
        yield "TWILIO_ACCOUNT_SID: is not AC and 32 hexadecimal digits"
    if key and not _CLOUDFLARE_KEY.fullmatch(key):
        yield "CLOUDFLARE_TURN_KEY_ID: is not 32 hexadecimal digits"
    if any(
        token and not _TOKEN.fullmatch(token) for token in (configuration.twilio_token, configuration.cloudflare_token)
    ):
        yield "TWILIO_AUTH_TOKEN, CLOUDFLARE_TURN_API_TOKEN: one holds a character that a header cannot carry"
    if sum(map(bool, (configuration.turn_urls, sid, key))) > 1:
        yield "TURN_SERVER_URL, TWILIO_ACCOUNT_SID and CLOUDFLARE_TURN_KEY_ID: choose one"
    if configuration.api_url and not _API_URL.fullmatch(configuration.api_url):
        yield "TURN_API_URL: write https://host or https://host:port (http only on 127.0.0.1)"
    if configuration.api_url and not (sid or key):
        yield "TURN_API_URL: is for TWILIO_ACCOUNT_SID or CLOUDFLARE_TURN_KEY_ID"
