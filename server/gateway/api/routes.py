"""The table of routes, and the application that Starlette makes of it."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from protocol.errors import ErrorCode
from protocol.from_client import JsonObject
from protocol.schema import protocol_document
from server.core.calls import CallSettings
from server.core.readiness import Ready
from server.gateway.api.answers import JSON, Problem, answer, error
from server.gateway.api.blocks import BlockEndpoints, BlocksAnswer
from server.gateway.api.calls import CallEndpoints, CallsAnswer
from server.gateway.api.endpoints import Endpoints
from server.gateway.api.limits import tell_limits
from server.gateway.api.openapi import Operation, encoded, openapi_document
from server.gateway.api.presence import PresenceAnswer, PresenceEndpoints
from server.gateway.api.requests import (
    EventAnswer,
    EventRequest,
    MatchAnswer,
    MatchesAnswer,
    MembersRequest,
    MessageAnswer,
    MessageRequest,
    MessagesAnswer,
    SessionsAnswer,
    TicketAnswer,
    TicketRequest,
    TokenAnswer,
    TokenRequest,
)
from server.gateway.api.site import RawPaths, SecureHeaders, Site
from server.ports import StoreUnavailable
from server.telemetry import CONTENT_TYPE, Telemetry, event, exposition
from signaling.views import CallRecord

_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]
MATCH: Final = "/v1/matches/{match}"
SESSIONS: Final = "/v1/users/{user}/sessions"
MESSAGES: Final = "/v1/matches/{match}/messages"
_STATUS_CODES: Final[Mapping[int, ErrorCode]] = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}


class DevelopmentAnswer(Struct, frozen=True):
    """What the demo page needs to help itself; only in development mode."""

    dev: bool
    api_key: str


class HttpParts(Struct, frozen=True):
    """What the application is made of. `telemetry` is None where a private port tells it.

    `development_key` is None outside development mode.
    """

    endpoints: Endpoints
    calls: CallEndpoints
    presence: PresenceEndpoints
    blocks: BlockEndpoints
    readiness: Callable[[], Awaitable[Ready]]
    telemetry: Callable[[], Telemetry] | None
    web: Path
    development_key: str | None


OPERATIONS: Final = (
    Operation("POST", "/v1/tokens", "make_token", "Make an access token for a user.", "API key", TokenRequest,
              {201: TokenAnswer}),
    Operation("POST", "/v1/tickets", "make_ticket", "Make a one-use ticket for `/ws?ticket=`.", "API key, user",
              TicketRequest, {201: TicketAnswer}),
    Operation("PUT", MATCH, "put_match", "Make a match or change its members.", "API key", MembersRequest,
              {200: MatchAnswer, 201: MatchAnswer}),
    Operation("GET", MATCH, "get_match", "Read a match.", "API key, members", None, {200: MatchAnswer}),
    Operation("DELETE", MATCH, "end_match", "End a match; its log stays readable for the backend.", "API key", None,
              {204: None}),
    Operation("GET", MESSAGES, "list_messages", "Read a page of a match's log.", "API key, members", None,
              {200: MessagesAnswer}, ("before", "after", "limit")),
    Operation("POST", MESSAGES, "post_message", "Post a message.", "API key with `sender`, members", MessageRequest,
              {200: MessageAnswer, 201: MessageAnswer}),
    Operation("GET", "/v1/users/{user}/matches", "list_matches", "Read a page of a user's matches.", "API key, the user",
              None, {200: MatchesAnswer}, ("before", "limit")),
    Operation("GET", SESSIONS, "list_sessions", "List a user's connected sessions.", "API key, the user", None,
              {200: SessionsAnswer}),
    Operation("DELETE", SESSIONS, "end_sessions", "End all sessions of a user and refuse the tokens issued until now.",
              "API key, the user", None, {204: None}),
    Operation("DELETE", f"{SESSIONS}/{{session}}", "end_session", "End one session and refuse its token.",
              "API key, the user", None, {204: None}),
    Operation("POST", "/v1/users/{user}/events", "post_event", "Push an unstored event to a user's devices.", "API key",
              EventRequest, {202: EventAnswer}),
)  # fmt: skip


CALLS: Final = "/v1/calls"
CALL_SETTINGS: Final = "/v1/users/{user}/call-settings"
CALL_OPERATIONS: Final = (
    Operation("GET", CALLS, "list_calls", "Read a page of calls, newest start first.",
              "API key, users (their own calls)", None, {200: CallsAnswer}, ("limit",), ("user", "match", "before")),
    Operation("GET", f"{CALLS}/{{call}}", "get_call", "Read what is known of a call.", "API key, who was called or in it",
              None, {200: CallRecord}),
    Operation("DELETE", f"{CALLS}/{{call}}", "end_call", "End a call for everybody.", "API key", None, {204: None}),
    Operation("GET", CALL_SETTINGS, "get_call_settings", "Read how a user wants to be called.", "API key, the user", None,
              {200: CallSettings}),
    Operation("PUT", CALL_SETTINGS, "put_call_settings", "Say how a user wants to be called.", "API key, the user",
              CallSettings, {200: CallSettings}),
)  # fmt: skip


PRESENCE_OPERATIONS: Final = (
    Operation("GET", "/v1/presence", "get_presence",
              "Read how up to 200 users are: in `users`, joined by commas, or each in a `user` of its own.", "API key", None,
              {200: PresenceAnswer}, joined=("users",), repeated=("user",)),
)  # fmt: skip


BLOCKS: Final = "/v1/users/{user}/blocks"
BLOCK_OPERATIONS: Final = (
    Operation("GET", BLOCKS, "list_blocks", "List everybody whom a user has blocked.", "API key, the user", None,
              {200: BlocksAnswer}),
    Operation("PUT", f"{BLOCKS}/{{other}}", "put_block", "Have a user block another one.", "API key, the user", None,
              {204: None}),
    Operation("DELETE", f"{BLOCKS}/{{other}}", "end_block", "Take a block back.", "API key, the user", None, {204: None}),
)  # fmt: skip

ALL_OPERATIONS: Final = (*OPERATIONS, *CALL_OPERATIONS, *PRESENCE_OPERATIONS, *BLOCK_OPERATIONS)


def application(parts: HttpParts) -> Starlette:
    """Make the ASGI application of the whole HTTP side."""
    site = Site(parts.web)
    routes = [
        *_api_routes(parts.endpoints, OPERATIONS),
        *_api_routes(parts.calls, CALL_OPERATIONS),
        *_api_routes(parts.presence, PRESENCE_OPERATIONS),
        *_api_routes(parts.blocks, BLOCK_OPERATIONS),
        *_state_routes(parts.readiness, parts.telemetry),
        _route("/protocol.json", _document(protocol_document())),
        _route("/openapi.json", _document(openapi_document(ALL_OPERATIONS))),
        *(_route(path, site.serve) for path in site.paths),
    ]
    if parts.development_key is not None:
        routes.append(_route("/v1/dev", _development(parts.development_key)))
    return _made_of(routes)


def private_application(readiness: Callable[[], Awaitable[Ready]], telemetry: Callable[[], Telemetry]) -> Starlette:
    """Make the ASGI application of the private port: a node's state and numbers, nothing else."""
    return _made_of(_state_routes(readiness, telemetry))


def _made_of(routes: Sequence[Route]) -> Starlette:
    handlers = {HTTPException: _answer_http_exception}
    app = Starlette(
        routes=routes, middleware=[Middleware(SecureHeaders), Middleware(RawPaths)], exception_handlers=handlers
    )
    # Starlette would send `/healthz/` to wherever the Host header says: an open redirect.
    app.router.redirect_slashes = False
    return app


def _state_routes(
    readiness: Callable[[], Awaitable[Ready]], telemetry: Callable[[], Telemetry] | None
) -> Sequence[Route]:
    always = [_route("/healthz", _healthy), _route("/readyz", _readiness(readiness))]
    return always if telemetry is None else [*always, _route("/metrics", _metrics(telemetry))]


def _api_routes(
    endpoints: Endpoints | CallEndpoints | PresenceEndpoints | BlockEndpoints, operations: Sequence[Operation]
) -> list[Route]:
    by_path: dict[str, dict[str, Handler]] = {}
    for each in operations:
        by_path.setdefault(each.path, {})[each.method] = getattr(endpoints, each.name)
    return [_route(path, _by_method(handlers), *handlers) for path, handlers in by_path.items()]


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    async def handler(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handler


def _route(path: str, handler: Handler, *methods: str) -> Route:
    async def guarded(request: Request) -> Response:
        return tell_limits(request, await answered(request))

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except Problem as problem:
            return error(problem)
        except StoreUnavailable as unavailable:
            return error(Problem(ErrorCode.UNAVAILABLE, retry_after_ms=unavailable.retry_after_ms))
        except Exception as fault:  # noqa: BLE001 - told vaguely and logged once; left to Starlette it is logged twice
            _log.error("api.fault", exc_info=fault, extra=event(method=request.method, path=path))
            return error(Problem(ErrorCode.INTERNAL))

    return Route(path, guarded, methods=methods or ("GET",))


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _readiness(check: Callable[[], Awaitable[Ready]]) -> Handler:
    async def handler(_: Request) -> Response:
        ready = await check()
        return answer(ready, 200 if ready.ready else 503)

    return handler


def _metrics(telemetry: Callable[[], Telemetry]) -> Handler:
    async def handler(_: Request) -> Response:
        return Response(exposition(telemetry()), headers={"Content-Type": CONTENT_TYPE})

    return handler


def _document(document: JsonObject) -> Handler:
    content = encoded(document)

    async def handler(_: Request) -> Response:
        return Response(content, media_type=JSON)

    return handler


def _development(api_key: str) -> Handler:
    async def handler(_: Request) -> Response:
        return answer(DevelopmentAnswer(dev=True, api_key=api_key))

    return handler


async def _answer_http_exception(_: Request, exception: Exception) -> Response:
    assert isinstance(exception, HTTPException)
    response = error(Problem(_STATUS_CODES.get(exception.status_code, ErrorCode.BAD_REQUEST)))
    response.status_code = exception.status_code
    response.headers.update(exception.headers or {})
    return response
