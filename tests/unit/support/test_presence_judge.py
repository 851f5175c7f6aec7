"""The judge of presence finds what is planted, and nothing in what is as promised."""

import pytest

from protocol.from_server import Presence, Status
from protocol.ids import UserId
from tests.support.presence_judge import (
    GONE,
    HERE,
    OLDER,
    TWO_MEANINGS,
    UNKNOWN,
    Bounds,
    Loss,
    Shown,
    Stay,
    View,
    both,
    delays,
    judge,
    without,
)

BOUNDS = Bounds(
    come_s=1.0,
    gone_s={Loss.GOODBYE: 1.0, Loss.CLOSE: 3.0, Loss.KILL: 12.0},
    grace_s={Loss.CLOSE: 2.0, Loss.KILL: 8.0},
    unknown_s=0.5,
)
END_S = 100.0
ON, OFF, AWAY = Status.ONLINE, Status.OFFLINE, Status.AWAY


def shown(at_s: float, status: Status, v: int, *, is_news: bool = True) -> Shown:
    return Shown(at_s, Presence(UserId("alice"), status, v), is_news=is_news)


def view(*told: Shown) -> View:
    return View("bob", 0.0, shown=[shown(0.0, OFF, 1, is_news=False), *told])


def stay(came_s: float, gone_s: float = float("inf"), loss: Loss = Loss.CLOSE) -> Stay:
    return Stay("alice", came_s, came_s, gone_s, loss)


def found(stays: list[Stay], *views: View) -> list[tuple[str, tuple[float, float]]]:
    return [(wrong.what, wrong.span) for wrong in judge(stays, views, BOUNDS, END_S).wrong]


@pytest.mark.parametrize("loss, gone_at_s", [(Loss.GOODBYE, 20.9), (Loss.CLOSE, 22.9), (Loss.KILL, 31.9)], ids=str)
def test_within_the_bounds_nothing_is_wrong(loss: Loss, gone_at_s: float) -> None:
    verdict = judge([stay(10, 20, loss)], [view(shown(10.9, ON, 2), shown(gone_at_s, OFF, 3))], BOUNDS, END_S)
    assert not verdict.wrong
    assert verdict.told == 3
    # All but while the bounds run.
    assert verdict.judged_s == pytest.approx(END_S - 1.0 - BOUNDS.gone_s[loss])


def test_who_is_gone_is_shown_too_long() -> None:
    assert found([stay(10, 20)], view(shown(10, ON, 2), shown(30, OFF, 3))) == [(GONE, (23.0, 30.0))]
    assert found([stay(10, 20)], view(shown(10, ON, 2))) == [(GONE, (23.0, END_S))]


def test_who_came_is_shown_too_late_or_not_at_all() -> None:
    assert found([stay(10)], view(shown(15, ON, 2))) == [(HERE, (11.0, 15.0))]
    assert found([stay(10)], view()) == [(HERE, (11.0, END_S))]


def test_who_was_never_here_is_shown() -> None:
    assert found([], view(shown(15, AWAY, 2))) == [(GONE, (15.0, END_S))]


def test_a_flicker_is_found_however_short() -> None:
    told = view(shown(10, ON, 2), shown(50.0, OFF, 3), shown(50.01, ON, 4))
    assert found([stay(10)], told) == [(HERE, (50.0, 50.01))]


def test_who_is_back_within_the_grace_was_never_away() -> None:
    """Nor who had another device."""
    told = view(shown(10, ON, 2), shown(22, OFF, 3), shown(22.5, ON, 4))
    assert found([stay(10, 20), stay(21.5)], told) == [(HERE, (22.0, 22.5))]
    assert found([stay(10, 20), stay(12)], told) == [(HERE, (22.0, 22.5))]
    assert not found([stay(10, 20), stay(22.2)], told)
    told.shown[-2] = shown(20.5, OFF, 3)
    assert not found([stay(10, 20, Loss.GOODBYE), stay(21.8)], told)


def test_the_last_to_leave_counts() -> None:
    """A goodbye ends it, though the device before that only closed."""
    told = view(shown(10, ON, 2), shown(21, OFF, 3), shown(21.5, ON, 4))
    assert not found([stay(10, 20), stay(11, 21, Loss.GOODBYE), stay(21.5)], told)


def test_of_two_who_leave_at_once_nobody_knows_the_last() -> None:
    told = view(shown(10, ON, 2), shown(20, OFF, 3), shown(21, ON, 4))
    assert not found([stay(10, 20), stay(20, 20, Loss.GOODBYE), stay(21)], told)


def test_what_it_took() -> None:
    """Only where it could be told: not when another connection of theirs still showed them."""
    stays = [stay(10, 20, Loss.GOODBYE), stay(40, 50), stay(52, 60, Loss.GOODBYE)]
    told = view(shown(10.2, ON, 2), shown(20.3, OFF, 3), shown(40.1, ON, 4), shown(60.1, OFF, 5))
    took = delays(stays, [told])
    assert [round(took_s, 6) for took_s in took[None]] == [0.2, 0.1]
    assert [round(took_s, 6) for took_s in took[Loss.GOODBYE]] == [0.3, 0.1]
    assert not took[Loss.CLOSE]
    told.blind += [(20.1, 20.2), (40.05, 45.0)]
    took = delays(stays, [told])
    assert [round(took_s, 6) for took_s in took[None]] == [0.2]
    assert [round(took_s, 6) for took_s in took[Loss.GOODBYE]] == [0.3, 0.1]


def test_news_that_are_older_than_what_was_told() -> None:
    assert found([stay(10)], view(shown(10, ON, 5), shown(11, OFF, 4))) == [(OLDER, (11, 11))]
    assert not found([stay(10)], view(shown(10, ON, 5), shown(11, ON, 5)))
    answered = shown(11, ON, 7, is_news=False)
    assert found([stay(10)], view(shown(10, ON, 5), answered, shown(12, OFF, 6))) == [(OLDER, (12, 12))]


def test_an_answer_may_be_overtaken_by_news() -> None:
    """It was asked for before; the client keeps what is newer."""
    assert not found([stay(10)], view(shown(10.5, ON, 5), shown(10.6, OFF, 1, is_news=False)))


def test_one_version_means_one_thing() -> None:
    told, other = view(shown(10, ON, 5)), View("carol", 90.0, shown=[shown(90.0, OFF, 5)])
    assert (TWO_MEANINGS, (90.0, 90.0)) in found([stay(10)], told, other)


def test_not_knowing_is_no_lie_for_a_moment() -> None:
    known = view(shown(10, ON, 5), shown(20, Status.UNKNOWN, 0), shown(20.4, ON, 5, is_news=False))
    assert not found([stay(10)], known)
    assert found([stay(10)], view(shown(10, ON, 5), shown(20, Status.UNKNOWN, 0))) == [(UNKNOWN, (20.0, END_S))]


def test_trouble_excuses_as_long_as_it_lasts() -> None:
    told = view(shown(10, ON, 2), shown(40, OFF, 3), shown(60, ON, 4))
    assert found([Stay("alice", 10, 10, uncertain=[(39, 58)])], told) == [(HERE, (58.0, 60.0))]
    blind = view(shown(10, ON, 2), shown(40, OFF, 3), shown(60, ON, 4))
    blind.blind = [(35.0, 61.0)]
    assert not found([stay(10)], blind)
    late = Stay("alice", 10, 10, 20, lingers=[(20, 45)])
    assert found([late], view(shown(10, ON, 2), shown(46, OFF, 3))) == [(GONE, (45.0, 46.0))]


def test_a_connection_without_a_welcome_proves_nothing() -> None:
    """Who was let in is not known; who was shown is no lie either."""
    silent = Stay("alice", 10, gone_s=20)
    assert not found([silent], view())
    assert not found([silent], view(shown(12, ON, 2), shown(21, OFF, 3)))


def test_a_watcher_who_is_gone_sees_nothing() -> None:
    gone = View("bob", 0.0, 15.0, [shown(0.0, OFF, 1), shown(10.5, ON, 2)])
    assert not found([stay(10, 20)], gone)


def test_spans() -> None:
    assert both([(0, 5), (7, 9)], [(4, 8)]) == [(4, 5), (7, 8)]
    assert without([(0, 10)], [(2, 3), (9, 12)]) == [(0, 2), (3, 9)]
    assert str(judge([stay(10)], [view()], BOUNDS, END_S).wrong[0]) == (
        "bob saw alice as gone though here from 11.00 to 100.00 s"
    )
