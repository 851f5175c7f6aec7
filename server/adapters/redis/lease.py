"""Who this node is in Redis, and whether it heard everything: its lease, its durable counter, its last good moment.

A lease that may be over is never renewed, and a Redis that may have forgotten something is not trusted: both are found
here, as a reason to begin anew under another name.
"""

from typing import Final

from server.ports import Clock

MICROS: Final = 1_000_000


class Lease:
    """Times are monotonic seconds."""

    def __init__(self, clock: Clock, node_name: str, lease_s: float, renew_s: float) -> None:
        self._clock = clock
        self._node_name = node_name
        self._lease_s = lease_s
        self._renew_s = renew_s
        self.node = self._name()
        # Why the node has to take another name; empty while it need not.
        self.flaw = ""
        # What the node's data in Redis belong to: the process, and the data set. Known once there is a lease.
        self._identity: tuple[str, bytes] | None = None
        # Whether this connection leads to what granted it; nothing else may be asked there before.
        self.is_confirmed = False
        # Durable calls heard; None until the first message of a channel tells.
        self._counter: int | None = None
        now = clock.now()
        self.renew_at = self._renewed_at = self._renewing_since = now
        # All that was sent until then has been heard; when the reader began; when it last heard a beat.
        self._good_at = self._opened_at = self._heard_at = now

    @property
    def is_held(self) -> bool:
        """Whether Redis has granted it under the present name."""
        return self._identity is not None

    def age_s(self, now: float) -> float:
        """How long ago it was renewed; 0 while there is none."""
        return now - self._renewed_at if self.is_held else 0.0

    @property
    def overdue_at(self) -> float:
        """When the next sign of life was due, after the last from both ways."""
        return min(self._heard_at, self._renewed_at) + self._renew_s

    @property
    def counter(self) -> int | None:
        """Durable calls heard so far, as far as known."""
        return self._counter

    def may_reap(self, now: float) -> bool:
        """Tell whether this node has renewed for long enough to judge others."""
        return now - self._renewing_since >= self._lease_s

    def silent_s(self, now: float) -> float:
        """How long no beat was heard."""
        return now - self._heard_at

    def look(self, now: float) -> None:
        """Find a flaw when the lease is over by this node's own clock: it was frozen, or Redis was away."""
        if self.is_held and now - self._renewed_at > self._lease_s:
            self.flaw = "the lease is over"

    def begin_anew(self) -> None:
        """Take another name, under which Redis knows nothing."""
        self.node, self.flaw, self._identity, self.is_confirmed = self._name(), "", None, False

    def connected(self, now: float) -> None:
        """There is another connection: whether it leads to the same Redis is to be asked at once."""
        self.is_confirmed, self.renew_at = False, now

    def opening(self) -> None:
        """Another reader begins: the first message that it hears tells where the counter is."""
        self._counter = None

    def opened(self, now: float) -> None:
        """The reader hears."""
        self._opened_at = self._heard_at = now

    def asked(self, now: float) -> None:
        """The lease is being taken or renewed."""
        self.renew_at = now + self._renew_s

    def granted(self, asked_at: float, counter_then: int | None, run_id: str, reply: list[bytes | int]) -> None:
        """Take the answer: {epoch, counter, …}. `counter_then` was heard before asking, so that Redis knew it."""
        epoch, counter = reply[0], reply[1]
        assert isinstance(epoch, bytes)
        assert isinstance(counter, int)
        if self._identity is None:
            self._identity = (run_id, epoch)
            self._renewing_since = asked_at
        elif self._identity != (run_id, epoch):
            self.flaw = "this is another Redis, or it was emptied or restarted"
        elif counter_then is not None and counter < counter_then:
            self.flaw = "the counter went back"
        elif asked_at - self._renewed_at > 2 * self._renew_s:
            self._renewing_since = asked_at
        self._renewed_at = asked_at
        self.is_confirmed = not self.flaw

    def count(self, counter: int, *, is_new: bool) -> str:
        """Take the counter of a message (a new one is one higher); return what is missing, in words, or nothing."""
        expected = None if self._counter is None else self._counter + is_new
        self._counter = counter
        if expected is None or counter == expected:
            return ""
        if counter < expected:
            self.flaw = "the counter went back"
            return ""
        return f"{counter - expected} calls were not heard"

    def beat(self, asked_us: int, now: float, *, is_whole: bool) -> None:
        """The node heard itself, in order."""
        self._heard_at = now
        if is_whole and not self.flaw:
            self._good_at = asked_us / MICROS

    def repaired_since(self, slack_s: float) -> float:
        """Return since when (monotonic seconds) to repair; what comes after the reader began will be heard."""
        since, self._good_at = self._good_at - slack_s, self._opened_at
        return since

    def _name(self) -> str:
        return f"{self._node_name}:{self._clock.random_id()}"
