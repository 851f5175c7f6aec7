"""What providers are asked, and how their answers are read. Documented, never seen live."""

from base64 import b64decode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.provider_double import CLOUDFLARE, CLOUDFLARE_KEY, TOKEN, TWILIO, TWILIO_SID
from turn.managed import (
    CREDENTIAL_MAX_CHARS,
    URLS_MAX,
    Account,
    CloudflareKey,
    Grant,
    HttpAnswer,
    ProviderRefused,
    TwilioAccount,
    grant_of,
    request_for,
)

TWILIOS = TwilioAccount(TWILIO_SID, TOKEN)
CLOUDFLARES = CloudflareKey(CLOUDFLARE_KEY, TOKEN)
RELAY = {"urls": "turn:t", "username": "u", "credential": "c"}


def urls(grant: Grant) -> list[str]:
    return [url for server in grant.servers for url in server.urls]


def twilio(**changes: Any) -> HttpAnswer:
    return HttpAnswer(201, orjson.dumps({"ice_servers": [RELAY], "ttl": "3600"} | changes))


def test_twilio_is_asked_as_documented() -> None:
    request = request_for(TWILIOS)
    assert request.url == f"https://api.twilio.com/2010-04-01/Accounts/{TWILIO_SID}/Tokens.json"
    headers = dict(request.headers)
    assert b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == f"{TWILIO_SID}:{TOKEN}"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.body == b"Ttl=28800"


def test_cloudflare_is_asked_as_documented() -> None:
    request = request_for(CLOUDFLARES, "https://egress.example")
    assert request.url == (f"https://egress.example/v1/turn/keys/{CLOUDFLARE_KEY}/credentials/generate-ice-servers")
    assert dict(request.headers) == {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert orjson.loads(request.body) == {"ttl": 28_800}


def test_twilios_answer_is_read() -> None:
    grant = grant_of(TWILIOS, HttpAnswer(201, TWILIO))
    assert grant.ttl_s == 28_800
    assert urls(grant) == [
        "stun:global.stun.example.org:3478",
        "turn:global.turn.example.org:3478?transport=udp",
        "turn:global.turn.example.org:3478?transport=tcp",
        "turn:global.turn.example.org:443?transport=tcp",
    ]
    assert {server.username for server in grant.servers} == {"", "twilio-name"}


def test_cloudflares_answer_is_read_without_what_browsers_do_not_dial() -> None:
    grant = grant_of(CLOUDFLARES, HttpAnswer(201, CLOUDFLARE))
    assert urls(grant) == [
        "stun:stun.example.com:3478",
        "turn:turn.example.com:3478?transport=udp",
        "turn:turn.example.com:3478?transport=tcp",
        "turn:turn.example.com:80?transport=tcp",
        "turns:turn.example.com:443?transport=tcp",
    ]
    assert len(urls(grant)) == URLS_MAX


def test_cloudflares_older_answer_is_one_server() -> None:
    grant = grant_of(CLOUDFLARES, HttpAnswer(200, orjson.dumps({"iceServers": RELAY})))
    assert urls(grant) == ["turn:t:3478?transport=udp"]


@pytest.mark.parametrize("account", [TWILIOS, CLOUDFLARES], ids=["twilio", "cloudflare"])
@pytest.mark.parametrize(
    "status, why",
    [
        (401, "the account is refused (401)"),
        (403, "the account is refused (403)"),
        (404, "there is no such account or key (404)"),
        (429, "asked too often (429)"),
        (302, "status 302"),
        (500, "status 500"),
    ],
)
def test_a_refusal_is_told(account: Account, status: int, why: str) -> None:
    with pytest.raises(ProviderRefused) as refused:
        grant_of(account, HttpAnswer(status, TWILIO))
    assert str(refused.value) == why


SHAPE = "the answer has not the documented shape"
NO_RELAY = "the answer has no relay that browsers can use"


@pytest.mark.parametrize(
    "answer, why",
    [
        (HttpAnswer(201, b""), SHAPE),
        (HttpAnswer(201, b"<html>planted</html>"), SHAPE),
        (HttpAnswer(201, b"\xff"), SHAPE),
        (HttpAnswer(201, b"[" * 20_000), SHAPE),
        (HttpAnswer(201, b'{"ice_servers":[{"urls":"\xff"}]}'), SHAPE),
        (twilio(ice_servers="planted"), SHAPE),
        (twilio(ice_servers=[{"url": "turn:t"}]), SHAPE),
        (twilio(ice_servers=[]), NO_RELAY),
        (twilio(ice_servers=[{"urls": "stun:s"}]), NO_RELAY),
        (twilio(ice_servers=[{"urls": "turn:t"}]), NO_RELAY),
        (twilio(ice_servers=[RELAY | {"credential": ""}]), NO_RELAY),
        (twilio(ice_servers=[RELAY | {"username": "u" * (CREDENTIAL_MAX_CHARS + 1)}]), NO_RELAY),
        (twilio(ice_servers=[RELAY | {"urls": ["turn://t", "javascript:alert(1)", "turn:t:53"]}]), NO_RELAY),
        (twilio(ttl="soon"), "the answer has no usable ttl"),
        (twilio(ttl="0"), "the answer has no usable ttl"),
        (twilio(ttl=-5), "the answer has no usable ttl"),
        (twilio(ttl="9" * 5000), "the answer has no usable ttl"),
        (twilio(ttl=86_401), "the answer has no usable ttl"),
    ],
    ids=[f"{number}" for number in range(18)],
)
def test_nonsense_is_refused_and_not_quoted(answer: HttpAnswer, why: str) -> None:
    with pytest.raises(ProviderRefused) as refused:
        grant_of(TWILIOS, answer)
    assert str(refused.value) == why


def test_a_bad_address_costs_only_itself() -> None:
    grant = grant_of(TWILIOS, twilio(ice_servers=[RELAY | {"urls": ["turn://t", "turn:t"]}, {"urls": "stun:bad host"}]))
    assert urls(grant) == ["turn:t:3478?transport=udp"]


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(-(2**63), 2**63), lambda each: st.lists(each) | st.dictionaries(st.sampled_from(["ice_servers", "iceServers", "urls", "ttl"]), each)).map(orjson.dumps))  # fmt: skip
def test_any_answer_is_read_or_refused(body: bytes) -> None:
    for account in (TWILIOS, CLOUDFLARES):
        with pytest.raises(ProviderRefused):
            grant_of(account, HttpAnswer(200, body))


def test_no_secret_shows() -> None:
    for value in (TWILIOS, CLOUDFLARES, request_for(TWILIOS), request_for(CLOUDFLARES)):
        assert "planted" not in repr(value)
    assert "planted" not in repr(grant_of(TWILIOS, HttpAnswer(201, TWILIO)))
