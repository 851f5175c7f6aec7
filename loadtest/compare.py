"""Two results beside each other: what changed, by how much, and what the runs did not have in common."""

from loadtest.result import Result
from loadtest.texts import SHARES, TIMES, ms, table


def compare(first: Result, second: Result) -> str:
    """Return a table of both and their ratio, and what else differs."""
    rows = [["", "A", "B", "B/A"]]
    for name, title in TIMES.items():
        one, other = first.times.get(name), second.times.get(name)
        if one is None or other is None or not one.count or not other.count:
            continue
        for share_name, share in SHARES.items():
            low, high = one.quantile(share), other.quantile(share)
            rows.append([f"{title}, {share_name}, ms", ms(low), ms(high), _ratio(low, high)])
    for name in ("sent", "acked", "delivered"):
        before, after = first.per_s(name), second.per_s(name)
        rows.append([f"{name} a second", f"{before:,.1f}", f"{after:,.1f}", _ratio(before, after)])
    rows += _server_rows(first, second)
    rows.append(["broken promises", *(f"{sum(result.broken.values()):,}" for result in (first, second)), ""])
    rows.append(["verdict", first.verdict, second.verdict, ""])
    return "\n".join([*table(rows), *_differences(first, second)])


def _server_rows(first: Result, second: Result) -> list[list[str]]:
    rows = []
    cores = first.server_cores(), second.server_cores()
    if cores[0] is not None and cores[1] is not None:
        rows.append(["server, cores", f"{cores[0]:.2f}", f"{cores[1]:.2f}", _ratio(*cores)])
        each = [
            core * 1e6 / max(result.per_s("delivered"), 1e-9)
            for core, result in zip(cores, (first, second), strict=True)
            if core is not None
        ]
        rows.append(["server, µs CPU a delivery", f"{each[0]:.1f}", f"{each[1]:.1f}", _ratio(*each)])
    rss = first.server_rss_bytes(), second.server_rss_bytes()
    if rss[0] is not None and rss[1] is not None:
        rows.append(["server, MiB at most", f"{rss[0] / 2**20:,.0f}", f"{rss[1] / 2**20:,.0f}", _ratio(*rss)])
    slopes = first.server_rss_slope(), second.server_rss_slope()
    if slopes[0] is not None and slopes[1] is not None:
        rows.append(
            ["server, KiB more a minute", *(f"{slope / 1024:,.1f}" for slope in slopes if slope is not None), "-"]
        )
    return rows


def _differences(first: Result, second: Result) -> list[str]:
    """Say what makes the two no fair comparison."""
    facts = {
        "scenario": (first.scenario, second.scenario),
        "users": (first.users, second.users),
        "messages offered a second": (first.rate_per_s, second.rate_per_s),
        "duration": (first.duration_s, second.duration_s),
        "processes of load": (first.agents, second.agents),
        "machine": (first.machine, second.machine),
    }
    found = [name for name, (one, other) in facts.items() if one != other]
    invalid = [
        f"{name} is invalid: {reason}" for name, result in (("A", first), ("B", second)) for reason in result.invalid
    ]
    return [*([f"The runs differ in: {', '.join(found)}."] if found else []), *invalid]


def _ratio(low: float | None, high: float | None) -> str:
    return "-" if not low or high is None else f"{high / low:.2f}"
