"""Two results: their figures, ratios, and what makes them no fair pair."""

from loadtest.compare import compare
from tests.support.load_results import blank, histogram, sample_result


def test_figures_stand_beside_each_other() -> None:
    """With how much larger the second is."""
    first, second = sample_result(), sample_result()
    second.times["delivery"] = histogram(*range(2_000, 60_000, 120))
    second.agents, second.invalid = 1, []
    text = compare(first, second)
    assert "delivery, p50, ms" in text
    assert "1.99" in next(line for line in text.split("\n") if "delivery, p50" in line)
    assert "server, µs CPU a delivery" in text
    assert "The runs differ in: processes of load." in text
    assert "A is invalid" in text
    assert "B is invalid" not in text


def test_what_one_does_not_have_is_left_out() -> None:
    """A ratio to nothing is none."""
    text = compare(blank(), sample_result())
    assert "delivery, p50" not in text
    assert "server, cores" not in text
