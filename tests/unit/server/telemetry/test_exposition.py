"""The numbers as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from server.telemetry import CONTENT_TYPE, Histogram, Telemetry, exposition
from server.telemetry.counters import METRICS


def samples(telemetry: Telemetry) -> dict[str, float]:
    families = text_string_to_metric_families(exposition(telemetry).decode())
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_number_is_told_as_it_is_now() -> None:
    telemetry = Telemetry()
    expected: dict[str, float] = {}
    for position, metric in enumerate(METRICS, start=1):
        name = f"duologue_{metric.name}{'_total' if metric.kind == 'counter' else ''}"
        if metric.kind == "histogram":
            getattr(telemetry, metric.name).observe(position)
            expected |= {f"{name}_count": 1, f"{name}_sum": position, f"{name}_bucket +Inf": 1}
        elif metric.label:
            setattr(telemetry, metric.name, {"one": position, "two": 0})
            expected |= {f"{name} one": position, f"{name} two": 0}
        else:
            setattr(telemetry, metric.name, position)
            expected[name] = position
        assert metric.help_line.endswith(".")
    told = samples(telemetry)
    assert {name: told[name] for name in expected} == expected


def test_a_scrape_after_a_scrape_sees_what_changed() -> None:
    telemetry = Telemetry()
    assert samples(telemetry)["duologue_deliveries_total"] == 0
    telemetry.deliveries += 3
    assert samples(telemetry)["duologue_deliveries_total"] == 3


def test_a_histogram_counts_what_is_at_most_each_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 3.0):
        histogram.observe(value)
    assert list(histogram.buckets()) == [("0.1", 2), ("1", 3), ("+Inf", 4)]
    assert (histogram.count, round(histogram.total, 2)) == (4, 3.65)


def test_two_nodes_of_one_process_do_not_share_their_numbers() -> None:
    one, two = Telemetry(), Telemetry()
    one.commit_seconds.observe(1)
    one.bus_dropped["durable"] = 1
    assert (two.commit_seconds.count, two.bus_dropped) == (0, {})


def test_the_process_is_told_too() -> None:
    assert samples(Telemetry())["process_resident_memory_bytes"] > 0
    assert CONTENT_TYPE.startswith("text/plain")
