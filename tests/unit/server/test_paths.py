"""Nothing that the server says is without a rule for users of whom one has blocked the other."""

from msgspec import Struct

from protocol.from_server import Answer, Entry, Push
from protocol.ids import UserId
from server.gateway.api.routes import ALL_OPERATIONS
from tests.support import paths
from tests.support.paths import MESSAGES, Rule, members_of, names_users


def test_every_push_and_every_answer_has_a_row() -> None:
    """A new type that has none fails here: say in tests/support/paths.py what a block makes of it."""
    said = {*members_of(Entry), *members_of(Push), *members_of(Answer)}
    assert sorted(str(kind) for kind in said - {*MESSAGES}) == []
    assert sorted(str(kind) for kind in {*MESSAGES} - said) == []


def test_every_operation_of_the_api_has_a_row() -> None:
    assert {each.name for each in ALL_OPERATIONS} == {*paths.OPERATIONS}
    for_backends = {each.name for each in ALL_OPERATIONS if each.callers == "API key"}
    assert {name for name, rule in paths.OPERATIONS.items() if rule is Rule.APP} == for_backends


def test_what_can_name_a_user_is_not_said_to_tell_of_nobody() -> None:
    silent = {kind for kind, rule in MESSAGES.items() if rule is Rule.NOBODY}
    assert [str(kind) for kind in silent if names_users(kind)] == []
    assert [str(kind) for kind in {*MESSAGES} - silent if not names_users(kind)] == []


class _Deep(Struct):
    pairs: tuple[dict[str, list[UserId]], ...]
    again: "_Deep | None" = None


def test_users_are_found_however_deep() -> None:
    assert names_users(_Deep)
    assert not names_users(tuple[int, str])
