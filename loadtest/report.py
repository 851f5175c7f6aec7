"""A run as one HTML file: nothing is loaded from anywhere, it reads on a phone and in the dark, and prints."""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from loadtest.histogram import Histogram
from loadtest.plots import Axis, Line, Plot, Point, draw
from loadtest.result import Result, Second
from loadtest.texts import SHARES, TIMES, budget_line, ms, slope_text

_FILES: Final = resources.files("loadtest")
_NINES: Final = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
# Nothing on this page comes from elsewhere, and nothing goes anywhere.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def write_report(result: Result, path: Path) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(result), encoding="utf-8")


def render_report(result: Result) -> str:
    """Return the page."""
    title = f"{result.scenario.title}: {result.verdict}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_read('report.css')}</style></head><body><main>",
            *_head(result),
            '<section class="tiles">',
            *(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in _tiles(result)),
            "</section>",
            '<section class="plots">',
            *map(draw, _plots(result)),
            "</section>",
            '<div class="two">',
            *_section("Latency, ms", _latency_rows(result)),
            *_section("What must be zero", _promise_rows(result)),
            "</div>",
            *(_section("Budgets", _budget_rows(result)) if result.budgets else ()),
            *(_section("The search for the capacity", _step_rows(result)) if result.steps else ()),
            *_details(result),
            f"</main><script>{_read('report.js')}</script></body></html>\n",
        ]
    )


def _head(result: Result) -> Iterable[str]:
    yield f'<header><h1>{escape(result.scenario.title)}</h1><span class="verdict {result.verdict}">{result.verdict}</span></header>'
    yield f"<p>{escape(result.scenario.about)}</p>"
    yield (
        f'<p class="soft">{escape(result.started_at)} · {result.users:,} users with {result.devices:,} devices · '
        f"{result.duration_s:,.0f} s, of which {result.warm_up_s:g} s warm-up · {result.rate_per_s:,.1f} messages/s offered · "
        f"{escape(result.url)}</p>"
    )
    if result.knee:
        yield f'<p class="card warning">{escape(result.knee)}</p>'
    for reason in result.invalid:
        yield f'<p class="card warning">These figures are not the server\'s: {escape(reason)}</p>'
    for name, count in result.broken.items():
        yield f'<p class="card warning broken">{count:,} {escape(name)}</p>'


def _tiles(result: Result) -> Iterable[tuple[str, str]]:
    delivery = result.times.get("delivery", Histogram())
    if delivery.count:
        yield "ms delivery, median", ms(delivery.quantile(0.5))
        yield "ms delivery, 99 %", ms(delivery.quantile(0.99))
    if (first_frame := result.times.get("first frame")) is not None and first_frame.count:
        yield "ms to the first frame", ms(first_frame.quantile(0.5))
    for name, key in (("messages sent/s", "sent"), ("delivered/s", "delivered")):
        rate = result.per_s(key)
        yield name, f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    yield "most connected", f"{max((second.connected for second in result.seconds), default=0):,}"
    cores, rss_bytes = result.server_cores(), result.server_rss_bytes()
    if cores is not None and rss_bytes is not None:
        yield "server cores", f"{cores:.2f}"
        yield "server MiB", f"{rss_bytes / 2**20:,.0f}"
    yield "broken promises", f"{sum(result.broken.values()):,}"


# ---- plots


def _plots(result: Result) -> Iterable[Plot]:
    seconds = result.seconds
    time = Axis(lambda at_s: f"{math.floor(at_s)} s", bounds=(0, result.duration_s))
    whole = Axis(time.text, bounds=(min((second.at_s for second in seconds), default=0), result.duration_s))
    marks = [(mark.at_s, mark.what) for mark in result.marks]
    since = [second for second in seconds if second.at_s >= 0]

    def plot(title: str, lines: Sequence[Line], axis: Axis, note: str = "") -> Plot:
        return Plot(title, lines, time, axis, marks, result.warm_up_s, note)

    latency = Axis(lambda value: f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s", is_log=True)
    names = ("50 %", "90 %", "99 %", "slowest")
    yield plot(
        "Delivery latency over time",
        [Line(name, _quantile(since, "delivery", number)) for number, name in enumerate(names)],
        latency,
        "From the moment a message was due, sent or not, to its arrival. Shaded: warm-up, left out of the figures.",
    )
    yield _curve(result, latency)
    count = Axis(lambda value: f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}")
    rates = [("sent/s", "sent"), ("answered/s", "acked"), ("delivered/s", "delivered")]
    yield plot("Throughput", [Line(name, _counts(since, key)) for name, key in rates], count)
    connects = [
        (second.at_s, float(second.times["connect"][3] / 1000)) for second in seconds if "connect" in second.times
    ]
    yield Plot(
        "Connections",
        [Line("connected", [(s.at_s + 1.0, float(s.connected)) for s in seconds], is_area=True)],
        whole,
        count,
        marks,
    )
    if connects:
        yield Plot("Slowest connect and welcome", [Line("connect", connects, is_dots=True)], whole, latency, marks)
    yield from _process_plots(result, plot)


def _process_plots(result: Result, plot: Callable[..., Plot]) -> Iterable[Plot]:
    since = [second for second in result.seconds if second.at_s >= 0]
    cores = Axis(lambda value: f"{value:g}")
    mine = Line("load tester, fullest process", [(s.at_s + 0.5, max(s.agents_cpu)) for s in since if s.agents_cpu])
    server = [(s.at_s + 0.5, s.server_cpu) for s in since if s.server_cpu is not None]
    yield plot("CPU, cores", [Line("server", server), mine] if server else [mine], cores)
    memory = [(s.at_s + 1.0, s.server_rss_bytes / 2**20) for s in since if s.server_rss_bytes is not None]
    if memory:
        note = slope_text(result).removeprefix(", ")
        mib = Axis(lambda value: f"{value:,.0f}")
        yield plot("Server memory, MiB", [Line("resident", memory, is_area=True)], mib, note)
    lag = [Line("99 %", _quantile(since, "lag", 2)), Line("most", _quantile(since, "lag", 3))]
    yield plot(
        "The load tester's own lag", lag, Axis(lambda value: f"{value:g} ms", is_log=True),
        "How late it did what was due. A run is invalid when this explains what was measured.",
    )  # fmt: skip


def _curve(result: Result, latency: Axis) -> Plot:
    """Draw latency against nines: each step to the right is ten times rarer."""
    lines = []
    most = 1
    for name in ("delivery", "ack", "comeback", "history", "ring", "first frame"):
        histogram = result.times.get(name)
        if histogram is None or not histogram.count:
            continue
        most = max(most, histogram.count)
        points: list[Point] = [(_nines(share), us / 1000) for share, us in histogram.curve() if share < 1]
        points.append((_nines(1 - 1 / (histogram.count + 1)), histogram.highest / 1000))
        lines.append(Line(TIMES[name], _thinned(points)))
    ticks = [_nines(share) for share in _NINES if share <= 1 - 1 / (most + 1)]
    return Plot("Latency by percentile", lines, Axis(_percent, is_log=True, ticks=ticks), latency)


def _nines(share: float) -> float:
    return 1 / (1 - share)


def _percent(nines: float) -> str:
    return f"{100 - 100 / nines:.6g} %"


def _thinned(points: Sequence[Point], most: int = 400) -> list[Point]:
    """Leave out points that nobody would see."""
    step = max(1, len(points) // most)
    return [*points[:-1:step], points[-1]] if points else []


def _quantile(seconds: Sequence[Second], name: str, number: int) -> list[Point]:
    return [(second.at_s + 0.5, second.times[name][number] / 1000) for second in seconds if name in second.times]


def _counts(seconds: Sequence[Second], key: str) -> list[Point]:
    return [(second.at_s + 0.5, float(second.counts.get(key, 0))) for second in seconds]


# ---- tables


def _latency_rows(result: Result) -> list[list[str]]:
    rows = [["", "count", *SHARES]]
    for name, title in TIMES.items():
        histogram = result.times.get(name)
        if histogram is not None and histogram.count:
            rows.append([title, f"{histogram.count:,}", *map(ms, histogram.quantiles(SHARES.values()))])
    return rows


def _promise_rows(result: Result) -> list[list[str]]:
    rows = [["", "count"]]
    rows += [[name, _judged(f"{count:,}", is_good=not count)] for name, count in result.faults.items()]
    return rows + [[f"{name} (not judged here)", f"{count:,}"] for name, count in result.tolerated.items()]


def _budget_rows(result: Result) -> list[list[str]]:
    lines = [budget_line(result, number).partition(": ") for number in range(len(result.budgets))]
    return [
        ["", "found"],
        *([name, _judged(found, is_good=budget.is_kept)] for (name, _, found), budget in zip(lines, result.budgets, strict=True)),
    ]  # fmt: skip


def _step_rows(result: Result) -> list[list[str]]:
    rows = [["offered/s", "sent/s", "p50 ms", "p99 ms", "server cores", ""]]
    for step in result.steps:
        cores = "-" if step.server_cpu is None else f"{step.server_cpu:.2f}"
        verdict = _judged(step.broke or "held", is_good=not step.broke)
        times = (f"{step.p50_ms:.1f}", f"{step.p99_ms:.1f}")
        rows.append([f"{step.offered_per_s:,.0f}", f"{step.sent_per_s:,.0f}", *times, cores, verdict])
    return rows


def _details(result: Result) -> Iterable[str]:
    machine = result.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    others = [
        [name, f"{count:,}"] for name, count in sorted(result.counts.items())
        if count and name.startswith(("error ", "closed with", "connect failed", "kept to", "caught up", "call", "not understood"))
    ]  # fmt: skip
    if others:
        yield from _section("What else happened", [["", "count"], *others])
    if result.report.findings:
        yield f'<h2>The first findings</h2><div class="card"><pre>{escape(chr(10).join(result.report.findings))}</pre></div>'
    notes = [f"<p>{escape(note)}</p>" for note in result.notes]
    yield '<h2>How this was made</h2><div class="card">'
    yield f"<pre>{escape(result.command)}</pre>"
    yield (
        f"<p>Load by {result.agents} {'process' if result.agents == 1 else 'processes'} on {escape(machine.processor)}, "
        f"{machine.cores} cores, Linux {escape(machine.kernel)}, Python {escape(machine.python)}, {escape(packages)}; "
        f"seed {result.seed}, run {escape(result.run)}.</p>"
    )
    yield "".join(notes)
    scenario = msgspec.json.format(msgspec.json.encode(result.scenario)).decode()
    yield f"<details><summary>The scenario</summary><pre>{escape(scenario)}</pre></details></div>"


def _section(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body]
    return [f'<section><h2>{escape(title)}</h2><div class="card"><table>', *lines, "</table></div></section>"]


def _judged(text: str, *, is_good: bool) -> str:
    return f'<span class="{"good" if is_good else "bad"}">{escape(text)}</span>'


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")
