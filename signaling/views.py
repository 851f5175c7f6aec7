"""A call as one of its users sees it, and as it is remembered."""

from typing import Literal

from msgspec import Struct

from protocol.calls import (
    CallId,
    CallIncoming,
    CallOutcome,
    CallPeer,
    CallReason,
    CallSeat,
    CallSnapshot,
    Kind,
    Level,
    Mode,
    PeerId,
    Route,
)
from protocol.ids import MatchId, Micros, RequestId, UserId
from signaling.call import Call, Left, Leg, Seat
from signaling.decision import Rules
from signaling.entries import duration_ms, outcome_of


def peer_of(call: Call, seat: Seat, viewer: Seat | None) -> CallPeer:
    """Return `seat` as `viewer` sees it: who sat first makes the offer and is not polite. None: one who is yet to come."""
    order = [each.peer for each in call.seats]
    is_first = viewer is not None and order.index(viewer.peer) < order.index(seat.peer)
    state: Literal["ok", "reconnecting"] = "ok" if seat.is_well else "reconnecting"
    return CallPeer(seat.peer, seat.user, initiator=is_first, polite=not is_first, media=seat.media, state=state)


def seat_answer(call: Call, peer: PeerId, request_id: RequestId) -> CallSeat:
    """Return the answer to a request that asked for the seat `peer`, which is there."""
    seat = call.seat_named(peer)
    assert seat is not None
    return CallSeat(
        id=request_id,
        call=call.call,
        match=call.match,
        peer=peer,
        policy="relay" if seat.relay_only else "all",
        caller=call.caller,
        media=call.media,
        mode=call.mode,
        state=call.state,
        started_at=call.started_at,
        peers=tuple(peer_of(call, other, seat) for other in call.others(seat)),
        ringing=ringing_of(call),
        answered_at=call.answered_at,
        glare=seat.glare,
    )


def snapshot_of(call: Call, viewer: Seat | None) -> CallSnapshot:
    """Return the call for one of its seats, or for a member who might join."""
    return CallSnapshot(
        call=call.call,
        match=call.match,
        caller=call.caller,
        media=call.media,
        mode=call.mode,
        state=call.state,
        started_at=call.started_at,
        peers=tuple(peer_of(call, seat, viewer) for seat in call.seats if seat is not viewer),
        ringing=ringing_of(call),
        answered_at=call.answered_at,
    )


def incoming_of(call: Call, leg: Leg, rules: Rules, now: Micros, *, in_call: bool) -> CallIncoming:
    """Return the ring for the user of `leg`, with the times as they are now."""
    return CallIncoming(
        call=call.call,
        match=call.match,
        caller=call.caller,
        media=call.media,
        mode=call.mode,
        age_ms=max(0, now - leg.invited_at) // 1000,
        expires_in_ms=max(0, leg.invited_at + rules.ring_us - now) // 1000,
        joined=tuple(seat.user for seat in call.seats),
        in_call=in_call,
    )


def ringing_of(call: Call) -> tuple[UserId, ...]:
    """Return those for whom it rings."""
    return tuple(leg.user for leg in call.legs if leg.is_open)


class Part(Struct, frozen=True):
    """One user's part in a call, of which everything but the user may be missing."""

    user: UserId
    invited_at: Micros | None
    ringing_at: Micros | None
    answered_at: Micros | None
    connected_at: Micros | None
    left_at: Micros | None
    reason: CallReason | None
    route: Route | None
    quality: Level | None
    rating: int | None
    issues: tuple[str, ...]
    # Through relays, both ways; 0 where relays do not tell.
    relay_bytes: int


class CallRecord(Struct, frozen=True):
    """What the app's backend can read of a call."""

    call: CallId
    match: MatchId
    caller: UserId
    media: Kind
    mode: Mode
    state: CallOutcome
    reason: CallReason | None
    by: UserId | None
    started_at: Micros
    answered_at: Micros | None
    active_at: Micros | None
    ended_at: Micros | None
    duration_ms: int | None
    participants: tuple[Part, ...]


def record_of(call: Call) -> CallRecord:
    """Return the call for the record."""
    outcome = outcome_of(call)
    assert outcome is not None
    return CallRecord(
        call=call.call,
        match=call.match,
        caller=call.caller,
        media=call.media,
        mode=call.mode,
        state=outcome,
        reason=call.reason,
        by=call.by,
        started_at=call.started_at,
        answered_at=call.answered_at,
        active_at=call.active_at,
        ended_at=call.ended_at,
        duration_ms=duration_ms(call, call.ended_at) if call.ended_at else None,
        participants=tuple(_part(call, user) for user in sorted(call.people)),
    )


def _part(call: Call, user: UserId) -> Part:
    """Sum up all seats that the user had, one after the other: the first answer, the last end."""
    leg = call.leg_of(user)
    left = [gone for gone in call.left if gone.user == user]
    seat = call.seat_of(user)
    seats: list[Seat | Left] = [*left, *((seat,) if seat else ())]
    last = seats[-1] if seats else None
    end = left[-1] if left and seat is None else None
    opinion = next((each for each in call.opinions if each.user == user), None)
    return Part(
        user=user,
        invited_at=leg.invited_at if leg else None,
        ringing_at=leg.rang_at if leg else None,
        answered_at=seats[0].joined_at if seats else None,
        connected_at=next((each.connected_at for each in seats if each.connected_at), None),
        left_at=end.left_at if end else None,
        reason=end.reason if end else None,
        route=last.route if last else None,
        quality=last.level if last else None,
        rating=opinion.rating if opinion else None,
        issues=opinion.issues if opinion else (),
        relay_bytes=sum(use.total_bytes for use in call.relayed if use.user == user),
    )
