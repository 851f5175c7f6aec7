"""One person with a real microphone and camera (silence, and a green picture) who calls and is called, by aiortc.

For a handful of calls in which media have to flow: against browsers, through a relay. What aiortc cannot do is not tried:
it sends one offer a seat, restarts no ICE and rolls nothing back (it answers browsers that do). Gathering is not trickled,
so that a description holds all candidates. Run `run` in a task of the caller's until the call is over.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
from aioice.turn import TurnTransport
from aiortc import (
    AudioStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    VideoStreamTrack,
)
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from loadtest.client import Client, decode_ok
from loadtest.media_link import Link
from loadtest.scene import close_within
from protocol.calls import (
    CallAccept,
    CallEnded,
    CallHangup,
    CallIce,
    CallIceServers,
    CallId,
    CallIncoming,
    CallPeer,
    CallPeerJoined,
    CallPeerLeft,
    CallPeerState,
    CallRinging,
    CallSeat,
    CallSignalled,
    CallStart,
    IceServer,
    Kind,
    PeerId,
)
from protocol.from_server import Push
from protocol.ids import ClientId, MatchId

_CLOSE_WITHIN_S: Final = 5.0
decode_seat: Final = msgspec.json.Decoder(CallSeat).decode
decode_ice: Final = msgspec.json.Decoder(CallIceServers).decode


class Caller:
    """A person on one connection. `links` are by the other seats' names; `ended` resolves when the call is over.

    `relays` are used instead of what the server hands out, which need have none then: the server is not asked to see to it
    that only relays are used.
    """

    def __init__(
        self, token: str, *, media: Kind = "video", relay_only: bool = False, relays: tuple[IceServer, ...] = ()
    ) -> None:
        self._news: deque[Push] = deque()
        self._wake = asyncio.Event()
        self._media: Final[Kind] = media
        self._relay_only = relay_only
        self._asks_relay_only = relay_only and not relays
        self._ice: tuple[IceServer, ...] = ()
        self._relays = relays
        self.client = Client(token=token, on_push=self._hear)
        self.seat: CallSeat | None = None
        self.met = asyncio.Event()
        self.links: dict[PeerId, Link] = {}
        self._left: list[Link] = []
        loop = asyncio.get_running_loop()
        self.rung: asyncio.Future[CallIncoming] = loop.create_future()
        self.ended: asyncio.Future[CallEnded] = loop.create_future()

    async def connect(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        """Open the connection and say hello."""
        await self.client.open(url, tls=tls)
        await self.client.hello()

    async def call(self, match: str, key: str) -> CallSeat:
        """Call everybody else in the match."""
        request = CallStart(
            self.client.next_id(), MatchId(match), ClientId(key), self._media, relay_only=self._asks_relay_only
        )
        seat = await self.client.request(request, decode_seat)
        self._ice = await self._ask_for_ice(seat.call)
        self._sit(seat)
        return seat

    async def answer(self, key: str) -> CallSeat:
        """Wait for a call, ring, and answer it."""
        incoming = await asyncio.shield(self.rung)
        await self.client.request(CallRinging(incoming.call, self.client.next_id()), decode_ok)
        self._ice = await self._ask_for_ice(incoming.call)
        request = CallAccept(
            self.client.next_id(), incoming.call, ClientId(key), self._media, relay_only=self._asks_relay_only
        )
        seat = await self.client.request(request, decode_seat)
        self._sit(seat)
        return seat

    async def run(self) -> None:
        """Do what the other seats ask for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.seat is not None and self._news:
                await self._follow(self._news.popleft())

    async def connected(self) -> None:
        """Wait until there is another seat, and a connection to each that there is."""
        await self.met.wait()
        for link in list(self.links.values()):
            await link.is_connected.wait()

    async def hang_up(self) -> None:
        """Leave the call."""
        assert self.seat is not None
        await self.client.request(CallHangup(self.client.next_id(), self.seat.call), decode_ok)

    async def close(self) -> None:
        """End everything, whether the server says goodbye or not."""
        for link in (*self.links.values(), *self._left):
            await link.close()
        self.links.clear()
        self._left.clear()
        await _relays_left()
        if self.client.is_open:
            await close_within(_CLOSE_WITHIN_S, self.client.close())
            self.client.abort()

    async def _ask_for_ice(self, call: CallId) -> tuple[IceServer, ...]:
        if self._relays:
            return self._relays
        return (await self.client.request(CallIce(self.client.next_id(), call), decode_ice)).ice_servers

    def _sit(self, seat: CallSeat) -> None:
        self.seat = seat
        self._news.extendleft(CallPeerJoined(seat.call, peer) for peer in seat.peers)
        self._wake.set()

    def _hear(self, push: Push) -> None:
        match push:
            case CallIncoming():
                if not self.rung.done():
                    self.rung.set_result(push)
            case CallEnded():
                if not self.ended.done():
                    self.ended.set_result(push)
            case CallPeerJoined() | CallPeerLeft() | CallPeerState() | CallSignalled():
                self._news.append(push)
                self._wake.set()
            case _:
                pass

    async def _follow(self, push: Push) -> None:
        match push:
            case CallPeerJoined():
                await self._meet(push.peer)
            case CallPeerLeft() if push.peer in self.links:
                # Closed at the end: half a close, when `run` is cancelled in it, leaves sockets behind.
                self._left.append(self.links.pop(push.peer))
            case CallPeerState() if push.have is not None and push.peer in self.links:
                self.links[push.peer].send_again(push.have)
            case CallSignalled() if push.peer in self.links:
                await self.links[push.peer].hear(push)
            case _:
                pass

    async def _meet(self, other: CallPeer) -> None:
        assert self.seat is not None
        connection = RTCPeerConnection(_configuration(self._ice, is_relayed=self.seat.policy == "relay"))
        link = self.links[other.peer] = Link(
            self.client, self.seat.call, other.peer, connection, relay_only=self._relay_only
        )
        connection.addTrack(AudioStreamTrack())
        if self._media == "video":
            connection.addTrack(VideoStreamTrack())
        self.met.set()
        if other.initiator:
            await link.offer()


async def _relays_left() -> None:
    """Wait until every relay was told goodbye: aioice does that in tasks of its own, and then only closes their sockets."""
    farewells = [task for task in asyncio.all_tasks() if TurnTransport._close.__qualname__ in repr(task)]
    await asyncio.gather(*farewells, return_exceptions=True)
    await asyncio.sleep(0)  # Sockets are closed in the turn of the loop after that.


def _configuration(servers: Sequence[IceServer], *, is_relayed: bool) -> RTCConfiguration:
    """Never leave `iceServers` out: aiortc would ask a server of its own choice."""
    return RTCConfiguration(
        iceServers=[RTCIceServer(list(each.urls), each.username, each.credential) for each in servers],
        iceTransportPolicy=RTCIceTransportPolicy.RELAY if is_relayed else RTCIceTransportPolicy.ALL,
    )
