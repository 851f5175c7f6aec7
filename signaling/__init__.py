"""Calls, as far as they can be thought without a socket, a store or a clock: who rings, who sits, when it is over.

`decide` takes a call as the store holds it, one event and what the store knows around it, and returns the call as it is to
be stored, what the log of its match says of it, and whom to tell. It is pure: who lost a race for the row decides again.

    decide(call, event, context, rules, now) -> Decision          signaling.decide
    deadline_of(call, rules) -> Micros | None                     signaling.due
    seat_answer, incoming_of, snapshot_of, record_of              signaling.views
    relay(call, session, signal) -> Relayed | Refusal             signaling.relay
    quality_of(stats) -> Level                                    signaling.quality

Refuses: media. The server never has a peer connection, and no SDP or address is kept in anything that is stored here.
"""
