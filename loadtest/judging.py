"""The judgement of a run: which counts must be zero, which budgets were stated, and whether the figures mean anything.

Budgets are names and numbers: `p99_ms=50` is of deliveries, `ack_p99_ms`, `connect_p99_ms`, `comeback_p99_ms` and
`history_max_ms` of the others; p50, p90, p99, p999, max and mean there are. `errors` is the number of refused requests,
`server_cores` and `server_rss_mib` what the server used at most, `server_rss_kib_per_min` how its memory grew in the last two
thirds, `min_delivered_per_s` and `min_sent_per_s` floors.
"""

import re
from collections.abc import Mapping
from typing import Final

from loadtest.findings import Report
from loadtest.histogram import Histogram
from loadtest.result import Budget, Result

# What the protocol repairs, and a server that nobody disturbs does not do.
ON_THE_WAY: Final = ("not pushed", "pushed twice", "pushed out of order", "late")
ALWAYS: Final = ("strangers", "gave up", "rings without end", "left in calls", "without media", "past the relay")
WORDS: Final = {
    "not pushed": "not pushed until asked for",
    "pushed twice": "pushed twice on one connection",
    "pushed out of order": "pushed out of order",
    "late": "delivered too late",
    "strangers": "shown to strangers",
    "gave up": "devices told not to come back",
    "rings without end": "rings without end",
    "left in calls": "devices left ringing or in a call in the end",
    "without media": "calls without sound or pictures",
    "past the relay": "media past the relay",
}

CPU_MOST: Final = 0.9
_CPU_MOST_SHARE: Final = 0.05
_LAG_P99_LEAST_US: Final = 10_000
_TIME: Final = re.compile(
    r"(?:(ack|connect|comeback|history|delivery|ring|offer|first_frame)_)?(p50|p90|p99|p999|max|mean)_ms"
)
_SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
_OTHERS: Final = (
    "errors",
    "server_cores",
    "server_rss_mib",
    "server_rss_kib_per_min",
    "min_delivered_per_s",
    "min_sent_per_s",
)


class BadBudget(Exception):
    """A budget that nobody can keep, as nobody knows what it is; its text is for people."""


def parse_budgets(stated: list[str]) -> dict[str, float]:
    """Read `name=number`s; raise `BadBudget`."""
    found = {}
    for text in stated:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise BadBudget(f"{text!r} is not NAME=NUMBER, like p99_ms=50") from None
    check_budgets(found)
    return found


def check_budgets(budgets: Mapping[str, float]) -> None:
    """Raise `BadBudget` for a name that is none."""
    for name in budgets:
        if name not in _OTHERS and not _TIME.fullmatch(name):
            raise BadBudget(f"{name!r} is no budget; there are p99_ms, ack_p99_ms, …, {', '.join(_OTHERS)}")


def time_of(name: str, times: Mapping[str, Histogram]) -> float | None:
    """Return the milliseconds that a budget of a time is about, None when nothing of the kind was timed."""
    found = _TIME.fullmatch(name)
    histogram = None if found is None else times.get((found[1] or "delivery").replace("_", " "))
    if found is None or histogram is None or not histogram.count:
        return None
    return (histogram.mean if found[2] == "mean" else histogram.quantile(_SHARES[found[2]])) / 1000


def judge_budgets(result: Result, stated: Mapping[str, float]) -> list[Budget]:
    """Compare what was found with what was stated."""
    return [_judge(name, limit, _found(name, result)) for name, limit in stated.items()]


def judge_faults(result: Result, report: Report, unanswered: int, missing: int) -> None:
    """Fill in the counts that must be zero, and those that are only told because the scenario breaks things."""
    on_the_way = {WORDS[name]: result.counts.get(name, 0) for name in ON_THE_WAY}
    result.faults = {
        **report.broken(),
        **{WORDS[name]: result.counts.get(name, 0) for name in ALWAYS},
        "without an answer in the end": unanswered,
        "not connected in the end": missing,
    }
    promises = result.scenario.promises
    for name, count in on_the_way.items():
        is_judged = not promises.is_disturbed and (promises.is_one_node or name != WORDS["pushed out of order"])
        (result.faults if is_judged else result.tolerated)[name] = count


def why_invalid(result: Result) -> list[str]:
    """Return the reasons why the load tester, and not the server, made the figures what they are."""
    reasons = []
    seconds = result.measured()
    busy = [second for second in seconds if max(second.agents_cpu, default=0.0) > CPU_MOST]
    if seconds and len(busy) / len(seconds) > _CPU_MOST_SHARE:
        reasons.append(
            f"a process of the load tester used more than {CPU_MOST:.0%} of its core in {len(busy)} of {len(seconds)} seconds: "
            "use more processes or machines"
        )
    lag, delivery = result.times.get("lag"), result.times.get("delivery")
    if lag is not None and delivery is not None and delivery.count:
        lag_us = lag.quantile(0.99)
        if lag_us > max(_LAG_P99_LEAST_US, delivery.quantile(0.99) / 4):
            reasons.append(
                f"the load tester itself was {lag_us / 1000:.1f} ms late in one of a hundred of its deeds, "
                f"which is a good part of the {delivery.quantile(0.99) / 1000:.1f} ms that it measured"
            )
    return reasons


def _found(name: str, result: Result) -> float | None:
    match name:
        case "errors":
            return sum(count for what, count in result.counts.items() if what.startswith("error "))
        case "server_cores":
            return result.server_cores()
        case "server_rss_mib":
            rss_bytes = result.server_rss_bytes()
            return None if rss_bytes is None else rss_bytes / 2**20
        case "server_rss_kib_per_min":
            slope = result.server_rss_slope()
            return None if slope is None else slope / 1024
        case "min_delivered_per_s":
            return result.per_s("delivered")
        case "min_sent_per_s":
            return result.per_s("sent")
        case _:
            return time_of(name, result.times)


def _judge(name: str, limit: float, found: float | None) -> Budget:
    if found is None:
        return Budget(name, limit, None, is_kept=False)
    return Budget(name, limit, found, is_kept=found >= limit if name.startswith("min_") else found <= limit)
