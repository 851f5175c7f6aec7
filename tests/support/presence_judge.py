"""What watchers were shown of people, weighed against when these were connected: who was shown wrong, and for how long. Pure.

A stay is one connection of a user, a view is what one watcher saw. All times are seconds of one clock. For every moment of
every view there is one of three truths about each user: has to be shown as here, has to be shown as gone, or may be either
because a bound still runs. Any moment in which the wrong one was shown is found, not only those in which somebody looked.
Beside that: news that are older than what was told before, and one version with two meanings.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct, field
from typing_extensions import override

from protocol.from_server import Presence, Status

Span = tuple[float, float]
FOR_EVER: Final = float("inf")


class Loss(Enum):
    """How a connection ended."""

    GOODBYE = "goodbye"
    CLOSE = "close"
    SILENCE = "silence"
    KILL = "kill"
    HANDOFF = "handoff"


# So long after another connection of theirs ended so, somebody may still be shown by that one.
_SHOWN_BY_ANOTHER_S: Final = {
    Loss.GOODBYE: 1.5,
    Loss.CLOSE: 4.0,
    Loss.HANDOFF: 12.0,
    Loss.KILL: 14.0,
    Loss.SILENCE: 40.0,
}


class Stay(Struct):
    """A connection of `user`: it may count from `came_s` on and has to from `here_s`; `gone_s` is for ever while it is there.

    Within `uncertain` nobody can expect it to count, as its node stood still; within `lingers` it may count though it is gone.
    """

    user: str
    came_s: float
    here_s: float = FOR_EVER
    gone_s: float = FOR_EVER
    loss: Loss = Loss.CLOSE
    uncertain: list[Span] = []
    lingers: list[Span] = []


class Shown(Struct, frozen=True):
    """A watcher was told how somebody is: as news, or in answer to a question."""

    at_s: float
    presence: Presence
    is_news: bool = True


class View(Struct):
    """What one watcher saw while it was connected; what it should have seen while `blind` nobody can say."""

    name: str
    began_s: float
    ended_s: float = FOR_EVER
    shown: list[Shown] = field(default_factory=list)
    blind: list[Span] = field(default_factory=list)


class Bounds(Struct, frozen=True):
    """How soon who came has to be shown, how long who is gone may be, how long who is gone has to be (they may come back)."""

    come_s: float
    gone_s: Mapping[Loss, float]
    grace_s: Mapping[Loss, float] = {}
    # Not to know how somebody is, for so long, is no fault.
    unknown_s: float = 0.0


class Wrong(Struct, frozen=True):
    """Something that must not be: seen by whom, of whom, from when until when."""

    what: str
    view: str
    user: str
    span: Span

    @override
    def __str__(self) -> str:
        return f"{self.view} saw {self.user} {self.what} from {self.span[0]:.2f} to {self.span[1]:.2f} s"


class Verdict(Struct):
    """What was found; `judged_s` is over how many seconds, of all views and users, there was just one right answer."""

    wrong: list[Wrong] = []
    told: int = 0
    judged_s: float = 0.0


GONE: Final = "as here though gone"
HERE: Final = "as gone though here"
UNKNOWN: Final = "as unknown though known"
OLDER: Final = "older after newer"
TWO_MEANINGS: Final = "one version with two meanings"


def judge(stays: Sequence[Stay], views: Sequence[View], bounds: Bounds, until_s: float) -> Verdict:
    """Weigh all views up to `until_s`."""
    by_user: dict[str, list[Stay]] = defaultdict(list)
    for stay in stays:
        by_user[stay.user].append(stay)
    must = {user: _musts(by_user[user], bounds, until_s) for user in {*by_user, *_watched(views)}}
    verdict = Verdict(told=sum(len(view.shown) for view in views))
    for view in views:
        _judge(view, must, bounds, until_s, verdict)
    verdict.wrong += _two_meanings(views)
    return verdict


def _watched(views: Sequence[View]) -> set[str]:
    return {str(shown.presence.user) for view in views for shown in view.shown}


def _judge(
    view: View, must: Mapping[str, tuple[list[Span], list[Span]]], bounds: Bounds, until_s: float, verdict: Verdict
) -> None:
    seeing = without([(view.began_s, min(view.ended_s, until_s))], view.blind)
    for user, (here, gone) in must.items():
        shown = [each for each in view.shown if each.presence.user == user]
        verdict.wrong += [Wrong(OLDER, view.name, user, (at_s, at_s)) for at_s in _turned_back(shown)]
        told: dict[str, list[Span]] = defaultdict(list)
        for span, status in _timeline(shown, min(view.ended_s, until_s)):
            told[status].append(span)
        judged = [*both(seeing, here), *both(seeing, gone)]
        verdict.judged_s += sum(both_s for span in told.values() for both_s in map(_length, both(span, judged)))
        lies = (
            (GONE, both(told["here"], both(seeing, gone))),
            (HERE, both(told["gone"], both(seeing, here))),
            (UNKNOWN, [span for span in both(told["unknown"], seeing) if _length(span) > bounds.unknown_s]),
        )
        verdict.wrong += [Wrong(what, view.name, user, span) for what, spans in lies for span in spans]


def _timeline(shown: Sequence[Shown], end_s: float) -> list[tuple[Span, str]]:
    """Return what was shown from when until when, by the rule of every client: what is not newer is dropped."""
    applied: list[tuple[float, str]] = []
    highest = -1
    for each in shown:
        presence = each.presence
        if presence.status is Status.UNKNOWN:
            applied.append((each.at_s, "unknown"))
        elif presence.v >= highest:
            highest = presence.v
            applied.append((each.at_s, "gone" if presence.status is Status.OFFLINE else "here"))
    ends = [*(at_s for at_s, _ in applied), end_s][1:]
    return [((at_s, until_s), status) for (at_s, status), until_s in zip(applied, ends, strict=True) if until_s > at_s]


def _turned_back(shown: Sequence[Shown]) -> list[float]:
    """Return when news came that were older than what had been told; an answer may be overtaken, and the same told twice."""
    turned: list[float] = []
    highest = -1
    for each in shown:
        v = each.presence.v
        if each.presence.status is Status.UNKNOWN:
            continue
        if each.is_news and v < highest:
            turned.append(each.at_s)
        highest = max(highest, v)
    return turned


def _two_meanings(views: Sequence[View]) -> list[Wrong]:
    meant: dict[tuple[str, int], Status] = {}
    found: list[Wrong] = []
    for view in views:
        for each in view.shown:
            presence = each.presence
            if presence.status is Status.UNKNOWN:
                continue
            if meant.setdefault((presence.user, presence.v), presence.status) is not presence.status:
                found.append(Wrong(TWO_MEANINGS, view.name, presence.user, (each.at_s, each.at_s)))
    return found


# ---- what has to be shown


def _musts(stays: Sequence[Stay], bounds: Bounds, until_s: float) -> tuple[list[Span], list[Span]]:
    """Return when the user of `stays` has to be shown as here, and when as gone."""
    uncertain = [span for stay in stays for span in stay.uncertain]
    may_be_here = [(stay.came_s, stay.gone_s + bounds.gone_s[stay.loss]) for stay in stays]
    gone = without([(0.0, until_s)], [*may_be_here, *(span for stay in stays for span in stay.lingers)])
    return without(_chains(stays, bounds), uncertain), gone


def _chains(stays: Sequence[Stay], bounds: Bounds) -> list[Span]:
    """Join connections that follow each other within the grace of the earlier one; the user was never away between."""
    chains: list[Span] = []
    # Until when whoever ended last may come back.
    holds_s = -FOR_EVER
    for stay in sorted(stays, key=lambda stay: stay.here_s):
        if stay.here_s > stay.gone_s:
            continue
        held_s = stay.gone_s + bounds.grace_s.get(stay.loss, 0.0)
        if not chains or stay.here_s > max(holds_s, chains[-1][1]):
            chains.append((stay.here_s, stay.gone_s))
            holds_s = held_s
        elif stay.gone_s == chains[-1][1]:
            # Nobody can tell which was the last.
            holds_s = min(holds_s, held_s)
        elif stay.gone_s > chains[-1][1]:
            chains[-1] = (chains[-1][0], stay.gone_s)
            holds_s = held_s
    return [(here_s + bounds.come_s, gone_s) for here_s, gone_s in chains if here_s + bounds.come_s < gone_s]


# ---- spans


def both(these: Iterable[Span], those: Iterable[Span]) -> list[Span]:
    """Return what is in both; neither overlaps itself."""
    others = list(those)
    met = [(max(a, c), min(b, d)) for a, b in these for c, d in others]
    return sorted(span for span in met if span[0] < span[1])


def without(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Return what of `spans` is not in `taken`."""
    left = list(spans)
    for c, d in taken:
        left = [part for a, b in left for part in ((a, min(b, c)), (max(a, d), b)) if part[0] < part[1]]
    return left


def _length(span: Span) -> float:
    return span[1] - span[0]


# ---- what it took


def delays(stays: Sequence[Stay], views: Sequence[View]) -> dict[Loss | None, list[float]]:
    """Return how long after each loss the user was shown as gone (None: after each coming, as here), in every view that could tell.

    One that was blind when it happened, or when it was shown, could not.
    """
    found: dict[Loss | None, list[float]] = defaultdict(list)
    for view in views:
        for stay in stays:
            others = [other for other in stays if other.user == stay.user and other is not stay]
            shown = [each for each in view.shown if each.presence.user == stay.user]
            timeline = _timeline(shown, view.ended_s)
            for loss, at_s, status in ((None, stay.came_s, "here"), (stay.loss, stay.gone_s, "gone")):
                took_s = _took(timeline, at_s, status)
                if took_s is None or at_s <= view.began_s:
                    continue
                if any(from_s <= moment_s < to_s for from_s, to_s in view.blind for moment_s in (at_s, at_s + took_s)):
                    continue
                if not any(_counts(other, at_s, at_s + took_s) for other in others):
                    found[loss].append(took_s)
    return found


def _counts(stay: Stay, from_s: float, until_s: float) -> bool:
    return stay.came_s <= until_s and stay.gone_s + _SHOWN_BY_ANOTHER_S[stay.loss] >= from_s


def _took(timeline: Sequence[tuple[Span, str]], at_s: float, status: str) -> float | None:
    """Return how long after `at_s` this was shown; None when it was so before, or never."""
    before = [said for (began_s, _), said in timeline if began_s <= at_s]
    if not before or before[-1] == status:
        return None
    return next((began_s - at_s for (began_s, _), said in timeline if began_s > at_s and said == status), None)
