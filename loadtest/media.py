"""One person with a real microphone and camera (silence, and a green picture) who calls and is called, by aiortc.

For a handful of calls in which media have to flow: against browsers, through a relay. What aiortc cannot do is not tried:
it sends one offer a seat, restarts no ICE and rolls nothing back (it answers browsers that do). Gathering is not trickled,
so that a description holds all candidates. Run `run` in a task of the caller's until the call is over.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aioice.turn import TurnTransport
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.contrib.media import MediaBlackhole
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.sdp import candidate_from_sdp

from loadtest.client import Client, decode_ok
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
    CallReport,
    CallRinging,
    CallSeat,
    CallSignal,
    CallSignalled,
    CallStart,
    Candidate,
    Description,
    IceServer,
    Kind,
    PeerId,
)
from protocol.from_server import Push
from protocol.ids import ClientId, MatchId

decode_seat: Final = msgspec.json.Decoder(CallSeat).decode
decode_ice: Final = msgspec.json.Decoder(CallIceServers).decode
_ICE_STATES: Final = {"connected": "connected", "completed": "connected", "failed": "failed"}


class Counted(MediaStreamTrack):
    """A track that counts the frames that are taken of it."""

    def __init__(self, track: MediaStreamTrack, count: Callable[[str], None]) -> None:
        super().__init__()
        self.kind = track.kind
        self._track = track
        self._count = count

    async def recv(self) -> object:  # type: ignore[override,explicit-override]  # aiortc names the union of all frames
        """Pass the next frame on."""
        frame = await self._track.recv()
        self._count(self.kind)
        return frame


class Link:
    """The peer connection to one other seat: its signals are numbered, applied in order, and kept to be sent again."""

    def __init__(self, client: Client, call: CallId, peer: PeerId, connection: RTCPeerConnection) -> None:
        self._client = client
        self._call = call
        self._sink = MediaBlackhole()
        self._sent: list[CallSignal] = []
        self._held: dict[int, CallSignalled] = {}
        self.peer = peer
        self.connection = connection
        self.have = 0
        # Frames received, by kind of media.
        self.frames = {"audio": 0, "video": 0}
        self._frame = asyncio.Event()
        self.is_connected = asyncio.Event()
        connection.on("track", self._take_track)
        connection.on("iceconnectionstatechange", self._tell_state)

    async def offer(self) -> None:
        """Offer what was added."""
        await self._describe(await self.connection.createOffer())

    async def hear(self, signal: CallSignalled) -> None:
        """Apply a signal when those before it are applied."""
        self._held.setdefault(signal.n, signal)
        while (following := self._held.pop(self.have + 1, None)) is not None:
            self.have += 1
            await self._apply(following)

    def send_again(self, have: int) -> None:
        """Send what the other seat does not hold."""
        for signal in self._sent[have:]:
            self._client.tell(signal)

    async def received(self, frames: int, kinds: Sequence[str] = ()) -> None:
        """Wait until so many frames have come of each of `kinds`; without any, of each kind of media that came at all."""
        while not self._has_received(frames, kinds):
            self._frame.clear()
            await self._frame.wait()

    @property
    def route(self) -> str:
        """The kinds of the two candidates that were chosen, ours first, as `relay-relay`; empty while there are none."""
        # aiortc has no statistics of candidate pairs, so its own notes are read.
        for transceiver in self.connection.getTransceivers():
            chosen = transceiver.receiver.transport.transport._connection._nominated.get(1)
            if chosen is not None:
                return f"{chosen.local_candidate.type}-{chosen.remote_candidate.type}"
        return ""

    def _has_received(self, frames: int, kinds: Sequence[str]) -> bool:
        if kinds:
            return min(self.frames[kind] for kind in kinds) >= frames
        return any(self.frames.values()) and min(filter(None, self.frames.values())) >= frames

    async def close(self) -> None:
        """End it."""
        await self._sink.stop()
        await self.connection.close()

    async def _apply(self, signal: CallSignalled) -> None:
        said = signal.description
        if said is not None:
            await self.connection.setRemoteDescription(RTCSessionDescription(said.sdp, said.type))
            await self._sink.start()
            if said.type == "offer":
                await self._describe(await self.connection.createAnswer())
        for candidate in signal.candidates:
            await self._add(candidate)
        if signal.end_of_candidates:
            await self.connection.addIceCandidate(None)

    async def _add(self, candidate: Candidate) -> None:
        if not candidate.candidate:
            return
        found = candidate_from_sdp(candidate.candidate.removeprefix("candidate:"))
        found.sdpMid, found.sdpMLineIndex = candidate.sdp_mid, candidate.sdp_m_line_index
        await self.connection.addIceCandidate(found)

    async def _describe(self, description: RTCSessionDescription) -> None:
        await self.connection.setLocalDescription(description)
        made = self.connection.localDescription
        self._send(Description("offer" if made.type == "offer" else "answer", made.sdp))

    def _send(self, description: Description) -> None:
        signal = CallSignal(self._call, self.peer, len(self._sent) + 1, description, end_of_candidates=True)
        self._sent.append(signal)
        self._client.tell(signal)

    def _take_track(self, track: MediaStreamTrack) -> None:
        self._sink.addTrack(Counted(track, self._count))

    def _count(self, kind: str) -> None:
        self.frames[kind] += 1
        self._frame.set()

    def _tell_state(self) -> None:
        state = _ICE_STATES.get(self.connection.iceConnectionState)
        if state is None or not self._client.is_open:
            return
        if state == "connected":
            self.is_connected.set()
        self._client.tell(CallReport(self._call, self.peer, "connected" if state == "connected" else "failed"))


class Caller:
    """A person on one connection. `links` are by the other seats' names; `ended` resolves when the call is over.

    `relays` are used instead of what the server hands out.
    """

    def __init__(
        self, token: str, *, media: Kind = "video", relay_only: bool = False, relays: tuple[IceServer, ...] = ()
    ) -> None:
        self._news: deque[Push] = deque()
        self._wake = asyncio.Event()
        self._media: Final[Kind] = media
        self._relay_only = relay_only
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
            self.client.next_id(), MatchId(match), ClientId(key), self._media, relay_only=self._relay_only
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
            self.client.next_id(), incoming.call, ClientId(key), self._media, relay_only=self._relay_only
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
        """End everything."""
        for link in (*self.links.values(), *self._left):
            await link.close()
        self.links.clear()
        self._left.clear()
        await _relays_left()
        await self.client.close()

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
        link = self.links[other.peer] = Link(self.client, self.seat.call, other.peer, connection)
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
