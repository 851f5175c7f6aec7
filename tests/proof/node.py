"""The real server in a process of its own, which can be killed and started again where its clients look for it."""

import asyncio
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from loadtest.api import Api
from loadtest.client import Client
from loadtest.resuming import Identity
from loadtest.tokens import sign_token
from protocol.ids import UserId
from tests.support.numbers import read_gauges
from tests.support.private_server import PrivateServer, private_server
from tests.support.programs import free_port

API_KEY: Final = "proof-key-3e8b1d6f0a7c49258b4e2d9c6f1a7053"
TOKEN_SECRET: Final = "proof-hs256-c4a7e1f83b5d4296a0d8e2b7f6c19354"
TOKEN_TTL_S: Final = 3600
# For proofs that write as fast as they can. What the limits themselves promise is P7.
UNLIMITED: Final = {
    "MESSAGE_RATE_PER_S": "100000",
    "MESSAGE_BURST": "100000",
    "FRAME_RATE_PER_S": "100000",
    "FRAME_BURST": "100000",
}


class Node:
    """A server with its own data folder; the port stays over restarts."""

    def __init__(self, database: Path | None, **settings: str) -> None:
        self._database = database
        self._settings = settings
        self._port = free_port()
        self._stack = ExitStack()
        self._server: PrivateServer | None = None
        self.printed = ""
        self.kills = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self._port}/ws"

    @property
    def http_url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start the server and wait until it says that it is ready."""
        await asyncio.to_thread(self._start)

    async def kill(self) -> None:
        """End it as a power cut of the process would: SIGKILL, nothing is flushed."""
        assert self._server is not None
        self.kills += 1
        await asyncio.to_thread(self._server.program.kill)
        await self.stop()

    def freeze(self) -> None:
        """Let it do nothing, and let nobody know."""
        assert self._server is not None
        self._server.program.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        assert self._server is not None
        self._server.program.process.send_signal(signal.SIGCONT)

    async def end(self) -> None:
        """Leave nothing of it behind."""
        if self._server is not None:
            await self.kill()

    async def stop(self) -> None:
        """End it in order, and keep what it printed."""
        if self._server is not None:
            await asyncio.to_thread(self._stack.close)
            self.printed += self._server.program.output()
            self._server = None

    @property
    def tracebacks(self) -> int:
        """How many faults of its own it logged."""
        now = self._server.program.output() if self._server is not None else ""
        return (self.printed + now).count("Traceback")

    def rss_bytes(self) -> int:
        """Return the resident memory."""
        assert self._server is not None
        return int(Path(f"/proc/{self._server.program.pid}/statm").read_text().split()[1]) * 4096

    def api(self, key: str = API_KEY) -> Api:
        """Return a backend (or with a token, a user) that talks to it."""
        return Api(self.http_url, key)

    async def counter(self, name: str) -> float:
        """Read one of the numbers of /metrics."""
        found = re.search(rf"^duologue_{name}(?:_total)? (\S+)$", await self._metrics(), re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    async def left_open(self) -> dict[str, float]:
        """Return the gauges that would be at zero if nobody were there and nothing waited, and are not."""
        return {name: value for name, value in read_gauges(await self._metrics()).items() if value}

    async def _metrics(self) -> str:
        api = self.api()
        text = (await api.call("GET", "/metrics")).body.decode()
        api.close()
        return text

    async def client(self, user: str) -> Client:
        """Connect as `user`; `hello` is still to be said."""
        return await Client.connect(self.url, token=token(user))

    async def arrive(self, user: str) -> Client:
        """Connect as `user` and say hello."""
        client = await self.client(user)
        await client.hello()
        return client

    def identity(self, user: str, device: str = "") -> Identity:
        """Say who a resuming client is."""
        return Identity(self.url, UserId(user), lambda: token(user), device)

    def _start(self) -> None:
        self._stack = ExitStack()
        settings = {"API_KEYS": API_KEY, "TOKEN_SECRETS": TOKEN_SECRET, "LOG_LEVEL": "warning", **self._settings}
        server = private_server(self._database, port=self._port, dev=False, **settings)
        self._server = self._stack.enter_context(server)


def token(user: str, ttl_s: int = TOKEN_TTL_S) -> str:
    """Sign a token as the app's backend would."""
    return sign_token(user, TOKEN_SECRET, int(time.time()) + ttl_s)
