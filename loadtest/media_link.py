"""The peer connection to one other seat of a call, by aiortc: its signals in order, its frames counted, its route told."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaBlackhole
from aiortc.sdp import candidate_from_sdp

from loadtest.client import Client
from protocol.calls import (
    CallId,
    CallReport,
    CallSignal,
    CallSignalled,
    Candidate,
    Description,
    PeerId,
)

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

    def __init__(
        self, client: Client, call: CallId, peer: PeerId, connection: RTCPeerConnection, *, relay_only: bool = False
    ) -> None:
        """`relay_only`: tell the other seat of relayed candidates alone; aiortc has no such policy."""
        self._client = client
        self._relay_only = relay_only
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
        sdp = _relayed(made.sdp) if self._relay_only else made.sdp
        self._send(Description("offer" if made.type == "offer" else "answer", sdp))

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


def _relayed(sdp: str) -> str:
    lines = sdp.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("a=candidate:") or " typ relay" in line)
