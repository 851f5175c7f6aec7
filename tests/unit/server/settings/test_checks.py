"""Which combinations the start is refused with, and that no refusal tells a secret."""

import pytest

from server.settings import Settings, SettingsError, from_environment
from server.settings.checks import NO_TOKENS, is_loopback
from tests.support.tokens import SECRET

OTHER = "another-b7c1d2e3f4a5b6c79f3b1c7d5e2a4860"
JWKS = "https://issuer.example/jwks.json"


def start(**environment: str) -> Settings:
    return from_environment({"TOKEN_SECRETS": SECRET, **environment})


@pytest.mark.parametrize(
    "environment, problem",
    [
        ({"TOKEN_SECRETS": ""}, NO_TOKENS),
        ({"TOKEN_SECRETS": ","}, NO_TOKENS),
        ({"TOKEN_SECRETS": "s" * 31}, "TOKEN_SECRETS: number 1 is shorter than 32 bytes"),
        ({"TOKEN_SECRETS": f"{SECRET},short"}, "TOKEN_SECRETS: number 2 is shorter than 32 bytes"),
        ({"TOKEN_SECRETS": f"{SECRET},{SECRET}"}, "TOKEN_SECRETS: one is there twice"),
        ({"TOKEN_SECRETS": ",".join(f"{OTHER}{n}" for n in range(9))}, "TOKEN_SECRETS: more than 8"),
        ({"API_KEYS": "dev"}, "API_KEYS: number 1 is shorter than 32 bytes"),
        ({"API_KEYS": f"{OTHER} with spaces"}, "API_KEYS: a key holds a character that an Authorization header cannot carry"),
        ({"API_KEYS": f"{OTHER}é"}, "API_KEYS: a key holds a character that an Authorization header cannot carry"),
        ({"DATABASE_URL": "mysql://user:planted@db/x"}, "DATABASE_URL: only sqlite:<path>, postgresql://… and memory: are known, not 'mysql'"),
        ({"REDIS_URL": "redis://:planted@cache"}, "REDIS_URL: joins nodes that share a PostgreSQL database, so it needs DATABASE_URL=postgresql://…"),
        ({"DATABASE_READ_REPLICA_URL": "postgresql://u:planted@db"}, "DATABASE_READ_REPLICA_URL: is for DATABASE_URL=postgresql://…"),
        ({"WORKERS": "2"}, "WORKERS: several need DATABASE_URL=postgresql://… and REDIS_URL, which join them"),
        ({"WORKERS": "2", "DATABASE_URL": "postgresql://u:planted@db"}, "WORKERS: several need DATABASE_URL=postgresql://… and REDIS_URL, which join them"),
        ({"WORKERS": "3", "METRICS_PORT": "65534", "DATABASE_URL": "postgresql://u:planted@db", "REDIS_URL": "redis://:planted@cache"}, "METRICS_PORT: there are not so many ports above it as there are WORKERS"),
        ({"PORT": "9100", "METRICS_PORT": "9100"}, "METRICS_PORT: PORT is one of the ports that begin there, one for each of WORKERS"),
        ({"DATABASE_URL": "data.db"}, "DATABASE_URL: only sqlite:<path>, postgresql://… and memory: are known, not 'data.db'"),
        ({"DATABASE_URL": "sqlite:"}, "DATABASE_URL: write sqlite:relative/path.db or sqlite:/absolute/path.db"),
        ({"DATABASE_URL": "sqlite:///data.db"}, "DATABASE_URL: write sqlite:relative/path.db or sqlite:/absolute/path.db"),
        ({"JWKS_URL": JWKS, "JWKS_FILE": "keys.json"}, "JWKS_URL and JWKS_FILE are both set"),
        ({"JWKS_URL": "ftp://issuer.example/jwks"}, "JWKS_URL: not an http or https address"),
        ({"JWKS_URL": "/etc/jwks.json"}, "JWKS_URL: not an http or https address"),
        ({"JWKS_URL": "https://"}, "JWKS_URL: not an http or https address"),
        ({"JWKS_URL": "https://["}, "JWKS_URL: not an http or https address"),
        ({"JWKS_URL": "https://issuer.example:port/"}, "JWKS_URL: not an http or https address"),
        ({"JWKS_URL": "https://user:planted@issuer.example/"}, "JWKS_URL: names and passwords do not belong in it"),
        ({"JWKS_URL": "http://issuer.example/"}, "JWKS_URL: keys fetched without TLS can be forged on the way; use https"),
        ({"TOKEN_ALGORITHMS": "none"}, "TOKEN_ALGORITHMS: 'none' is none of HS256, RS256, ES256, EdDSA"),
        ({"TOKEN_ALGORITHMS": "RS256", "JWKS_URL": JWKS}, "TOKEN_ALGORITHMS and TOKEN_SECRETS: HS256 needs a secret, and a secret needs HS256"),
        ({"TOKEN_ALGORITHMS": "HS256,RS256"}, "TOKEN_ALGORITHMS: RS256, ES256 and EdDSA need JWKS_URL or JWKS_FILE, and those need one of them"),
        ({"TOKEN_ALGORITHMS": "HS256", "JWKS_URL": JWKS}, "TOKEN_ALGORITHMS: RS256, ES256 and EdDSA need JWKS_URL or JWKS_FILE, and those need one of them"),
        ({"ALLOWED_ORIGINS": "app.example"}, "ALLOWED_ORIGINS: 'app.example' is not like https://app.example, same-origin or *"),
        ({"ALLOWED_ORIGINS": "https://app.example/"}, "ALLOWED_ORIGINS: 'https://app.example/' is not like https://app.example, same-origin or *"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8,proxy.example"}, "TRUSTED_PROXIES: 'proxy.example' is no address and no network like 10.0.0.0/8"),
        ({"ALLOWED_ORIGINS": "https://App.example"}, "ALLOWED_ORIGINS: 'https://App.example' is not like https://app.example, same-origin or *"),
        ({"OUTBOX_MAX_BYTES": "65536"}, "OUTBOX_MAX_BYTES: must be at least four times MAX_MESSAGE_BYTES"),
        ({"TURN_SERVER_URL": "turn://planted:planted@a", "TURN_SECRETS": OTHER}, "TURN_SERVER_URL: names and passwords do not belong in an address; set TURN_USERNAME and TURN_PASSWORD"),
        ({"TURN_SERVER_URL": "turn:a"}, "TURN_SERVER_URL: a relay needs TURN_SECRETS, or TURN_USERNAME and TURN_PASSWORD"),
        ({"TURN_REDIS_URL": "redis://:planted@cache/2"}, "TURN_REDIS_URL: needs TURN_REALM, whose keys are there, and TURN_SECRETS, which it gets"),
        ({"CALL_RELAY_ONLY": "true"}, "CALL_RELAY_ONLY: needs TURN servers"),
        ({"TYPING_EXPIRES_MS": "3000"}, "TYPING_EXPIRES_MS: must be more than TYPING_INTERVAL_MS, or typing flickers"),
    ],
    ids=str,
)  # fmt: skip
def test_the_start_is_refused_with_the_reason(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        start(**environment)
    assert caught.value.problems == (problem,)
    for secret in ("planted", SECRET, OTHER):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "sample",
    [
        "your-256-bit-secret-your-256-bit-secret",
        "a-string-secret-at-least-256-bits-long",
        "change-me-change-me-change-me-change-me",
        "CHANGE_ME_BEFORE_PRODUCTION_0987654321",
        "this is an example of a long secret 12",
        "super-secret-jwt-token-with-at-least-32-characters",
        "x" * 64,
        "0123456789abcdef0123456789abcdef",
        "abababababababababababababababababab",
    ],
)
def test_samples_and_guesses_are_refused(sample: str) -> None:
    with pytest.raises(SettingsError, match="TOKEN_SECRETS: number 1 is a sample or easily guessed") as caught:
        start(TOKEN_SECRETS=sample)
    assert sample not in str(caught.value)


@pytest.mark.parametrize(
    "document", ["-----BEGIN PUBLIC KEY-----MFkwEwYHKoZIzj0CAQ", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8x"]
)
def test_a_public_key_is_no_secret(document: str) -> None:
    with pytest.raises(SettingsError, match="one is a key document"):
        start(TOKEN_SECRETS=document)


@pytest.mark.parametrize(
    "environment, algorithms",
    [
        ({}, "HS256"),
        ({"JWKS_URL": JWKS}, "HS256 RS256 ES256 EdDSA"),
        ({"TOKEN_SECRETS": "", "JWKS_FILE": "keys.json"}, "RS256 ES256 EdDSA"),
        ({"TOKEN_SECRETS": "", "JWKS_URL": "http://127.0.0.1:9/jwks", "TOKEN_ALGORITHMS": "EdDSA"}, "EdDSA"),
        ({"TOKEN_ALGORITHMS": "HS256,ES256", "JWKS_URL": JWKS}, "HS256 ES256"),
    ],
    ids=str,
)
def test_the_algorithms_follow_from_the_keys_unless_named(environment: dict[str, str], algorithms: str) -> None:
    assert start(**environment).algorithms == set(algorithms.split())


@pytest.mark.parametrize("origins", ["same-origin", "*", "https://app.example,http://localhost:3000,same-origin"])
def test_origins_are_taken_as_browsers_send_them(origins: str) -> None:
    assert start(ALLOWED_ORIGINS=origins).allowed_origins == tuple(origins.split(","))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.evil.example", "localhost.evil.example", "127.1"]
)
def test_all_else_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)
