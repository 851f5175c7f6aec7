"""What journal and readers measure themselves with: times of an injected clock, into the node's histograms."""

from collections.abc import Callable

from server.telemetry.counters import Telemetry


class CommitWatch:
    """Measures commits of messages. `now` reads monotonic seconds."""

    __slots__ = ("_telemetry", "now")

    def __init__(self, telemetry: Telemetry, now: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self.now = now

    def committed(self, began: float, messages: int) -> float:
        """The store has taken a batch; return when that was."""
        committed = self.now()
        self._telemetry.commit_seconds.observe(committed - began)
        self._telemetry.commit_messages.observe(messages)
        return committed

    def written(self, committed: float) -> None:
        """What was pushed of that commit here has been written to its sockets."""
        self._telemetry.commit_to_socket_seconds.observe(self.now() - committed)


class ReadWatch:
    """Measures reads of the store."""

    __slots__ = ("_telemetry", "now")

    def __init__(self, telemetry: Telemetry, now: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self.now = now

    def answered(self, began: float, *, refused: bool) -> None:
        """A read has its answer, or was refused."""
        self._telemetry.reads_failed += refused
        self._telemetry.read_seconds.observe(self.now() - began)
