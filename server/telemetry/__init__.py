"""What the server tells about itself: numbers for Prometheus and log lines. The bottom layer: it knows nobody above."""

from server.telemetry.counters import Telemetry
from server.telemetry.exposition import CONTENT_TYPE, exposition
from server.telemetry.logs import configure_logs, event

__all__ = ["CONTENT_TYPE", "Telemetry", "configure_logs", "event", "exposition"]
