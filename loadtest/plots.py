"""Line plots as SVG text: axes, lines, marks of events, and the numbers under a pointer. Colours come from the page.

Small on purpose: a plotting package would bring megabytes of script into each report, or load them from elsewhere.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

import msgspec

WIDTH: Final = 480
HEIGHT: Final = 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 16, 30
_TICKS: Final = 4
_MARK_CHARS_MAX: Final = 26

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name, its points from left to right; the area below is filled, or there are dots and no line."""

    name: str
    points: Sequence[Point]
    is_area: bool = False
    is_dots: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """How values become places. `is_log` needs values above zero; `text` is what a tick and the pointer say."""

    text: Callable[[float], str]
    is_log: bool = False
    ticks: Sequence[float] | None = None
    bounds: Point | None = None
    # At least these are shown.


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot with its title; `marks` are moments on the x axis with a word."""

    title: str
    lines: Sequence[Line]
    x: Axis
    y: Axis
    marks: Sequence[tuple[float, str]] = ()
    shaded_until: float | None = None
    # The warm-up, which the figures leave out.
    note: str = ""


@dataclass(slots=True)
class _Scale:
    """From values to places."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool
    _low: float = field(init=False)
    _span: float = field(init=False)

    def __post_init__(self) -> None:
        self._low = math.log10(self.low) if self.is_log else self.low
        high = math.log10(self.high) if self.is_log else self.high
        self._span = (high - self._low) or 1.0

    def __call__(self, value: float) -> float:
        where = math.log10(max(value, self.low)) if self.is_log else value
        return round(self.start + (where - self._low) / self._span * (self.end - self.start), 1)


def draw(plot: Plot) -> str:
    """Return a figure: title, legend, SVG, and what a pointer shows."""
    lines = [line for line in plot.lines if line.points]
    if not lines:
        return f"<figure><figcaption>{escape(plot.title)}</figcaption><p class=none>nothing was measured</p></figure>"
    across, up = _scales(plot, lines)
    body = "".join(
        [
            _shade(plot, across),
            _grid(plot, across, up),
            *(_path(line, number, across, up) for number, line in enumerate(lines)),
            *(_mark(at, what, number, across) for number, (at, what) in enumerate(plot.marks)),
            f'<line class=pointer y1={_TOP} y2={HEIGHT - _BOTTOM} hidden />',
        ]
    )  # fmt: skip
    legend = "".join(f"<span class=k{number}>{escape(line.name)}</span>" for number, line in enumerate(lines))
    note = f"<p class=note>{escape(plot.note)}</p>" if plot.note else ""
    return (
        f"<figure><figcaption>{escape(plot.title)}</figcaption><div class=legend>{legend}</div>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{escape(plot.title)}" data-plot="{_data(plot, lines, across)}">'
        f"{body}</svg><output></output>{note}</figure>"
    )


def _scales(plot: Plot, lines: Sequence[Line]) -> tuple[_Scale, _Scale]:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    low, high = _bounds(min(ys), max(ys), plot.y)
    places = [*xs, *(plot.x.ticks or ()), *(plot.x.bounds or ())]
    across = _Scale(min(places), max(places), _LEFT, WIDTH - _RIGHT, plot.x.is_log)
    return across, _Scale(low, high, HEIGHT - _BOTTOM, _TOP, plot.y.is_log)


def _bounds(low: float, high: float, axis: Axis) -> tuple[float, float]:
    """Return round bounds: from zero, or whole powers of ten on a logarithmic axis."""
    if axis.is_log:
        low, high = max(low, 0.01), max(high, 0.1)
        return 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high) - 1e-9)
    step = _step(high)
    return 0.0, max(step * math.ceil(high / step - 1e-9), step)


def _step(high: float) -> float:
    """Return a round distance of ticks for an axis from zero to `high`."""
    if high <= 0:
        return 1.0
    rough = high / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough)


def _ticks(scale: _Scale, axis: Axis) -> list[float]:
    if axis.ticks is not None:
        return list(axis.ticks)
    if axis.is_log:
        return [10.0**power for power in range(round(math.log10(scale.low)), round(math.log10(scale.high)) + 1)]
    step = _step(scale.high - scale.low)
    first = math.ceil(scale.low / step) * step
    return [first + step * number for number in range(int((scale.high - first) / step + 1e-6) + 1)]


def _grid(plot: Plot, across: _Scale, up: _Scale) -> str:
    parts = []
    for tick in _ticks(up, plot.y):
        y = up(tick)
        parts.append(f"<line class=grid x1={_LEFT} x2={WIDTH - _RIGHT} y1={y} y2={y} />")
        parts.append(f"<text class=ytick x={_LEFT - 6} y={y + 4}>{escape(plot.y.text(tick))}</text>")
    below = HEIGHT - _BOTTOM + 18
    ticks = _ticks(across, plot.x)
    return "".join(
        [*parts, *(f"<text class=xtick x={across(x)} y={below}>{escape(plot.x.text(x))}</text>" for x in ticks)]
    )


def _shade(plot: Plot, across: _Scale) -> str:
    if plot.shaded_until is None:
        return ""
    width = across(min(plot.shaded_until, across.high)) - _LEFT
    if width <= 0:
        return ""
    return f"<rect class=shade x={_LEFT} y={_TOP} width={width} height={HEIGHT - _TOP - _BOTTOM} />"


def _path(line: Line, number: int, across: _Scale, up: _Scale) -> str:
    places = [f"{across(x)},{up(y)}" for x, y in line.points]
    path = "M" + "L".join(places)
    area = ""
    if line.is_area:
        floor = HEIGHT - _BOTTOM
        area = f'<path class="area a{number}" d="{path}L{across(line.points[-1][0])},{floor}L{across(line.points[0][0])},{floor}Z"/>'
    if line.is_dots or len(places) == 1:
        return "".join(f'<circle class="d{number}" cx={across(x)} cy={up(y)} r=2.5 />' for x, y in line.points)
    return f'{area}<path class="line l{number}" d="{path}"/>'


def _mark(at: float, what: str, number: int, across: _Scale) -> str:
    if not across.low <= at <= across.high:
        return ""
    x = across(at)
    is_right = x > WIDTH * 0.6
    short = what if len(what) <= _MARK_CHARS_MAX else what[: _MARK_CHARS_MAX - 1] + "…"
    place = (
        f"x={x - 4 if is_right else x + 4} y={_TOP + 9 + number % 3 * 12} text-anchor={'end' if is_right else 'start'}"
    )
    return (
        f"<g class=mark><line x1={x} x2={x} y1={_TOP} y2={HEIGHT - _BOTTOM} />"
        f"<text {place}>{escape(short)}</text><title>{escape(what)}</title></g>"
    )


def _data(plot: Plot, lines: Sequence[Line], across: _Scale) -> str:
    """Return what the pointer needs: for each place the text to show."""
    found: dict[float, list[str]] = {}
    for line in lines:
        for x, y in line.points:
            found.setdefault(x, [plot.x.text(x)]).append(f"{line.name} {plot.y.text(y)}")
    data = [[across(x), " · ".join(texts)] for x, texts in sorted(found.items())]
    return escape(msgspec.json.encode(data).decode(), quote=True)
