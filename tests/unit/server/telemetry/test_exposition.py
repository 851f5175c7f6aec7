"""The numbers as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from server.telemetry import CONTENT_TYPE, Telemetry, exposition
from server.telemetry.counters import METRICS


def samples(telemetry: Telemetry) -> dict[str, float]:
    families = text_string_to_metric_families(exposition(telemetry).decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_every_number_is_told_as_it_is_now() -> None:
    telemetry = Telemetry()
    for position, metric in enumerate(METRICS, start=1):
        setattr(telemetry, metric.name, position)
    told = samples(telemetry)
    for position, metric in enumerate(METRICS, start=1):
        suffix = "_total" if metric.kind == "counter" else ""
        assert told[f"duologue_{metric.name}{suffix}"] == position
        assert metric.help_line.endswith(".")


def test_a_scrape_after_a_scrape_sees_what_changed() -> None:
    telemetry = Telemetry()
    assert samples(telemetry)["duologue_deliveries_total"] == 0
    telemetry.deliveries += 3
    assert samples(telemetry)["duologue_deliveries_total"] == 3


def test_the_process_is_told_too() -> None:
    assert samples(Telemetry())["process_resident_memory_bytes"] > 0
    assert CONTENT_TYPE.startswith("text/plain")
