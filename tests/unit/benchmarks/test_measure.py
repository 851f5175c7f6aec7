"""What the benchmarks print is what was measured: medians, quiet windows, losses that show."""

import pytest

from tests.benchmarks.measure import Row, Window, per_target, quietest, ratio, series
from tests.benchmarks.table import render, results


def window(cpu_us: float, *, received: int = 10, expected: int = 10, others: float = 0.0) -> Window:
    return Window(cpu_us, 1000.0, 100.0, received, expected, 10, others)


def test_the_median_is_per_unit() -> None:
    """Ten units a window."""
    found = series("duologue", [window(100), window(300), window(200)])
    assert (found.median, found.delivered) == (20, 1)
    assert (found.target_load, found.client_load) == pytest.approx((0.2, 0.1))


def test_the_quietest_windows_count() -> None:
    """Those in which other programs used least."""
    loud, quiet = window(900, others=1.5), window(100, others=0.1)
    assert quietest([loud, quiet, loud, quiet], 2) == [quiet, quiet]
    assert series("duologue", [loud, quiet]).others == 1.5


def test_a_loss_makes_a_row_invalid() -> None:
    """And a peer that was not run is said to be so."""
    lossy = per_target({"duologue": [window(100, received=9)], "websockets.serve": [window(200)]})
    text = render(results([Row("x", "title", "µs", lossy, "at most 1", False, ["a note"])], 1, 1.0))
    assert "0.9000 INVALID / 1" in text
    assert "0.50 / -" in text
    assert "not run" in text
    assert "MISSED" in text
    assert "- x: a note." in text


def test_a_ratio_needs_a_peer() -> None:
    """None where there is none."""
    ours = series("duologue", [window(100)])
    assert ratio(ours, None) is None
    assert ratio(ours, series("C epoll", [window(50)])) == 2
