"""Group E, tokens: forged, damaged, misdirected and outlived ones, in hello, in the upgrade request and over HTTP alike."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.api import Api
from tests.support.attacked import Attacked, attacked
from tests.support.chatter import Chatter
from tests.support.raw_client import head
from tests.support.tokens import SECRET, base64url, jwks, sign

NOW = int(time.time())
RSA = rsa.generate_private_key(65_537, 2048)
RSA_PUBLIC_TEXT = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ED = ed25519.Ed25519PrivateKey.generate()
KEY = "a-backends-own-key-5f1e9d3c7b2a8064"
CLAIMS: dict[str, object] = {"sub": "alice", "exp": NOW + 3600, "aud": "chat", "iss": "https://id.example"}
GOOD = sign(CLAIMS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """A server in earnest: secrets and public keys, audience and issuer checked."""
    keys: Path = tmp_path_factory.mktemp("keys") / "jwks.json"
    keys.write_bytes(jwks(main=RSA.public_key(), edwards=ED.public_key()))
    settings = {
        "API_KEYS": KEY,
        "TOKEN_SECRETS": SECRET,
        "TOKEN_AUDIENCE": "chat",
        "TOKEN_ISSUER": "https://id.example",
        "JWKS_FILE": str(keys),
        "TOKEN_WARNING_S": "0",
        "TOKEN_GRACE_S": "0",
        "CLOSE_TIMEOUT_S": "0.3",
        "PRESENCE_DEBOUNCE_MS": "0",
        "LOG_LEVEL": "debug",
    }
    with attacked(settings, dev=False) as server:
        yield server


def claims(**changed: object) -> str:
    """Sign the good claims with some of them changed; `...` leaves one out."""
    return sign({name: value for name, value in {**CLAIMS, **changed}.items() if value is not ...})


def headed(algorithm: str = "HS256", key: str | bytes | rsa.RSAPrivateKey = SECRET, **members: object) -> str:
    """Sign the good claims under a header with further members."""
    return sign(CLAIMS, key, algorithm, members)


def unsigned(algorithm: str) -> str:
    """Name an algorithm and sign with nothing."""
    header = base64url(b'{"alg":"%b"}' % algorithm.encode())
    return f"{header}.{GOOD.split('.')[1]}."


REFUSED = {
    "96 none": unsigned("none"),
    "96 NoNe": unsigned("NoNe"),
    "96 none and a signature": headed(alg="none"),
    "96 HS384": headed(alg="HS384"),
    "96 empty algorithm": headed(alg=""),
    "96 no algorithm": sign(CLAIMS, header=b'{"typ":"JWT"}'),
    "97 HS256 with the public key as secret": headed(key=RSA_PUBLIC_TEXT),
    "97 HS256 that names the public key": headed(key=RSA_PUBLIC_TEXT, kid="main"),
    "97 RS256 signed with the secret": headed(alg="RS256"),
    "97 another's RS256": headed("RS256", rsa.generate_private_key(65_537, 2048), kid="main"),
    "97 EdDSA's key named for RS256": headed("RS256", RSA, kid="edwards"),
    "98 kid is a path": headed("RS256", RSA, kid="../../dev/null"),
    "98 kid is SQL": headed("RS256", RSA, kid="' OR 1=1 --"),
    "98 kid is an address": headed("RS256", RSA, kid="http://127.0.0.1:1/key"),
    "98 kid is a number": headed("RS256", RSA, kid=1),
    "crit": headed(crit=["b64"], b64=False),
    "typ of something else": headed(typ="secevent+jwt"),
    "wrong secret": sign(CLAIMS, "another-secret-of-thirty-two-bytes!!"),
    "empty secret": sign(CLAIMS, b""),
    "100 no exp": claims(exp=...),
    "100 exp is text": claims(exp=str(NOW + 3600)),
    "100 exp 1e308": claims(exp=1e308),
    "100 exp negative": claims(exp=-1),
    "100 exp null": claims(exp=None),
    "100 exp too far": claims(exp=NOW + 40 * 86_400),
    "100 nbf ahead": claims(nbf=NOW + 3000),
    "100 iat ahead": claims(iat=NOW + 3000),
    "101 no aud": claims(aud=...),
    "101 other aud": claims(aud="shop"),
    "101 other auds": claims(aud=["shop", "mail"]),
    "101 aud is an object": claims(aud={"chat": True}),
    "101 other iss": claims(iss="https://evil.example"),
    "101 no iss": claims(iss=...),
    "102 no sub": claims(sub=...),
    "102 sub is a number": claims(sub=7),
    "102 empty sub": claims(sub=""),
    "102 sub of 2 kB (10 kB is no token any more)": claims(sub="a" * 2_000),
    "102 sub of 65": claims(sub="a" * 65),
    "102 sub with NUL": claims(sub="alice\0"),
    "102 sub with a line end": claims(sub="alice\n"),
    "103 trailing =": GOOD + "=",
    "103 four parts": GOOD + ".e30",
    "103 two parts": GOOD.rpartition(".")[0],
    "103 empty parts": "..",
    "103 not base64url": GOOD.replace(".", ".!", 1),
    "103 standard base64": ".".join(base64.b64encode(b"\xfb\xff\xfe" * 8).decode() for _ in range(3)),
    "103 blanks around": f" {GOOD[:20]} {GOOD[20:]}",
    "103 another last character": GOOD[:-1] + chr(ord(GOOD[-1]) ^ 1),
    "103 claims are no object": sign(b"[]"),
    "103 claims are no JSON": sign(b"{"),
    "103 claims 10 000 deep": sign(b"[" * 2_000),
    "103 claims are not UTF-8": sign(b'{"sub":"\xff"}'),
    "103 header is no JSON": sign(CLAIMS, header=b"\xff\xff"),
    "not ASCII": "é.é.é",
    "the API key": KEY,
    "a word": "null",
}
EXPIRED = {"100 exp in the past": claims(exp=NOW - 10), "100 exp 0": claims(exp=0)}

CASES = [
    *[pytest.param(token, "token_invalid", 4501, id=name) for name, token in REFUSED.items()],
    *[pytest.param(token, "token_expired", 4001, id=name) for name, token in EXPIRED.items()],
]


def assert_refused(server: Attacked, client: Chatter, token: str | None, code: str, close_code: int) -> None:
    """Say hello: the answer names the code and nothing of the token, then the connection is closed."""
    answer = client.ask({"type": "hello", "id": 1} | ({} if token is None else {"token": token}))
    assert (answer["code"], answer["id"]) == (code, 1)
    assert token is None or token[:16] not in str(answer)
    assert client.closed_with() == close_code


@pytest.mark.parametrize("token, code, close_code", CASES)
def test_a_bad_token_opens_nothing(server: Attacked, token: str, code: str, close_code: int) -> None:
    """96 to 103, in hello and over HTTP (where the API key of a real backend is none)."""
    with Chatter(server.port) as client:
        assert_refused(server, client, token, code, close_code)
    if token.isascii() and token != KEY:
        reply = Api(server.port, token).call("GET", "/v1/users/alice/matches")
        assert (reply.status, reply.code, reply.headers["www-authenticate"]) == (401, code, "Bearer")
        assert token[:16] not in str(reply)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(GOOD, id="HS256"),
        pytest.param(headed("RS256", RSA, kid="main"), id="RS256"),
        pytest.param(sign(CLAIMS, ED, "EdDSA", {"kid": "edwards"}), id="EdDSA"),
        pytest.param(
            headed(jku="http://127.0.0.1:1/", x5u="http://127.0.0.1:1/", jwk={"kty": "oct", "k": "AA"}, x5c=["AA"]),
            id="99 jku, x5u, jwk and x5c are ignored",
        ),
        pytest.param(claims(aud=["shop", "chat"]), id="101 one of several audiences"),
        pytest.param(claims(admin=True, role="root"), id="claims that we do not know"),
        pytest.param(claims(exp=NOW + 3600.5, nbf=NOW - 1.5), id="fractions"),
        pytest.param(claims(sub="𝔞lice/'\"<b>"), id="any name"),
    ],
)
def test_a_good_token_opens(server: Attacked, token: str) -> None:
    """So that the others are refused for their reason."""
    with Chatter(server.port) as client:
        client.hello(token)
        assert client.is_alive()


def test_103_a_token_of_a_megabyte_is_a_message_too_big(server: Attacked) -> None:
    """103: no hello ever sees it; one of 60 kB is refused by its length."""
    with Chatter(server.port) as client:
        client.say({"type": "hello", "id": 1, "token": "a" * 1_000_000})
        assert client.closed_with() in (1009, 1006)
    with Chatter(server.port) as client:
        assert client.ask({"type": "hello", "id": 1, "token": "a" * 60_000})["code"] == "bad_request"
        client.hello(GOOD)


@pytest.mark.parametrize("form", [f"Bearer {REFUSED['wrong secret']}", f"Bearer {unsigned('none')}", "Bearer a b"])
def test_a_bad_token_in_the_upgrade_request_is_told_in_answer_to_hello(server: Attacked, form: str) -> None:
    """A browser's script sees no HTTP status: the refusal is the answer to hello."""
    with Chatter(server.port, request=head(f"Authorization: {form}")) as client:
        assert_refused(server, client, None, "token_invalid", 4501)


@pytest.mark.parametrize("form", [GOOD, f"Basic {GOOD}", "Bearer", "Bearer ", f"Token {GOOD}", ""])
def test_other_schemes_of_authorization_are_no_credential(server: Attacked, form: str) -> None:
    """They are not looked at; hello says who it is."""
    with Chatter(server.port, request=head(f"Authorization: {form}")) as client:
        assert client.ask({"type": "hello", "id": 1})["code"] == "unauthenticated"
        client.hello(GOOD)


def test_two_authorizations_are_none(server: Attacked) -> None:
    """Which of them was meant is anybody's guess."""
    line = f"Authorization: Bearer {GOOD}"
    with Chatter(server.port, request=head(line, line)) as client:
        assert client.ask({"type": "hello", "id": 1})["code"] == "unauthenticated"


def test_104_a_token_that_runs_out_ends_the_connection(server: Attacked) -> None:
    """104: by itself, although the client goes on talking; a refused refresh changes nothing, one that is taken does."""
    with Chatter(server.port) as refused, Chatter(server.port) as refreshed, Chatter(server.port) as left:
        # Long enough for what a busy machine has to do before it is over.
        short = claims(exp=time.time() + 3)
        for client in (refused, refreshed, left):
            client.hello(short)
        for bad in (REFUSED["wrong secret"], claims(sub="mallory")):
            assert refused.ask({"type": "auth.refresh", "id": 1, "token": bad})["code"] == "token_invalid"
        assert refreshed.ask({"type": "auth.refresh", "id": 1, "token": GOOD}) == {"type": "ok", "id": 1}
        assert refused.closed_with() == left.closed_with() == 4001
        assert refreshed.is_alive()


def test_105_a_secret_taken_out_is_out() -> None:
    """105: while two are set both verify; the one that was taken out does not."""
    new = "rotated-in-2f7c9e1b3d5a8046f7c9e1b3"
    old_token, new_token = sign(CLAIMS), sign(CLAIMS, new)
    for secrets, opens in ((f"{new},{SECRET}", (True, True)), (new, (False, True))):
        with attacked({"TOKEN_SECRETS": secrets, "CLOSE_TIMEOUT_S": "0.3"}, dev=False) as server:
            for token, is_good in zip((old_token, new_token), opens, strict=True):
                with Chatter(server.port) as client:
                    answer = client.ask({"type": "hello", "id": 1, "token": token})
                    assert (answer["type"] == "welcome") is is_good


def test_a_ticket_works_once(server: Attacked) -> None:
    """And nothing else does: used, cut, made up, twice in a query, in a query too long to look at."""
    reply = Api(server.port, KEY).call("POST", "/v1/tickets", {"user": "alice"})
    ticket = str(reply.json["ticket"])
    bad = (
        f"{ticket[:-1]}", f"{ticket}A", "", "%00", "%ff", "a" * 4_000, f"{ticket}&" + "a=1&" * 20, f"a&ticket={ticket}",
    )  # fmt: skip
    for attempt in bad:
        with Chatter(server.port, request=head(target=f"/ws?ticket={attempt}")) as client:
            assert client.ask({"type": "hello", "id": 1})["code"] in ("ticket_invalid", "unauthenticated")
    with Chatter(server.port, request=head(target=f"/ws?ticket={ticket}")) as client:
        client.hello(None)
    with Chatter(server.port) as client:
        answer = client.ask({"type": "hello", "id": 1, "ticket": ticket})
        assert answer["code"] == "ticket_invalid"
        assert ticket not in str(answer)
        assert client.closed_with() == 4501
