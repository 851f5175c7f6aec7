"""Tokens and keys of every shape for tests: good ones, and forged ones that no library would make."""

import base64
import json
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from server.core.keys import ALGORITHMS

ALL_ALGORITHMS: Final = frozenset({"HS256", "RS256", "ES256", "EdDSA"})
SECRET: Final = "test-only-9f3b1c7d5e2a4860b7c1d2e3f4a5b6c7"

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_jwk(key: PublicKey, kid: str | None = None) -> dict[str, str]:
    """Write `key` as a JWK with `use` and, when given, `kid`."""
    match key:
        case rsa.RSAPublicKey():
            family = "RS256"
        case ec.EllipticCurvePublicKey():
            family = "ES256"
        case _:
            family = "EdDSA"
    jwk = json.loads(ALGORITHMS[family].to_jwk(key))
    members = {name: value for name, value in jwk.items() if isinstance(value, str)}
    return {**members, "use": "sig"} | ({} if kid is None else {"kid": kid})


def jwks(**keys: PublicKey) -> bytes:
    """Write a JWKS document; the names are the `kid`s."""
    return json.dumps({"keys": [public_jwk(key, kid) for kid, key in keys.items()]}).encode()


def sign(
    claims: Mapping[str, object] | bytes,
    key: str | bytes | PrivateKey = SECRET,
    algorithm: str = "HS256",
    header: Mapping[str, object] | bytes | None = None,
) -> str:
    """Make a compact JWT whose header says anything at all; `bytes` are taken as they are."""
    if not isinstance(header, bytes):
        header = json.dumps({"alg": algorithm, "typ": "JWT", **(header or {})}).encode()
    if not isinstance(claims, bytes):
        claims = json.dumps(claims).encode()
    signing_input = f"{base64url(header)}.{base64url(claims)}"
    prepared = key.encode() if isinstance(key, str) else key
    return f"{signing_input}.{base64url(ALGORITHMS[algorithm].sign(signing_input.encode(), prepared))}"
