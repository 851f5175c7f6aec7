"""The judge of resume finds what is planted in what a return brought."""

from dataclasses import asdict

import pytest
from msgspec import Raw

from protocol.from_server import Entry, Message
from protocol.ids import ClientId, MatchId, Micros, Ordinal, Seq, UserId
from protocol.limits import RESUME_ENTRIES_MAX
from tests.proof.returns import Return, weigh


def entry(seq: int, sender: str = "writer") -> Entry:
    return Message(
        MatchId("m"), Seq(seq), Micros(seq * 10), Ordinal(seq), UserId(sender), ClientId(f"c{seq}"), Raw(b"{}")
    )


LOG = [entry(seq) for seq in range(1, 501)]


def came_back(*brought: Entry, target: int = 12, gaps: int = 0, resets: int = 0) -> Return:
    return Return((Seq(10), Micros(100)), target, list(brought), gaps, resets)


def found(each: Return) -> dict[str, int]:
    return {name: count for name, count in asdict(weigh([each], LOG)).items() if count}


def test_exactly_what_was_missed() -> None:
    assert not weigh([came_back(LOG[10], LOG[11])], LOG).sum
    assert not weigh([came_back(*LOG[10:210], target=300, gaps=1)], LOG[:210]).differing


@pytest.mark.parametrize(
    "each, what",
    [
        (came_back(LOG[10]), {"lost": 1}),
        (came_back(), {"lost": 2}),
        (came_back(LOG[10], LOG[10], LOG[11]), {"doubled": 1}),
        (came_back(LOG[11], LOG[10]), {"disordered": 1}),
        (came_back(entry(11, "somebody else"), LOG[11]), {"differing": 1}),
        (came_back(LOG[9], LOG[10], LOG[11]), {"old": 1}),
        (came_back(LOG[10], LOG[11], gaps=1), {"untold": 1}),
        (came_back(LOG[10], LOG[11], resets=1), {"untold": 1}),
        (came_back(*LOG[10:400], target=400), {"untold": 1}),
    ],
    ids=["one", "all", "twice", "order", "other", "had it", "gap for nothing", "reset", "no gap"],
)
def test_what_is_planted(each: Return, what: dict[str, int]) -> None:
    assert found(each) == what


def test_after_a_gap_the_rest_counts() -> None:
    back = came_back(*LOG[10 : 10 + RESUME_ENTRIES_MAX], target=300, gaps=1)
    assert found(back) == {"lost": 300 - 210}
    back.synced = LOG[210:300]
    assert not weigh([back], LOG).sum
