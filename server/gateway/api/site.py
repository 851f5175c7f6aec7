"""The demo page: what lies in `web/` for browsers, read once at start, and the headers that keep a page to itself.

Only files of known kinds are served, by exact path out of memory: no path can leave the folder, and what is there for
developers (node_modules, tests, package.json) is not there for browsers.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_KINDS: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
_HIDDEN: Final = frozenset({"node_modules", "tests"})
SECURITY_HEADERS: Final[Mapping[bytes, bytes]] = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(self), microphone=(self), display-capture=(self), geolocation=()",
}


class Asset(Struct, frozen=True):
    """One file as it is served."""

    content: bytes
    kind: str
    etag: str


def assets_of(folder: Path) -> dict[str, Asset]:
    """Read everything below `folder` that is for browsers, by the path that it is asked for with."""
    assets = {}
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        kind = _KINDS.get(file.suffix)
        if kind is None or not file.is_file() or _HIDDEN.intersection(relative.parts):
            continue
        content = file.read_bytes()
        assets[f"/{relative.as_posix()}"] = Asset(content, kind, f'"{sha256(content).hexdigest()[:24]}"')
    if "/index.html" in assets:
        assets["/"] = assets["/index.html"]
    return assets


class Site:
    """Answers for the page's files; browsers ask again each time and are told when nothing changed."""

    def __init__(self, folder: Path) -> None:
        self._assets = assets_of(folder)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that are served."""
        return tuple(self._assets)

    async def serve(self, request: Request) -> Response:
        """Answer for one of `paths`."""
        asset = self._assets[request.scope["path"]]
        headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.content, headers=headers, media_type=asset.kind)


class RawPaths:
    """Middleware: routes by the path as it was sent, so that an id may hold a slash (as %2F) and no path has two forms."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        raw: bytes = scope["raw_path"]
        scope["path"] = raw.decode("latin-1")
        await self._app(scope, receive, send)


class SecureHeaders:
    """Middleware: puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY_HEADERS.items()]
            await send(message)

        await self._app(scope, receive, send_secured)
