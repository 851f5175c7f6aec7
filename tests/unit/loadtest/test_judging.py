"""The judgement: what must be zero, what was promised by budgets, and when figures mean nothing."""

from pathlib import Path

import pytest
from msgspec import structs

from loadtest.findings import Report
from loadtest.judging import BadBudget, check_budgets, judge_budgets, judge_faults, parse_budgets, why_invalid
from loadtest.result import BadResult, Second, read_result, write_result
from loadtest.scenario import load_scenario
from loadtest.texts import render, slope_text
from tests.support.load_results import blank, histogram, sample_result


def test_budgets_are_names_and_numbers() -> None:
    """As the command line has them."""
    assert parse_budgets(["p99_ms=50", "ack_p50_ms=2.5", "errors=0"]) == {"p99_ms": 50, "ack_p50_ms": 2.5, "errors": 0}


@pytest.mark.parametrize("text", ["p99_ms", "p99_ms=", "p98_ms=5", "lag_p99_ms=5", "fast=1"])
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    """Nobody is told that it was kept."""
    with pytest.raises(BadBudget):
        parse_budgets([text])


def test_each_budget_is_held_against_what_was_found() -> None:
    """Ceilings and floors; nothing measured is not kept."""
    result = sample_result()
    stated = {
        "p50_ms": 100, "max_ms": 100, "mean_ms": 100, "ack_p99_ms": 100, "errors": 1, "server_cores": 1, "server_rss_mib": 10,
        "min_sent_per_s": 19, "min_delivered_per_s": 25, "history_p99_ms": 5,
    }  # fmt: skip
    check_budgets(stated)
    kept = {budget.name for budget in judge_budgets(result, stated) if budget.is_kept}
    assert kept == {"p50_ms", "mean_ms", "ack_p99_ms", "server_cores", "min_sent_per_s"}


def test_a_server_that_was_not_seen_keeps_no_budget_of_its_own() -> None:
    """Rather than one that it may have broken."""
    assert [budget.is_kept for budget in judge_budgets(blank(), {"server_cores": 1, "server_rss_mib": 1})] == [
        False
    ] * 2


def test_faults_on_the_way_are_forgiven_only_where_things_are_broken_on_purpose() -> None:
    """The others never."""
    disturbed, calm = blank(), blank(load_scenario("chat"))
    for result in (disturbed, calm):
        result.counts = {"pushed twice": 3, "strangers": 1}
        judge_faults(result, Report(), unanswered=0, missing=2)
    assert disturbed.broken == {"shown to strangers": 1, "not connected in the end": 2}
    assert disturbed.tolerated["pushed twice on one connection"] == 3
    assert calm.broken == {"shown to strangers": 1, "not connected in the end": 2, "pushed twice on one connection": 3}


def test_the_slope_of_the_memory_is_that_of_its_last_two_thirds() -> None:
    """Caches fill before; what was seen for less than a minute has none, and keeps no budget of it."""
    result = blank()
    result.duration_s, result.warm_up_s = 305.0, 5.0
    result.seconds = [
        Second(at_s, server_rss_bytes=2**26 + (at_s * 2**20 if at_s < 105 else 105 * 2**20 + (at_s - 105) * 1024))
        for at_s in range(305)
    ]
    assert result.server_rss_slope() == pytest.approx(60 * 1024)
    assert "+60.0 KiB a minute" in slope_text(result)
    (grown,) = judge_budgets(result, {"server_rss_kib_per_min": 50})
    assert grown.found == pytest.approx(60)
    assert not grown.is_kept
    result.seconds = result.seconds[:60]
    assert result.server_rss_slope() is None
    assert slope_text(result) == ""
    assert not judge_budgets(result, {"server_rss_kib_per_min": 50})[0].is_kept


def test_entries_of_two_nodes_may_swap_places_on_their_way() -> None:
    """Told, and not judged; everything else is."""
    scenario = load_scenario("chat")
    result = blank(structs.replace(scenario, promises=structs.replace(scenario.promises, is_one_node=False)))
    result.counts = {"pushed out of order": 3, "pushed twice": 1}
    judge_faults(result, Report(), unanswered=0, missing=0)
    assert result.broken == {"pushed twice on one connection": 1}
    assert result.tolerated == {"pushed out of order": 3}


def test_figures_of_a_load_tester_that_was_busy_or_late_are_invalid() -> None:
    """Each for its reason, and neither for a moment's."""
    result = blank()
    result.seconds = [Second(at_s, agents_cpu=[0.2, 0.95 if at_s < 5 else 0.5]) for at_s in range(20)]
    result.times = {"delivery": histogram(*[10_000] * 200), "lag": histogram(*[100] * 200)}
    assert why_invalid(result) == []
    result.seconds = [Second(at_s, agents_cpu=[0.2, 0.95 if at_s < 9 else 0.5]) for at_s in range(20)]
    result.times["lag"] = histogram(*[100] * 190, *[12_000] * 10)
    cpu, lag = why_invalid(result)
    assert "90%" in cpu
    assert "12.0 ms late" in lag or "12.1 ms late" in lag


def test_a_verdict_is_the_worst_that_holds() -> None:
    """And the command ends by it."""
    result = blank()
    assert (result.verdict, result.exit_code) == ("PASS", 0)
    result.invalid = ["late"]
    assert (result.verdict, result.exit_code) == ("INVALID", 3)
    result.faults = {"lost": 1}
    assert (result.verdict, result.exit_code) == ("FAIL", 1)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    """All of it."""
    result = sample_result()
    write_result(result, tmp_path / "deep" / "a.json")
    assert read_result(tmp_path / "deep" / "a.json") == result


@pytest.mark.parametrize("text", ["{}", "nothing", ""])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    """In words."""
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BadResult, match="no result"):
        read_result(path)
    with pytest.raises(BadResult, match="No such file"):
        read_result(tmp_path / "missing.json")


def test_a_result_of_another_format_is_refused(tmp_path: Path) -> None:
    """Rather than read wrongly."""
    result = sample_result()
    result.format = 99
    write_result(result, tmp_path / "a.json")
    with pytest.raises(BadResult, match="format 99"):
        read_result(tmp_path / "a.json")


def test_the_whole_is_told_on_the_terminal() -> None:
    """Figures, counts, budgets, notes, the verdict."""
    text = render(sample_result())
    assert text.endswith("FAIL")
    for part in (
        "delivery",
        "1 acked but lost",
        "BROKEN",
        "300 × closed with 1006",
        "INVALID",
        "µs CPU a delivery",
        "3 pushed",
    ):
        assert part in text, part
    assert "not seen" in render(blank())
