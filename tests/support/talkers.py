"""Calls over real sockets: short words for what clients send to servers of any kind. SDP is canned; no media flow."""

from typing import Final

import msgspec

from loadtest.client import Client, decode_ok
from protocol.calls import (
    CallAccept,
    CallHangup,
    CallId,
    CallIncoming,
    CallJoin,
    CallReport,
    CallResume,
    CallRinging,
    CallSeat,
    CallSignal,
    CallStart,
    Candidate,
    Mode,
    PeerId,
)
from protocol.ids import ClientId, MatchId
from tests.support.people import fresh

decode_seat: Final = msgspec.json.Decoder(CallSeat).decode


async def start(client: Client, match: str, key: str = "", *, mode: Mode = "ring", replace: bool = False) -> CallSeat:
    """Call everybody else in a match."""
    name = ClientId(key or fresh("start"))
    return await client.request(
        CallStart(client.next_id(), MatchId(match), name, "video", mode, replace=replace), decode_seat
    )


async def join(client: Client, call: CallId) -> CallSeat:
    """Take a seat in a call that goes on."""
    return await client.request(CallJoin(client.next_id(), call, ClientId(fresh("join")), "video"), decode_seat)


async def accept(client: Client, call: CallId, key: str = "") -> CallSeat:
    """Answer."""
    return await client.request(
        CallAccept(client.next_id(), call, ClientId(key or fresh("accept")), "video"), decode_seat
    )


async def rings(client: Client, call: CallId | None = None) -> CallIncoming:
    """Wait for the ring, and say that the device rings. One who has just come may be told of a call twice: name it then."""
    incoming = await client.next(CallIncoming, matching=lambda ring: call is None or ring.call == call)
    await client.request(CallRinging(incoming.call, client.next_id()), decode_ok)
    return incoming


async def hang_up(client: Client, call: CallId) -> None:
    """Leave."""
    await client.request(CallHangup(client.next_id(), call), decode_ok)


async def resume(client: Client, seat: CallSeat, have: dict[PeerId, int] | None = None) -> CallSeat:
    """Take a seat again."""
    return await client.request(CallResume(client.next_id(), seat.call, seat.peer, have or {}), decode_seat)


async def report(client: Client, call: CallId, peer: PeerId) -> None:
    """Say that there is a connection to `peer`."""
    await client.request(CallReport(call, peer, "connected", id=client.next_id()), decode_ok)


async def signal(client: Client, call: CallId, to: PeerId, n: int) -> None:
    """Send a signal; what it says is its number."""
    candidate = Candidate(f"candidate:{n} 1 udp 1 192.0.2.1 9 typ relay raddr 0.0.0.0 rport 0", "0", 0)
    await client.request(CallSignal(call, to, n, candidates=(candidate,), id=client.next_id()), decode_ok)


async def talk(alice: Client, bob: Client, match: str) -> tuple[CallSeat, CallSeat]:
    """Have two of a match talk; return their seats."""
    first = await start(alice, match)
    await rings(bob)
    second = await accept(bob, first.call)
    await report(alice, first.call, second.peer)
    await report(bob, first.call, first.peer)
    return first, second
