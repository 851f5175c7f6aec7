"""Scenarios: ours can all be read, and what is wrong in one is told in words."""

from pathlib import Path

import pytest

from loadtest.judging import check_budgets
from loadtest.profile import load_profile
from loadtest.scenario import BadScenario, load_scenario, names


@pytest.mark.parametrize("name", names())
def test_each_of_ours_is_whole(name: str) -> None:
    """Its budgets are known and its profile is there."""
    scenario = load_scenario(name)
    check_budgets(scenario.budgets)
    assert load_profile(scenario.chat.profile).messages_an_exchange > 1
    assert scenario.title
    assert scenario.about


def test_the_issue_is_answered() -> None:
    """Each kind of load that was asked for has a scenario."""
    asked = "calls capacity chat groups history idle mobile presence replay restart room slow storm"
    assert set(asked.split()) <= set(names())


def test_a_path_is_read_too(tmp_path: Path) -> None:
    """With defaults for all that it leaves out."""
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\nabout = "…"\n[people]\nusers = 3\n')
    assert load_scenario(str(path)).people.users == 3


@pytest.mark.parametrize(
    "text, complaint",
    [
        ('title = "x"', "missing required field `about`"),
        ('title = "x"\nabout = "y"\n[people]\nuser = 3', "unknown field `user`"),
        ('title = "x"\nabout = "y"\n[people]\nhidden_share = 3', "<= 1"),
        ("title =", "Invalid"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    """With the field's name."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(BadScenario, match=complaint):
        load_scenario(str(path))


def test_a_missing_one_is_told_with_those_that_there_are() -> None:
    """So that a slip of the pen is found."""
    with pytest.raises(BadScenario, match="storm"):
        load_scenario("strom")
