"""The search for the capacity: upwards by a factor, then by halves, and a word on why."""

import pytest

from loadtest.board import Board
from loadtest.capacity import knee, measure, next_rate, search
from loadtest.jobs import Sample
from loadtest.meters import Meters
from loadtest.processes import Usage
from loadtest.result import Step
from loadtest.scenario import Ceiling
from tests.support.load_results import histogram

S = 1_000_000
CEILING = Ceiling(from_per_s=100, factor=2, within=0.1, step_s=1)


def step(rate: float, broke: str = "", cpu: float | None = 0.5) -> Step:
    """Return a step that held, or broke."""
    return Step(rate, rate, 5.0, 20.0, cpu, broke)


def test_it_rises_until_something_breaks_and_then_halves_the_rest() -> None:
    """A server that bears 700 is found to bear between 650 and 700."""
    steps: list[Step] = []
    rate: float | None = CEILING.from_per_s
    while rate is not None:
        steps.append(step(rate, "too slow" if rate > 700 else ""))
        rate = next_rate(steps, CEILING)
    assert [each.offered_per_s for each in steps] == [100, 200, 400, 800, 800, 600, 700, 750, 750]
    assert next_rate([step(0.9, "too slow")] * 2, CEILING) is None


def test_what_broke_once_is_tried_once_more() -> None:
    """It may have been something else on the machine; when it holds then, the search goes on above it."""
    steps = [step(100), step(200, "too slow")]
    assert next_rate(steps, CEILING) == 200
    steps.append(step(200))
    assert next_rate(steps, CEILING) == 400
    assert "No budget broke up to 200" in knee(steps, 0.1)


@pytest.mark.parametrize(
    "cpu, mine, why",
    [(0.97, 0.3, "its CPU is the limit"), (0.4, 0.3, "only 0.40 cores"), (0.4, 0.95, "load tester's own"), (None, 0.1, "not be seen")],
)  # fmt: skip
def test_the_knee_is_told_with_what_holds_it_down(cpu: float | None, mine: float, why: str) -> None:
    """As far as it can be seen from outside."""
    said = knee([step(100), step(200, "p99_ms was 80.0, not 50", cpu)], mine)
    assert said.startswith("100 messages/s held; at 200 offered p99_ms was 80.0")
    assert why in said


def test_nothing_broken_and_nothing_held_are_told_too() -> None:
    """Neither is a capacity."""
    assert "No budget broke up to 100" in knee([step(100)], 0.1)
    assert "No load held" in knee([step(100, "too slow")], 0.1)
    assert knee([], 0.1) == ""


def full_board(delivery_us: int = 5_000, acked: int = 20) -> Board:
    """Return a board with ten seconds on it."""
    board = Board(2)
    board.sample(0, Sample(0, 3, 0.1, Meters()))
    board.begin(10 * S)
    for at_s in range(1, 11):
        meters = Meters({"sent": 20, "acked": acked}, {"delivery": histogram(*[delivery_us] * 20)})
        board.sample(0, Sample((10 + at_s) * S, 4, 0.3, meters))
        board.sample(1, Sample((10 + at_s) * S + 1, 5, 0.6, Meters({"sent": 10, "acked": acked // 2})))
        board.server((10 + at_s) * S, Usage(at_s * 0.5e6, 1 << 20))
    board.server(30 * S, None)
    return board


def test_the_seconds_of_all_processes_add_up() -> None:
    """Those before the load began, too."""
    board = full_board()
    seconds = {second.at_s: second for second in board.seconds()}
    assert seconds[3].counts == {"sent": 30, "acked": 30}
    assert seconds[3].agents_cpu == [0.3, 0.6]
    assert (seconds[3].connected, board.connected) == (9, 9)
    assert seconds[3].server_cpu == pytest.approx(0.5)
    assert min(seconds) < 0
    assert board.whole.counts["sent"] == 300
    assert board.between(2, 4).counts["sent"] == 60


def test_a_step_is_what_was_between_two_moments() -> None:
    """A budget that was broken, or a queue that grows, is found."""
    assert measure(30, full_board(), (2, 8), {"p99_ms": 50}).broke == ""
    found = measure(30, full_board(delivery_us=80_000), (2, 8), {"p99_ms": 50})
    assert found.broke.startswith("p99_ms was 80")
    assert found.sent_per_s == 30
    assert found.server_cpu == pytest.approx(0.5)
    refusing = full_board()
    refusing.add(3, Meters({"error rate_limited": 40, "error unavailable": 1}))
    refused = measure(30, refusing, (2, 8), {"p99_ms": 50})
    assert refused.broke == "41 requests were refused, most with rate_limited"
    assert "A limit of the server was met" in knee([step(20), refused], 0.1)
    assert "only 50%" in measure(30, full_board(acked=10), (2, 8), {"p99_ms": 50}).broke


async def test_a_search_paces_tells_and_ends() -> None:
    """Here at the most steps that it may take."""
    paced: list[float] = []
    said: list[str] = []
    ceiling = Ceiling(from_per_s=10, factor=2, step_s=1, steps_max=2)
    steps, found = await search(ceiling, {}, full_board(), paced.append, said.append)
    assert paced == [10, 20]
    assert len(steps) == len(said) == 2
    assert "No budget broke" in found
