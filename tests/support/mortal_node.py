"""A node that can be ended and started again, with its data and where its clients look for it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.people import UNLIMITED
from tests.support.private_server import PrivateServer, private_server
from tests.support.programs import free_port

DRAIN_S: Final = "8"


class Node:
    """A server that can be ended and started again where its clients look for it, with the data that it had."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._port = free_port()
        self._stack = ExitStack()
        self.server = self._enter()
        self.printed = ""

    def _enter(self) -> PrivateServer:
        return self._stack.enter_context(
            private_server(self._database, port=self._port, dev=True, DRAIN_S=DRAIN_S, **UNLIMITED)
        )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.server.program.pid, number)

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        return await asyncio.to_thread(self.server.program.wait_ended)

    async def kill(self) -> None:
        """End it at once; nothing is flushed."""
        await asyncio.to_thread(self.server.program.kill)

    async def restart(self) -> None:
        """Start it again."""
        self.close()
        self.server = await asyncio.to_thread(self._enter)

    def close(self) -> None:
        """Have it ended, and keep what it printed."""
        self._stack.close()
        self.printed += self.server.program.output()


@asynccontextmanager
async def node_in(folder: Path) -> AsyncIterator[Node]:
    """Run a node until the block ends; it had no fault."""
    node = await asyncio.to_thread(Node, folder / "duologue.db")
    try:
        yield node
    finally:
        await asyncio.to_thread(node.close)
    assert "Traceback" not in node.printed
