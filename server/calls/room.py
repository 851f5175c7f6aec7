"""What connections ask of calls, and what becomes of it. Nothing here awaits.

What is for the record goes to the desk. What is only for the moment (mute, quality, signals) is decided from the book, told
at once, and written with the next round, so that a running call needs no store.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, assert_never

from msgspec import Struct, UnsetType

from protocol.calls import (
    CallAccept,
    CallDecline,
    CallFeedback,
    CallHangup,
    CallIce,
    CallId,
    CallInvite,
    CallJoin,
    CallMedia,
    CallReason,
    CallReport,
    CallRequest,
    CallResume,
    CallRinging,
    CallSignal,
    CallStart,
    CallStats,
    MediaState,
    PeerId,
)
from protocol.errors import CATALOGUE, ErrorCode
from protocol.from_server import Error, Ok
from protocol.ids import MatchId, RequestId, UserId
from server.calls.book import CallBook, Known, decode_call
from server.calls.changes import write_before
from server.calls.desk import Desk
from server.calls.ice_lists import IceLists
from server.calls.jobs import Job, Outcome, Settled, Soft, silently, soft_events
from server.calls.lookup import CallLookup
from server.calls.signals import Signals
from server.calls.teller import Teller
from server.core.calls import OrphanedCall
from server.core.limiting import SlidingWindow
from server.core.log import Refused
from server.peer import Peer, error_of
from server.ports import Clock, Limiter
from server.telemetry import Telemetry
from signaling.decide import decide
from signaling.decision import Context, Refusal, Rules
from signaling.events import (
    Accept,
    Decline,
    Event,
    Feedback,
    HangUp,
    Invite,
    Join,
    Lost,
    Rang,
    Rated,
    Remove,
    Report,
    Resume,
    SetMedia,
    Sitter,
    Start,
)
from signaling.quality import quality_of
from signaling.views import seat_answer

STARTS: Final = "calls"
NOBODY: Final = Context(frozenset())

Plain = CallReport | CallRinging | CallDecline | CallInvite | CallHangup | CallFeedback
Seating = CallStart | CallAccept | CallJoin


class RoomParts(Struct, frozen=True):
    """What the room works with."""

    lookup: CallLookup
    book: CallBook
    desk: Desk
    teller: Teller
    signals: Signals
    ice: IceLists
    limiter: Limiter
    clock: Clock
    rules: Rules
    telemetry: Telemetry
    starts_per_min: int


class CallRoom:
    """The calls of this node's connections."""

    __slots__ = ("_parts", "_rule", "_soft")

    def __init__(self, parts: RoomParts) -> None:
        self._parts = parts
        self._rule = SlidingWindow(STARTS, parts.starts_per_min, 60_000)
        # Told already, to be written in the next round; each until it is written.
        self._soft: dict[CallId, tuple[Soft, ...]] = {}

    # ---- requests

    def asked(self, peer: Peer, request: CallRequest) -> None:
        """Answer a request, or begin to."""
        match request:
            case CallSignal():
                self._signal(peer, request)
            case CallMedia():
                media = MediaState(request.audio, request.video, request.screen)
                self._tell_now(peer, request.call, SetMedia(peer.session, media), request.id)
            case CallStats():
                self._tell_now(peer, request.call, Rated(peer.session, quality_of(request)), request.id)
            case CallStart() | CallAccept() | CallJoin():
                self._seat(peer, request)
            case CallResume():
                self._resume(peer, request)
            case CallIce():
                self._parts.ice.asked(peer, request)
            case _:
                self._decide(peer, request.call, _event_of(peer, request), request.id)

    def _decide(self, peer: Peer, call: CallId, event: Event, request_id: RequestId | UnsetType) -> None:
        def done(outcome: Outcome) -> None:
            self._answer(peer, outcome, request_id)

        self._submit(Job(event, peer.shield(done), call=call, user=peer.user))

    def _submit(self, job: Job) -> None:
        """Have an event decided, after those that were told already."""
        name, done = job.call, job.done
        if name is None:
            self._parts.desk.submit(job)
            return

        def take() -> Sequence[Soft]:
            return self._soft.get(name, ())

        def written(outcome: Outcome) -> None:
            if not isinstance(outcome, Refused) and outcome.decision.refusal is None:
                self._forget_soft(name, job.before)
            done(outcome)

        job.take, job.done = take, written
        self._parts.desk.submit(job)

    def _forget_soft(self, name: CallId, written: Sequence[Soft]) -> None:
        left = tuple(soft for soft in self._soft.get(name, ()) if soft not in written)
        if left:
            self._soft[name] = left
        else:
            self._soft.pop(name, None)

    def _answer(self, peer: Peer, outcome: Outcome, request_id: RequestId | UnsetType) -> bool:
        """Say what came of a request; tell whether it was granted."""
        named = None if isinstance(request_id, UnsetType) else request_id
        if isinstance(outcome, Refused):
            peer.say(error_of(outcome, named))
        elif outcome.decision.refusal is not None:
            peer.say(_error(outcome.decision.refusal, named))
        else:
            if named is not None and outcome.decision.peer is None:
                peer.say(Ok(named))
            return True
        return False

    # ---- seats

    def _seat(self, peer: Peer, request: Seating) -> None:
        sitter = Sitter(
            user=peer.user,
            session=peer.session,
            node=self._parts.book.node,
            peer=PeerId(self._parts.clock.random_id()),
            key=request.client_id,
            media=request.media,
            relay_only=request.relay_only,
            replace=request.replace,
        )
        done = peer.shield(partial(self._seated, peer, request.id))
        match request:
            case CallStart():
                call = CallId(self._parts.clock.random_id())
                start = Start(sitter, call, request.match, request.mode, request.users)
                admit = partial(self._admit, peer.user)
                self._submit(Job(start, done, match=request.match, user=peer.user, admit=admit))
            case CallAccept():
                self._submit(Job(Accept(sitter), done, call=request.call, user=peer.user))
            case CallJoin():
                join = Join(sitter, takeover=request.takeover)
                self._submit(Job(join, done, call=request.call, user=peer.user))
            case _:
                assert_never(request)

    async def _admit(self, user: UserId) -> Refused | None:
        refusal = (await self._parts.limiter.take(user, self._rule)).refusal
        self._parts.telemetry.rate_limited += refusal is not None
        return refusal

    def _resume(self, peer: Peer, request: CallResume) -> None:
        event = Resume(peer.user, peer.session, self._parts.book.node, request.peer, request.have)
        done = peer.shield(partial(self._seated, peer, request.id))
        self._submit(Job(event, done, call=request.call, user=peer.user))

    def _seated(self, peer: Peer, request_id: RequestId, outcome: Outcome) -> None:
        granted = self._answer(peer, outcome, request_id)
        if not granted or not isinstance(outcome, Settled) or outcome.call is None:
            return
        name = outcome.decision.peer
        if name is not None and outcome.call.seat_named(name) is not None:
            peer.say(seat_answer(outcome.call, name, request_id))
        elif name is not None:  # Everybody who is called is busy: `call.ended` says so.
            peer.say(_error(Refusal(ErrorCode.CALL_OVER, outcome.call.call), request_id))
        if not peer.is_live:  # It went while the store wrote.
            self._lost_seat(peer, outcome.call.call)

    # ---- what is told before it is written

    def _tell_now(self, peer: Peer, name: CallId, event: Event, request_id: RequestId | UnsetType) -> None:
        def tell(known: Known) -> None:
            now, soft = self._parts.clock.micros(), self._soft.get(name, ())
            # Another node may have written the call meanwhile, without what was told here.
            call, _ = write_before(soft, known.call, self._parts.rules, now)
            decision = decide(call, event, NOBODY, self._parts.rules, now)
            self._answer(peer, Settled(call, decision), request_id)
            if decision.call is not None:
                known.call = decision.call
                told = frozenset(seat.session for seat in decision.call.seats)
                # The last of each kind and connection: however long the store is away, there are no more.
                self._soft[name] = soft_events((*soft, Soft(event, told)))
            self._parts.teller.carry_out(decision.actions)

        self._find(peer, name, request_id, tell)

    def _signal(self, peer: Peer, signal: CallSignal) -> None:
        def relay(known: Known) -> None:
            refusal = self._parts.signals.relay(known.call, peer, signal)
            if refusal is None:
                if not isinstance(signal.id, UnsetType):
                    peer.say(Ok(signal.id))
                return
            self._parts.telemetry.call_signals_refused += 1
            peer.say(_error(refusal, None if isinstance(signal.id, UnsetType) else signal.id))

        self._find(peer, signal.call, signal.id, relay)

    def _find(self, peer: Peer, name: CallId, request_id: RequestId | UnsetType, use: Callable[[Known], None]) -> None:
        def refuse(refusal: Refused) -> None:
            self._answer(peer, refusal, request_id)

        self._parts.lookup.find(peer, name, use, refuse)

    # ---- connections

    def lost(self, peer: Peer) -> None:
        """A connection has gone: its seat waits for it for a while."""
        name = self._parts.book.call_at(peer.session)
        if name is not None:
            self._parts.book.leave(peer.session)
            self._lost_seat(peer, name)

    def _lost_seat(self, peer: Peer, name: CallId) -> None:
        self._parts.desk.insist(Job(Lost(peer.session), silently, call=name, user=peer.user))

    def removed(self, match: MatchId, users: Sequence[UserId]) -> None:
        """These users may not be in a call of the match any more."""
        self._parts.desk.insist(Job(Remove(tuple(users)), silently, match=match))

    def seats_lost(self, orphan: OrphanedCall) -> None:
        """Nodes with seats of a call are dead: their connections count as lost."""
        call = decode_call(orphan.row.value)
        for seat in call.seats:
            if seat.node in orphan.dead and seat.lost_at is None:
                self._parts.desk.insist(Job(Lost(seat.session), silently, call=call.call, user=seat.user))

    # ---- rounds

    def write_soft(self) -> None:
        """Write what was told and is not written yet."""
        for name in tuple(self._soft):
            if not self._parts.desk.is_deciding(name):  # What is under way takes them along.
                self._submit(Job(None, silently, call=name))


def _event_of(peer: Peer, request: Plain) -> Event:
    match request:
        case CallReport():
            return Report(peer.session, request.peer, request.ice, request.route)
        case CallRinging():
            return Rang(peer.user)
        case CallDecline():
            return Decline(peer.user, peer.session, busy=request.busy)
        case CallInvite():
            return Invite(peer.session, request.users)
        case CallHangup():
            return HangUp(peer.user, peer.session, CallReason(request.reason))
        case CallFeedback():
            return Feedback(peer.user, request.rating, request.issues)
        case _:
            assert_never(request)


def _error(refusal: Refusal, request_id: RequestId | None) -> Error:
    message = refusal.message or CATALOGUE[refusal.code].what_to_do
    return Error(
        code=refusal.code, message=message, id=request_id, call=refusal.call, retry_after_ms=refusal.retry_after_ms
    )
