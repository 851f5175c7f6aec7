"""Profiles: learnt from logs, drawn from again, and without a word of them."""

from pathlib import Path

from loadtest.clock import Chance
from loadtest.learn import learn, read_log, render
from loadtest.profile import Profile, Quantiles, load_profile, whole
from tests.support.programs import ROOT

LOG = """
=== ann has joined
[23:58] <ann> ben: are you there?
[23:58] <ann> I have a question
[23:59] <ben> ann, yes
[00:01] <ann> how do I leave this?
[00:01] <cem> hello all
[00:20] <ben> ann: with a word
"""


def test_a_minute_is_spread_and_midnight_is_passed() -> None:
    """The minute is all the time that a log gives."""
    lines = read_log(LOG)
    assert [line.nick for line in lines] == ["ann", "ann", "ben", "ann", "cem", "ben"]
    assert [line.at_s - lines[0].at_s for line in lines] == [0, 30, 75, 180, 210, 1335]


def test_exchanges_are_of_two_and_end_with_a_pause() -> None:
    """Ann and Ben have one of three turns; what comes a quarter of an hour later is none."""
    profile = learn([read_log(LOG)], "a test")
    assert set(profile.turns_an_exchange.points) == {3.0}
    assert (profile.messages_a_turn.points[0], profile.messages_a_turn.points[-1]) == (1.0, 2.0)
    assert set(profile.within_turn_s.points) == {30.0}
    assert (profile.between_turns_s.points[0], profile.between_turns_s.points[-1]) == (45.0, 105.0)
    assert "question" not in render(profile)


def test_what_is_written_is_what_was_learnt(tmp_path: Path) -> None:
    """And an empty log gives a profile that can be drawn from."""
    path = tmp_path / "mine.toml"
    sample = learn([read_log((ROOT / "tests/data/sample-chat.txt").read_text())], 'with "quotes"')
    path.write_text(render(sample))
    assert load_profile(str(path)) == sample
    assert learn([[]], "").messages_an_exchange == 1


def test_ours_is_like_real_chat() -> None:
    """Half of the messages are below fifty characters, and most turns are one message."""
    profile = load_profile("irc")
    chance = Chance(1)
    lengths = sorted(whole(profile.length_chars, chance) for _ in range(10_000))
    assert 30 < lengths[5_000] < 60
    assert lengths[0] >= 1
    turns = [whole(profile.messages_a_turn, chance) for _ in range(10_000)]
    assert sum(turn == 1 for turn in turns) > 6_000


def test_the_mean_of_an_exchange_is_that_of_what_is_drawn() -> None:
    """The rate that is offered depends on it."""
    profile = load_profile("irc")
    chance = Chance(2)
    drawn = sum(
        whole(profile.messages_a_turn, chance)
        for _ in range(4_000)
        for _ in range(whole(profile.turns_an_exchange, chance))
    )
    assert abs(drawn / 4_000 / profile.messages_an_exchange - 1) < 0.1
    one = Quantiles((1.0, 3.0))
    assert one.mean == 2
    assert isinstance(profile, Profile)
