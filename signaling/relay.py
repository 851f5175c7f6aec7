"""Signals from seat to seat: who may send them to whom, what they may hold. Nothing is kept of them."""

from msgspec import Struct

from protocol.calls import CallSignal, CallSignalled
from protocol.errors import ErrorCode
from protocol.ids import SessionId
from signaling.call import Call, Seat
from signaling.candidates import candidate_problem
from signaling.decision import Refusal, ToSeat, to_seat
from signaling.privacy import hide_addresses
from signaling.sdp import sdp_problem


class Relayed(Struct, frozen=True):
    """The signal may go, to this seat alone."""

    action: ToSeat


def relay(call: Call, session: SessionId, signal: CallSignal) -> Relayed | Refusal:
    """Return `signal` addressed to the seat that it names, if `session` has another seat in the same call.

    Descriptions and candidates go on character for character, but for those of a seat that is relayed only.
    """
    if call.is_over:
        return Refusal(ErrorCode.CALL_OVER, call.call)
    sender, receiver = call.seat_at(session), call.seat_named(signal.to)
    if sender is None or receiver is None or sender is receiver:
        return Refusal(ErrorCode.NOT_IN_CALL, call.call)
    problem = _problem(signal)
    if problem is not None:
        return Refusal(ErrorCode.BAD_DESCRIPTION, call.call, message=problem)
    return Relayed(_addressed(call, sender, receiver, hide_addresses(signal) if sender.relay_only else signal))


def _problem(signal: CallSignal) -> str | None:
    if signal.description is not None:
        problem = sdp_problem(signal.description.sdp)
        if problem is not None:
            return f"{problem} - at `$.description.sdp`"
    for candidate in signal.candidates:
        problem = candidate_problem(candidate.candidate)
        if problem is not None:
            return f"{problem} - at `$.candidates[...].candidate`"
    return None


def _addressed(call: Call, sender: Seat, receiver: Seat, signal: CallSignal) -> ToSeat:
    message = CallSignalled(
        call=call.call,
        peer=sender.peer,
        n=signal.n,
        description=signal.description,
        candidates=signal.candidates,
        end_of_candidates=signal.end_of_candidates,
        streams=signal.streams,
    )
    return to_seat(receiver, message)
