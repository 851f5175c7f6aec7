"""What must hold between settings, and the shapes that bounds cannot express. Each problem is one sentence."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlsplit

from server.settings.fields import MEMORY, SQLITE, Settings
from server.settings.values import Secret
from turn.configuration import problems as relay_problems

SECRET_MIN_BYTES: Final = 32
SECRETS_MAX: Final = 8
PORT_MAX: Final = 65_535
_LOOPBACK_NAMES: Final = frozenset({"localhost", "::1", "[::1]"})
_LOOPBACK_ADDRESS: Final = re.compile(r"127(\.\d{1,3}){3}")
_ORIGIN: Final = re.compile(r"https?://[^/?#@\sA-Z]+")
# RFC 6750 section 2.1: what an `Authorization: Bearer` value may consist of.
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_PUBLIC_KEY: Final = re.compile(r"-----BEGIN |ssh-|ecdsa-|\{")
# Texts that documentation, tutorials and generators leave behind.
_SAMPLES: Final = re.compile(
    r"change.?(me|this)|example|sample|placeholder|your.?(secret|256|key|token)|a-string-secret|test.?secret"
    r"|super.?secret|my.?secret|password|0123456789abcdef|abcdefghijklmnop",
    re.IGNORECASE,
)
_DIFFERENT_CHARS_MIN: Final = 10
NO_TOKENS: Final = "no way to verify tokens: set TOKEN_SECRETS, JWKS_URL or JWKS_FILE (or start with --dev)"
ALGORITHMS: Final = ("HS256", "RS256", "ES256", "EdDSA")


def check(settings: Settings) -> list[str]:
    """List everything that is wrong with `settings` as a whole; empty means that the server may start."""
    return [
        *_check_database(settings),
        *_check_workers(settings),
        *_check_api_keys(settings),
        *_check_token_secrets(settings),
        *_check_public_keys(settings),
        *_check_algorithms(settings),
        *_check_origins(settings),
        *_check_proxies(settings),
        *_check_sizes(settings),
        *_check_relays(settings),
        *_check_development(settings),
    ]


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach `host`."""
    return host.lower() in _LOOPBACK_NAMES or _LOOPBACK_ADDRESS.fullmatch(host) is not None


def _check_database(settings: Settings) -> Iterator[str]:
    # Only the scheme is told: other databases' addresses hold passwords.
    url = settings.database_url
    scheme = url.split(":")[0][:20]
    if settings.redis_url and not settings.is_postgresql:
        yield "REDIS_URL: joins nodes that share a PostgreSQL database, so it needs DATABASE_URL=postgresql://…"
    if settings.database_read_replica_url and not settings.is_postgresql:
        yield "DATABASE_READ_REPLICA_URL: is for DATABASE_URL=postgresql://…"
    if url == MEMORY or settings.is_postgresql:
        return
    if not url.startswith(SQLITE):
        yield f"DATABASE_URL: only sqlite:<path>, postgresql://… and memory: are known, not {scheme!r}"
    elif url.startswith("sqlite://") or url == SQLITE:
        yield "DATABASE_URL: write sqlite:relative/path.db or sqlite:/absolute/path.db"


def _check_workers(settings: Settings) -> Iterator[str]:
    if settings.workers > 1 and not (settings.is_postgresql and settings.redis_url):
        yield "WORKERS: several need DATABASE_URL=postgresql://… and REDIS_URL, which join them"
    ports = range(settings.metrics_port, settings.metrics_port + settings.workers)
    if settings.metrics_port and ports[-1] > PORT_MAX:
        yield "METRICS_PORT: there are not so many ports above it as there are WORKERS"
    elif settings.metrics_port and settings.port in ports:
        yield "METRICS_PORT: PORT is one of the ports that begin there, one for each of WORKERS"


def _check_api_keys(settings: Settings) -> Iterator[str]:
    keys = [key for key in settings.api_keys if not (settings.development and key.reveal() == "dev")]
    yield from _check_secrets("API_KEYS", keys)
    if any(not _BEARER.fullmatch(key.reveal()) for key in keys):
        yield "API_KEYS: a key holds a character that an Authorization header cannot carry"


def _check_token_secrets(settings: Settings) -> Iterator[str]:
    secrets = settings.token_secrets
    yield from _check_secrets("TOKEN_SECRETS", secrets)
    if any(_PUBLIC_KEY.match(secret.reveal()) for secret in secrets):
        yield "TOKEN_SECRETS: one is a key document, not a secret; public keys belong in JWKS_FILE"
    if not secrets and not settings.jwks_location:
        yield NO_TOKENS


def _check_secrets(name: str, secrets: tuple[Secret, ...] | list[Secret]) -> Iterator[str]:
    texts = [secret.reveal() for secret in secrets]
    if len(texts) > SECRETS_MAX:
        yield f"{name}: more than {SECRETS_MAX}"
    if len(set(texts)) < len(texts):
        yield f"{name}: one is there twice"
    for place, text in enumerate(texts, start=1):
        if len(text.encode()) < SECRET_MIN_BYTES:
            yield f"{name}: number {place} is shorter than {SECRET_MIN_BYTES} bytes"
        elif _SAMPLES.search(text) or len(set(text)) < _DIFFERENT_CHARS_MIN:
            yield f"{name}: number {place} is a sample or easily guessed; make one with: openssl rand -hex 32"


def _check_public_keys(settings: Settings) -> Iterator[str]:
    if settings.jwks_url and settings.jwks_file:
        yield "JWKS_URL and JWKS_FILE are both set"
    if not settings.jwks_url:
        return
    try:
        parts = urlsplit(settings.jwks_url)
        host, has_user, _ = parts.hostname, "@" in parts.netloc, parts.port
    except ValueError:
        host, has_user, parts = None, False, urlsplit("")
    if parts.scheme not in ("https", "http") or not host:
        yield "JWKS_URL: not an http or https address"
    elif has_user:
        yield "JWKS_URL: names and passwords do not belong in it"
    elif parts.scheme == "http" and not is_loopback(host):
        yield "JWKS_URL: keys fetched without TLS can be forged on the way; use https"


def _check_algorithms(settings: Settings) -> Iterator[str]:
    named = settings.token_algorithms
    if unknown := [name for name in named if name not in ALGORITHMS]:
        yield f"TOKEN_ALGORITHMS: {unknown[0][:20]!r} is none of {', '.join(ALGORITHMS)}"
    elif named and ("HS256" in named) != bool(settings.token_secrets):
        yield "TOKEN_ALGORITHMS and TOKEN_SECRETS: HS256 needs a secret, and a secret needs HS256"
    elif named and any(name != "HS256" for name in named) != bool(settings.jwks_location):
        yield "TOKEN_ALGORITHMS: RS256, ES256 and EdDSA need JWKS_URL or JWKS_FILE, and those need one of them"


def _check_origins(settings: Settings) -> Iterator[str]:
    for origin in settings.allowed_origins:
        if origin not in ("same-origin", "*") and not _ORIGIN.fullmatch(origin):
            yield f"ALLOWED_ORIGINS: {origin[:60]!r} is not like https://app.example, same-origin or *"


def _check_proxies(settings: Settings) -> Iterator[str]:
    for proxy in settings.trusted_proxies:
        try:
            ip_network(proxy, strict=False)
        except ValueError:
            yield f"TRUSTED_PROXIES: {proxy[:60]!r} is no address and no network like 10.0.0.0/8"


def _check_sizes(settings: Settings) -> Iterator[str]:
    if settings.outbox_max_bytes < 4 * settings.max_message_bytes:
        yield "OUTBOX_MAX_BYTES: must be at least four times MAX_MESSAGE_BYTES"
    if settings.typing_expires_ms <= settings.typing_interval_ms:
        yield "TYPING_EXPIRES_MS: must be more than TYPING_INTERVAL_MS, or typing flickers"


def _check_relays(settings: Settings) -> Iterator[str]:
    yield from relay_problems(settings.relays)
    if settings.turn_redis_url and not (settings.turn_realm and settings.turn_secrets):
        yield "TURN_REDIS_URL: needs TURN_REALM, whose keys are there, and TURN_SECRETS, which it gets"
    if settings.call_relay_only and not (settings.turn_server_url or settings.relays.account):
        yield "CALL_RELAY_ONLY: needs TURN servers"


def _check_development(settings: Settings) -> Iterator[str]:
    if settings.development and not is_loopback(settings.host):
        yield f"HOST: development mode has a public API key and listens on loopback only, not on {settings.host[:60]!r}"
