"""What shares servers runs in one worker, and what takes longest begins first."""

from tests.support.workers import longest_first, scope

CHAT = "tests/browser/test_chat.py::test_markup_stays_text"
ACCESS = "tests/browser/test_access.py::test_everything_has_a_name[a::b]"
AUTH = "tests/integration/test_auth.py::test_a[x::y]"
CODEC = "tests/unit/protocol/test_codec.py::test_b"


def test_a_file_stays_together() -> None:
    assert scope(AUTH) == "tests/integration/test_auth.py"
    assert scope(CODEC) == "tests/unit/protocol/test_codec.py"


def test_everything_in_the_browser_stays_together() -> None:
    assert scope(CHAT) == scope(ACCESS) == "browser"


def test_one_cluster_at_a_time() -> None:
    files = ("test_chaos_short", "test_cluster", "test_sessions_of_two_nodes")
    assert {scope(f"tests/integration/{file}.py::test_a") for file in files} == {"cluster"}


def test_the_browser_begins_and_what_is_short_ends() -> None:
    assert sorted([CODEC, AUTH, CHAT], key=longest_first) == [CHAT, AUTH, CODEC]
