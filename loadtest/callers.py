"""Calls by canned SDP: two devices go through the whole signalling of a call, and no media flow.

The caller starts, the other's devices ring, one of them accepts, both exchange an offer, an answer and candidates, report to be
connected, stay for a while and hang up. Timed is what people wait for: from the call to the ring, and from the acceptance to the
caller's offer. A device that rings longer than the server said is one that rings without end.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from loadtest.scene import Scene
from protocol.calls import (
    CallAccept,
    CallCancelled,
    CallDecline,
    CallEnded,
    CallHangup,
    CallId,
    CallIncoming,
    CallPeerJoined,
    CallPush,
    CallRang,
    CallReport,
    CallRinging,
    CallSeat,
    CallSignal,
    CallSignalled,
    CallSnapshot,
    CallStart,
    Candidate,
    Description,
    PeerId,
)
from protocol.from_client import ClientMessage
from protocol.from_server import Error
from protocol.ids import ClientId, MatchId

PICK_UP_S: Final = 2.0
DECLINED_SHARE: Final = 0.1
_SDP: Final = "\r\n".join(
    [
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=msid-semantic: WMS",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=ice-ufrag:4ZcD",
        "a=ice-pwd:2/1muCWoOi3uLifh0NuRHlZk",
        "a=fingerprint:sha-256 " + ":".join(["7B", "8B", "F0", "65"] * 8),
        "a=setup:actpass",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "",
    ]
)
_CANDIDATE: Final = Candidate("candidate:1 1 udp 2113937151 192.0.2.7 51234 typ host generation 0 ufrag 4ZcD", "0", 0)
_decode_seat: Final = msgspec.json.Decoder(CallSeat).decode


class Line(Protocol):
    """What a caller needs of its device."""

    def tell(self, message: ClientMessage) -> None:
        """Send something."""

    def ask(
        self, request: ClientMessage, answered: Callable[[bytes], None], refused: Callable[[Error | None], None]
    ) -> None:
        """Send a request with an id of its own."""


class Caller:
    """One device's part in calls: in one at a time, and ringing for any number."""

    __slots__ = ("_accepted_us", "_call", "_line", "_number", "_other", "_ringing", "_scene", "_sent", "_started_us")

    def __init__(self, scene: Scene, line: Line) -> None:
        self._scene = scene
        self._line = line
        self._number = 0
        self._sent = 0
        self._started_us = 0
        self._accepted_us = 0
        self._call: CallId | None = None
        self._other: PeerId | None = None
        self._ringing: set[CallId] = set()

    @property
    def is_idle(self) -> bool:
        """Whether it neither rings nor is in a call."""
        return self._call is None and not self._ringing

    def start(self, match: MatchId, name: str) -> None:
        """Call the others of a match, unless it is busy."""
        if not self.is_idle or self._started_us:
            return
        self._started_us = self._scene.now_us()
        self._scene.meters.count("calls started")
        self._line.ask(CallStart(0, match, self._named(name), "audio"), self._seated, self._refused)

    def lost(self) -> None:
        """Forget everything: the connection is gone, and the server takes care of what it was in."""
        self._over()
        self._ringing.clear()

    def hang_up(self) -> None:
        """Leave the call, and ring no more for others."""
        if self._call is not None:
            self._line.ask(CallHangup(0, self._call), lambda _: None, lambda _: None)
        if self._scene.picks_up:
            for call in self._ringing:
                self._decline(call)

    def hear(self, push: CallPush) -> None:
        """Take what the server says of calls."""
        match push:
            case CallIncoming(call):
                self._rings(call, push.expires_in_ms / 1000)
            case CallRang(call, reason=None) if call == self._call and self._started_us:
                self._scene.meters.time("ring", self._scene.now_us() - self._started_us)
            case CallPeerJoined(call, peer) if call == self._call:
                self._other = peer.peer
                if peer.initiator:
                    self._describe("offer")
            case CallSignalled(call, _, _, description) if call == self._call and description is not None:
                self._described(description)
            case CallCancelled(call) | CallSnapshot(call):
                self._ringing.discard(call)
            case CallEnded(call, reason):
                self._ringing.discard(call)
                if call == self._call:
                    self._scene.meters.count(f"call ended: {reason}")
                    self._over()
            case _:
                return

    # ---- ringing

    def _rings(self, call: CallId, expires_s: float) -> None:
        if call in self._ringing:
            return
        self._ringing.add(call)
        self._line.tell(CallRinging(call))
        loop = asyncio.get_running_loop()
        if self._scene.picks_up:
            loop.call_later(PICK_UP_S * self._scene.chance.random(), self._pick_up, call)
        loop.call_later(expires_s + self._scene.ring_spare_s, self._still_rings, call)

    def _pick_up(self, call: CallId) -> None:
        if call not in self._ringing or self._scene.is_over:
            return
        if self._call is not None or self._scene.chance.random() < DECLINED_SHARE:
            self._decline(call)
            return
        self._accepted_us = self._scene.now_us()
        self._line.ask(CallAccept(0, call, self._named("accept"), "audio"), self._seated, self._refused)

    def _decline(self, call: CallId) -> None:
        # The device that declines is told by the answer; the user's others by a push.
        self._line.ask(CallDecline(0, call), lambda _: self._ringing.discard(call), lambda _: None)

    def _still_rings(self, call: CallId) -> None:
        if call in self._ringing:
            self._ringing.remove(call)
            self._scene.meters.count("rings without end")

    # ---- in a call

    def _seated(self, payload: bytes) -> None:
        seat = _decode_seat(payload)
        self._call, self._sent = seat.call, 0
        self._ringing.discard(seat.call)
        if self._scene.is_over:
            self.hang_up()
        for peer in seat.peers:
            self._other = peer.peer
            if peer.initiator:
                self._describe("offer")

    def _refused(self, _: Error | None) -> None:
        self._over()

    def _describe(self, kind: str) -> None:
        sdp = Description("offer" if kind == "offer" else "answer", _SDP)
        self._signal(lambda call, other: CallSignal(call, other, self._sent, description=sdp))
        self._signal(lambda call, other: CallSignal(call, other, self._sent, candidates=(_CANDIDATE,)))

    def _described(self, description: Description) -> None:
        if description.type == "offer":
            if self._accepted_us:
                self._scene.meters.time("offer", self._scene.now_us() - self._accepted_us)
            self._describe("answer")
        call, other = self._call, self._other
        if call is None or other is None:
            return
        self._line.tell(CallReport(call, other, "connected"))
        if description.type == "answer":
            self._scene.meters.count("calls connected")
            asyncio.get_running_loop().call_later(self._scene.call_s * self._scene.chance.random(), self._done, call)

    def _signal(self, make: Callable[[CallId, PeerId], CallSignal]) -> None:
        if self._call is not None and self._other is not None:
            self._sent += 1
            self._line.tell(make(self._call, self._other))

    def _done(self, call: CallId) -> None:
        if call == self._call:
            self.hang_up()

    def _over(self) -> None:
        self._call = self._other = None
        self._started_us = self._accepted_us = 0

    def _named(self, what: str) -> ClientId:
        self._number += 1
        return ClientId(f"{self._scene.run}.{what}.{self._number}")
