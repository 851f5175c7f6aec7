"""One word for how well a seat receives, from the statistics that its browser keeps."""

from typing import Final

from protocol.calls import CallStats, Level

SILENT_MS: Final = 5_000
POOR_LOSS: Final = 0.08
POOR_RTT_MS: Final = 600
POOR_FPS: Final = 5
FAIR_LOSS: Final = 0.02
FAIR_RTT_MS: Final = 300


def quality_of(stats: CallStats) -> Level:
    """Return the worst that any of the figures says; those that are missing say nothing."""
    loss, rtt_ms, fps = stats.loss or 0.0, stats.rtt_ms or 0.0, stats.fps
    if stats.silent_ms is not None and stats.silent_ms >= SILENT_MS:
        return "lost"
    if loss > POOR_LOSS or rtt_ms > POOR_RTT_MS or (fps is not None and fps < POOR_FPS):
        return "poor"
    if loss > FAIR_LOSS or rtt_ms > FAIR_RTT_MS:
        return "good"
    return "excellent"
