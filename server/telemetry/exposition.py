"""The numbers as Prometheus text. They are read when somebody asks and cost nothing in between."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from server.telemetry.counters import METRICS, Metric, Telemetry
from server.telemetry.histograms import Histogram

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


def _family(metric: Metric, value: float | dict[str, float] | Histogram) -> Family:
    name = f"duologue_{metric.name}"
    if isinstance(value, Histogram):
        return HistogramMetricFamily(name, metric.help_line, buckets=list(value.buckets()), sum_value=value.total)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    if not isinstance(value, dict):
        return kind(name, metric.help_line, value=value)
    family = kind(name, metric.help_line, labels=(metric.label,))
    for labelled, number in value.items():
        family.add_metric((labelled,), number)
    return family
