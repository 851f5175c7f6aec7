"""From a decision to what the store is asked to write, and from what it read to what a decision needs. Nothing here acts."""

from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from protocol.ids import Micros, SessionId, UserId
from server.calls.book import encode_call
from server.calls.jobs import Soft
from server.core.calls import CallChange, CallNote, CallRow, CallView
from server.core.notices import CallNews
from signaling.call import Call
from signaling.decide import decide
from signaling.decision import Action, Context, Decision, EntryDraft, Rules, ToSeat, UserSettings
from signaling.due import deadline_of
from signaling.events import Accept, Event, Invite, Join, Start

_GUARDED: Final = (Start, Accept, Join, Invite)
# What may depend on who is a member and who has blocked whom.


def write_before(
    before: Sequence[Soft], call: Call | None, rules: Rules, now: Micros
) -> tuple[Call | None, tuple[Action, ...]]:
    """Return the call with what was told already, and what of that is news to those who came in meanwhile."""
    told: tuple[Action, ...] = ()
    for soft in before:
        if call is not None:
            decision = decide(call, soft.event, Context(frozenset()), rules, now)
            call = decision.call or call
            told += tuple(each for each in decision.actions if _seat_of(each) not in (None, *soft.told))
    return call, told


def change_of(change: str, event: Event | None, view: CallView, decision: Decision, rules: Rules) -> CallChange:
    """Return what the store is to write of a decision that changes a call: a new one, or the one that was read."""
    call, row = decision.call, view.row
    assert call is not None
    is_new = row is None or row.call != call.call
    is_guarded = isinstance(event, _GUARDED)
    return CallChange(
        change=change,
        call=call.call,
        match=call.match,
        version=0 if row is None or is_new else row.version,
        value=encode_call(call),
        caller=call.caller,
        started_at=call.started_at,
        ended_at=call.ended_at,
        deadline_at=deadline_of(call, rules),
        users=tuple(sorted(call.people)),
        seated=tuple(sorted({seat.user for seat in call.seats})),
        nodes=tuple(sorted({seat.node for seat in call.seats if seat.lost_at is None})),
        note=None if decision.entry is None else _note(decision.entry),
        members=view.members if is_guarded else None,
        blocks=len(view.blocks) if is_guarded else None,
    )


def news_of(row: CallRow) -> CallNews:
    """Return what other nodes have to know of a call."""
    return CallNews(row.call, row.match, row.version, Raw(row.value))


def context_of(view: CallView, user: UserId | None) -> Context:
    """Return what is around a call for an event of `user`."""
    blocked = {one for pair in view.blocks for one in pair if user in pair and one != user}
    name = None if view.row is None else view.row.call
    return Context(
        members=frozenset(view.members),
        blocked=frozenset(blocked),
        settings={who: UserSettings(its.when_busy, its.relay_only) for who, its in view.settings.items()},
        in_call={who: call for who, call in view.in_call.items() if call != name},
        unanswered=view.unanswered,
    )


def _note(draft: EntryDraft) -> CallNote:
    return CallNote(
        call=draft.call,
        state=draft.state,
        caller=draft.caller,
        media=draft.media,
        started_at=draft.started_at,
        participants=draft.participants,
        reason=draft.reason,
        by=draft.by,
        duration_ms=draft.duration_ms,
    )


def _seat_of(action: Action) -> SessionId | None:
    return action.session if isinstance(action, ToSeat) else None
