"""Access tokens: signed JWTs (RFC 7519) that say who a client is, verified and, for the HTTP API, minted.

Guarantees: algorithms come from the settings and never from the token; `kid` is a dict look-up; `jku`, `x5u`, `jwk` and
other header members are ignored; a token without a right `sub` and a bounded `exp` is refused; no refusal holds any part
of the token. The compact form is parsed here (PyJWT's `decode` re-inspects the secret for every token: 92 us against our
11); the cryptography is PyJWT's.
"""

import binascii
import math
import re
from typing import Annotated, Final, NoReturn

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from protocol.errors import ErrorCode
from protocol.ids import ID_MAX_CHARS, ID_PATTERN, MAX_SAFE_INTEGER, UserId
from protocol.limits import TOKEN_MAX_CHARS
from server.core.keys import HS256, KeySet, VerificationKey

LEEWAY_S: Final = 5.0
_COMPACT: Final = re.compile(rb"(([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]+)")
_TYPES: Final = frozenset({None, "jwt", "at+jwt", "application/at+jwt"})

_Sane = Meta(ge=0, le=MAX_SAFE_INTEGER)
# NumericDate of RFC 7519 section 2: fractions are allowed.
_Seconds = Annotated[int, _Sane] | Annotated[float, _Sane]


class Claims(Struct, frozen=True, gc=False):
    """Who a verified token or ticket speaks for, and until when; times in seconds since the Unix epoch."""

    user: UserId
    expires_at: float
    issued_at: float | None = None
    token_id: str | None = None


class TokenPolicy(Struct, frozen=True):
    """What a token must be like; an empty `audience` or `issuer` is not checked."""

    algorithms: frozenset[str]
    max_ttl_s: int
    audience: tuple[str, ...] = ()
    issuer: str = ""


class TokenRefused(Exception):
    """A token was not accepted: `code` for programs, `message` for people.

    `unknown_key` says that newer keys of the issuer might accept it; `subject` whose token it is, where its signature was
    right; `retry_after_ms` when trying again could help.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        unknown_key: bool = False,
        subject: UserId | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.unknown_key = unknown_key
        self.subject = subject
        self.retry_after_ms = retry_after_ms


class _Header(Struct):
    alg: str
    kid: str | None = None
    typ: str | None = None
    crit: Raw | UnsetType = UNSET


class _WireClaims(Struct, omit_defaults=True):
    sub: Annotated[UserId, Meta(min_length=1, max_length=ID_MAX_CHARS, pattern=ID_PATTERN)]
    exp: _Seconds
    iat: _Seconds | None = None
    nbf: _Seconds | None = None
    aud: str | list[str] | None = None
    iss: str | None = None
    jti: Annotated[str, Meta(max_length=256)] | None = None


_HEADER_DECODER: Final = msgspec.json.Decoder(_Header)
_CLAIMS_DECODER: Final = msgspec.json.Decoder(_WireClaims)


class TokenVerifier:
    """Verifies tokens against the configured secrets and the issuer's newest keys."""

    __slots__ = ("_keys", "_policy", "_secrets")

    def __init__(self, policy: TokenPolicy, secrets: tuple[VerificationKey, ...] = ()) -> None:
        self._policy = policy
        self._secrets = secrets
        self._keys = KeySet(secrets)

    def replace_issuer_keys(self, keys: tuple[VerificationKey, ...]) -> None:
        """Verify from now on with `keys` (and the secrets); keys that are not among them are revoked."""
        self._keys = KeySet((*self._secrets, *keys))

    def verify(self, token: str, now: float) -> Claims:
        """Return what `token` says, or raise `TokenRefused`; `now` in seconds since the Unix epoch."""
        if len(token) > TOKEN_MAX_CHARS:
            _refuse(f"longer than {TOKEN_MAX_CHARS} characters")
        parts = _COMPACT.fullmatch(token.encode("utf-8", "replace"))
        if parts is None:
            _refuse("not three base64url parts")
        signing_input, header, claims, signature = parts.groups()
        self._check_signature(_decode_header(header), signing_input, _base64url_decode(signature))
        signed = _decode_claims(claims)
        try:
            return self._check_claims(signed, now)
        except TokenRefused as refused:
            refused.subject = signed.sub
            raise

    def _check_signature(self, header: _Header, signing_input: bytes, signature: bytes) -> None:
        if header.alg not in self._policy.algorithms:
            _refuse("its algorithm is not allowed")
        keys = self._keys.candidates(header.alg, header.kid)
        if not keys:
            _refuse("signed with an unknown key", unknown_key=True)
        for key in keys:
            if key.verifies(signing_input, signature):
                return
        # An issuer that names no keys may have rotated them all the same.
        _refuse("wrong signature", unknown_key=header.kid is None and header.alg != HS256)

    def _check_claims(self, claims: _WireClaims, now: float) -> Claims:
        if claims.exp <= now:
            raise TokenRefused(ErrorCode.TOKEN_EXPIRED, "token refused: expired")
        self._check_times(claims, now)
        self._check_parties(claims)
        issued_at = None if claims.iat is None else float(claims.iat)
        return Claims(user=claims.sub, expires_at=float(claims.exp), issued_at=issued_at, token_id=claims.jti)

    def _check_times(self, claims: _WireClaims, now: float) -> None:
        latest = now + LEEWAY_S
        if claims.exp > latest + self._policy.max_ttl_s:
            _refuse("expires too far in the future")
        if claims.nbf is not None and claims.nbf > latest:
            _refuse("not valid yet")
        if claims.iat is None:
            return
        if claims.iat > latest:
            _refuse("issued in the future")
        if claims.exp - claims.iat > self._policy.max_ttl_s:
            _refuse("its lifetime is too long")

    def _check_parties(self, claims: _WireClaims) -> None:
        if self._policy.issuer and claims.iss != self._policy.issuer:
            _refuse("wrong issuer")
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        if self._policy.audience and not any(name in self._policy.audience for name in audience):
            _refuse("wrong audience")


class TokenMinter:
    """Makes tokens that the verifier of the same policy accepts."""

    __slots__ = ("_policy", "_secret")

    def __init__(self, policy: TokenPolicy, secret: VerificationKey) -> None:
        self._policy = policy
        self._secret = secret

    def mint(self, user: UserId, ttl_s: int, now: float, token_id: str | None = None) -> tuple[str, Claims]:
        """Sign a token for `user` that lives `ttl_s` seconds, 1 to the policy's maximum (else ValueError)."""
        if not 1 <= ttl_s <= self._policy.max_ttl_s:
            raise ValueError(f"ttl_s must be 1 to {self._policy.max_ttl_s}")
        # To the millisecond, so that of two tokens of one second the one after a revocation is told from the one before.
        issued_at, expires_at = math.floor(now * 1000) / 1000, int(now) + ttl_s
        claims = _WireClaims(
            sub=user,
            exp=expires_at,
            iat=issued_at,
            aud=self._policy.audience[0] if self._policy.audience else None,
            iss=self._policy.issuer or None,
            jti=token_id,
        )
        signing_input = b".".join((_MINTED_HEADER, _base64url_encode(msgspec.json.encode(claims))))
        token = b".".join((signing_input, _base64url_encode(self._secret.sign(signing_input)))).decode()
        return token, Claims(user, float(expires_at), issued_at, token_id)


def _refuse(reason: str, *, unknown_key: bool = False) -> NoReturn:
    raise TokenRefused(ErrorCode.TOKEN_INVALID, f"token refused: {reason}", unknown_key=unknown_key)


def _decode_header(part: bytes) -> _Header:
    try:
        header = _HEADER_DECODER.decode(_base64url_decode(part))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _refuse("its header is damaged")
    if header.crit is not UNSET:
        _refuse("it demands an extension (crit)")
    if header.typ is not None and header.typ.lower() not in _TYPES:
        _refuse("its type is not JWT")
    return header


def _decode_claims(part: bytes) -> _WireClaims:
    try:
        return _CLAIMS_DECODER.decode(_base64url_decode(part))
    except msgspec.ValidationError as error:
        # Names the claim and what was expected of it, never its value.
        _refuse(str(error))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _refuse("its claims are damaged")


def _base64url_decode(part: bytes) -> bytes:
    """Decode unpadded base64url; refuses forms that would decode to the same bytes as another (RFC 4648 section 3.5)."""
    standard = part.translate(_TO_STANDARD) + _PADDING[len(part) % 4]
    try:
        decoded = binascii.a2b_base64(standard)
    except binascii.Error:
        _refuse("a part is not base64url")
    if binascii.b2a_base64(decoded, newline=False) != standard:
        _refuse("a part is not canonical base64url")
    return decoded


_PADDING: Final = (b"", b"", b"==", b"=")
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")


def _base64url_encode(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


_MINTED_HEADER: Final = _base64url_encode(b'{"alg":"HS256","typ":"JWT"}')
