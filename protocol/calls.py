"""Calls: what clients and server say to each other about them. The rules are in docs/protocol.md and `signaling`.

A call belongs to a match. Each connection that takes part has a seat, named by a `peer` id; signals go from seat to seat.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, NewType

from msgspec import UNSET, Meta, Struct, UnsetType

from protocol.ids import (
    ID_MAX_CHARS,
    ID_PATTERN,
    MatchId,
    Micros,
    Ordinal,
    RequestId,
    Seq,
    UserId,
    WireClientId,
    WireMatchId,
    WireUserId,
)
from protocol.limits import (
    CALL_PARTICIPANTS_MAX,
    CANDIDATE_MAX_CHARS,
    CANDIDATES_BATCH_MAX,
    FEEDBACK_ISSUES_MAX,
    FEEDBACK_MAX_CHARS,
    SDP_MAX_CHARS,
    STREAMS_MAX,
)

_Id = Meta(min_length=1, max_length=ID_MAX_CHARS, extra_json_schema={"pattern": ID_PATTERN})

CallId = NewType("CallId", str)
# Given by the server; names one call for ever.
PeerId = NewType("PeerId", str)
# Given by the server; names one user's place in one call, and nobody outside of the call can guess it.
WireCallId = Annotated[CallId, _Id]
WirePeerId = Annotated[PeerId, _Id]

Kind = Literal["audio", "video"]
Mode = Literal["ring", "prompt"]
# `prompt`: nobody's device rings; members join when they like.
Policy = Literal["all", "relay"]
Level = Literal["excellent", "good", "poor", "lost"]
OptionalId = RequestId | UnsetType

SignalNumber = Annotated[int, Meta(ge=1, le=2**53 - 1)]
# Counts the signals from one seat to another: 1, 2, 3, …, given by the sender.
HaveNumber = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]
_PerSecond = Annotated[float, Meta(ge=0, le=1_000_000)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_StreamName = Annotated[str, Meta(min_length=1, max_length=CANDIDATE_MAX_CHARS)]
_Issue = Annotated[str, Meta(min_length=1, max_length=FEEDBACK_MAX_CHARS)]

SDP_TYPES: Final = ("offer", "answer")


class CallReason(StrEnum):
    """Why a call, a ring or a seat ended."""

    HANGUP = "hangup"
    CANCELLED = "cancelled"
    DECLINED = "declined"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    UNAVAILABLE = "unavailable"
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    DECLINED_ELSEWHERE = "declined_elsewhere"
    ICE_FAILED = "ice_failed"
    ICE_TIMEOUT = "ice_timeout"
    MEDIA_FAILED = "media_failed"
    SIGNALING_LOST = "signaling_lost"
    REPLACED = "replaced"
    REMOVED = "removed"
    MAX_DURATION = "max_duration"
    INTERNAL = "internal"


class CallState(StrEnum):
    """Where a call is between its start and its end."""

    RINGING = "ringing"
    CONNECTING = "connecting"
    ACTIVE = "active"
    RECONNECTING = "reconnecting"
    ENDED = "ended"


class CallOutcome(StrEnum):
    """What a match's log says of a call; the last entry of a call holds."""

    RINGING = "ringing"
    ONGOING = "ongoing"
    COMPLETED = "completed"
    MISSED = "missed"
    DECLINED = "declined"
    BUSY = "busy"
    CANCELLED = "cancelled"
    FAILED = "failed"


# ---- values inside other messages


class MediaState(Struct, frozen=True):
    """What a seat sends: its microphone, camera and screen."""

    audio: bool
    video: bool
    screen: bool


class Description(Struct, frozen=True):
    """An SDP as the browser made it."""

    type: Literal["offer", "answer"]
    sdp: Annotated[str, Meta(min_length=1, max_length=SDP_MAX_CHARS)]


class Candidate(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One ICE candidate as `RTCIceCandidate.toJSON()` gives it."""

    candidate: Annotated[str, Meta(max_length=CANDIDATE_MAX_CHARS)]
    sdp_mid: Annotated[str, Meta(max_length=ID_MAX_CHARS)] | None = None
    sdp_m_line_index: Annotated[int, Meta(ge=0, le=1000)] | None = None
    username_fragment: Annotated[str, Meta(max_length=256)] | None = None


Candidates = Annotated[tuple[Candidate, ...], Meta(max_length=CANDIDATES_BATCH_MAX)]
Streams = Annotated[dict[_StreamName, Literal["camera", "screen"]], Meta(max_length=STREAMS_MAX)]


class Route(Struct, frozen=True):
    """How the media travel, as the seat's statistics tell of the chosen pair; no addresses."""

    local: Literal["host", "srflx", "prflx", "relay"]
    remote: Literal["host", "srflx", "prflx", "relay"]
    protocol: Literal["udp", "tcp", "tls"]


class CallPeer(Struct, frozen=True):
    """Another seat. `initiator` and `polite` are the reader's own part towards it, for its whole life."""

    peer: PeerId
    user: UserId
    initiator: bool
    polite: bool
    media: MediaState
    state: Literal["ok", "reconnecting"]


class IceServer(Struct, frozen=True, omit_defaults=True):
    """One entry of `RTCConfiguration.iceServers`."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


# ---- from the client


class CallStart(Struct, tag_field="type", tag="call.start", frozen=True):
    """Call `users` of a match, by default all others; `client_id` lets the client repeat it safely."""

    id: RequestId
    match: WireMatchId
    client_id: WireClientId
    media: Kind
    mode: Mode = "ring"
    users: Annotated[tuple[WireUserId, ...], Meta(min_length=1, max_length=CALL_PARTICIPANTS_MAX - 1)] | None = None
    relay_only: bool = False
    replace: bool = False


class CallRinging(Struct, tag_field="type", tag="call.ringing", frozen=True):
    """This device really rings."""

    call: WireCallId
    id: OptionalId = UNSET


class CallAccept(Struct, tag_field="type", tag="call.accept", frozen=True):
    """Answer; the first of the user's devices wins."""

    id: RequestId
    call: WireCallId
    client_id: WireClientId
    media: Kind
    relay_only: bool = False
    replace: bool = False


class CallDecline(Struct, tag_field="type", tag="call.decline", frozen=True):
    """Refuse, on all of the user's devices."""

    id: RequestId
    call: WireCallId
    busy: bool = False


class CallJoin(Struct, tag_field="type", tag="call.join", frozen=True):
    """Take a seat in a call that goes on; with `takeover` in place of another device of the same user."""

    id: RequestId
    call: WireCallId
    client_id: WireClientId
    media: Kind
    relay_only: bool = False
    replace: bool = False
    takeover: bool = False


class CallInvite(Struct, tag_field="type", tag="call.invite", frozen=True):
    """Have further members' devices ring."""

    id: RequestId
    call: WireCallId
    users: Annotated[tuple[WireUserId, ...], Meta(min_length=1, max_length=CALL_PARTICIPANTS_MAX - 1)]


class CallSignal(Struct, tag_field="type", tag="call.signal", frozen=True):
    """What a peer connection has to tell another seat's."""

    call: WireCallId
    to: WirePeerId
    n: SignalNumber
    description: Description | None = None
    candidates: Candidates = ()
    end_of_candidates: bool = False
    streams: Streams | None = None
    id: OptionalId = UNSET


class CallMedia(Struct, tag_field="type", tag="call.media", frozen=True):
    """What this seat sends from now on."""

    call: WireCallId
    audio: bool
    video: bool
    screen: bool
    id: OptionalId = UNSET


class CallReport(Struct, tag_field="type", tag="call.state", frozen=True):
    """How the ICE connection of this seat to `peer` is now."""

    call: WireCallId
    peer: WirePeerId
    ice: Literal["connected", "disconnected", "failed"]
    route: Route | None = None
    id: OptionalId = UNSET


class CallIce(Struct, tag_field="type", tag="call.ice", frozen=True):
    """Ask for ICE servers: for a call, or without one for a test of the user's network."""

    id: RequestId
    call: WireCallId | None = None


class CallResume(Struct, tag_field="type", tag="call.resume", frozen=True):
    """Take the seat again from another connection; `have` is the last signal held from each other seat."""

    id: RequestId
    call: WireCallId
    peer: WirePeerId
    have: Annotated[dict[WirePeerId, HaveNumber], Meta(max_length=CALL_PARTICIPANTS_MAX)] = {}


class CallHangup(Struct, tag_field="type", tag="call.hangup", frozen=True):
    """Leave the call; with its last two it ends."""

    id: RequestId
    call: WireCallId
    reason: Literal["hangup", "media_failed"] = "hangup"


class CallStats(Struct, tag_field="type", tag="call.stats", frozen=True):
    """How the media from `peer` have been since the last report."""

    call: WireCallId
    peer: WirePeerId
    rtt_ms: _Milliseconds | None = None
    loss: _Share | None = None
    jitter_ms: _Milliseconds | None = None
    fps: _PerSecond | None = None
    kbps_in: _PerSecond | None = None
    kbps_out: _PerSecond | None = None
    freezes: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    silent_ms: _Milliseconds | None = None
    id: OptionalId = UNSET


class CallFeedback(Struct, tag_field="type", tag="call.feedback", frozen=True):
    """What the user says of a call, within a day of its end."""

    id: RequestId
    call: WireCallId
    rating: Annotated[int, Meta(ge=1, le=5)]
    issues: Annotated[tuple[_Issue, ...], Meta(max_length=FEEDBACK_ISSUES_MAX)] = ()


CallRequest = (
    CallStart
    | CallRinging
    | CallAccept
    | CallDecline
    | CallJoin
    | CallInvite
    | CallSignal
    | CallMedia
    | CallReport
    | CallIce
    | CallResume
    | CallHangup
    | CallStats
    | CallFeedback
)

# ---- answers


class CallSeat(Struct, tag_field="type", tag="ok", frozen=True, omit_defaults=True):
    """The answer to `call.start`, `.accept`, `.join` and `.resume`: this connection's place, and the call as it is."""

    id: RequestId
    call: CallId
    match: MatchId
    peer: PeerId
    policy: Policy
    caller: UserId
    media: Kind
    mode: Mode
    state: CallState
    started_at: Micros
    peers: tuple[CallPeer, ...]
    ringing: tuple[UserId, ...]
    answered_at: Micros | None = None
    glare: bool = False


class CallIceServers(Struct, tag_field="type", tag="ok", frozen=True, omit_defaults=True):
    """The answer to `call.ice`. `degraded`: no relay can be had now."""

    id: RequestId
    ice_servers: tuple[IceServer, ...]
    ttl_s: int
    expires_at: Micros
    degraded: bool = False


# ---- pushes


class CallIncoming(Struct, tag_field="type", tag="call.incoming", frozen=True, omit_defaults=True):
    """Ring. `in_call`: the user is in another call already; `joined`: who is in this one."""

    call: CallId
    match: MatchId
    caller: UserId
    media: Kind
    mode: Mode
    age_ms: int
    expires_in_ms: int
    joined: tuple[UserId, ...]
    in_call: bool = False


class CallRang(Struct, tag_field="type", tag="call.ringing", frozen=True, omit_defaults=True):
    """A device of `user` rings; with a `reason`, none does any more, and the call goes on without that user."""

    call: CallId
    user: UserId
    reason: CallReason | None = None


class CallJoined(Struct, tag_field="type", tag="call.joined", frozen=True):
    """Another device of this user takes part in the call now."""

    call: CallId
    match: MatchId


class CallPeerJoined(Struct, tag_field="type", tag="call.peer_joined", frozen=True):
    """There is one more seat."""

    call: CallId
    peer: CallPeer


class CallPeerLeft(Struct, tag_field="type", tag="call.peer_left", frozen=True):
    """A seat is gone for good."""

    call: CallId
    peer: PeerId
    user: UserId
    reason: CallReason


class CallPeerState(Struct, tag_field="type", tag="call.peer_state", frozen=True, omit_defaults=True):
    """A seat cannot be reached for the moment, or can again. `have`: the last of your signals that it holds."""

    call: CallId
    peer: PeerId
    state: Literal["ok", "reconnecting"]
    have: int | None = None


class CallSignalled(Struct, tag_field="type", tag="call.signal", frozen=True, omit_defaults=True):
    """A signal from the seat `peer`, as it was sent."""

    call: CallId
    peer: PeerId
    n: int
    description: Description | None = None
    candidates: tuple[Candidate, ...] = ()
    end_of_candidates: bool = False
    streams: Streams | None = None


class CallMediaChanged(Struct, tag_field="type", tag="call.media", frozen=True):
    """The seat `peer` sends this from now on."""

    call: CallId
    peer: PeerId
    media: MediaState


class CallQuality(Struct, tag_field="type", tag="call.quality", frozen=True):
    """How well the seat `peer` hears and sees the others."""

    call: CallId
    peer: PeerId
    level: Level


class CallCancelled(Struct, tag_field="type", tag="call.cancelled", frozen=True):
    """Stop ringing."""

    call: CallId
    reason: CallReason


class CallEnded(Struct, tag_field="type", tag="call.ended", frozen=True, omit_defaults=True):
    """The call is over; `duration_ms` from the first picture to the end, if there was one."""

    call: CallId
    reason: CallReason
    by: UserId | None = None
    duration_ms: int | None = None


class CallSnapshot(Struct, tag_field="type", tag="call.snapshot", frozen=True, omit_defaults=True):
    """A call that goes on, as it is now: to join, or to resume if this connection has a seat in it."""

    call: CallId
    match: MatchId
    caller: UserId
    media: Kind
    mode: Mode
    state: CallState
    started_at: Micros
    peers: tuple[CallPeer, ...]
    ringing: tuple[UserId, ...]
    answered_at: Micros | None = None


class CallEntry(Struct, tag_field="type", tag="call", frozen=True, omit_defaults=True):
    """A call in the log of its match; of the entries of one call the last holds. Only a missed one has `n`."""

    match: MatchId
    seq: Seq
    created_at: Micros
    call: CallId
    state: CallOutcome
    caller: UserId
    media: Kind
    started_at: Micros
    participants: tuple[UserId, ...]
    n: Ordinal | None = None
    reason: CallReason | None = None
    by: UserId | None = None
    duration_ms: int | None = None


CallPush = (
    CallIncoming
    | CallRang
    | CallJoined
    | CallPeerJoined
    | CallPeerLeft
    | CallPeerState
    | CallSignalled
    | CallMediaChanged
    | CallQuality
    | CallCancelled
    | CallEnded
    | CallSnapshot
)
