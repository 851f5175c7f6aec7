"""Which keys are taken from secrets and JWKS documents, and which are refused."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from server.core.keys import JWKS_KEYS_MAX, KeySet, KeysRefused, keys_of_jwks, secret_key
from tests.support.tokens import ALL_ALGORITHMS, public_jwk

ED = public_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), kid="ed")
ES = public_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), kid="es")


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_keys_get_the_one_algorithm_of_their_type() -> None:
    keys = keys_of_jwks(jwks(ED, ES), ALL_ALGORITHMS)
    assert [(key.algorithm, key.kid) for key in keys] == [("EdDSA", "ed"), ("ES256", "es")]


@pytest.mark.parametrize(
    "unusable",
    [
        {"kty": "new-type", "kid": "x"},
        {**ED, "use": "enc"},
        {**ES, "alg": "ES384"},
        public_jwk(ec.generate_private_key(ec.SECP384R1()).public_key()),
    ],
)
def test_keys_that_are_not_for_us_are_skipped(unusable: dict[str, str]) -> None:
    assert [key.kid for key in keys_of_jwks(jwks(unusable, ED), ALL_ALGORITHMS)] == ["ed"]


def test_keys_of_algorithms_that_are_switched_off_are_skipped() -> None:
    assert [key.kid for key in keys_of_jwks(jwks(ED, ES), frozenset({"ES256"}))] == ["es"]


@pytest.mark.parametrize(
    "document, why",
    [
        (b"", "not a JWKS"),
        (b"<html>", "not a JWKS"),
        (b"[]", "not a JWKS"),
        (b'{"keys":{}}', "not a JWKS"),
        (b'{"keys":[{"kty":7}]}', "not a JWKS"),
        (b'{"keys":[],"x":' + b"[" * 5000, "not a JWKS"),
        (b'\xff\xfe{"keys":[]}', "not a JWKS"),
        (b'{"keys":[{"kty":"\xff"}]}', "not a JWKS"),
        (jwks(), "no public key for any of"),
        (jwks({"kty": "new-type"}), "no public key for any of"),
        (jwks({**ED, "d": "AAAA"}), "private or symmetric"),
        (jwks({"kty": "oct", "k": "AAAA"}), "private or symmetric"),
        (jwks({**ED, "x": "!!"}), "EdDSA key is damaged"),
        (jwks({"kty": "OKP", "crv": "Ed25519"}), "EdDSA key is damaged"),
        (jwks({**ES, "x": ES["y"]}), "ES256 key is damaged"),
        (jwks({"kty": "RSA", "n": "AQAB"}), "RS256 key is damaged"),
        (jwks(*[ED] * (JWKS_KEYS_MAX + 1)), "more than 64 keys"),
    ],
)
def test_documents_that_cannot_be_trusted_are_refused(document: bytes, why: str) -> None:
    with pytest.raises(KeysRefused, match=why):
        keys_of_jwks(document, ALL_ALGORITHMS)


def test_short_rsa_keys_are_refused() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    with pytest.raises(KeysRefused, match="1024 bits"):
        keys_of_jwks(jwks(public_jwk(short)), ALL_ALGORITHMS)


@pytest.mark.parametrize("not_a_secret", ["-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", json.dumps(ED)])
def test_a_public_key_is_never_a_secret(not_a_secret: str) -> None:
    with pytest.raises(KeysRefused, match="public key or a JWK"):
        secret_key(not_a_secret)


def test_a_key_shows_its_name_and_nothing_of_itself() -> None:
    assert repr(secret_key("planted" * 8)) == "VerificationKey(HS256, kid=None)"


def test_a_kid_is_looked_up_and_no_kid_means_every_key() -> None:
    first, second = keys_of_jwks(jwks(ED, {**ED, "kid": "ed2"}), ALL_ALGORITHMS)
    secret = secret_key("s" * 32)
    keys = KeySet((first, second, secret))
    assert keys.candidates("EdDSA", "ed2") == (second,)
    assert keys.candidates("EdDSA", None) == (first, second)
    assert keys.candidates("EdDSA", "../../dev/null") == ()
    assert keys.candidates("HS256", "any") == (secret,)
    assert keys.candidates("HS256", None) == (secret,)
    assert keys.candidates("RS256", None) == ()
