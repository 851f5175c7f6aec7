"""Planted secrets: whatever goes wrong with a token, a ticket, a key or a message, none of it is in the log at debug."""

from pathlib import Path

from tests.support.api import Api
from tests.support.attacked import attacked
from tests.support.chatter import Chatter, Message
from tests.support.raw_client import TEXT, RawClient, frame, head
from tests.support.tokens import sign

SECRET = "planted-signing-5b9d2e7f1c4a8063d5e9"
KEY = "planted-backend-0c8e6a4f2d9b7153a6c8"
WORDS = "planted words that two people only know"
CALLER_HEAD = "Authorization: Bearer {}"


def test_no_secret_reaches_the_log(tmp_path: Path) -> None:
    """Everything that works, and everything that fails, with secrets in every place that takes them."""
    settings = {"API_KEYS": KEY, "TOKEN_SECRETS": SECRET, "LOG_LEVEL": "debug", "CLOSE_TIMEOUT_S": "0.3"}
    with attacked(settings, tmp_path / "duologue.db", dev=False) as server:
        api = Api(server.port, KEY)
        token, forged = api.token("alice"), sign({"sub": "planted-user", "exp": 1})
        ticket = str(api.call("POST", "/v1/tickets", {"user": "alice"}).json["ticket"])
        use_it_rightly(api, token, ticket)
        misuse_it(server.address, api, [token, forged, ticket, KEY, WORDS.replace(" ", "_")])
        assert server.left_over() == {}
        log = server.server.program.output()
        planted = [
            SECRET,
            KEY,
            WORDS,
            WORDS.replace(" ", "_"),
            ticket,
            token,
            forged,
            *token.split("."),
            *forged.split("."),
        ]
        planted.remove(token.split(".")[0])  # the header of every token says the same
        assert [text for text in planted if text and text in log] == []
        assert "ready" in log


def use_it_rightly(api: Api, token: str, ticket: str) -> None:
    """Log in each way, send, read, refresh."""
    api.make_match("m", "alice", "bob")
    assert api.post("m", "bob", "planted-client-id", WORDS).status == 201
    assert api.as_(token).post("m", None, "c1", WORDS).status == 201
    assert api.as_(token).call("GET", "/v1/matches/m/messages").status == 200
    for request in (head(target=f"/ws?ticket={ticket}"), head(CALLER_HEAD.format(token))):
        with Chatter(api.port, request=request) as client:
            client.hello(None)
            assert client.send("m", "c2", WORDS)["type"] == "ok"
            refresh: Message = {"type": "auth.refresh", "id": 1, "token": token}
            assert client.ask(refresh)["type"] == "ok"


def misuse_it(address: tuple[str, int], api: Api, planted: list[str]) -> None:
    """Put each secret where it does not belong."""
    for text in planted:
        for request in (head(target=f"/ws?ticket={text}&token={text}"), head(CALLER_HEAD.format(f"{text}x"))):
            with Chatter(api.port, request=request) as client:
                client.ask({"type": "hello", "id": 1})
        with Chatter(api.port) as client:
            client.ask({"type": "hello", "id": 1, "token": f"{text}x"})
        with Chatter(api.port) as client:
            client.ask({"type": "hello", "id": 1, "ticket": text})
        for field in ("type", "id", "match", "token"):
            with Chatter(api.port) as client:
                client.ask({"type": "typing", "id": 1, "match": "m", "on": True, field: text})
        misuse_over_http(api.as_(f"{text}x"), text)
        for raw in (
            f"GET /{text} HTTP/1.1\r\nHost: {text}\r\n\r\n",
            f"{text}\r\n\r\n",
            f"GET /ws HTTP/1.1\r\n{text}\r\n\r\n",
        ):
            with RawClient(address) as client_of_nothing:
                client_of_nothing.send(raw.encode())
                client_of_nothing.socket.shutdown(1)
                client_of_nothing.at_end()
        with RawClient(address).upgrade() as websocket:
            websocket.send(frame(TEXT, text.encode()) + b"\xff" + text.encode())
            websocket.at_end()


def misuse_over_http(api: Api, text: str) -> None:
    for path in (
        f"/{text}",
        f"/v1/{text}",
        f"/v1/matches/{text}",
        f"/v1/matches/m?token={text}",
        "/v1/users/a/matches",
    ):
        for method in ("GET", "PUT", "PATCH"):
            api.call(method, path, {"user": text, text: text}, content_type="application/json")
