"""Reading the parts of a request, and the form of every error."""

import msgspec
import pytest
from starlette.requests import Request
from starlette.types import Message

from protocol.errors import CATALOGUE, ErrorCode
from server.core.log import NOT_MEMBER
from server.gateway.api.answers import Problem, body, error, match_in_path, paging, unrefused, user_in_path

decode = msgspec.json.Decoder(dict[str, int]).decode


def asked(query: str = "", *chunks: bytes, kind: str = "application/json", **path_params: str) -> Request:
    """Make a request whose body comes in `chunks`; without any the client goes away."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if messages:
        messages[-1]["more_body"] = False

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    headers = [(b"content-type", kind.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": headers}
    return Request({**scope, "path_params": path_params}, receive)


def code_of(problem: pytest.ExceptionInfo[Problem]) -> ErrorCode:
    """Return the code of what was raised."""
    return problem.value.code


async def test_a_body_in_pieces_is_one_body() -> None:
    """And the type may name a charset."""
    assert await body(asked("", b'{"a"', b":1}", kind="Application/JSON ; charset=utf-8"), decode) == {"a": 1}


@pytest.mark.parametrize(
    "request_, code",
    [
        (asked("", b"{}", kind="text/json"), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
        (asked("", b"{"), ErrorCode.BAD_JSON),
        (asked("", b'{"a":"x"}'), ErrorCode.BAD_REQUEST),
        (asked(), ErrorCode.BAD_REQUEST),
    ],
)
async def test_a_bad_body_is_a_problem(request_: Request, code: ErrorCode) -> None:
    """Also one that never comes."""
    with pytest.raises(Problem) as problem:
        await body(request_, decode)
    assert code_of(problem) is code


def test_ids_in_the_path_are_unescaped_once() -> None:
    """An escaped per cent sign is a per cent sign."""
    request = asked(match="a%2Fb%252F", user="%F0%9F%98%80")
    assert (match_in_path(request), user_in_path(request)) == ("a/b%2F", "😀")


@pytest.mark.parametrize("text", ["", "%00", "%ff", "a" * 65, "%E2%80%A8"])
def test_a_bad_id_in_the_path_is_a_problem(text: str) -> None:
    """It names the place and not the id."""
    with pytest.raises(Problem, match="bad_request") as problem:
        match_in_path(asked(match=text))
    assert "path" in problem.value.message


def test_a_page_has_defaults_and_bounds() -> None:
    """Messages have two directions, matches one."""
    page = paging(asked("before=5&after=3&limit=7"))
    assert (page.before, page.after, page.limit) == (5, 3, 7)
    assert (paging(asked()).limit, paging(asked(), of_matches=True).limit) == (50, 100)
    assert paging(asked("after=3"), of_matches=True).after is None
    for query in ("limit=0", "limit=201", "limit=x", "before=-1"):
        with pytest.raises(Problem):
            paging(asked(query))
    with pytest.raises(Problem):
        paging(asked("limit=101"), of_matches=True)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_has_its_status_and_form(code: ErrorCode) -> None:
    """A time to wait is told twice; who is unknown is told how to say who they are."""
    response = error(Problem(code, retry_after_ms=1_001))
    assert response.status_code == CATALOGUE[code].http_status
    assert response.headers["retry-after"] == "2"
    assert (response.headers.get("www-authenticate") == "Bearer") is (
        code in (ErrorCode.UNAUTHENTICATED, ErrorCode.TOKEN_INVALID, ErrorCode.TOKEN_EXPIRED)
    )
    detail = msgspec.json.decode(response.body)["error"]
    assert detail == {"code": code.value, "message": CATALOGUE[code].what_to_do, "retry_after_ms": 1_001}


def test_a_refusal_is_raised_and_a_result_is_returned() -> None:
    """As the store gives them."""
    assert unrefused("result") == "result"
    with pytest.raises(Problem) as problem:
        unrefused(NOT_MEMBER)
    assert code_of(problem) is ErrorCode.NOT_MEMBER
