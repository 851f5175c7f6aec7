"""What is asked and happens in a call: join, resume, report, mute, lose, hang up, remove, rate."""

from collections.abc import Callable
from typing import Final, assert_never

from msgspec import structs

from protocol.calls import CallMediaChanged, CallQuality, CallReason
from protocol.errors import ErrorCode
from signaling.call import LegTurn, Opinion, RelayUse, Seat
from signaling.decision import Decision
from signaling.draft import Draft
from signaling.events import Feedback, HangUp, Join, Lost, Rated, Relayed, Remove, Report, Resume, SeatEvent, SetMedia
from signaling.ringing import obstacle, refused, take_seat

RELAYED_MAX: Final = 64

_BEFORE_ANSWER: Final = {CallReason.HANGUP: CallReason.CANCELLED, CallReason.MEDIA_FAILED: CallReason.CANCELLED}


def at_seat(event: SeatEvent, draft: Draft) -> Decision:
    """Decide what is about the seats of a call that is there."""
    match event:
        case Join():
            return join(event, draft)
        case Resume():
            return resume(event, draft)
        case Report():
            return report(event, draft)
        case SetMedia():
            return set_media(event, draft)
        case Rated():
            return rate(event, draft)
        case Lost():
            return lose(event, draft)
        case HangUp():
            return hang_up(event, draft)
        case Remove():
            return remove(event, draft)
        case Feedback():
            return remember(event, draft)
        case Relayed():
            return count(event, draft)
        case _:
            assert_never(event)


def join(event: Join, draft: Draft) -> Decision:
    """Give a seat to a member; to one who sits on another device, if that device's is to be taken over."""
    sitter, call = event.sitter, draft.call
    if sitter.user not in draft.context.members:
        return refused(ErrorCode.NOT_MEMBER)
    if call.is_over:
        return refused(ErrorCode.CALL_OVER)
    seat = call.seat_of(sitter.user)
    if seat is None:
        return take_seat(draft, sitter)
    if seat.key == sitter.key:
        return draft.move(seat, sitter.session, sitter.node, {})
    if not event.takeover:
        return refused(ErrorCode.ANSWERED_ELSEWHERE, call.call)
    problem = obstacle(sitter, draft.context, draft.rules)
    if problem is not None:
        return problem
    draft.leave(seat, CallReason.REPLACED)
    draft.take(sitter)
    return draft.finish(sitter.peer)


def resume(event: Resume, draft: Draft) -> Decision:
    """Have a seat belong to another connection of its user, or to the same one, which misses signals."""
    call = draft.call
    seat = call.seat_named(event.peer)
    if seat is not None and seat.user == event.user:
        return draft.move(seat, event.session, event.node, event.have)
    has_left = any(gone.peer == event.peer and gone.user == event.user for gone in call.left)
    return refused(ErrorCode.CALL_OVER if call.is_over or has_left else ErrorCode.NOT_IN_CALL)


def report(event: Report, draft: Draft) -> Decision:
    """Note what a seat says of its connection to another."""

    def noted(seat: Seat) -> Decision:
        if event.peer == seat.peer or draft.call.seat_named(event.peer) is None:
            return refused(ErrorCode.NOT_IN_CALL)
        others = tuple(peer for peer in seat.hears if peer != event.peer)
        hears = (*others, event.peer) if event.ice == "connected" else others
        draft.put_seat(structs.replace(seat, hears=tuple(sorted(hears)), route=event.route or seat.route))
        return draft.finish()

    return _of_seat(event, draft, noted)


def set_media(event: SetMedia, draft: Draft) -> Decision:
    """Note what a seat sends, and tell the others."""

    def noted(seat: Seat) -> Decision:
        if event.media != seat.media:
            draft.put_seat(structs.replace(seat, media=event.media))
            draft.tell_others(seat, CallMediaChanged(draft.call.call, seat.peer, event.media))
        return draft.finish()

    return _of_seat(event, draft, noted)


def rate(event: Rated, draft: Draft) -> Decision:
    """Note how well a seat receives, and tell everybody, when that is news."""

    def noted(seat: Seat) -> Decision:
        if event.level != seat.level:
            draft.put_seat(structs.replace(seat, level=event.level))
            draft.tell_seats(CallQuality(draft.call.call, seat.peer, event.level))
        return draft.finish()

    return _of_seat(event, draft, noted)


def _of_seat(event: Report | SetMedia | Rated, draft: Draft, do: Callable[[Seat], Decision]) -> Decision:
    seat = draft.call.seat_at(event.session)
    if seat is not None:
        return do(seat)
    return refused(ErrorCode.CALL_OVER if draft.call.is_over else ErrorCode.NOT_IN_CALL)


def lose(event: Lost, draft: Draft) -> Decision:
    """Note that a seat's connection is gone; one that moved on, or was lost before, is left alone."""
    seat = draft.call.seat_at(event.session)
    if seat is None or seat.lost_at is not None:
        return Decision()
    draft.put_seat(structs.replace(seat, lost_at=draft.now))
    return draft.finish()


def hang_up(event: HangUp, draft: Draft) -> Decision:
    """Give up a seat. What is over already stays as it is; the caller's, before anybody answered, cancels the call."""
    call = draft.call
    seat = call.seat_of(event.user) if event.session is None else call.seat_at(event.session)
    if seat is None:
        has_left = any(gone.user == event.user for gone in call.left)
        return Decision() if call.is_over or has_left else refused(ErrorCode.NOT_IN_CALL)
    draft.by = seat.user
    is_unanswered = call.answered_at is None
    draft.leave(seat, _BEFORE_ANSWER.get(event.reason, event.reason) if is_unanswered else event.reason)
    return draft.finish()


def remove(event: Remove, draft: Draft) -> Decision:
    """Take users out of the call who may not be in it any more; all of them, when the app ends it."""
    if draft.call.is_over:
        return Decision()
    if event.users is None:
        draft.end(CallReason.REMOVED)
        return draft.finish()
    for leg in draft.call.legs:
        if leg.is_open and leg.user in event.users:
            draft.end_leg(leg, LegTurn.CANCELLED, CallReason.REMOVED)
    for seat in draft.call.seats:
        if seat.user in event.users:
            draft.leave(seat, CallReason.REMOVED)
    return draft.finish()


def remember(event: Feedback, draft: Draft) -> Decision:
    """Keep what a user says of a call that they were in; the last word counts."""
    call = draft.call
    if call.seat_of(event.user) is None and all(gone.user != event.user for gone in call.left):
        return refused(ErrorCode.NOT_IN_CALL)
    if call.ended_at is not None and draft.now > call.ended_at + draft.rules.feedback_us:
        return refused(ErrorCode.CALL_OVER)
    others = tuple(opinion for opinion in call.opinions if opinion.user != event.user)
    opinion = Opinion(event.user, event.rating, event.issues)
    draft.call = structs.replace(call, opinions=(*others, opinion))
    return draft.finish()


def count(event: Relayed, draft: Draft) -> Decision:
    """Keep what a relay carried; told twice it counts once. Of very many allocations the first are forgotten."""
    call = draft.call
    if event.user not in call.people:
        return refused(ErrorCode.NOT_IN_CALL)
    use = RelayUse(event.user, event.allocation, event.total_bytes)
    others = tuple(each for each in call.relayed if each.allocation != event.allocation)
    draft.call = structs.replace(call, relayed=(*others, use)[-RELAYED_MAX:])
    return draft.finish()
