"""What one listener allows, and the figures it keeps about itself."""

from dataclasses import dataclass
from typing import Final

from protocol.limits import FRAME_MAX_BYTES

SAME_ORIGIN: Final = "same-origin"
# In `SocketLimits.origins`: the Origin's host and port are those of the Host header.


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Bounds of the sockets; the settings fill it in. Sizes in bytes, times in seconds."""

    path: str = "/ws"
    origins: tuple[str | None, ...] | None = (None, SAME_ORIGIN)
    """Accepted Origins, compared exactly; `None` among them admits requests without one. No list at all admits all."""

    connections_max: int = 20_000
    """Sockets of every kind at once; one more is answered 503."""
    connections_per_address_max: int = 0
    """Sockets of one client address at once; one more is answered 429. 0: not limited (behind a proxy)."""

    head_timeout_s: float = 5.0
    head_max_bytes: int = 16 * 1024
    line_max_bytes: int = 8 * 1024
    headers_max: int = 100

    request_timeout_s: float = 10.0
    """From the first byte of an HTTP request to the last of its body."""
    body_max_bytes: int = 1024 * 1024

    message_max_bytes: int = FRAME_MAX_BYTES
    fragments_max: int = 128
    control_frames_max: int = 100
    """Pings and pongs of the peer in `control_window_s`; more is closed 4009."""
    control_window_s: float = 10.0

    ping_after_s: float = 25.0
    """Silence of the peer after which it is pinged."""
    ping_timeout_s: float = 10.0
    close_timeout_s: float = 2.0

    outbox_max_bytes: int = 1024 * 1024
    """Unsent bytes of one connection, in its outbox and its transport."""
    high_water_bytes: int = 64 * 1024
    send_buffer_bytes: int = 64 * 1024
    """SO_SNDBUF: small, so that a slow reader shows here and not in the kernel's 4 MB. 0 leaves the system's."""
    ephemeral_hold_s: float = 0.1
    ephemeral_keys_max: int = 256
    typing_expires_s: float = 8.0
    """Typing that was held back for so long is not told any more."""


class SocketGauges:
    """Plain counters that telemetry reads: four levels, which go back to zero, and totals."""

    __slots__ = (
        "accepted_total",
        "http_connections",
        "lingering",
        "open_sockets",
        "pending_heads",
        "refused_total",
        "upgraded_total",
    )

    def __init__(self) -> None:
        """Start at zero."""
        self.open_sockets = 0
        self.pending_heads = 0
        self.http_connections = 0
        self.lingering = 0  # refused, waiting for the client to read why
        self.accepted_total = 0
        self.upgraded_total = 0
        self.refused_total = 0

    @property
    def connections(self) -> int:
        """Sockets of every kind that are open now."""
        return self.open_sockets + self.pending_heads + self.http_connections + self.lingering
