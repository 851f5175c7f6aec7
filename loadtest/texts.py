"""A run in words for the terminal: a line a second while it goes on, and the whole at its end."""

from collections.abc import Iterable, Sequence
from typing import Final

from loadtest.board import Board
from loadtest.histogram import Histogram
from loadtest.meters import PRESENCE_CHANGED, PRESENCE_SEEN
from loadtest.result import Result

TIMES: Final = {
    "delivery": "delivery",
    "ack": "answer to a send",
    "connect": "connect and welcome",
    "comeback": "back after a loss",
    "history": "page of history",
    "ring": "from call to ring",
    "offer": "from acceptance to offer",
    "first frame": "from acceptance to first frame",
    "lag": "the load tester's own lag",
}
SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
HEADING: Final = "   time  connected   sent/s delivered/s      p50      p99      max   errors  server   mine"


def second_line(board: Board, at_s: int) -> str:
    """Return the figures of one second, below `HEADING`."""
    second, meters = board.second(at_s)
    delivery = meters.times.get("delivery", Histogram())
    errors = sum(count for name, count in board.whole.counts.items() if name.startswith(("error ", "connect failed")))
    times = "".join(
        f"{_short_ms(delivery.quantile(share)) if delivery.count else '-':>9}" for share in (0.5, 0.99, 1.0)
    )
    server = "-" if second.server_cpu is None else f"{second.server_cpu:.0%}"
    mine = f"{max(second.agents_cpu, default=0):.0%}"
    counts = f"{second.connected:>10,} {meters.counts.get('sent', 0):>8,} {meters.counts.get('delivered', 0):>11,}"
    return f"{at_s:>5} s {counts}{times} {errors:>8,} {server:>7} {mine:>6}"


def render(result: Result) -> str:
    """Return the whole run for a reader."""
    processes = "process" if result.agents == 1 else "processes"
    people = f"{result.users:,} users with {result.devices:,} devices"
    found = f"{result.per_s('sent'):,.1f} sent/s, {result.per_s('delivered'):,.1f} delivered/s"
    return "\n".join(
        [
            "",
            f"{result.scenario.title}: {people}, {result.duration_s:.0f} s, {result.agents} {processes} of load",
            f"offered {result.rate_per_s:,.1f} messages/s; after {result.warm_up_s:g} s of warm-up {found}",
            "",
            *_times(result),
            "",
            *_server(result),
            result.report.render(),
            *(f"  ! {count:,} {name}" for name, count in result.broken.items()),
            *(f"  {count:,} {name} (not judged here)" for name, count in _told(result)),
            *_errors(result),
            *(f"  budget {budget_line(result, number)}" for number in range(len(result.budgets))),
            *([f"  {result.knee}"] if result.knee else []),
            *(f"  note: {note}" for note in result.notes),
            *(f"  INVALID: {reason}" for reason in result.invalid),
            "",
            result.verdict,
        ]
    )


def budget_line(result: Result, number: int) -> str:
    """Return one budget in words."""
    budget = result.budgets[number]
    found = "nothing of the kind was measured" if budget.found is None else f"{budget.found:,.2f}"
    return f"{budget.name}={budget.limit:g}: {found}, {'kept' if budget.is_kept else 'BROKEN'}"


def slope_text(result: Result) -> str:
    """Return in words how the server's memory went on, nothing when that was not seen for long enough."""
    slope = result.server_rss_slope()
    return "" if slope is None else f", {slope / 1024:+,.1f} KiB a minute in the last two thirds"


def table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Return rows with columns that line up; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def ms(us: float) -> str:
    """Return microseconds as milliseconds, with as many digits as mean something."""
    value = us / 1000
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _short_ms(us: float) -> str:
    return f"{ms(us)}ms"


def _times(result: Result) -> Iterable[str]:
    rows = [["ms", "count", *SHARES]]
    for name, title in TIMES.items():
        histogram = result.times.get(name)
        if histogram is not None and histogram.count:
            found = [ms(each) for each in histogram.quantiles(SHARES.values())]
            rows.append([title, f"{histogram.count:,}", *found])
    return table(rows)


def _server(result: Result) -> Iterable[str]:
    cores, rss_bytes = result.server_cores(), result.server_rss_bytes()
    if cores is None or rss_bytes is None:
        return ["The server's process was not seen (--pid tells it, when it is on this machine).", ""]
    per = cores * 1e6 / max(result.per_s("delivered"), 1e-9)
    each = f", {per:.0f} µs CPU a delivery" if result.per_s("delivered") >= 1 else ""
    return [
        f"server: {cores:.2f} cores{each}, {rss_bytes / 2**20:,.0f} MiB at most{slope_text(result)}",
        *presence_text(result, cores),
        "",
    ]


def presence_text(result: Result, cores: float) -> list[str]:
    """Return in words what coming and going cost, nothing where that is not most of what happened."""
    changed, seen = result.per_s(PRESENCE_CHANGED), result.per_s(PRESENCE_SEEN)
    if changed < 1 or seen < result.per_s("delivered"):
        return []
    each = f"{seen / changed:.1f} times each; {cores * 1e6 / changed:,.0f} µs CPU of the server for one, the connect with it"
    return [f"presence: {changed:,.1f} users/s came or went and {seen:,.0f}/s were told, {each}"]


def _told(result: Result) -> list[tuple[str, int]]:
    return [(name, count) for name, count in result.tolerated.items() if count]


def _errors(result: Result) -> Iterable[str]:
    prefixes = ("error ", "closed with", "connect failed", "kept to", "call", "not understood")
    return [
        f"  {count:,} × {name}" for name, count in sorted(result.counts.items()) if name.startswith(prefixes) and count
    ]
