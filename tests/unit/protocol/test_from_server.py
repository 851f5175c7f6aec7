"""protocol/from_server.py: what tells one message from another."""

from typing import get_args

from msgspec.structs import fields

from protocol.from_server import Answer, Entry, MatchMade, MatchSummary, Push


def names(kind: type) -> set[str]:
    """Return the names of a struct's fields."""
    return {field.name for field in fields(kind)}


def test_answers_and_pushes_share_no_type() -> None:
    """A client can tell an answer by its `type` alone."""
    answers = {kind.__struct_config__.tag for kind in get_args(Answer)}
    pushes = [kind.__struct_config__.tag for kind in get_args(Push)]
    assert answers == {"ok", "welcome", "error"}
    assert answers.isdisjoint(pushes)
    assert len(set(pushes)) == len(pushes)


def test_exactly_the_entries_have_match_and_seq() -> None:
    """The rule by which a client advances its cursor on entries that it does not know."""
    assert {kind for kind in get_args(Push) if {"match", "seq"} <= names(kind)} == set(get_args(Entry))
    assert all("created_at" in names(kind) for kind in get_args(Entry))


def test_every_answer_names_its_request() -> None:
    """`id` comes back unchanged."""
    assert all("id" in names(kind) for kind in get_args(Answer))


def test_a_made_match_has_the_fields_of_a_summary() -> None:
    """A client handles both with the same code."""
    assert [(each.name, each.type) for each in fields(MatchMade)] == [
        (each.name, each.type) for each in fields(MatchSummary)
    ]
