"""What is asked while it rings: start, ring, accept, decline, invite."""

from typing import Final, assert_never

from protocol.calls import CallId, CallRang, CallReason, CallState
from protocol.errors import ErrorCode
from protocol.ids import Micros, UserId
from signaling.call import Call, LegState, LegTurn, leg_moved
from signaling.decision import Context, Decision, Refusal, Rules
from signaling.draft import Draft, is_relayed
from signaling.events import Accept, Decline, Invite, Rang, RingEvent, Sitter, Start

DECLINED: Final = frozenset({LegState.DECLINED, LegState.BUSY})


def refused(code: ErrorCode, call: CallId | None = None, *, leave_first: bool = False) -> Decision:
    """Return a decision that changes nothing."""
    return Decision(refusal=Refusal(code, call, leave_first))


def obstacle(sitter: Sitter, context: Context, rules: Rules) -> Decision | None:
    """Refuse who could not be connected, or has a seat in another call; None for all others."""
    if not rules.has_relay and is_relayed(sitter, context, rules):
        return refused(ErrorCode.NO_RELAY)
    other = context.in_call.get(sitter.user)
    return refused(ErrorCode.IN_OTHER_CALL, other, leave_first=sitter.replace) if other is not None else None


def start(event: Start, latest: Call | None, context: Context, rules: Rules, now: Micros) -> Decision:
    """Make a call, or find the one that is meant. `latest` is the match's newest call, over or not."""
    sitter = event.sitter
    if sitter.user not in context.members:
        return refused(ErrorCode.NOT_MEMBER)
    if latest is not None:
        found = _in_latest(event, latest, context, rules, now)
        if found is not None:
            return found
    problem = obstacle(sitter, context, rules)
    if problem is not None:
        return problem
    targets = _targets(event, context, rules)
    if not isinstance(targets, tuple):
        return targets
    call = Call(
        call=event.call,
        match=event.match,
        caller=sitter.user,
        key=sitter.key,
        media=sitter.media,
        mode="ring" if targets else "prompt",
        state=CallState.RINGING,
        started_at=now,
    )
    draft = Draft(call, context, rules, now)
    draft.take(sitter)
    draft.ring(targets)
    return draft.finish(sitter.peer)


def _in_latest(event: Start, latest: Call, context: Context, rules: Rules, now: Micros) -> Decision | None:
    sitter = event.sitter
    if latest.is_over:
        is_same = latest.caller == sitter.user and latest.key == sitter.key
        return refused(ErrorCode.CALL_OVER, latest.call) if is_same else None
    seat = latest.seat_of(sitter.user)
    if seat is not None and seat.key == sitter.key:
        return Draft(latest, context, rules, now).move(seat, sitter.session, sitter.node, {})
    if seat is not None:
        return refused(ErrorCode.CALL_EXISTS, latest.call, leave_first=sitter.replace)
    if latest.open_leg_of(sitter.user) is None:
        return refused(ErrorCode.CALL_EXISTS, latest.call)
    return take_seat(Draft(latest, context, rules, now), sitter, glare=True)


def _targets(event: Start, context: Context, rules: Rules) -> tuple[UserId, ...] | Decision:
    """Return whom to ring; none for a prompt."""
    user = event.sitter.user
    others = context.members - {user}
    named = frozenset(event.users) - {user} if event.users is not None else None
    if named is not None and not named <= others:
        return refused(ErrorCode.NOT_MEMBER)
    if len(others) == 1 and context.blocked & others:
        return refused(ErrorCode.CALL_REFUSED)
    if event.mode == "prompt" or (named is None and len(others) >= rules.participants):
        return ()
    if context.unanswered >= rules.unanswered:
        return refused(ErrorCode.CALL_REFUSED)
    targets = (others if named is None else named) - context.blocked
    if not targets:
        return refused(ErrorCode.CALL_REFUSED)
    return tuple(sorted(targets)) if len(targets) < rules.participants else refused(ErrorCode.CALL_FULL)


def at_ring(event: RingEvent, draft: Draft) -> Decision:
    """Decide what is about the ring of a call that is there."""
    match event:
        case Rang():
            return rang(event, draft)
        case Accept():
            return accept(event, draft)
        case Decline():
            return decline(event, draft)
        case Invite():
            return invite(event, draft)
        case _:
            assert_never(event)


def take_seat(draft: Draft, sitter: Sitter, *, glare: bool = False) -> Decision:
    """Give a seat to one who may have it, if nothing stands in the way."""
    call, context = draft.call, draft.context
    problem = obstacle(sitter, context, draft.rules)
    if problem is not None:
        return problem
    if any(seat.user in context.blocked for seat in call.seats):
        return refused(ErrorCode.CALL_REFUSED)
    if len(call.seats) >= draft.rules.participants:
        return refused(ErrorCode.CALL_FULL)
    draft.take(sitter, glare=glare)
    return draft.finish(sitter.peer)


def rang(event: Rang, draft: Draft) -> Decision:
    """Note that a device rings; the seats are told of the first one."""
    leg = draft.call.open_leg_of(event.user)
    if leg is None:
        return refused(ErrorCode.CALL_OVER if draft.call.leg_of(event.user) else ErrorCode.NOT_IN_CALL)
    if leg.state is LegState.NOTIFIED:
        draft.put_leg(leg_moved(leg, LegTurn.RANG, draft.now))
        draft.tell_seats(CallRang(draft.call.call, event.user))
    return draft.finish()


def accept(event: Accept, draft: Draft) -> Decision:
    """Give the seat to the first device of the user that asks."""
    sitter, call = event.sitter, draft.call
    seat = call.seat_of(sitter.user)
    if seat is not None:
        if seat.key == sitter.key:
            return draft.move(seat, sitter.session, sitter.node, {})
        return refused(ErrorCode.ANSWERED_ELSEWHERE, call.call)
    if call.leg_of(sitter.user) is None:
        return refused(ErrorCode.NOT_IN_CALL)
    if call.open_leg_of(sitter.user) is None:
        return refused(ErrorCode.CALL_OVER)
    return take_seat(draft, sitter)


def decline(event: Decline, draft: Draft) -> Decision:
    """End the ring on all of the user's devices; said twice it is said once."""
    call = draft.call
    leg = call.leg_of(event.user)
    if leg is None:
        return refused(ErrorCode.NOT_IN_CALL)
    if leg.is_open:
        turn = LegTurn.BUSY if event.busy else LegTurn.DECLINED
        draft.by = event.user
        draft.end_leg(leg, turn, CallReason.DECLINED_ELSEWHERE, but=event.session)
        return draft.finish()
    if leg.state in DECLINED:
        return Decision()
    return refused(ErrorCode.ANSWERED_ELSEWHERE if call.seat_of(event.user) else ErrorCode.CALL_OVER)


def invite(event: Invite, draft: Draft) -> Decision:
    """Ring for further members; those who sit or are rung already are left alone."""
    call, context = draft.call, draft.context
    if call.is_over:
        return refused(ErrorCode.CALL_OVER)
    if call.seat_at(event.session) is None:
        return refused(ErrorCode.NOT_IN_CALL)
    if not context.members.issuperset(event.users):
        return refused(ErrorCode.NOT_MEMBER)
    here = {seat.user for seat in call.seats}.union(leg.user for leg in call.legs if leg.is_open)
    asked = sorted(frozenset(event.users) - here - context.blocked)
    if len(here) + len(asked) > draft.rules.participants:
        return refused(ErrorCode.CALL_FULL)
    draft.ring(asked)
    return draft.finish()
