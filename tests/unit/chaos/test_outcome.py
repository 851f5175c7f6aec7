"""What makes a run fail: a broken promise, something left behind, a fault that never was."""

from collections import Counter

from loadtest.findings import Report
from tests.chaos.plan import KINDS, SHORT
from tests.chaos.run import Options, Outcome

ALL = Counter({kind.name: 1 for kind in KINDS})
CALLS = Counter({"calls connected": 9})


def test_all_is_well() -> None:
    outcome = Outcome(Options(1, 60.0, nodes=3), fired=ALL, calls=CALLS)
    assert not outcome.broken
    assert "PASS" in outcome.render()


def test_a_fault_that_never_was() -> None:
    outcome = Outcome(Options(1, 60.0, nodes=3), fired=Counter({kind.name: 1 for kind in SHORT}), calls=CALLS)
    assert len(outcome.broken) == len(KINDS) - len(SHORT)
    assert "FAIL" in outcome.render()


def test_a_broken_promise_and_what_was_left_behind() -> None:
    options = Options(1, 60.0, nodes=3, without="dedup", is_pooled=True)
    gauges = {"node1 users_online": 1.0}
    outcome = Outcome(options, Report(doubled=2), ALL, calls=CALLS, gauges=gauges, listed=3, history="/tmp/x")
    assert outcome.broken == {
        "doubled": 2,
        "gauges not back at zero": 1,
        "users listed as connected after all have gone": 3,
    }
    assert "node1 users_online is 1" in outcome.render()
    assert outcome.render().endswith("seed 1, through PgBouncer, without dedup")


def test_calls_and_rings_without_an_end() -> None:
    calls = Counter({"rings without end": 2})
    outcome = Outcome(Options(1, 60.0, nodes=3), fired=ALL, calls=calls, ghosts=1, stuck=3)
    assert outcome.broken == {
        "calls without an end": 1,
        "devices that ring or talk on": 3,
        "rings without end": 2,
        "calls never connected": 1,
    }
    assert not Outcome(Options(1, 60.0, nodes=3, has_calls=False), fired=ALL).broken
