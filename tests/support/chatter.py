"""A client of the protocol that says anything: what it sends is not checked, what it gets is kept."""

from typing import Final, Self

import msgspec
import orjson

from tests.support.api import Api
from tests.support.raw_client import CLOSE, PING, TEXT, RawClient, frame

ANSWERS: Final = ("ok", "welcome", "error")

Message = dict[str, object]


class Chatter:
    """One WebSocket; answers and pushes are told apart."""

    def __init__(
        self, port: int, *, request: bytes | None = None, timeout_s: float = 60.0, receive_buffer_bytes: int = 0
    ) -> None:
        """Connect and shake hands, with an upgrade request of one's own if it takes that."""
        self.client = RawClient(("127.0.0.1", port), timeout_s=timeout_s, receive_buffer_bytes=receive_buffer_bytes)
        try:
            self.client.upgrade(request)
        except BaseException:
            self.client.socket.close()
            raise
        self.pushes: list[Message] = []

    @classmethod
    def of(cls, api: Api, user: str) -> Self:
        """Connect as `user`."""
        chatter = cls(api.port)
        chatter.hello(api.token(user))
        return chatter

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Cut it."""
        self.client.socket.close()

    def hello(self, token: str | None, **fields: object) -> Message:
        """Authenticate; return the welcome, or fail with what came instead."""
        named = {} if token is None else {"token": token}
        answer = self.ask({"type": "hello", "id": "hello", **named, **fields})
        assert answer["type"] == "welcome", answer
        return answer

    def say(self, message: Message | bytes) -> None:
        """Send; a dict as JSON, bytes as they are."""
        payload = message if isinstance(message, bytes) else orjson.dumps(message)
        self.client.send(frame(TEXT, payload))

    def ask(self, message: Message | bytes) -> Message:
        """Send, and return the next answer; pushes that come before it are kept."""
        self.say(message)
        return self.answer()

    def answer(self) -> Message:
        """Return the next answer."""
        while (message := self._next())["type"] not in ANSWERS:
            self.pushes.append(message)
        return message

    def push(self, kind: str) -> Message:
        """Return the next push of that type, dropping others."""
        while True:
            message = self.pushes.pop(0) if self.pushes else self._next()
            if message["type"] == kind:
                return message

    def send(self, match: str, client_id: str, text: str) -> Message:
        """Post a message and return the answer."""
        body = {"text": text}
        return self.ask({"type": "message.send", "id": 1, "match": match, "client_id": client_id, "body": body})

    def is_alive(self) -> bool:
        """Ask for a sign of life."""
        return self.ask({"type": "ping", "id": "alive"}) == {"type": "ok", "id": "alive"}

    def closed_with(self) -> int:
        """Skip to the close frame, answer it, see the end, and return its code; 1006 when there is none."""
        try:
            while (got := self.client.answer()).opcode != CLOSE:
                continue
        except EOFError:
            return 1006
        self.client.send(frame(CLOSE, got.payload[:2]))
        self.client.at_end()
        return int.from_bytes(got.payload[:2], "big")

    def _next(self) -> Message:
        while (got := self.client.answer()).opcode == PING:
            continue
        assert got.opcode != CLOSE, f"closed: {got.payload!r}"
        return msgspec.json.decode(got.payload, type=Message)
