"""A result of the load tester with something of everything, made up."""

from loadtest.findings import Report
from loadtest.histogram import Histogram
from loadtest.judging import judge_budgets, judge_faults
from loadtest.machine import this_machine
from loadtest.result import FORMAT, Mark, Result, Second, Step
from loadtest.scenario import Scenario, load_scenario

_CUT_S = 12


def histogram(*values: int) -> Histogram:
    """Record all."""
    found = Histogram()
    for value in values:
        found.record(value)
    return found


def blank(scenario: Scenario | None = None) -> Result:
    """Return a run of which nothing is known yet."""
    return Result(
        FORMAT,
        "storm",
        "0a1b2c3d",
        "2026-11-21T10:00:00Z",
        "python -m loadtest run storm --url ws://127.0.0.1:8000/ws",
        "ws://127.0.0.1:8000/ws",
        users=300,
        devices=360,
        agents=2,
        duration_s=20.0,
        warm_up_s=5.0,
        rate_per_s=20.0,
        seed=1,
        scenario=scenario or load_scenario("storm"),
        machine=this_machine(),
    )


def second(at_s: int) -> Second:
    """Return what a second of a storm may be like; before the load people only connect."""
    if at_s < 0:
        return Second(at_s, 180, {}, {"connect": (20_000, 40_000, 90_000, 120_000)})
    delivery = 400_000 if at_s == _CUT_S else 5_000 + 300 * at_s
    return Second(
        at_s,
        60 if at_s == _CUT_S else 360,
        {"sent": 20, "acked": 20, "delivered": 24},
        {"delivery": (delivery // 2, delivery, 2 * delivery, 3 * delivery), "lag": (100, 200, 900, 1_500)},
        [0.05, 0.07],
        0.31 if at_s == _CUT_S else 0.1,
        60 * 2**20 + at_s * 2**15,
    )


def sample_result() -> Result:
    """Return a run in which much went wrong, with a budget kept and one broken, and a name that is no markup."""
    result = blank()
    result.seconds = [second(at_s) for at_s in range(-2, 20)]
    result.marks = [Mark(float(_CUT_S), "every connection cut"), Mark(15.2, "<script>alert(1)</script>")]
    result.counts = {"sent": 400, "delivered": 480, "pushed twice": 3, "error rate_limited": 2, "closed with 1006": 300}
    result.times = {
        "delivery": histogram(*range(1_000, 30_000, 60), 900_000),
        "ack": histogram(*range(900, 28_000, 70)),
        "connect": histogram(*range(10_000, 120_000, 900)),
        "comeback": histogram(300_000, 500_000),
        "lag": histogram(100, 200, 900, 1_500),
    }
    report = Report(clients=360, acked=400, lost=1, findings=["lost: m1 ann 0a1b.7.3.12000000 was acked as 4"])
    result.report = report
    judge_faults(result, report, unanswered=0, missing=0)
    result.budgets = judge_budgets(result, {"p99_ms": 50, "history_p99_ms": 5, "min_sent_per_s": 10})
    result.steps = [Step(50, 49.2, 4.1, 12.0, 0.4, ""), Step(80, 78.9, 9.9, 88.0, 0.97, "p99_ms was 88.0, not 50")]
    result.knee = "49 messages/s held; at 80 offered p99_ms was 88.0, not 50."
    result.invalid = ["a process of the load tester used more than 90 % of its core in 3 of 15 seconds"]
    result.notes = ["clocks of the machines agree within 0.20 ms"]
    return result
