"""The application around the endpoints: what becomes of faults, of a store that is away, of a node that is not ready."""

import logging
from pathlib import Path
from typing import cast

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from protocol.errors import ErrorCode
from server.core.readiness import Ready
from server.gateway.api.answers import Problem
from server.gateway.api.blocks import BlockEndpoints
from server.gateway.api.calls import CallEndpoints
from server.gateway.api.endpoints import Endpoints
from server.gateway.api.presence import PresenceEndpoints
from server.gateway.api.routes import ALL_OPERATIONS, HttpParts, application
from server.ports import StoreUnavailable
from server.telemetry import Telemetry


class Failing:
    """Endpoints of which each raises the same."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def fail(self, request: Request) -> Response:
        """Be a fault."""
        raise self._error

    def __getattr__(self, name: str) -> object:
        return self.fail


async def call(
    path: str, *, error: Exception | None = None, ready: bool = True, method: str = "GET", key: str | None = None
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send one request through the application; return status, headers and body."""

    async def readiness() -> Ready:
        return Ready(ready, {"store": "ok" if ready else "away"})

    failing = Failing(error or AssertionError())
    parts = HttpParts(
        cast("Endpoints", failing),
        cast("CallEndpoints", failing),
        cast("PresenceEndpoints", failing),
        cast("BlockEndpoints", failing),
        readiness,
        Telemetry,
        Path("/none"),
        key,
    )
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = path.encode()
    scope = {"type": "http", "method": method, "path": path, "raw_path": raw, "query_string": b"", "headers": []}
    await application(parts)({**scope, "scheme": "http", "server": ("127.0.0.1", 1), "root_path": ""}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1].get("body", b"")


@pytest.mark.parametrize("operation", ALL_OPERATIONS, ids=lambda operation: operation.name)
async def test_a_fault_is_told_vaguely_and_logged_once(operation: object, caplog: pytest.LogCaptureFixture) -> None:
    """With the headers of every answer, and nothing of what went wrong."""
    (chosen,) = (each for each in ALL_OPERATIONS if each is operation)
    status, headers, body = await call(
        chosen.path.replace("{", "").replace("}", ""), error=ZeroDivisionError("planted"), method=chosen.method
    )
    assert (status, b"planted" in body, b'"internal"' in body) == (500, False, True)
    assert b"content-security-policy" in headers
    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert record.exc_info is not None


async def test_a_store_that_is_away_is_503_with_a_time() -> None:
    """As on the socket."""
    status, headers, body = await call("/v1/matches/m", error=StoreUnavailable("away", retry_after_ms=2_500))
    assert (status, headers[b"retry-after"]) == (503, b"3")
    assert b'"retry_after_ms":2500' in body


async def test_a_problem_is_its_status() -> None:
    """Whatever raises it."""
    assert (await call("/v1/matches/m", error=Problem(ErrorCode.NOT_MEMBER)))[0] == 403


async def test_readiness_is_told_by_status() -> None:
    """Load balancers read nothing else."""
    assert (await call("/readyz"))[0] == 200
    status, _, body = await call("/readyz", ready=False)
    assert (status, body) == (503, b'{"ready":false,"checks":{"store":"away"}}')


async def test_the_development_key_is_there_only_when_it_is_one() -> None:
    """Otherwise the path does not exist."""
    assert (await call("/v1/dev"))[0] == 404
    assert (await call("/v1/dev", key="dev"))[2] == b'{"dev":true,"api_key":"dev"}'


@pytest.mark.parametrize("path", ["/healthz/", "/v1/matches/", "//healthz"])
async def test_no_path_is_redirected(path: str) -> None:
    """Where to would be the caller's word."""
    status, headers, _ = await call(path)
    assert (status, b"location" in headers) == (404, False)
