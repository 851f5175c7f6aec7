"""Keys that tokens are verified with: shared secrets from the settings, public keys from a JWKS document.

Guarantees: an algorithm has keys of its one type only (a public key is never an HMAC secret), every key is prepared once,
and no key shows in a repr. Refuses documents that hold private keys: they must not be in use anywhere.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError
from msgspec import UNSET, Raw, Struct, UnsetType

HS256: Final = "HS256"
ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    HS256: HMACAlgorithm(HMACAlgorithm.SHA256),
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256, SECP256R1),
    "EdDSA": OKPAlgorithm(),
}
# RFC 7518 section 3.1 and RFC 8037 section 3.1: which key each signature algorithm takes.
_ALGORITHM_OF_KEY: Final[Mapping[tuple[str, str | None], str]] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}
JWKS_KEYS_MAX: Final = 64


class KeysRefused(ValueError):
    """A key or a key document cannot be used; the text says why and holds no key material."""


class VerificationKey:
    """One prepared key of one algorithm; `kid` is None for secrets, which are tried whatever a token's `kid` says."""

    __slots__ = ("_algorithm", "_key", "algorithm", "kid")

    def __init__(self, algorithm: str, key: object, kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self._algorithm = ALGORITHMS[algorithm]
        self._key = key

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        return f"VerificationKey({self.algorithm}, kid={self.kid!r})"

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        """Say whether `signature` was made over `signing_input` with this key."""
        return self._algorithm.verify(signing_input, self._key, signature)

    def sign(self, signing_input: bytes) -> bytes:
        """Sign with a secret; public keys cannot."""
        return self._algorithm.sign(signing_input, self._key)


class KeySet:
    """The keys live at one moment, looked up by algorithm and `kid` in a dict and nowhere else."""

    __slots__ = ("_anonymous", "_candidates")

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._anonymous: dict[str, tuple[VerificationKey, ...]] = {}
        self._candidates: dict[tuple[str, str | None], tuple[VerificationKey, ...]] = {}
        for key in keys:
            if key.kid is None:
                self._anonymous[key.algorithm] = (*self._anonymous.get(key.algorithm, ()), key)
            else:
                self._add(key, key.kid)
            self._add(key, None)

    def _add(self, key: VerificationKey, kid: str | None) -> None:
        place = (key.algorithm, kid)
        self._candidates[place] = (*self._candidates.get(place, ()), key)

    def candidates(self, algorithm: str, kid: str | None) -> tuple[VerificationKey, ...]:
        """Give the keys that may have signed: the named one, or all of the algorithm when the token names none."""
        return self._candidates.get((algorithm, kid)) or self._anonymous.get(algorithm, ())


def secret_key(secret: str) -> VerificationKey:
    """Prepare an HS256 secret; refuses text that is a public key or a JWK."""
    try:
        prepared = HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        raise KeysRefused("a token secret is a public key or a JWK, not a secret") from None
    return VerificationKey(HS256, prepared)


class _Jwk(Struct):
    """The members of RFC 7517 that matter here; all others (x5u, x5c, key_ops) are ignored."""

    kty: str
    use: str | None = None
    alg: str | None = None
    kid: str | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None
    d: Raw | UnsetType = UNSET
    k: Raw | UnsetType = UNSET


class _Jwks(Struct):
    keys: list[_Jwk]


_JWKS_DECODER: Final = msgspec.json.Decoder(_Jwks)


def keys_of_jwks(document: bytes, algorithms: frozenset[str]) -> tuple[VerificationKey, ...]:
    """Read the public keys of a JWKS that `algorithms` can use; skips key types we do not know, as RFC 7517 section 5 asks."""
    try:
        jwks = _JWKS_DECODER.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise KeysRefused(f"not a JWKS document: {error}") from None
    if len(jwks.keys) > JWKS_KEYS_MAX:
        raise KeysRefused(f"more than {JWKS_KEYS_MAX} keys")
    keys = tuple(_key_of_jwk(jwk, algorithm) for jwk in jwks.keys if (algorithm := _usable_as(jwk)) in algorithms)
    if not keys:
        raise KeysRefused(f"no public key for any of {', '.join(sorted(algorithms))}")
    return keys


def _usable_as(jwk: _Jwk) -> str:
    """Name the algorithm that this key verifies, or "" for none of ours."""
    if jwk.d is not UNSET or jwk.k is not UNSET:
        raise KeysRefused("it holds a private or symmetric key; publish public keys only, and replace that key")
    algorithm = _ALGORITHM_OF_KEY.get((jwk.kty, jwk.crv), "")
    if jwk.use not in (None, "sig") or jwk.alg not in (None, algorithm):
        return ""
    return algorithm


def _key_of_jwk(jwk: _Jwk, algorithm: str) -> VerificationKey:
    members = {name: value for name in ("kty", "crv", "n", "e", "x", "y") if (value := getattr(jwk, name)) is not None}
    implementation = ALGORITHMS[algorithm]
    try:
        key = implementation.from_jwk(members)
        problem = implementation.check_key_length(key)
    except (InvalidKeyError, ValueError, TypeError):
        raise KeysRefused(f"a {algorithm} key is damaged") from None
    if problem:
        raise KeysRefused(problem)
    return VerificationKey(algorithm, key, jwk.kid)
