"""The one way to change a call."""

from protocol.errors import ErrorCode
from protocol.ids import Micros
from signaling.call import Call
from signaling.decision import Context, Decision, Rules
from signaling.draft import Draft
from signaling.due import due
from signaling.events import Accept, Decline, Due, Event, Invite, Rang, Start
from signaling.ringing import at_ring, refused, start
from signaling.sitting import at_seat


def decide(call: Call | None, event: Event, context: Context, rules: Rules, now: Micros) -> Decision:
    """Return what follows from `event`; the same arguments always give the same answer.

    `call` is the one that the event names; for Start it is the newest of the match, live or over.
    """
    if isinstance(event, Start):
        return start(event, call, context, rules, now)
    if call is None:
        return refused(ErrorCode.NOT_IN_CALL)
    draft = Draft(call, context, rules, now)
    match event:
        case Due():
            return due(draft)
        case Rang() | Accept() | Decline() | Invite():
            return at_ring(event, draft)
        case _:
            return at_seat(event, draft)
