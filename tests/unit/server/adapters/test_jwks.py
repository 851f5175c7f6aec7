"""The issuer's keys, read from real files and from a real HTTP server: fresh, bounded, and kept when the issuer is away."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from server.adapters.jwks import DOCUMENT_MAX_BYTES, Jwks, JwksSource, JwksUnusable
from server.core.keys import VerificationKey
from server.core.tokens import TokenPolicy, TokenRefused, TokenVerifier
from tests.support.tokens import jwks, sign

ALGORITHMS = frozenset({"EdDSA"})
OLD, NEW = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
NOW = 1_795_000_000.0


class Issuer:
    """An HTTP server whose answer the test chooses."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body: bytes = jwks(old=OLD.public_key())
        self.fetches = 0
        self.drip: Callable[[], None] | None = None
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                self.send_response(issuer.status)
                for name, value in issuer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(issuer.body)
                    while drip := issuer.drip:
                        drip()
                        self.wfile.write(b" ")

            def log_message(self, format: str, *args: object) -> None:  # type: ignore[explicit-override]  # noqa: A002
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/keys"


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Issuer()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.drip = None
    made.server.shutdown()
    made.server.server_close()
    thread.join()


class Node:
    """A verifier that lives on a JWKS; its clock stands still until the test moves it."""

    def __init__(self, location: str, **settings: float) -> None:
        self.now = 0.0
        self.changed = asyncio.Event()
        self.verifier = TokenVerifier(TokenPolicy(ALGORITHMS, 86_400))
        self.jwks = Jwks(JwksSource(location, ALGORITHMS, **settings), self._take, lambda: self.now)

    def _take(self, keys: tuple[VerificationKey, ...]) -> None:
        self.verifier.replace_issuer_keys(keys)
        self.changed.set()

    def accepts(self, key: ed25519.Ed25519PrivateKey, kid: str) -> bool:
        try:
            self.verifier.verify(sign({"sub": "alice", "exp": NOW + 60}, key, "EdDSA", {"kid": kid}), NOW)
        except TokenRefused:
            return False
        return True


@contextlib.asynccontextmanager
async def running(node: Node) -> AsyncIterator[None]:
    await node.jwks.start()
    node.changed.clear()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(node.jwks.run())
        yield
        task.cancel()


async def test_keys_are_read_from_a_file_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(old=OLD.public_key()))
    node = Node(str(file), refresh_s=0.001)
    async with running(node):
        assert node.accepts(OLD, "old")
        file.with_suffix(".new").write_bytes(jwks(new=NEW.public_key()))
        file.with_suffix(".new").replace(file)
        while not node.accepts(NEW, "new"):
            node.changed.clear()
            await node.changed.wait()
        assert not node.accepts(OLD, "old")


async def test_an_unknown_key_fetches_the_new_keys_at_once_and_revoked_ones_die(issuer: Issuer) -> None:
    node = Node(issuer.address)
    async with running(node):
        issuer.body = jwks(new=NEW.public_key())
        assert node.accepts(OLD, "old")
        assert not node.accepts(NEW, "new")
        assert await node.jwks.refreshed()
        assert node.accepts(NEW, "new")
        assert not node.accepts(OLD, "old")


async def test_all_who_ask_at_once_share_one_fetch(issuer: Issuer) -> None:
    node = Node(issuer.address)
    async with running(node):
        assert await asyncio.gather(*(node.jwks.refreshed() for _ in range(50))) == [True] * 50
        assert issuer.fetches == 2


async def test_made_up_keys_do_not_flood_the_issuer(issuer: Issuer) -> None:
    node = Node(issuer.address, min_interval_s=10.0)
    async with running(node):
        assert await node.jwks.refreshed()
        node.now = 9.9
        assert not await node.jwks.refreshed()
        assert issuer.fetches == 2
        node.now = 10.0
        assert await node.jwks.refreshed()
        assert issuer.fetches == 3


async def test_one_who_asked_and_left_disturbs_nobody(issuer: Issuer) -> None:
    node = Node(issuer.address)
    async with running(node):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await node.jwks.refreshed()
        assert await node.jwks.refreshed()


@pytest.mark.parametrize(
    "status, body, why",
    [
        (500, b"", "HTTP Error 500"),
        (404, b"", "HTTP Error 404"),
        (302, b"", "HTTP Error 302"),
        (200, b"<html>", "not a JWKS document"),
        (200, b"", "not a JWKS document"),
        (200, b" " * (DOCUMENT_MAX_BYTES + 1), "larger than"),
    ],
)
async def test_a_bad_answer_stops_the_start_and_later_keeps_the_keys(
    issuer: Issuer, caplog: pytest.LogCaptureFixture, status: int, body: bytes, why: str
) -> None:
    node = Node(issuer.address)
    async with running(node):
        issuer.status, issuer.body = status, body
        issuer.headers = {"Location": issuer.address + "/elsewhere"}
        assert not await node.jwks.refreshed()
        assert node.accepts(OLD, "old")
    (record,) = (record for record in caplog.records if record.name == "server.adapters.jwks")
    assert record.levelno == logging.WARNING
    assert why in record.__dict__["fields"]["reason"]
    with pytest.raises(JwksUnusable, match=f"^JWKS {issuer.address}: .*{why}"):
        await Node(issuer.address).jwks.start()


async def test_an_issuer_that_is_away_is_reported(issuer: Issuer) -> None:
    node = Node(issuer.address)
    async with running(node):
        issuer.server.socket.close()
        assert node.accepts(OLD, "old")
    with pytest.raises(JwksUnusable, match="Connection refused"):
        await Node("http://127.0.0.1:1/keys").jwks.start()


async def test_an_issuer_that_never_ends_is_given_up(issuer: Issuer) -> None:
    node = Node(issuer.address)

    def drip() -> None:
        node.now += 1.0

    issuer.drip = drip
    with pytest.raises(JwksUnusable, match="too slow"):
        await node.jwks.start()


async def test_an_issuer_that_says_nothing_is_given_up(issuer: Issuer) -> None:
    silence = threading.Event()

    def wait() -> None:
        silence.wait()

    issuer.drip = wait
    with pytest.raises(JwksUnusable, match="timed out"):
        await Node(issuer.address, timeout_s=0.05).jwks.start()
    issuer.drip = None
    silence.set()


@pytest.mark.parametrize(
    "location, why",
    [
        ("{tmp}/missing.json", "No such file"),
        ("{tmp}", "not a regular file"),
        ("{tmp}/pipe", "not a regular file"),
        ("{tmp}/empty.json", "not a JWKS document"),
        ("http://[", "Invalid IPv6 URL"),
        ("http://127.0.0.1:port/", "nonnumeric port"),
    ],
)
async def test_a_location_that_cannot_be_read_stops_the_start(tmp_path: Path, location: str, why: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.json").touch()
    with pytest.raises(JwksUnusable, match=why):
        await Node(location.format(tmp=tmp_path)).jwks.start()


async def test_who_waits_when_the_server_ends_is_answered(issuer: Issuer) -> None:
    node = Node(issuer.address)
    await node.jwks.start()
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(node.jwks.refreshed())
        await asyncio.sleep(0)
        tasks.create_task(node.jwks.run()).cancel()
        run = tasks.create_task(node.jwks.run())
        await asyncio.sleep(0)
        run.cancel()
        assert not await asked
