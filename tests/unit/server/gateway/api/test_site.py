"""What of a folder is served, and how."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from server.gateway.api.site import RawPaths, SecureHeaders, Site, assets_of


def folder(tmp_path: Path) -> Path:
    """Make a folder as `web/` is."""
    for name in (
        "index.html",
        "app.js",
        "sub/style.css",
        "package.json",
        "notes.md",
        "tests/test.js",
        "node_modules/x/x.js",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
    (tmp_path / "folder.js").mkdir()
    return tmp_path


def request(path: str, **headers: str) -> Request:
    """Make a request as it reaches a handler."""
    lines = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return Request({"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": lines})


def test_only_known_kinds_outside_hidden_folders_are_assets(tmp_path: Path) -> None:
    """The index is the root, too."""
    assets = assets_of(folder(tmp_path))
    assert list(assets) == ["/app.js", "/index.html", "/sub/style.css", "/"]
    assert assets["/"] is assets["/index.html"]
    assert assets["/sub/style.css"].kind == "text/css; charset=utf-8"


def test_a_folder_without_an_index_has_no_root(tmp_path: Path) -> None:
    """And one that is not there has nothing."""
    (tmp_path / "app.js").write_text("1")
    assert Site(tmp_path).paths == ("/app.js",)
    assert Site(tmp_path / "missing").paths == ()


async def test_what_the_browser_has_is_not_sent_again(tmp_path: Path) -> None:
    """By content: a file with other content has another tag."""
    site = Site(folder(tmp_path))
    first = await site.serve(request("/app.js"))
    assert (first.status_code, bytes(first.body)) == (200, b"this is app.js")
    again = await site.serve(request("/app.js", if_none_match=first.headers["etag"]))
    assert (again.status_code, bytes(again.body), again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = await site.serve(request("/", if_none_match=first.headers["etag"]))
    assert other.status_code == 200


async def test_every_answer_gets_the_headers_and_the_path_as_it_was_sent() -> None:
    """Escapes stay escapes; the headers of the answer stay beside ours."""
    seen: list[str] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await Response("x", headers={"ETag": '"1"'})(scope, receive, send)

    async def receive() -> Message:
        raise AssertionError("nobody asked for the body")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/a/b", "raw_path": b"/a%2Fb", "headers": []}
    await SecureHeaders(RawPaths(app))(scope, receive, send)
    assert seen == ["/a%2Fb"]
    names = [name for name, _ in sent[0]["headers"]]
    assert b"etag" in names
    assert b"content-security-policy" in names
    assert sent[1]["body"] == b"x"
