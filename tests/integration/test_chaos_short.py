"""The short form of `make chaos`: two nodes, every kind of fault that recovers quickly, one seed."""

import uvloop

from tests.chaos.plan import KINDS, SHORT, make_plan
from tests.chaos.run import Options, run

SEED = 7
DURATION_S = 12.0
# Here it counts what is shown in the end, and that nothing older follows something newer, not how soon.
LATE_S = 60.0


def test_nothing_is_lost_doubled_or_disordered() -> None:
    said: list[str] = []
    options = Options(SEED, DURATION_S, nodes=2, kinds=SHORT, has_calls=False, presence_late_s=LATE_S, tell=said.append)
    outcome = uvloop.run(run(options))
    assert not outcome.broken, "\n".join([*said, outcome.render()])
    assert outcome.report.acked > 100
    assert outcome.presence.told > 20


def test_the_same_seed_is_the_same_plan() -> None:
    assert make_plan(1, 60.0) == make_plan(1, 60.0) != make_plan(2, 60.0)


def test_a_minute_has_every_kind() -> None:
    for seed in range(100):
        assert {step.kind for step in make_plan(seed, 60.0)} == set(KINDS)
