"""Whom a token or ticket speaks for, also while the issuer rotates its keys."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from protocol.errors import ErrorCode
from protocol.ids import UserId
from server.adapters.memory.tickets import TICKET_TTL_S, MemoryTickets
from server.core.keys import keys_of_jwks, secret_key
from server.core.tokens import Claims, TokenPolicy, TokenRefused, TokenVerifier
from server.identities import Identities, IssuerKeys
from tests.support.clock import FakeClock
from tests.support.tokens import SECRET, jwks, sign

POLICY = TokenPolicy(frozenset({"HS256", "EdDSA"}), max_ttl_s=86_400)
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)


class Issuer:
    """Publishes `document` when asked for newer keys; none when it has nothing new."""

    def __init__(self, verifier: TokenVerifier, document: bytes | None) -> None:
        self.verifier = verifier
        self.document = document
        self.asked = 0

    async def refreshed(self) -> bool:
        self.asked += 1
        if self.document is None:
            return False
        self.verifier.replace_issuer_keys(keys_of_jwks(self.document, POLICY.algorithms))
        return True


class Stage:
    """Identities with a clock; `issue` says whether there is an issuer and what it publishes."""

    def __init__(self, document: bytes | None = None, *, has_issuer: bool = True) -> None:
        self.clock = FakeClock()
        verifier = TokenVerifier(POLICY, (secret_key(SECRET),))
        self.issuer = Issuer(verifier, document)
        issuer: IssuerKeys | None = self.issuer if has_issuer else None
        tickets = MemoryTickets(self.clock.now, self.clock.random_bytes)
        self.identities = Identities(verifier, tickets, lambda: self.clock.micros() / 1e6, issuer)

    def expires(self) -> int:
        return self.clock.micros() // 1_000_000 + 600

    def token(self, key: str | ed25519.Ed25519PrivateKey = SECRET, **header: object) -> str:
        algorithm = "HS256" if isinstance(key, str) else "EdDSA"
        return sign({"sub": "alice", "exp": self.expires()}, key, algorithm, header)


def refused(outcome: Claims | TokenRefused) -> TokenRefused:
    assert isinstance(outcome, TokenRefused)
    return outcome


async def test_a_token_of_a_known_key_is_verified_at_once() -> None:
    stage = Stage()
    claims = Claims(UserId("alice"), float(stage.expires()))
    assert stage.identities.verify(stage.token()) == claims
    assert await stage.identities.identify(stage.token()) == claims
    assert stage.issuer.asked == 0


async def test_a_token_of_a_new_key_is_verified_with_the_issuers_newest_keys() -> None:
    stage = Stage(jwks(k1=KEY.public_key()))
    token = stage.token(KEY, kid="k1")
    with pytest.raises(TokenRefused) as first:
        stage.identities.verify(token)
    assert stage.identities.may_know_more(first.value)
    outcome = await stage.identities.identify(token)
    assert isinstance(outcome, Claims)
    assert (outcome.user, stage.issuer.asked) == ("alice", 1)


async def test_a_token_that_newer_keys_do_not_verify_stays_refused() -> None:
    """With the reason of the second look."""
    stage = Stage(jwks(k2=KEY.public_key()))
    outcome = refused(await stage.identities.identify(stage.token(KEY, kid="k1")))
    assert (outcome.code, stage.issuer.asked) == (ErrorCode.TOKEN_INVALID, 1)


async def test_an_issuer_without_news_changes_nothing() -> None:
    stage = Stage()
    outcome = refused(await stage.identities.identify(stage.token(KEY, kid="k1")))
    assert (outcome.unknown_key, stage.issuer.asked) == (True, 1)


async def test_without_an_issuer_nobody_is_asked() -> None:
    stage = Stage(has_issuer=False)
    outcome = refused(await stage.identities.identify(stage.token(KEY, kid="k1")))
    assert not stage.identities.may_know_more(outcome)
    assert await stage.identities.verify_again(stage.token(KEY, kid="k1"), outcome) is outcome


async def test_a_token_that_is_refused_for_another_reason_asks_nobody() -> None:
    stage = Stage(jwks(k1=KEY.public_key()))
    outcome = refused(await stage.identities.identify(stage.token("another-secret-that-is-long-enough-for-hs256")))
    assert (outcome.code, stage.issuer.asked) == (ErrorCode.TOKEN_INVALID, 0)


async def test_a_ticket_stands_for_its_claims_once() -> None:
    stage = Stage()
    claims = Claims(UserId("alice"), float(stage.expires()))
    ticket = await stage.identities.issue_ticket(claims)
    assert await stage.identities.redeem(ticket) == claims
    assert refused(await stage.identities.redeem(ticket)).code is ErrorCode.TICKET_INVALID


async def test_a_ticket_that_is_too_old_is_refused() -> None:
    stage = Stage()
    ticket = await stage.identities.issue_ticket(Claims(UserId("alice"), float(stage.expires())))
    stage.clock.advance(TICKET_TTL_S)
    assert refused(await stage.identities.redeem(ticket)).code is ErrorCode.TICKET_INVALID
