"""The open loop: what is due does not depend on what happened, and its rate is what was asked for from the first second."""

from itertools import groupby, islice

import pytest

from loadtest.clock import Chance
from loadtest.learn import Line
from loadtest.profile import Profile, Quantiles, load_profile
from loadtest.schedule import Arrivals, Replay, Say, Talk

S = 1_000_000
ONE = Quantiles((1.0, 1.0))


def talk(*, is_talk: bool = True, is_typing: bool = False, seed: int = 1) -> Talk:
    """Talk of two hundred pairs by the profile of real chat, ten times as fast."""
    return Talk(load_profile("irc"), Chance(seed), [2] * 200, haste=10, is_talk=is_talk, is_typing=is_typing)


@pytest.mark.parametrize("is_talk", [True, False])
def test_the_rate_is_what_was_asked_for_from_the_first_second_on(is_talk: bool) -> None:
    """A crowd does not begin to talk when somebody begins to measure."""
    crowd = talk(is_talk=is_talk)
    crowd.start(100.0, 0)
    said = [say.due_us // S for say in crowd.due(120 * S)]
    halves = sum(at_s < 60 for at_s in said), sum(at_s >= 60 for at_s in said)
    assert all(5_000 < half < 7_000 for half in halves), halves


def test_another_pace_holds_at_once_without_exchanges() -> None:
    """A search for the capacity goes by it."""
    crowd = talk(is_talk=False)
    crowd.start(10.0, 0)
    before = len(list(crowd.due(60 * S)))
    crowd.pace(100.0, 60 * S)
    assert before < 900 < len(list(crowd.due(120 * S)))


def test_the_same_seed_is_the_same_load() -> None:
    """A result can be made again."""

    def said(seed: int) -> list[tuple[int, int, int, int]]:
        crowd = talk(seed=seed)
        crowd.start(20.0, 0)
        return [(say.due_us, say.match, say.writer, say.length) for say in crowd.due(20 * S)]

    assert said(7) == said(7) != said(8)


def test_typing_comes_before_its_message_by_the_time_that_typing_takes() -> None:
    """And nothing is due twice or backwards."""
    crowd = talk(is_typing=True)
    crowd.start(20.0, 0)
    said = list(crowd.due(60 * S))
    assert [say.due_us for say in said] == sorted(say.due_us for say in said)
    by_key = {key: list(group) for key, group in groupby(sorted(said, key=lambda say: say.key), lambda say: say.key)}
    typed = [pair for pair in by_key.values() if len(pair) == 2]
    assert len(typed) > 200
    for before, after in typed:
        assert (before.is_typing, after.is_typing) == (True, False)
        assert after.due_us - before.due_us == int(min(after.length / 6, 12) / 10 * S)


def test_an_exchange_is_of_two_writers_by_turns() -> None:
    """Each has as many messages as the profile says."""
    two = Quantiles((2.0, 2.0))
    profile = Profile("test", ONE, two, Quantiles((3.0, 3.0)), ONE, Quantiles((5.0, 5.0)))
    crowd = Talk(profile, Chance(1), [2], haste=1, is_talk=True, is_typing=False)
    crowd.start(0.0001, 0)
    said = list(islice(crowd.due(10**15), 6))
    assert said[-1].due_us - said[0].due_us == 13 * S
    writers = [say.writer for say in said]
    assert writers == [writers[0]] * 2 + [1 - writers[0]] * 2 + [writers[0]] * 2
    assert profile.messages_an_exchange == 6


def test_nothing_is_due_after_the_end() -> None:
    """Nor from a stream without a rate."""
    crowd = talk()
    crowd.start(100.0, 0)
    crowd.stop()
    assert crowd.next_us == float("inf")
    assert list(Arrivals(Chance(1), 0.0, 0).due(S)) == []


def test_a_log_is_said_again_faster_by_those_who_are_here() -> None:
    """The others say theirs in another process."""
    lines = [Line(100.0, "ann", "hello"), Line(110.0, "ben", "hi"), Line(130.0, "ann", "bye")]
    replay = Replay(lines, [0, None, 0], haste=10)
    assert replay.next_us == float("inf")
    replay.start(0.0, 5 * S)
    replay.pace(3.0, 5 * S)
    assert list(replay.due(7 * S)) == [Say(5 * S, 0, 0, 0, 5)]
    assert list(replay.due(9 * S)) == [Say(8 * S, 0, 0, 2, 3)]
    replay.stop()
    assert replay.next_us == float("inf")
