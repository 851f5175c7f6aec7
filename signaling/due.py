"""Time: when a call has to be looked at again, and what has run out by then."""

from collections.abc import Iterator

from protocol.calls import CallReason
from protocol.ids import Micros
from signaling.call import Call, Leg, LegState, LegTurn, Seat
from signaling.decision import Decision, Rules
from signaling.draft import Draft


def deadline_of(call: Call, rules: Rules) -> Micros | None:
    """Return when the next of the call's times runs out; None for one that is over."""
    if call.is_over:
        return None
    ends = [call.started_at + rules.max_us]
    ends.extend(leg_end(leg, rules) for leg in call.legs if leg.is_open)
    for seat in call.seats:
        ends.extend(end for end, _ in seat_ends(call, seat, rules))
    if call.alone_since is not None:
        ends.append(call.alone_since + rules.alone_us)
    return Micros(min(ends))


def due(draft: Draft) -> Decision:
    """End what has run out; of several reasons of one seat the first counts."""
    call, rules, now = draft.call, draft.rules, draft.now
    if now >= call.started_at + rules.max_us:
        draft.end(CallReason.MAX_DURATION)
        return draft.finish(write=True)
    for leg in call.legs:
        if leg.is_open and now >= leg_end(leg, rules):
            has_rung = leg.state is LegState.RINGING
            draft.end_leg(leg, LegTurn.EXPIRED, CallReason.NO_ANSWER if has_rung else CallReason.UNAVAILABLE)
    for seat in call.seats:
        over = min(((end, reason) for end, reason in seat_ends(call, seat, rules) if end <= now), default=None)
        if over is not None:
            draft.leave(seat, over[1])
    if call.alone_since is not None and now >= call.alone_since + rules.alone_us and draft.call.seats:
        draft.end(CallReason.NO_ANSWER if call.answered_at is None else CallReason.HANGUP)
    return draft.finish(write=True)


def leg_end(leg: Leg, rules: Rules) -> int:
    """Return when an open leg has rung, or tried to, for long enough."""
    wait_us = rules.ring_us if leg.state is LegState.RINGING else min(rules.unreachable_us, rules.ring_us)
    return leg.invited_at + wait_us


def seat_ends(call: Call, seat: Seat, rules: Rules) -> Iterator[tuple[int, CallReason]]:
    """Return when a seat is given up, and why, for each thing that it lacks now."""
    if seat.lost_at is not None:
        if call.answered_at is None:
            yield seat.lost_at + rules.caller_grace_us, CallReason.CANCELLED
        else:
            yield seat.lost_at + rules.grace_us, CallReason.SIGNALING_LOST
    if seat.waits_since is not None:
        yield seat.waits_since + rules.connect_us, CallReason.ICE_FAILED
    if seat.apart_since is not None:
        yield seat.apart_since + rules.reconnect_us, CallReason.ICE_TIMEOUT
