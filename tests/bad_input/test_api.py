"""Group G, the HTTP API: wrong callers, bodies, paths and queries. Each has its status and code, and echoes nothing."""

from collections.abc import Iterator

import pytest

from tests.support.api import Api, match_path
from tests.support.attacked import Attacked, attacked
from tests.support.chatter import Chatter
from tests.support.raw_client import RawClient

MARK = "PLANTED7f3a"
M = "/v1/matches/m"
MESSAGES = f"{M}/messages"
MESSAGE = {"sender": "alice", "client_id": "c", "body": {"text": "hi"}}


@pytest.fixture(scope="module")
def server() -> Iterator[Attacked]:
    """A server with a match of alice and bob, where nobody who has posted too much may soon post again."""
    with attacked({"LOG_LEVEL": "debug", "PRESENCE_DEBOUNCE_MS": "0", "MESSAGE_RATE_PER_S": "0.05"}) as server:
        server.api.make_match("m", "alice", "bob")
        yield server


@pytest.fixture(scope="module")
def tokens(server: Attacked) -> dict[str, str]:
    """A token a user, and none."""
    return {"nobody": "", "backend": "dev"} | {user: server.api.token(user) for user in ("alice", "mallory")}


@pytest.mark.parametrize(
    "caller, method, path, value, status",
    [
        *[("nobody", method, path, None, 401) for method, path in (
            ("GET", M), ("PUT", M), ("DELETE", M), ("GET", MESSAGES), ("POST", MESSAGES), ("POST", "/v1/tokens"),
            ("POST", "/v1/tickets"), ("GET", "/v1/users/alice/matches"), ("POST", "/v1/users/alice/events"))],
        *[("alice", method, path, value, 403) for method, path, value in (
            ("POST", "/v1/tokens", {"user": "alice"}), ("PUT", "/v1/matches/mine", {"members": ["alice", "bob"]}),
            ("PUT", M, {"members": ["alice", "eve"]}), ("DELETE", M, None), ("GET", "/v1/users/bob/matches", None),
            ("POST", "/v1/users/alice/events", {"name": "x"}), ("POST", "/v1/tickets", {"user": "bob"}),
            ("POST", MESSAGES, {**MESSAGE, "sender": "bob"}))],
        *[("mallory", method, path, value, 403) for method, path, value in (
            ("GET", M, None), ("GET", MESSAGES, None), ("POST", MESSAGES, {"client_id": "c", "body": {"text": "hi"}}),
            ("GET", "/v1/users/alice/matches", None), ("GET", "/v1/matches/no-such", None),
            ("GET", "/v1/matches/no-such/messages", None))],
        ("backend", "POST", MESSAGES, {**MESSAGE, "sender": "mallory"}, 403),
    ],
)  # fmt: skip
def test_nobody_does_what_they_may_not(
    server: Attacked, tokens: dict[str, str], caller: str, method: str, path: str, value: object, status: int
) -> None:
    """An outsider cannot even tell whether a match exists."""
    reply = server.api.as_(tokens[caller]).call(method, path, value)
    assert (reply.status, reply.code) in ((401, "unauthenticated"), (403, "forbidden"), (403, "not_member"))
    assert reply.status == status


@pytest.mark.parametrize(
    "header", ["dev", "Basic ZGV2OmRldg==", "Bearer", "Bearer  ", "Bearer dev dev", "Bearer de", "Bearer devv", "Bearer DEV",
               "bearer\tdev", "Bearer \xe9", "Bearer " + "a" * 7_000, "Digest username=dev", ",Bearer dev"],
)  # fmt: skip
def test_only_the_key_itself_is_the_key(server: Attacked, header: str) -> None:
    """In its scheme, whole and exact."""
    reply = server.api.as_("").call("GET", M, authorization=header)
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert "aaaa" not in str(reply)


def test_the_scheme_has_no_case(server: Attacked) -> None:
    """RFC 9110 section 11.1."""
    assert server.api.as_("").call("GET", M, authorization="bEARER   dev").status == 200


@pytest.mark.parametrize(
    "content, status, code",
    [
        pytest.param(b"", 400, "bad_json", id="empty"),
        pytest.param(b"{", 400, "bad_json", id="half"),
        pytest.param(b"\xff\xfe{}", 400, "bad_json", id="not UTF-8"),
        pytest.param("{}".encode("utf-16"), 400, "bad_json", id="UTF-16"),
        pytest.param(b'{"a":' * 10_000, 400, "bad_json", id="10 000 deep where nobody looks"),
        pytest.param(b"[" * 60_000, 400, "bad_request", id="60 000 deep"),
        pytest.param(b'{"client_id":' + b"[" * 60_000, 400, "bad_request", id="60 000 deep in a field"),
        pytest.param(b"null", 400, "bad_request", id="null"),
        pytest.param(b"[]", 400, "bad_request", id="list"),
        pytest.param(b"{}", 400, "bad_request", id="nothing"),
        pytest.param(b'{"sender":"alice","client_id":"c"}', 400, "bad_request", id="no body"),
        pytest.param(b'{"client_id":"c","body":{"text":"hi"}}', 400, "bad_request", id="no sender"),
        pytest.param(b'{"sender":"alice","client_id":"c","body":{}}', 400, "bad_request", id="empty body"),
        pytest.param(b'{"sender":"alice","client_id":"c","body":{"text":"\\ud800"}}', 400, "bad_json", id="surrogate"),
        pytest.param(b'{"sender":"alice","client_id":"c","body":{"text":"\\u0000"}}', 400, "bad_request", id="NUL"),
        pytest.param(b'{"sender":"alice","client_id":"c","body":{"text":"a"},"reply_to":99}', 400, "no_such_reply", id="reply"),
        pytest.param(b'{"sender":"alice","client_id":"c","body":{"text":"a"},"reply_to":-1}', 400, "bad_request", id="-1"),
        pytest.param(b'{"sender":"alice","client_id":7,"body":{"text":"a"}}', 400, "bad_request", id="number for an id"),
        pytest.param(b'{"sender":"alice","client_id":"c","body":{"data":%b}}' % (b'{"a":' * 500 + b"1" + b"}" * 500), 400,
                     "bad_request", id="data 500 deep"),
        pytest.param(b'{"sender":"alice","client_id":"c","body":{"data":{"a":"%b"}}}' % (b"x" * 20_000), 413, "too_large",
                     id="data of 20 kB"),
        pytest.param(b'{"%b":"%b"}' % ((MARK.encode(),) * 2), 400, "bad_request", id="other fields"),
        pytest.param(b'{"sender":{"%b":1},"client_id":"c","body":{"text":"a"}}' % MARK.encode(), 400, "bad_request", id="object"),
    ],
)  # fmt: skip
def test_a_bad_body_has_its_code(server: Attacked, content: bytes, status: int, code: str) -> None:
    """One table for the body that has everything in it."""
    reply = server.api.call("POST", MESSAGES, content=content)
    assert (reply.status, reply.code) == (status, code)
    assert MARK not in str(reply)


@pytest.mark.parametrize(
    "method, path, content, status",
    [
        ("POST", "/v1/tokens", b'{"user":"a","ttl_s":0}', 400),
        ("POST", "/v1/tokens", b'{"user":"a","ttl_s":-5}', 400),
        ("POST", "/v1/tokens", b'{"user":"a","ttl_s":1e9}', 400),
        ("POST", "/v1/tokens", b'{"user":"a","ttl_s":%b}' % (b"9" * 5_000), 400),
        ("POST", "/v1/tokens", b'{"user":"a","ttl_s":"60"}', 400),
        ("POST", "/v1/tokens", b'{"user":null}', 400),
        ("POST", "/v1/tickets", b"{}", 400),
        ("PUT", M, b'{"members":[]}', 400),
        ("PUT", M, b'{"members":["alice"]}', 400),
        ("PUT", M, b'{"members":["alice","alice"]}', 400),
        ("PUT", M, b'{"members":"alice,bob"}', 400),
        ("PUT", M, b'{"members":["alice",null]}', 400),
        ("PUT", M, b'{"members":["alice",["bob"]]}', 400),
        ("PUT", M, b'{"members":[%b]}' % b",".join(b'"u%d"' % number for number in range(51)), 400),
        ("POST", "/v1/users/alice/events", b'{"name":""}', 400),
        ("POST", "/v1/users/alice/events", b'{"name":"%b"}' % (b"a" * 65), 400),
        ("POST", "/v1/users/alice/events", b'{"name":"a","data":[]}', 400),
        ("POST", "/v1/users/alice/events", b'{"name":"a","data":{"a":1e999}}', 400),
    ],
)
def test_a_bad_value_is_refused(server: Attacked, method: str, path: str, content: bytes, status: int) -> None:
    """Out of bounds, of another type, too few or too many; nothing of it is done."""
    before = server.api.call("GET", M).json
    reply = server.api.call(method, path, content=content)
    assert reply.status == status, reply
    assert reply.code == "bad_request"
    assert server.api.call("GET", M).json == before


@pytest.mark.parametrize("depth", [100, 250, 260, 500, 900, *range(940, 1_000, 4)])
def test_an_event_of_any_depth_is_pushed_or_refused(server: Attacked, depth: int) -> None:
    """What decoding lets through encoding must manage, at every depth."""
    content = b'{"name":"deep","data":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    with Chatter.of(server.api, "bob") as bob:
        reply = server.api.call("POST", "/v1/users/bob/events", content=content)
        if reply.status == 202:
            assert bob.push("event")["name"] == "deep"
        else:
            assert reply.code in ("bad_request", "bad_json")
        assert bob.is_alive()
    assert (reply.status == 202) is (depth <= 250)


@pytest.mark.parametrize("data", ['{"a":%s}' % ("9" * 30), '{"a":"%s"}' % ("x" * 20_000), '{"a":-1e400}'])
def test_an_event_is_bounded_like_a_message(server: Attacked, data: str) -> None:
    """Numbers that clients cannot hold and data over the limit are refused."""
    with Chatter.of(server.api, "bob") as bob:
        reply = server.api.call("POST", "/v1/users/bob/events", content=f'{{"name":"e","data":{data}}}'.encode())
        assert (reply.status, reply.code) in ((400, "bad_request"), (413, "too_large"))
        assert bob.is_alive()


@pytest.mark.parametrize(
    "kind", ["text/plain", "", "application/jsonp", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_body_of_another_type_is_415(server: Attacked, kind: str) -> None:
    """A form on somebody's page cannot send JSON's type without asking first."""
    reply = server.api.call("POST", MESSAGES, MESSAGE, content_type=kind)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "path, status",
    [
        ("/v1/matches/%00", 400),
        ("/v1/matches/%0d%0aSet-Cookie:%20a=b", 400),
        ("/v1/matches/%ff", 400),
        ("/v1/matches/%c0%af", 400),
        ("/v1/matches/%ed%a0%80", 400),
        ("/v1/matches/%e2%80%a8", 400),
        ("/v1/matches/" + "a" * 65, 400),
        ("/v1/matches/" + "%F0%9F%98%80" * 65, 400),
        ("/v1/matches/%", 404),
        ("/v1/matches/%2e%2e", 404),
        ("/v1/matches/..", 404),
        ("/v1/matches/a%2Fmessages", 404),
        ("/v1/matches/m%2Fmessages", 404),
        ("/v1/matches/m%00", 400),
        ("/v1/matches/m%20", 404),
        ("/v1/matches/m/", 404),
        ("/v1/matches//messages", 404),
        ("/v1/matches/m/messages/", 404),
        ("/v1/Matches/m", 404),
        ("//v1/matches/m", 404),
        ("/v1/./matches/m", 404),
        ("/v1%2Fmatches%2Fm", 404),
        ("/v2/matches/m", 404),
        ("/v1/users/%00/matches", 400),
        (f"/v1/matches/{MARK}", 404),
    ],
)
def test_a_bad_path_reaches_nothing(server: Attacked, path: str, status: int) -> None:
    """No other match, no redirect, no header of the caller's making."""
    reply = server.api.call("GET", path)
    assert reply.status == status, reply
    assert reply.code in ("bad_request", "not_found")
    assert "location" not in reply.headers
    assert "set-cookie" not in reply.headers
    assert MARK not in str(reply)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=-1", "limit=1.5", "limit=", "limit=a", "limit=" + "9" * 5_000, "limit=%00", "limit=1&limit=999",
     "before=-1", "before=9007199254740992", "before=1e400", "before=NaN", "before=now", "after=%F0%9F%98%80", "after=[1]", "limit=0x10"],
)  # fmt: skip
def test_a_bad_query_is_refused(server: Attacked, query: str) -> None:
    """Numbers are numbers, within their bounds."""
    for path in (MESSAGES, "/v1/users/alice/matches") if "after" not in query else (MESSAGES,):
        reply = server.api.call("GET", f"{path}?{query}")
        assert (reply.status, reply.code) == (400, "bad_request")


@pytest.mark.parametrize(
    "method, path, allow",
    [
        ("PATCH", M, {"GET", "HEAD", "PUT", "DELETE"}),
        ("POST", M, {"GET", "HEAD", "PUT", "DELETE"}),
        ("OPTIONS", M, {"GET", "HEAD", "PUT", "DELETE"}),
        ("DELETE", MESSAGES, {"GET", "HEAD", "POST"}),
        ("GET", "/v1/tokens", {"POST"}),
        ("HEAD", "/v1/tokens", {"POST"}),
        ("PUT", "/v1/tickets", {"POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("DELETE", "/", {"GET", "HEAD"}),
        ("POST", "/metrics", {"GET", "HEAD"}),
        ("TRACE", "/protocol.json", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_405_and_told_the_right_ones(
    server: Attacked, method: str, path: str, allow: set[str]
) -> None:
    """RFC 9110 section 15.5.6."""
    reply = server.api.call(method, path)
    assert reply.status == 405
    assert set(reply.headers["allow"].replace(" ", "").split(",")) == allow
    if method != "HEAD":
        assert reply.code == "method_not_allowed"


def test_a_body_over_the_limit_is_413_however_it_comes(server: Attacked) -> None:
    """Announced, in chunks, or on a path that takes none."""
    assert server.api.call("POST", MESSAGES, content=b" " * 65_537).status == 413
    assert server.api.call("POST", MESSAGES, content=b" " * 65_536).code == "bad_json"
    assert server.api.call("GET", M, content=b" " * 65_537).status == 413


def test_a_user_who_posts_too_fast_waits(server: Attacked) -> None:
    """The same bucket as a connection's; the answer says how long, in both ways that HTTP has."""
    server.api.make_match("fast", "carol", "bob")
    carol = server.api.as_(server.api.token("carol"))
    replies = [carol.post("fast", None, f"c{number}", "hi") for number in range(30)]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert {reply.code for reply in refused} == {"rate_limited"}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert len(replies) - len(refused) >= 20


def test_requests_that_are_cut_anywhere_do_no_harm(server: Attacked) -> None:
    """Every prefix of a good request, then the end."""
    request = (
        b"POST /v1/matches/m/messages HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev\r\nContent-Type: application/json\r\n"
        b'Content-Length: 58\r\n\r\n{"sender":"alice","client_id":"cut","body":{"text":"hello"}}'
    )
    for size in range(0, len(request), 5):
        with RawClient(server.address) as client:
            client.send(request[:size])
    assert server.left_over() == {}


def test_development_help_is_for_development_only() -> None:
    """Without --dev there is no key that everybody knows, and no page that hands it out."""
    settings = {"TOKEN_SECRETS": "k" * 8 + "0f1e2d3c4b5a69788796a5b4c3d2e1f0"}
    with attacked(settings, dev=False) as server:
        assert server.api.as_("").call("GET", "/v1/dev").status == 404
        assert server.api.call("GET", M).status == 401
        assert Api(server.port, "").call("PUT", match_path("x"), {"members": ["a", "b"]}).status == 401
