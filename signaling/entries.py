"""What a match's log says of a call."""

from typing import Final

from protocol.calls import CallOutcome, CallReason
from protocol.ids import Micros, UserId
from signaling.call import Call
from signaling.decision import EntryDraft

_BY_REASON: Final = {CallReason.DECLINED: CallOutcome.DECLINED, CallReason.BUSY: CallOutcome.BUSY}
_UNHEARD: Final = frozenset({CallReason.NO_ANSWER, CallReason.UNAVAILABLE})


def outcome_of(call: Call) -> CallOutcome | None:
    """Return how the log puts it; None for a call that was not there before."""
    if not call.seats and not call.left:
        return None
    if not call.is_over:
        return CallOutcome.ONGOING if call.answered_at else CallOutcome.RINGING
    if call.active_at is not None:
        return CallOutcome.COMPLETED
    if call.answered_at is not None:
        return CallOutcome.FAILED
    return _unanswered(call)


def _unanswered(call: Call) -> CallOutcome:
    assert call.reason is not None  # it is over
    if call.reason in _BY_REASON:
        return _BY_REASON[call.reason]
    has_rung = any(leg.rang_at is not None for leg in call.legs)
    is_missed = call.legs and (call.reason in _UNHEARD or has_rung)
    return CallOutcome.MISSED if is_missed else CallOutcome.CANCELLED


def entry_of(call: Call) -> EntryDraft:
    """Return what the log is to say of the call as it is now."""
    outcome = outcome_of(call)
    assert outcome is not None  # somebody sits in it, or did
    return EntryDraft(
        call=call.call,
        state=outcome,
        caller=call.caller,
        media=call.media,
        started_at=call.started_at,
        participants=_participants(call),
        reason=call.reason,
        by=call.by,
        duration_ms=duration_ms(call, call.ended_at) if call.ended_at else None,
    )


def duration_ms(call: Call, now: Micros) -> int | None:
    """Return how long there have been media; None when there never were any."""
    return None if call.active_at is None else (now - call.active_at) // 1000


def _participants(call: Call) -> tuple[UserId, ...]:
    """Those who took part, once anybody answered; before that, all who are called. The caller comes first."""
    sat = {seat.user for seat in call.seats}.union(gone.user for gone in call.left)
    people = sat if call.answered_at is not None else call.people
    return (call.caller, *sorted(people - {call.caller}))
