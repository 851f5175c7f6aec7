"""Keys that change: an issuer's, live; secrets, by a restart; and tokens that try to pass one kind for the other."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typing_extensions import override

from loadtest.client import Client, Refused
from protocol.errors import ErrorCode
from tests.support.private_server import PrivateServer, private_server
from tests.support.tokens import jwks, sign

API_KEY = "test-only-key-2b9d4c71e8f35a60d7c8b9a0f1e2d3c4"
OLD_SECRET = "test-only-hs256-71c4e9a2b86d4f03958e1d7c2a4b6f80"
NEW_SECRET = "test-only-hs256-c05b93d1e7f24a6881b2d4f60a9c3e57"


@dataclass
class Issuer:
    """An identity provider: `document` is what it publishes now."""

    url: str
    document: bytes
    asked: int = 0


@contextmanager
def issuer(document: bytes) -> Iterator[Issuer]:
    """Serve keys over HTTP until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            published.asked += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(published.document)))
            self.end_headers()
            self.wfile.write(published.document)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        published = Issuer(f"http://127.0.0.1:{server.server_address[1]}/jwks.json", document)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield published
        finally:
            server.shutdown()
            thread.join()


def claims() -> dict[str, object]:
    """Return what a good token says."""
    return {"sub": "alice", "exp": time.time() + 60}


async def gets_in(server: PrivateServer, token: str) -> ErrorCode | None:
    """Say hello with `token`; return why not, if not."""
    client = await Client.connect(server.ws_url, token=token)
    try:
        assert (await client.hello()).user == "alice"
    except Refused as refused:
        assert await client.closed() == 4501
        return refused.code
    else:
        return None
    finally:
        await client.close()


async def test_an_issuers_keys_rotate_live() -> None:
    """A token of a new key is good at once; one of a key that was withdrawn is not; the server asks, nobody restarts."""
    old, new = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()

    def token_by(key: ed25519.Ed25519PrivateKey, kid: str) -> str:
        return sign(claims(), key, "EdDSA", {"kid": kid})

    with (
        issuer(jwks(old=old.public_key())) as published,
        private_server(dev=False, API_KEYS=API_KEY, JWKS_URL=published.url) as server,
    ):
        assert await gets_in(server, token_by(old, "old")) is None
        assert published.asked == 1
        published.document = jwks(new=new.public_key())
        assert await gets_in(server, token_by(new, "new")) is None
        assert published.asked == 2
        assert await gets_in(server, token_by(old, "old")) is ErrorCode.TOKEN_INVALID
        # The issuer's key is public: as an HS256 secret it must open nothing.
        for public in (
            new.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
            new.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ):
            for header in ({"kid": "new"}, {}):
                forged = sign(claims(), public, "HS256", header)
                assert await gets_in(server, forged) is ErrorCode.TOKEN_INVALID
        disguised = sign(claims(), OLD_SECRET, "HS256", {"alg": "EdDSA", "kid": "new"})
        assert await gets_in(server, disguised) is ErrorCode.TOKEN_INVALID
        # Made-up keys do not make the server ask again and again.
        for number in range(5):
            assert await gets_in(server, token_by(old, f"made-up-{number}")) is ErrorCode.TOKEN_INVALID
        assert published.asked <= 3
        assert "Traceback" not in server.program.output()


async def test_an_issuer_that_is_away_leaves_its_last_keys_in_force() -> None:
    """Each failure is a warning; when it answers again its keys count."""
    key = ed25519.Ed25519PrivateKey.generate()
    with (
        issuer(jwks(a=key.public_key())) as published,
        private_server(dev=False, API_KEYS=API_KEY, JWKS_URL=published.url) as server,
    ):
        published.document = b"<html>maintenance</html>"
        assert await gets_in(server, sign(claims(), key, "EdDSA", {"kid": "unknown"})) is ErrorCode.TOKEN_INVALID
        async with asyncio.timeout(60):
            while "jwks.refresh_failed" not in server.program.output():  # noqa: ASYNC110 - another process's log
                await asyncio.sleep(0.02)
        assert await gets_in(server, sign(claims(), key, "EdDSA", {"kid": "a"})) is None


@pytest.mark.parametrize(
    "secrets, old_is_good",
    [(f"{NEW_SECRET},{OLD_SECRET}", True), (NEW_SECRET, False)],
    ids=["both", "the new one only"],
)
async def test_secrets_rotate_by_a_restart(secrets: str, old_is_good: bool) -> None:
    """The first mints, all verify; one that is taken away opens nothing more."""
    with private_server(dev=False, API_KEYS=API_KEY, TOKEN_SECRETS=secrets) as server:
        assert await gets_in(server, sign(claims(), NEW_SECRET)) is None
        refused = None if old_is_good else ErrorCode.TOKEN_INVALID
        assert await gets_in(server, sign(claims(), OLD_SECRET)) is refused
