"""Plots: lines lie where they should, and nothing from outside becomes markup."""

import re

from loadtest.plots import Axis, Line, Plot, draw

SECONDS = Axis(lambda value: f"{value:g} s")
COUNT = Axis(lambda value: f"{value:g}")


def paths(svg: str) -> list[list[tuple[float, float]]]:
    """Return the points of each line."""
    found = re.findall(r'class="line l\d" d="M([^"]+)"', svg)
    return [[(float(x), float(y)) for x, y in (place.split(",") for place in path.split("L"))] for path in found]


def test_higher_is_up_and_later_is_right() -> None:
    """From the left edge to the right one."""
    (path,) = paths(draw(Plot("a", [Line("x", [(0, 0), (5, 10), (10, 0)])], SECONDS, COUNT)))
    assert path == [(46.0, 206.0), (257.0, 16.0), (468.0, 206.0)]


def test_a_decade_is_as_high_as_any_other() -> None:
    """On a logarithmic axis."""
    (path,) = paths(draw(Plot("a", [Line("x", [(0, 1), (1, 10), (2, 100)])], SECONDS, Axis(str, is_log=True))))
    assert abs(path[0][1] - 2 * path[1][1] + path[2][1]) < 0.2


def test_nothing_measured_is_told() -> None:
    """Rather than an empty frame."""
    assert "nothing was measured" in draw(Plot("a", [Line("x", [])], SECONDS, COUNT))


def test_one_point_and_dots_are_drawn_as_such() -> None:
    """A line needs two."""
    assert draw(Plot("a", [Line("x", [(1, 2)])], SECONDS, COUNT)).count("<circle") == 1
    assert draw(Plot("a", [Line("x", [(1, 0), (2, 0)], is_dots=True)], SECONDS, COUNT)).count("<circle") == 2


def test_marks_outside_are_left_out_and_long_ones_shortened() -> None:
    """The whole word is there for the pointer."""
    marks = [(5.0, "a very long word about what happened here"), (50.0, "never")]
    svg = draw(Plot("a", [Line("x", [(0, 1), (10, 2)])], SECONDS, COUNT, marks, shaded_until=0.0))
    assert "a very long word about wh…" in svg
    assert "never" not in svg
    assert "shade" not in svg


def test_names_are_no_markup() -> None:
    """Whoever gave them."""
    svg = draw(Plot("<b>", [Line("<i>", [(0, 1), (1, 2)])], SECONDS, COUNT, [(0.5, "<script>")], note="<u>"))
    assert not re.search(r"<(b|i|u|script)>", svg)
