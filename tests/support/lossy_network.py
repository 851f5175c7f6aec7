"""A stretch of network between one place and a UDP server that loses what a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from typing_extensions import override

Address = tuple[str, int]


@dataclass
class _Inside(asyncio.DatagramProtocol):
    """Faces the clients; each has a socket of its own towards the server."""

    server: Address
    loses: Callable[[bytes], bool]
    transport: asyncio.DatagramTransport | None = None
    outside: dict[Address, asyncio.DatagramTransport] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @override
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    @override
    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.tasks.append(asyncio.create_task(self._forward(data, addr)))

    async def _forward(self, data: bytes, client: Address) -> None:
        if self.loses(data):
            return
        if client not in self.outside:
            back = _Outside(lambda answer: self._back(answer, client))
            self.outside[client], _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: back, remote_addr=self.server
            )
        self.outside[client].sendto(data)

    def _back(self, data: bytes, client: Address) -> None:
        if self.transport is not None and not self.loses(data):
            self.transport.sendto(data, client)


@dataclass
class _Outside(asyncio.DatagramProtocol):
    back: Callable[[bytes], None]

    @override
    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.back(data)


@asynccontextmanager
async def lossy_network(server: Address, loses: Callable[[bytes], bool]) -> AsyncIterator[int]:
    """Forward datagrams to `server` and back until the block ends; yields the port on loopback."""
    transport, inside = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Inside(server, loses), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
        for each in inside.outside.values():
            each.close()
