"""Signals from seat to seat: authorised by the call as this node knows it, counted, checked, and handed on.

Nothing of them is kept, logged or counted by content.
"""

from typing import Final

from protocol.calls import CallSignal, PeerId
from protocol.errors import ErrorCode
from server.calls.teller import Teller
from server.core.rate_limits import RatePolicy, TokenBucket
from server.peer import Peer, Wheel
from server.telemetry import Telemetry
from signaling.call import Call
from signaling.decision import Refusal
from signaling.relay import Relayed, relay

BUCKETS_MAX: Final = 50_000


class Signals:
    """Hands on what connections of this node signal."""

    __slots__ = ("_buckets", "_policy", "_telemetry", "_teller", "_wheel")

    def __init__(self, teller: Teller, policy: RatePolicy, wheel: Wheel, telemetry: Telemetry) -> None:
        self._teller = teller
        self._policy = policy
        self._wheel = wheel
        self._telemetry = telemetry
        self._buckets: dict[PeerId, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def relay(self, call: Call, peer: Peer, signal: CallSignal) -> Refusal | None:
        """Hand on a signal of the connection `peer`, or say why not."""
        seat = call.seat_at(peer.session)
        if seat is not None:
            bucket, now = self._bucket(seat.peer), self._wheel.now()
            if not bucket.take(now):
                return Refusal(ErrorCode.RATE_LIMITED, retry_after_ms=max(1, bucket.retry_after_ms(now)))
        match relay(call, peer.session, signal):
            case Refusal() as refusal:
                return refusal
            case Relayed(action):
                self._telemetry.call_signals += 1
                self._teller.carry_out((action,))
                return None

    def forget(self, call: Call) -> None:
        """A call is over."""
        for gone in call.left:
            self._buckets.pop(gone.peer, None)

    def _bucket(self, peer: PeerId) -> TokenBucket:
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = TokenBucket(self._policy, self._wheel.now())
            if len(self._buckets) > BUCKETS_MAX:
                del self._buckets[next(iter(self._buckets))]
        return bucket
