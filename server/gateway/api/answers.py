"""JSON in, JSON out: reading a request's parts strictly, and the one form of every error."""

from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from protocol.codec import Malformed, check_id, decode_with
from protocol.errors import CATALOGUE, ErrorCode
from protocol.ids import (
    MatchId,
    Micros,
    SessionId,
    UserId,
    WireMatchId,
    WireMicros,
    WireSessionId,
    WireUserId,
)
from protocol.limits import MATCHES_PAGE_MAX, PAGE_DEFAULT, PAGE_MAX
from server.core.log import Refused
from server.gateway.api.requests import ErrorAnswer, ErrorDetail

JSON: Final = "application/json"
Asked = TypeVar("Asked")


class Problem(Exception):
    """Ends a request with an error of the catalogue."""

    def __init__(self, code: ErrorCode, message: str = "", *, retry_after_ms: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message or CATALOGUE[code].what_to_do
        self.retry_after_ms = retry_after_ms


def answer(value: msgspec.Struct, status: int = 200) -> Response:
    """Answer with `value` as JSON; what the API says is nobody's to keep."""
    return Response(msgspec.json.encode(value), status, {"Cache-Control": "no-store"}, JSON)


def error(problem: Problem) -> Response:
    """Answer with the catalogue's status and form."""
    detail = ErrorDetail(problem.code, problem.message, problem.retry_after_ms)
    response = answer(ErrorAnswer(detail), CATALOGUE[problem.code].http_status)
    if problem.retry_after_ms is not None:
        response.headers["Retry-After"] = str(max(1, -(-problem.retry_after_ms // 1000)))
    if problem.code in (ErrorCode.UNAUTHENTICATED, ErrorCode.TOKEN_INVALID, ErrorCode.TOKEN_EXPIRED):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def unrefused(outcome: Asked | Refused) -> Asked:
    """Return what was asked for, or raise the refusal."""
    if isinstance(outcome, Refused):
        raise Problem(outcome.code, outcome.message, retry_after_ms=outcome.retry_after_ms)
    return outcome


async def body(request: Request, decoder: Callable[[bytes], Asked]) -> Asked:
    """Read and decode the request's JSON body; its size is bounded by the connection."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Problem(ErrorCode.UNSUPPORTED_MEDIA_TYPE)
    try:
        payload = await request.body()
    except ClientDisconnect:
        raise Problem(ErrorCode.BAD_REQUEST, "the body did not arrive") from None
    try:
        return decode_with(decoder, payload)
    except Malformed as problem:
        raise Problem(problem.code, problem.message) from None


def match_in_path(request: Request) -> MatchId:
    """Read `{match}` of the path."""
    return _convert(_decoded(request.path_params["match"]), WireMatchId, "match in the path")


def user_in_path(request: Request) -> UserId:
    """Read `{user}` of the path."""
    return _convert(_decoded(request.path_params["user"]), WireUserId, "user in the path")


def session_in_path(request: Request) -> SessionId:
    """Read `{session}` of the path."""
    return _convert(_decoded(request.path_params["session"]), WireSessionId, "session in the path")


def in_path(request: Request, name: str, kind: type[Asked]) -> Asked:
    """Read a part of the path."""
    return _convert(_decoded(request.path_params[name]), kind, f"{name} in the path")


def in_query(request: Request, name: str, kind: type[Asked]) -> Asked | None:
    """Read a field of the query; None when it is not there."""
    text = request.query_params.get(name)
    return None if text is None else _convert(text, kind, f"{name} in the query")


def each_in_query(request: Request, name: str, kind: type[Asked], *, separator: str | None = None) -> tuple[Asked, ...]:
    """Read a field of the query that may be there often, and hold several values between separators."""
    texts = request.query_params.getlist(name)
    values = texts if separator is None else [value for text in texts for value in text.split(separator)]
    return tuple(_convert(value, kind, f"{name} in the query") for value in values)


def clean_id(path: str, text: str) -> None:
    """Refuse an id with control characters."""
    try:
        check_id(path, text)
    except Malformed as problem:
        raise Problem(problem.code, problem.message) from None


class Paging(msgspec.Struct, frozen=True):
    """The query of a page."""

    before: WireMicros | None
    after: WireMicros | None
    limit: int


def paging(request: Request, *, of_matches: bool = False) -> Paging:
    """Read `before`, `after` (messages only) and `limit` of the query."""
    most, default = (MATCHES_PAGE_MAX, MATCHES_PAGE_MAX) if of_matches else (PAGE_MAX, PAGE_DEFAULT)
    asked = _number(request, "limit")
    limit = default if asked is None else int(asked)
    if not 1 <= limit <= most:
        raise Problem(ErrorCode.BAD_REQUEST, f"limit must be 1 to {most} - in the query")
    return Paging(_number(request, "before"), None if of_matches else _number(request, "after"), limit)


def _decoded(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise Problem(ErrorCode.BAD_REQUEST, "not UTF-8 - in the path") from None


def _number(request: Request, name: str) -> Micros | None:
    text = request.query_params.get(name)
    return None if text is None else _convert(text, WireMicros, f"{name} in the query")


def _convert(text: str, kind: type[Asked], place: str) -> Asked:
    try:
        value = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as problem:
        raise Problem(ErrorCode.BAD_REQUEST, f"{str(problem).partition(' - at ')[0]} - {place}") from None
    if isinstance(value, str):
        clean_id(place, value)
    return value
