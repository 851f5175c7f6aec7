"""What the server tells about itself: numbers for Prometheus and log lines. The bottom layer: it knows nobody above."""

from server.telemetry.counters import Telemetry
from server.telemetry.exposition import CONTENT_TYPE, exposition
from server.telemetry.histograms import Histogram
from server.telemetry.logs import configure_logs, event
from server.telemetry.watches import CommitWatch, ReadWatch

__all__ = [
    "CONTENT_TYPE",
    "CommitWatch",
    "Histogram",
    "ReadWatch",
    "Telemetry",
    "configure_logs",
    "event",
    "exposition",
]
