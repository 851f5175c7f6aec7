"""Which tokens are accepted and, case by case, which are refused and how."""

import base64
import json
import traceback

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from protocol.errors import ErrorCode
from protocol.ids import UserId
from protocol.limits import TOKEN_MAX_CHARS
from server.core.keys import keys_of_jwks, secret_key
from server.core.tokens import Claims, TokenMinter, TokenPolicy, TokenRefused, TokenVerifier
from tests.support.tokens import ALL_ALGORITHMS, SECRET, PrivateKey, base64url, jwks, sign

NOW = 1_795_000_000.5
DAY_S = 86_400
CLAIMS: dict[str, object] = {"sub": "alice", "exp": NOW + 600}
POLICY = TokenPolicy(ALL_ALGORITHMS, DAY_S)

RS_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ES_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
DOCUMENT = jwks(rs=RS_KEY.public_key(), es=ES_KEY.public_key(), ed=ED_KEY.public_key())


def verifier(policy: TokenPolicy = POLICY, *secrets: str) -> TokenVerifier:
    return TokenVerifier(policy, tuple(secret_key(secret) for secret in secrets or (SECRET,)))


def issuer_verifier(algorithms: frozenset[str] = ALL_ALGORITHMS) -> TokenVerifier:
    """Verify by the JWKS only."""
    made = TokenVerifier(TokenPolicy(algorithms, DAY_S))
    made.replace_issuer_keys(keys_of_jwks(DOCUMENT, algorithms))
    return made


def refusal(token: str, subject: TokenVerifier | None = None, now: float = NOW) -> TokenRefused:
    """Return how `token` is refused, having checked that the refusal tells nothing of it."""
    with pytest.raises(TokenRefused) as caught:
        (subject or verifier()).verify(token, now)
    told = "".join(traceback.format_exception(caught.value, chain=True)) + repr(caught.value)
    for part in token.split("."):
        assert len(part) < 8 or part not in told
    return caught.value


def assert_invalid(token: str, because: str, subject: TokenVerifier | None = None) -> None:
    refused = refusal(token, subject)
    assert refused.code is ErrorCode.TOKEN_INVALID
    assert because in refused.message


def without_signature(header: object, claims: object = CLAIMS, signature: str = "AAAA") -> str:
    return f"{base64url(json.dumps(header).encode())}.{base64url(json.dumps(claims).encode())}.{signature}"


# ------------------------------------------------------------------------------------------------------- accepted


def test_a_good_token_tells_its_user_and_times() -> None:
    token = sign({"sub": "alice", "exp": NOW + 600, "iat": NOW - 1, "nbf": NOW - 1, "jti": "t1", "role": "ignored"})
    assert verifier().verify(token, NOW) == Claims(UserId("alice"), NOW + 600, NOW - 1, "t1")


def test_only_sub_and_exp_are_needed() -> None:
    assert verifier().verify(sign(CLAIMS), NOW) == Claims(UserId("alice"), NOW + 600, None, None)


def test_tokens_of_pyjwt_are_accepted() -> None:
    assert verifier().verify(jwt.encode(CLAIMS, SECRET, "HS256"), NOW).user == "alice"


@pytest.mark.parametrize(
    "kid, algorithm, key", [("rs", "RS256", RS_KEY), ("es", "ES256", ES_KEY), ("ed", "EdDSA", ED_KEY)]
)
def test_tokens_of_an_issuer_are_accepted_with_and_without_kid(kid: str, algorithm: str, key: PrivateKey) -> None:
    subject = issuer_verifier()
    assert subject.verify(sign(CLAIMS, key, algorithm, {"kid": kid}), NOW).user == "alice"
    assert subject.verify(sign(CLAIMS, key, algorithm), NOW).user == "alice"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_token_types_are_compared_without_case(typ: str) -> None:
    assert verifier().verify(sign(CLAIMS, header={"typ": typ}), NOW).user == "alice"


# --------------------------------------------------------------------------------------------- 96-99: header games


@pytest.mark.parametrize("alg", ["none", "NoNe", "nOnE", "None", "", "HS384", "HS512", "hs256", "PS256", "ES256K"])
@pytest.mark.parametrize("signature", ["AAAA", base64url(b"x" * 32)])
def test_96_an_algorithm_that_settings_do_not_name_is_refused(alg: str, signature: str) -> None:
    assert_invalid(without_signature({"alg": alg}, signature=signature), "algorithm is not allowed")


@pytest.mark.parametrize("alg", ["none", "HS256"])
def test_96_an_empty_signature_is_refused(alg: str) -> None:
    assert_invalid(without_signature({"alg": alg}, signature=""), "not three base64url parts")


@pytest.mark.parametrize("key", [RS_KEY, ES_KEY, ED_KEY])
@pytest.mark.parametrize("form", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_97_a_public_key_is_no_hmac_secret(key: PrivateKey, form: serialization.Encoding) -> None:
    public = key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert_invalid(sign(CLAIMS, public, "HS256"), "unknown key", issuer_verifier())
    assert_invalid(sign(CLAIMS, public, "HS256", {"kid": "rs"}), "unknown key", issuer_verifier())
    assert_invalid(sign(CLAIMS, public, "HS256"), "algorithm is not allowed", issuer_verifier(frozenset({"RS256"})))


def test_97_a_key_of_one_type_does_not_verify_another_algorithm() -> None:
    token = sign(CLAIMS, ED_KEY, "EdDSA", {"alg": "ES256", "kid": "ed"})
    assert_invalid(token, "unknown key", issuer_verifier())
    assert_invalid(sign(CLAIMS, ED_KEY, "EdDSA", {"alg": "RS256", "kid": "rs"}), "wrong signature", issuer_verifier())


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1", "https://evil.example/key", "", "x" * 1000])
def test_98_a_kid_is_a_name_and_nothing_else(kid: str) -> None:
    token = sign(CLAIMS, RS_KEY, "RS256", {"kid": kid})
    refused = refusal(token, issuer_verifier())
    assert refused.message == "token refused: signed with an unknown key"
    assert refused.unknown_key
    assert_invalid(sign(CLAIMS, b"", "HS256", {"kid": kid}), "wrong signature")
    assert verifier().verify(sign(CLAIMS, header={"kid": kid}), NOW).user == "alice"


@pytest.mark.parametrize("kid", [7, None, ["rs"], {"rs": 1}])
def test_98_a_kid_that_is_no_text_names_nothing(kid: object) -> None:
    token = sign(CLAIMS, ed25519.Ed25519PrivateKey.generate(), "EdDSA", {"kid": kid})
    assert refusal(token, issuer_verifier()).code is ErrorCode.TOKEN_INVALID


@pytest.mark.parametrize("member", ["jku", "x5u", "jwk", "x5c"])
def test_99_keys_that_a_token_brings_along_are_ignored(member: str) -> None:
    forger = ed25519.Ed25519PrivateKey.generate()
    brought = json.loads(jwks(ed=forger.public_key()))["keys"][0]
    header = {
        "kid": "ed",
        member: {"jku": "http://127.0.0.1:9/keys", "x5u": "http://127.0.0.1:9/c"}.get(member, brought),
    }
    assert_invalid(sign(CLAIMS, forger, "EdDSA", header), "wrong signature", issuer_verifier())
    assert issuer_verifier().verify(sign(CLAIMS, ED_KEY, "EdDSA", header), NOW).user == "alice"


@pytest.mark.parametrize("crit", [["b64"], ["exp"], [], "b64", None, 1])
def test_demanded_extensions_are_refused(crit: object) -> None:
    assert_invalid(sign(CLAIMS, header={"crit": crit, "b64": False}), "crit")


@pytest.mark.parametrize("typ", ["JWE", "dpop+jwt", "logout+jwt", ""])
def test_other_kinds_of_jwt_are_refused(typ: str) -> None:
    assert_invalid(sign(CLAIMS, header={"typ": typ}), "type is not JWT")


@pytest.mark.parametrize(
    "header",
    [b"", b"{", b"null", b"[]", b'"HS256"', b"{}", b'{"alg":7}', b'{"alg":null}', b'{"alg":["HS256"]}', b"\xff", b'{"alg":"\xff"}',
     b'{"alg":"HS256","x":' + b"[" * 2500, b'{"alg":"HS256"}x', b'{"alg":"HS256","typ":1}'],
)  # fmt: skip
def test_damaged_headers_are_refused(header: bytes) -> None:
    assert refusal(sign(CLAIMS, header=header)).code is ErrorCode.TOKEN_INVALID


# --------------------------------------------------------------------------------------------------- 100: the times


@pytest.mark.parametrize("exp", [None, "1795000600", True, [], {}, -1, -0.1, 2**53, 2**64, int("9" * 400)])
def test_100_exp_must_be_a_sane_number(exp: object) -> None:
    assert_invalid(sign({"sub": "alice", "exp": exp}), "$.exp")


def test_100_exp_is_required() -> None:
    assert_invalid(sign({"sub": "alice"}), "exp")


@pytest.mark.parametrize("exp", [b"1e308", b"-1e308", b"1e999", b"NaN", b"Infinity", b"1e400000"])
def test_100_exp_beyond_every_clock_is_refused(exp: bytes) -> None:
    assert refusal(sign(b'{"sub":"alice","exp":%s}' % exp)).code is ErrorCode.TOKEN_INVALID


@pytest.mark.parametrize("exp", [0, 1, NOW - 600, NOW - 0.001, NOW])
def test_100_a_token_in_the_past_is_expired(exp: float) -> None:
    refused = refusal(sign({"sub": "alice", "exp": exp}))
    assert refused.code is ErrorCode.TOKEN_EXPIRED
    assert not refused.unknown_key


def test_100_a_token_that_lives_too_long_is_refused() -> None:
    assert verifier().verify(sign({"sub": "alice", "exp": NOW + DAY_S}), NOW).expires_at == NOW + DAY_S
    assert_invalid(sign({"sub": "alice", "exp": NOW + DAY_S + 6}), "too far in the future")
    assert_invalid(sign({"sub": "alice", "exp": NOW + 600, "iat": NOW - DAY_S}), "lifetime is too long")


@pytest.mark.parametrize("claim, because", [("nbf", "not valid yet"), ("iat", "issued in the future")])
def test_100_nbf_and_iat_may_be_five_seconds_ahead_and_no_more(claim: str, because: str) -> None:
    assert verifier().verify(sign({**CLAIMS, claim: NOW + 5}), NOW).user == "alice"
    assert_invalid(sign({**CLAIMS, claim: NOW + 5.01}), because)
    assert_invalid(sign({**CLAIMS, claim: "soon"}), f"$.{claim}")
    assert_invalid(sign({**CLAIMS, claim: -1}), f"$.{claim}")
    assert_invalid(sign({**CLAIMS, claim: True}), f"$.{claim}")


def test_106_a_clock_that_jumps_expires_tokens_and_a_clock_that_jumps_back_does_not_lengthen_them() -> None:
    token = sign({**CLAIMS, "iat": NOW})
    assert refusal(token, now=NOW + 3600).code is ErrorCode.TOKEN_EXPIRED
    assert refusal(token, now=NOW - 3600).message == "token refused: issued in the future"
    assert (
        refusal(sign({"sub": "alice", "exp": NOW + DAY_S}), now=NOW - 3600).message
        == "token refused: expires too far in the future"
    )


# ------------------------------------------------------------------------------------------- 101, 102: for and by whom


@pytest.mark.parametrize("aud", [None, "other", "", [], ["other", "more"], ["du", "ologue"]])
def test_101_a_token_for_somebody_else_is_refused(aud: object) -> None:
    subject = verifier(TokenPolicy(ALL_ALGORITHMS, DAY_S, audience=("duologue", "chat")))
    assert_invalid(sign({**CLAIMS, "aud": aud}), "wrong audience", subject)
    assert_invalid(sign(CLAIMS), "wrong audience", subject)


@pytest.mark.parametrize("aud", ["duologue", "chat", ["other", "chat"]])
def test_101_a_token_for_us_among_others_is_accepted(aud: object) -> None:
    subject = verifier(TokenPolicy(ALL_ALGORITHMS, DAY_S, audience=("duologue", "chat")))
    assert subject.verify(sign({**CLAIMS, "aud": aud}), NOW).user == "alice"


@pytest.mark.parametrize("aud", [7, {"duologue": 1}, [7], [None]])
def test_101_an_audience_of_another_type_is_refused_even_when_none_is_asked_for(aud: object) -> None:
    assert_invalid(sign({**CLAIMS, "aud": aud}), "$.aud")


@pytest.mark.parametrize("iss", ["https://other", "", None])
def test_101_a_token_of_somebody_else_is_refused(iss: object) -> None:
    subject = verifier(TokenPolicy(ALL_ALGORITHMS, DAY_S, issuer="https://app"))
    assert_invalid(sign({**CLAIMS, "iss": iss}), "wrong issuer", subject)
    assert_invalid(sign(CLAIMS), "wrong issuer", subject)
    assert subject.verify(sign({**CLAIMS, "iss": "https://app"}), NOW).user == "alice"


def test_102_sub_is_required() -> None:
    assert_invalid(sign({"exp": NOW + 600}), "sub")


@pytest.mark.parametrize(
    "sub", [None, 7, True, [], {}, "", "x" * 65, "x" * 2900, "a\0b", "a\nb", "\x7f", "a\u2028", "a\x85"]
)
def test_102_sub_must_be_an_id(sub: object) -> None:
    assert_invalid(sign({"sub": sub, "exp": NOW + 600}), "$.sub")


@pytest.mark.parametrize("sub", ["a", "x" * 64, "Zoë 🦊", "auth0|507f1f77", "../x"])
def test_102_ids_are_opaque_text(sub: str) -> None:
    assert verifier().verify(sign({"sub": sub, "exp": NOW + 600}), NOW).user == sub


@pytest.mark.parametrize("claims", [b"", b"null", b"[]", b"{", b'"x"', b"\xff\xfe", b'{"sub":"\xff","exp":1}', b'{"sub":"\\ud800","exp":1}',
                                    b'{"sub":"a","exp":1795000600,"x":' + b"[" * 2500, b'\xef\xbb\xbf{"sub":"a","exp":1795000600}'])  # fmt: skip
def test_damaged_claims_are_refused(claims: bytes) -> None:
    assert refusal(sign(claims)).code is ErrorCode.TOKEN_INVALID


def test_a_token_id_is_text_of_bounded_length() -> None:
    assert verifier().verify(sign({**CLAIMS, "jti": "x" * 256}), NOW).token_id == "x" * 256
    assert_invalid(sign({**CLAIMS, "jti": "x" * 257}), "$.jti")
    assert_invalid(sign({**CLAIMS, "jti": 7}), "$.jti")


# ----------------------------------------------------------------------------------------------- 103: the compact form


@pytest.mark.parametrize(
    "shape",
    ["{0}.{1}.{2}=", "{0}.{1}.{2}==", "{0}=.{1}.{2}", "{0}.{1}=.{2}", "{0}.{1}.{2}.", "{0}.{1}.{2}.AAAA", ".{0}.{1}.{2}",
     "{0}.{1}", "{0}", "", "..", ".{1}.{2}", "{0}..{2}", "{0}.{1}.{2}\n", " {0}.{1}.{2}", "{0}.{1}.{2}\0", "{0}.{1}!.{2}",
     "{0}.{1}+.{2}", "{0}.{1}/.{2}", "{0}.{1}é.{2}", "{0}.{1}\ud800.{2}", "Bearer {0}.{1}.{2}", "{0},{1},{2}"],
    ids=ascii,
)  # fmt: skip
def test_103_anything_but_three_base64url_parts_is_refused(shape: str) -> None:
    assert_invalid(shape.format(*sign(CLAIMS).split(".")), "not three base64url parts")


def test_103_a_token_of_a_megabyte_is_refused_before_it_is_read() -> None:
    assert_invalid("x" * 1_000_000, "longer than")
    assert_invalid(sign({**CLAIMS, "pad": "x" * TOKEN_MAX_CHARS}), "longer than")
    assert_invalid(sign({"sub": "x" * 10_000, "exp": NOW + 600}), "longer than")


def test_103_parts_that_are_no_base64_are_refused() -> None:
    header, claims, signature = sign(CLAIMS).split(".")
    assert_invalid(f"{header}.{claims}.A", "not base64url")
    assert_invalid(f"{header}.{claims}.{signature[:-1]}", "not canonical")
    assert_invalid(f"{header}.{claims}.{signature[:40]}", "wrong signature")
    assert_invalid(f"A.{claims}.{signature}", "not base64url")


def test_103_a_second_spelling_of_a_good_signature_is_refused() -> None:
    token = sign(CLAIMS)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    first, second = (base64.urlsafe_b64decode(text.split(".")[2] + "=") for text in (token, twin))
    assert first == second
    assert_invalid(twin, "not canonical")


@pytest.mark.parametrize("position", range(0, len(sign(CLAIMS)), 5))
def test_a_changed_character_is_refused(position: int) -> None:
    token = sign(CLAIMS)
    if token[position] == ".":
        position += 1
    changed = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
    assert refusal(changed).code is ErrorCode.TOKEN_INVALID


# ---------------------------------------------------------------------------------------------------- 105: rotation


def test_105_several_secrets_live_at_once_and_a_removed_one_is_dead() -> None:
    old, new = "old-secret-" + "a" * 32, "new-secret-" + "b" * 32
    token = sign(CLAIMS, old)
    assert verifier(POLICY, new, old).verify(token, NOW).user == "alice"
    assert_invalid(token, "wrong signature", verifier(POLICY, new))
    assert not refusal(token, verifier(POLICY, new)).unknown_key


def test_105_replaced_issuer_keys_take_effect_at_once() -> None:
    subject = TokenVerifier(POLICY, (secret_key(SECRET),))
    named, unnamed = sign(CLAIMS, ED_KEY, "EdDSA", {"kid": "ed"}), sign(CLAIMS, ED_KEY, "EdDSA")
    assert refusal(named, subject).unknown_key
    subject.replace_issuer_keys(keys_of_jwks(DOCUMENT, ALL_ALGORITHMS))
    assert subject.verify(named, NOW).user == subject.verify(unnamed, NOW).user == "alice"
    subject.replace_issuer_keys(
        keys_of_jwks(jwks(ed2=ed25519.Ed25519PrivateKey.generate().public_key()), ALL_ALGORITHMS)
    )
    assert refusal(named, subject).message == "token refused: signed with an unknown key"
    assert refusal(unnamed, subject).message == "token refused: wrong signature"
    assert refusal(unnamed, subject).unknown_key
    assert subject.verify(sign(CLAIMS), NOW).user == "alice"


# ------------------------------------------------------------------------------------------------------------ minting


@pytest.mark.parametrize("policy", [POLICY, TokenPolicy(ALL_ALGORITHMS, DAY_S, ("duologue", "chat"), "https://app")])
def test_a_minted_token_is_accepted_by_us_and_by_pyjwt(policy: TokenPolicy) -> None:
    minter = TokenMinter(policy, secret_key(SECRET))
    token, claims = minter.mint(UserId("Zoë"), 60, NOW, "t1")
    # To the millisecond: of two tokens of one second, a revocation between them refuses the first only.
    assert claims == Claims(UserId("Zoë"), int(NOW) + 60.0, NOW, "t1")
    assert verifier(policy).verify(token, NOW) == claims
    audience = "duologue" if policy.audience else None
    read = jwt.decode(token, SECRET, ["HS256"], {"verify_exp": False, "verify_iat": False}, audience=audience)
    assert read["sub"] == "Zoë"
    assert read.get("iss", "") == policy.issuer


@pytest.mark.parametrize("ttl_s", [1, DAY_S])
def test_lifetimes_up_to_the_maximum_are_minted(ttl_s: int) -> None:
    token, _ = TokenMinter(POLICY, secret_key(SECRET)).mint(UserId("alice"), ttl_s, NOW)
    assert verifier().verify(token, NOW).token_id is None


@pytest.mark.parametrize("ttl_s", [0, -1, DAY_S + 1])
def test_other_lifetimes_are_not_minted(ttl_s: int) -> None:
    with pytest.raises(ValueError, match="ttl_s must be 1 to 86400"):
        TokenMinter(POLICY, secret_key(SECRET)).mint(UserId("alice"), ttl_s, NOW)
