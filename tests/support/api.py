"""The HTTP API as a test calls it: one connection a call, and every error in the form that the API promises."""

from http.client import HTTPConnection
from typing import Final
from urllib.parse import quote

import msgspec
import orjson
from msgspec import Struct

DEV_KEY: Final = "dev"
JSON: Final = "application/json"
ERROR: Final = {"code", "message"}


class Reply(Struct, frozen=True):
    """An answer: header names are in small letters."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        return msgspec.json.decode(self.content, type=dict[str, object])

    @property
    def code(self) -> str:
        """The code of an error, whose form is checked."""
        assert self.headers["content-type"] == JSON, self
        assert self.json.keys() == {"error"}, self
        error = self.json["error"]
        assert isinstance(error, dict)
        assert ERROR <= error.keys() <= ERROR | {"retry_after_ms"}, self
        return str(error["code"])


class Api(Struct, frozen=True):
    """Calls the API of the server at `port` with `credential`; "" sends none."""

    port: int
    credential: str = DEV_KEY

    def as_(self, credential: str) -> "Api":
        """Call with another credential."""
        return Api(self.port, credential)

    def call(
        self, method: str, path: str, value: object = None, *, content: bytes | None = None, **headers: str
    ) -> Reply:
        """Send one request; `value` goes as JSON, `content` as it is. `content_type="text/plain"` names a header."""
        if value is not None:
            content = orjson.dumps(value)
        given = {name.replace("_", "-").title(): text for name, text in headers.items()}
        if content is not None:
            given.setdefault("Content-Type", JSON)
        if self.credential:
            given.setdefault("Authorization", f"Bearer {self.credential}")
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, content, given)
            response = connection.getresponse()
            found = {name.lower(): text for name, text in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def token(self, user: str, ttl_s: int = 3600) -> str:
        """Return a token of `user`."""
        reply = self.call("POST", "/v1/tokens", {"user": user, "ttl_s": ttl_s})
        assert reply.status == 201, reply
        return str(reply.json["token"])

    def make_match(self, match: str, *members: str) -> Reply:
        """Make a match or change its members."""
        reply = self.call("PUT", match_path(match), {"members": members})
        assert reply.status in (200, 201), reply
        return reply

    def post(self, match: str, sender: str | None, client_id: str, text: str) -> Reply:
        """Post a message; without a `sender` as the credential's user."""
        named = {} if sender is None else {"sender": sender}
        return self.call(
            "POST", f"{match_path(match)}/messages", {**named, "client_id": client_id, "body": {"text": text}}
        )


def match_path(match: str) -> str:
    """Return the path of a match, whatever its id holds."""
    return f"/v1/matches/{quote(match, safe='')}"
