"""Learn a profile from logs of real chat: one message a line, `[HH:MM] <nick> text`, the minute is all the time given.

Only numbers leave this module. A message that begins with another writer's name (`nick: …`, `nick, …`) belongs to the talk
of those two; what they say to each other, broken by pauses of more than five minutes, are exchanges. The messages of a
minute are spread over it in order.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import Final, NamedTuple

import msgspec

from loadtest.profile import Profile, Quantiles

_LINE: Final = re.compile(r"\[(\d\d):(\d\d)\] +<([^>]+)> ?(.*)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_PAUSE_S: Final = 300.0
_POINTS: Final = 21


class Line(NamedTuple):
    """One message of a log; `at_s` is spread over its minute."""

    at_s: float
    nick: str
    text: str


class Turn(NamedTuple):
    """What one writer said until the other one did."""

    nick: str
    times_s: list[float]


def read_log(text: str) -> list[Line]:
    """Return the messages in order; joins, parts and empty ones are left out, control characters too."""
    found = [match for match in map(_LINE.fullmatch, text.split("\n")) if match is not None and match[4].strip()]
    lines: list[Line] = []
    day_s, last_s = 0, 0
    for _, group in groupby(found, key=lambda match: (match[1], match[2])):
        minute = list(group)
        minute_s = int(minute[0][1]) * 3600 + int(minute[0][2]) * 60
        day_s += 86_400 if minute_s < last_s else 0  # past midnight
        last_s = minute_s
        for number, match in enumerate(minute):
            at_s = day_s + minute_s + 60 * (number + 0.5) / len(minute)
            lines.append(Line(at_s, match[3], _CONTROL.sub("", match[4])))
    return lines


def learn(logs: Sequence[Sequence[Line]], source: str) -> Profile:
    """Return the profile of these logs."""
    exchanges = [exchange for log in logs for exchange in _exchanges(log)]
    turns = [turn for exchange in exchanges for turn in exchange]
    within = [after - before for turn in turns for before, after in pairwise(turn.times_s)]
    between = [after.times_s[0] - before.times_s[-1] for exchange in exchanges for before, after in pairwise(exchange)]
    return Profile(
        source,
        length_chars=_quantiles(len(line.text) for log in logs for line in log),
        messages_a_turn=_quantiles(len(turn.times_s) for turn in turns),
        turns_an_exchange=_quantiles(len(exchange) for exchange in exchanges),
        within_turn_s=_quantiles(within),
        between_turns_s=_quantiles(between),
    )


def render(profile: Profile) -> str:
    """Return the profile as the file that `load_profile` reads."""
    tables = ["length_chars", "messages_a_turn", "turns_an_exchange", "within_turn_s", "between_turns_s"]
    lines = [
        "# How people chat, as equally spaced quantiles. Made by `python -m loadtest learn`; no word of the logs is in it.",
        f"source = {_quoted(profile.source)}",
        f"typing_per_s = {profile.typing_per_s}",
        f"typing_max_s = {profile.typing_max_s}",
    ]
    for name in tables:
        points = ", ".join(f"{point:g}" for point in getattr(profile, name).points)
        lines += ["", f"[{name}]", f"points = [{points}]"]
    return "\n".join(lines) + "\n"


def _exchanges(log: Sequence[Line]) -> Iterable[list[Turn]]:
    """Yield the exchanges of each two who speak to each other, those with at least two turns."""
    talks: dict[tuple[str, ...], list[Line]] = {}
    nicks = {line.nick for line in log}
    partner: dict[str, str] = {}
    for line in log:
        named = re.split(r"[:,]", line.text, maxsplit=1)[0]
        # Who names nobody goes on with whom they spoke last.
        partner[line.nick] = named if named in nicks and named != line.nick else partner.get(line.nick, "")
        if partner[line.nick]:
            talks.setdefault(tuple(sorted((line.nick, partner[line.nick]))), []).append(line)
    for talk in talks.values():
        for exchange in _broken(talk):
            turns = [Turn(nick, [line.at_s for line in lines]) for nick, lines in groupby(exchange, lambda x: x.nick)]
            if len(turns) > 1:
                yield turns


def _broken(talk: Sequence[Line]) -> Iterable[list[Line]]:
    """Break a talk at its pauses."""
    part: list[Line] = []
    for line in talk:
        if part and line.at_s - part[-1].at_s > _PAUSE_S:
            yield part
            part = []
        part.append(line)
    yield part


def _quantiles(values: Iterable[float]) -> Quantiles:
    ordered = sorted(values)
    # The rarest one in a hundred would weigh as much as five of them, by the straight line that leads there.
    ordered = ordered[: max(1, round(len(ordered) * 0.99))]
    if not ordered:
        return Quantiles((1.0, 1.0))
    last = len(ordered) - 1
    return Quantiles(tuple(round(float(ordered[round(last * step / (_POINTS - 1))]), 2) for step in range(_POINTS)))


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
