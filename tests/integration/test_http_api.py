"""The HTTP side as browsers, proxies and generators of clients see it: headers, caches, documents, paths, random requests."""

from collections.abc import Iterator

import jsonschema_rs
import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok

from tests.support.api import Api
from tests.support.attacked import Attacked, attacked
from tests.support.programs import ROOT

DOCUMENT = orjson.loads((ROOT / "docs" / "protocol.json").read_bytes())
EXAMPLES_PER_OPERATION = 10


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """A server on SQLite, looked at when all tests are through."""
    with attacked({"PRESENCE_DEBOUNCE_MS": "0"}, tmp_path_factory.mktemp("api") / "duologue.db") as target:
        yield target


@pytest.fixture
def api(target: Attacked) -> Api:
    """The API as the backend calls it."""
    return target.api


# ---- what every answer has


@pytest.mark.parametrize(
    "path", ["/", "/app.js", "/style.css", "/healthz", "/readyz", "/metrics", "/protocol.json", "/openapi.json", "/nowhere",
             "/v1/matches/none", "/v1/tokens"],
)  # fmt: skip
def test_every_answer_keeps_the_page_to_itself(api: Api, path: str) -> None:
    """Good or bad, page or API: no script of others, no frame, no sniffing, no referrer, and nobody else's page may read it."""
    reply = api.call("GET", path, origin="https://evil.example")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"
    assert not [
        name for name in reply.headers if name.startswith("access-control-") or name in ("server", "set-cookie")
    ]


def test_no_page_may_ask_before(api: Api) -> None:
    """CORS is closed: a preflight gets no permission."""
    reply = api.as_("").call(
        "OPTIONS", "/v1/tokens", origin="https://evil.example", access_control_request_method="POST"
    )
    assert reply.status == 405
    assert not [name for name in reply.headers if name.startswith("access-control-")]


# ---- the page's files


def test_the_page_is_cached_by_its_content(api: Api) -> None:
    """The browser asks each time; what it has is not sent again."""
    first = api.call("GET", "/")
    assert (first.status, first.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = api.call("GET", "/", if_none_match=known)
        assert (again.status, again.content, again.headers["etag"]) == (304, b"", etag)
    assert api.call("GET", "/", if_none_match='"other"').content == first.content
    assert api.call("GET", "/index.html").content == first.content


@pytest.mark.parametrize("path", ["/", "/app.js", "/healthz", "/protocol.json", "/v1/matches/head"])
def test_head_is_get_without_the_body(api: Api, path: str) -> None:
    """The same status and headers."""
    api.make_match("head", "alice", "bob")
    got, headed = api.call("GET", path), api.call("HEAD", path)
    assert (headed.status, headed.content) == (got.status, b"")
    assert headed.headers == got.headers
    assert int(got.headers["content-length"]) == len(got.content) > 0


def test_only_what_is_for_browsers_is_served(api: Api) -> None:
    """Each file beside the page is served by its kind or not at all; what developers need is not there."""
    folder = ROOT / "web"
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and "node_modules" not in path.parts):
        reply = api.call("GET", f"/{file.relative_to(folder).as_posix()}")
        if "tests" in file.relative_to(folder).parts or file.suffix in (".json", ".md", ".ts"):
            assert reply.status == 404, file
        elif file.suffix in kinds:
            assert reply.status == 200, file
            assert reply.content == file.read_bytes()
            assert reply.headers["content-type"].startswith(kinds[file.suffix])


# ---- the API


def test_a_slash_in_an_id_is_part_of_the_id(api: Api) -> None:
    """Escaped it is one segment: `a/messages` is a match, and not the messages of `a`."""
    api.make_match("a", "alice", "bob")
    api.make_match("a/messages", "carol", "dave")
    assert api.call("GET", "/v1/matches/a%2Fmessages").json["members"] == ["carol", "dave"]
    assert "messages" in api.call("GET", "/v1/matches/a/messages").json
    assert api.post("a/messages", "carol", "c", "hi").status == 201
    assert api.call("GET", "/v1/matches/a").json["messages"] == 0


def test_repeating_a_request_repeats_its_effect_once(api: Api) -> None:
    """PUT and POST by their names; DELETE of what has ended is done already."""
    assert api.make_match("twice", "alice", "bob").status == 201
    same = api.make_match("twice", "bob", "alice", "alice")
    assert (same.status, same.json["last_seq"]) == (200, 1)
    first, second = (api.post("twice", "alice", "c", "hi") for _ in range(2))
    assert (first.status, second.status) == (201, 200)
    assert {**first.json, "duplicate": True} == second.json
    assert api.post("twice", "alice", "c", "something else").code == "client_id_conflict"
    assert [api.call("DELETE", "/v1/matches/twice").status for _ in range(2)] == [204, 204]
    ended = api.call("GET", "/v1/matches/twice").json
    assert (ended["members"], ended["last_seq"]) == ([], 3)


def test_pages_go_both_ways_to_the_end(api: Api) -> None:
    """Of messages and of matches: each entry once, in order, and `complete` at the end."""
    api.make_match("pages", "paul", "petra")
    for number in range(7):
        api.post("pages", "paul", f"c{number}", str(number))
    newest_first = pages(api, "/v1/matches/pages/messages?limit=3", "before", "messages", "created_at")
    assert [entry["seq"] for entry in newest_first] == [8, 7, 6, 5, 4, 3, 2, 1]
    oldest_first = pages(api, "/v1/matches/pages/messages?limit=3&after=0", "after", "messages", "created_at")
    assert oldest_first == newest_first[::-1]
    for number in range(5):
        api.make_match(f"pages-{number}", "paul", "petra")
    matches = pages(api, "/v1/users/paul/matches?limit=2", "before", "matches", "last_at")
    assert [match["match"] for match in matches] == [*(f"pages-{number}" for number in range(4, -1, -1)), "pages"]


def pages(api: Api, path: str, mark: str, field: str, time: str) -> list[dict[str, object]]:
    """Read page after page."""
    found: list[dict[str, object]] = []
    target = path
    while True:
        page = api.call("GET", target).json
        entries = page[field]
        assert isinstance(entries, list)
        found += entries
        if page["complete"]:
            return found
        target = f"{path}&{mark}={entries[-1][time]}"


def test_a_body_may_come_in_chunks_and_say_its_charset(api: Api) -> None:
    """As some proxies and libraries send it."""
    content = orjson.dumps({"user": "alice"})
    reply = api.call("POST", "/v1/tokens", content=content, content_type="Application/JSON; charset=utf-8")
    assert reply.status == 201
    assert reply.headers["cache-control"] == "no-store"


# ---- the documents


def test_the_documents_are_what_they_say(api: Api) -> None:
    """`/protocol.json` is the committed one and a JSON Schema; `/openapi.json` is OpenAPI 3.1 with every operation secured."""
    protocol = api.call("GET", "/protocol.json")
    assert protocol.headers["content-type"] == "application/json"
    assert protocol.json == DOCUMENT
    jsonschema_rs.meta.validate(DOCUMENT)
    document = api.call("GET", "/openapi.json").json
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    assert schema.specification.version == "3.1.0"
    assert document["security"] == [{"bearer": []}]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:schemathesis")
@pytest.mark.parametrize("key", ["dev", "", "token"])
def test_random_requests_meet_no_fault_and_get_documented_answers(target: Attacked, key: str) -> None:
    """Made from `/openapi.json`, as the backend, as a user and as nobody: no 5xx, and every answer is as documented."""
    api = target.api
    api.make_match("0", "0", "1")
    credential = api.token("0") if key == "token" else key
    schema = schemathesis.openapi.from_dict(api.call("GET", "/openapi.json").json)
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}

    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES_PER_OPERATION,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(case=operation.as_strategy())
        def ask(case: Case) -> None:  # type: ignore[type-arg]  # generic over its four parts, none of which matters
            response = case.call(base_url=target.server.http_url, headers=headers)
            assert response.status_code < 500, response.text
            case.operation.schema.validate_response(case.operation, response)

        ask()
    assert target.problems() == []
