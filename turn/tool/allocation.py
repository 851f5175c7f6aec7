"""What the check asks of STUN and TURN servers, with aioice underneath.

Every step is one request whose refusal is an exception, where a browser says nothing and waits.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Final

from aioice import stun
from aioice.turn import TurnClientProtocol, TurnClientTcpProtocol, TurnClientUdpProtocol
from typing_extensions import override

from turn.credentials import Credential
from turn.urls import IceUrl

LIFETIME_S: Final = 600
CHANNEL_REFRESH_S: Final = 500
FAREWELL_S: Final = 1.0
# RFC 8656 section 12: the first channel; each allocation here has one peer.
_CHANNEL: Final = 0x4000
_QUESTION: Final = b"?"

PeerAddress = tuple[str, int]


class _Receiver(asyncio.DatagramProtocol):
    """Answers what begins with a question mark; keeps the first other thing that comes."""

    def __init__(self, client: TurnClientProtocol) -> None:
        self._client = client
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @override
    def datagram_received(self, data: bytes, addr: PeerAddress) -> None:
        if data.startswith(_QUESTION):
            _send(self._client, b"!" + data[1:])
        else:
            with suppress(asyncio.InvalidStateError):  # networks deliver twice at times
                self.answer.set_result(data[1:])


class Allocation:
    """A relayed address at a relay.

    `relayed` is where peers send to, `mapped` where the relay sees this machine, `server` which address it was reached at.
    """

    def __init__(self, client: TurnClientProtocol) -> None:
        self._client = client
        self._receiver = _Receiver(client)
        client.receiver = self._receiver
        assert client.relayed_address is not None
        assert client.mapped_address is not None
        self.relayed: PeerAddress = client.relayed_address
        self.mapped: PeerAddress = client.mapped_address
        self.server: str = client.transport.get_extra_info("peername")[0]

    async def permit(self, peer: PeerAddress) -> None:
        """Ask for a permission, as browsers do first; raise `stun.TransactionFailed` when the relay refuses that peer."""
        request = stun.Message(stun.Method.CREATE_PERMISSION, stun.Class.REQUEST)
        request.attributes["XOR-PEER-ADDRESS"] = peer
        await self._client.request_with_retry(request)

    async def bind(self, peer: PeerAddress) -> None:
        """Bind the channel of this allocation to its peer."""
        await self._client.channel_bind(_CHANNEL, peer)
        self._client.channel_to_peer[_CHANNEL] = peer

    async def ask(self, question: bytes) -> bytes:
        """Send a question to the bound peer, and return its answer."""
        self._receiver.answer = asyncio.get_running_loop().create_future()
        _send(self._client, _QUESTION + question)
        return await self._receiver.answer

    async def close(self) -> None:
        """Give the allocation back, or leave it to end by itself when the relay does not answer."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(FAREWELL_S):
                await self._client.delete()
        # Closed it is already, but over TLS that waits for the relay's farewell.
        self._client.transport.abort()


async def allocate(url: IceUrl, credential: Credential | None, tls: ssl.SSLContext) -> Allocation:
    """Make an allocation, to be closed; without a credential the relay has to refuse."""
    client = await _connect(url, credential, tls)
    try:
        await client.connect()
    except BaseException:
        client.transport.abort()
        raise
    return Allocation(client)


async def reflected(url: IceUrl, tls: ssl.SSLContext) -> PeerAddress:
    """Ask a STUN server at which address it sees this machine."""
    client = await _connect(url, None, tls)
    try:
        response, _ = await client.request(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
        mapped: PeerAddress = response.attributes["XOR-MAPPED-ADDRESS"]
        return mapped
    finally:
        client.transport.abort()


def _send(client: TurnClientProtocol, data: bytes) -> None:
    client._send(_CHANNEL.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data)


async def _connect(url: IceUrl, credential: Credential | None, tls: ssl.SSLContext) -> TurnClientProtocol:
    loop, server = asyncio.get_running_loop(), (url.host, url.port)
    username = credential.username if credential else None
    password = credential.password if credential else None
    if url.transport == "udp":
        _, datagrams = await loop.create_datagram_endpoint(
            lambda: TurnClientUdpProtocol(server, username, password, LIFETIME_S, CHANNEL_REFRESH_S),
            remote_addr=server,
        )
        return datagrams
    _, stream = await loop.create_connection(
        lambda: TurnClientTcpProtocol(server, username, password, LIFETIME_S, CHANNEL_REFRESH_S),
        url.host,
        url.port,
        ssl=tls if url.is_tls else None,
    )
    return stream
