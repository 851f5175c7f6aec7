"""The numbers as Prometheus text. They are read when somebody asks and cost nothing in between."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from server.telemetry.counters import METRICS, Metric, Telemetry

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def exposition(telemetry: Telemetry) -> bytes:
    """Render all numbers, and those of the process (memory, CPU, open files)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(telemetry))
    return generate_latest(registry)


class _Collector:
    __slots__ = ("_telemetry",)

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            yield _family(metric, getattr(self._telemetry, metric.name))


def _family(metric: Metric, value: int) -> Family:
    name = f"duologue_{metric.name}"
    if metric.kind == "counter":
        return CounterMetricFamily(name, metric.help_line, value=value)
    return GaugeMetricFamily(name, metric.help_line, value=value)
