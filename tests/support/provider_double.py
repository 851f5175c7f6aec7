"""Stand-ins for Twilio's and Cloudflare's APIs: documented, never seen live.

The shapes are copied from their documentation, with other names. What a test sets as `answer` is what the next requests get.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import orjson
from typing_extensions import override

TWILIO_SID: Final = "AC" + "0123456789abcdef" * 2
CLOUDFLARE_KEY: Final = "fedcba9876543210" * 2
TOKEN: Final = "planted-token-of-the-tests"
# www.twilio.com/docs/stun-turn/api: status 201, a ttl that is text, `url` beside `urls`.
TWILIO: Final = orjson.dumps(
    {
        "account_sid": TWILIO_SID,
        "date_created": "Sat, 21 Nov 2026 10:00:00 +0000",
        "date_updated": "Sat, 21 Nov 2026 10:00:00 +0000",
        "ice_servers": [
            {"url": "stun:global.stun.example.org:3478", "urls": "stun:global.stun.example.org:3478"},
            *(
                {"url": url, "urls": url, "username": "twilio-name", "credential": "planted-password"}
                for url in (
                    "turn:global.turn.example.org:3478?transport=udp",
                    "turn:global.turn.example.org:3478?transport=tcp",
                    "turn:global.turn.example.org:443?transport=tcp",
                )
            ),
        ],
        "password": "planted-password",
        "ttl": "28800",
        "username": "twilio-name",
    }
)
# developers.cloudflare.com/realtime/turn/generate-credentials: a list, with port 53, which browsers do not dial.
CLOUDFLARE: Final = orjson.dumps(
    {
        "iceServers": [
            {"urls": ["stun:stun.example.com:3478", "stun:stun.example.com:53"]},
            {
                "urls": [
                    "turn:turn.example.com:3478?transport=udp",
                    "turn:turn.example.com:53?transport=udp",
                    "turn:turn.example.com:3478?transport=tcp",
                    "turn:turn.example.com:80?transport=tcp",
                    "turns:turn.example.com:5349?transport=tcp",
                    "turns:turn.example.com:443?transport=tcp",
                ],
                "username": "cloudflare-name",
                "credential": "planted-password",
            },
        ]
    }
)


@dataclass
class ProviderDouble:
    """What it answers, and what it was asked: (path, authorization, body)."""

    port: int = 0
    status: int = 201
    body: bytes = TWILIO
    headers: dict[str, str] = field(default_factory=dict)
    # Called before each answer, in a thread of its own.
    before: Callable[[], object] = bool
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    # Sends the body byte by byte, and waits for this after each.
    drip_s: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def provider_double() -> Iterator[ProviderDouble]:
    """Serve until the block ends."""
    double = ProviderDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            double.requests.append((self.path, self.headers["Authorization"], asked))
            double.before()
            self.send_response(double.status)
            for name, value in double.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(double.body)))
            self.end_headers()
            for start in range(0, len(double.body), 1 if double.drip_s else len(double.body)):
                self.wfile.write(double.body[start : start + 1] if double.drip_s else double.body)
                if double.drip_s and double.ended.wait(double.drip_s):
                    return

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        @override
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that go away are part of the tests."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        double.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="provider")
        thread.start()
        try:
            yield double
        finally:
            double.ended.set()
            server.shutdown()
            thread.join()
