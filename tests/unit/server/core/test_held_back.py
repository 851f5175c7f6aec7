"""What is kept for somebody who does not look."""

from server.core.held_back import HeldBack
from server.core.latest import Key


def typing(user: str, match: str = "m1") -> Key:
    return ("typing", match, user)


def presence(user: str) -> Key:
    return ("presence", user)


def told(held: HeldBack, now: float = 0.0) -> list[bytes]:
    return [frame for _, frame in held.give_back(now)]


def test_only_typing_and_presence_are_kept() -> None:
    held = HeldBack(8, 10)
    assert held.put(typing("bob"), b"t", 0)
    assert held.put(presence("bob"), b"p", 0)
    assert not held.put(("receipt", "m1", "bob"), b"r", 0)
    assert len(held) == 2


def test_of_each_key_the_newest_is_given_back_in_the_order_of_news() -> None:
    held = HeldBack(8, 10)
    for user, frame in [("bob", b"1"), ("carol", b"2"), ("bob", b"3"), ("dave", b"4")]:
        held.put(presence(user), frame, 0)
    for user, frame in [("bob", b"5"), ("carol", b"6"), ("bob", b"7")]:
        held.put(typing(user), frame, 0)
    assert told(held) == [b"2", b"3", b"4", b"6", b"7"]


def test_typing_that_has_run_out_is_not_given_back() -> None:
    """Presence is true until something newer comes."""
    held = HeldBack(8, 10)
    held.put(presence("bob"), b"p", 0)
    held.put(typing("bob"), b"old", 0)
    held.put(typing("carol"), b"again", 0)
    held.put(typing("carol"), b"again", 5)
    assert told(held, 7.9) == [b"p", b"old", b"again"]
    assert told(held, 8) == [b"p", b"again"]
    assert told(held, 13) == [b"p"]


def test_what_something_newer_says_is_dropped() -> None:
    """What was never there, too."""
    held = HeldBack(8, 10)
    held.put(typing("bob"), b"t", 0)
    held.put(presence("bob"), b"p", 0)
    held.drop(typing("bob"))
    held.drop(typing("nobody"))
    assert told(held) == [b"p"]
    held.drop(presence("bob"))
    assert len(held) == 0


def test_those_who_are_watched_no_more_are_forgotten() -> None:
    """Typing is not a matter of watching."""
    held = HeldBack(8, 10)
    for user in ("bob", "carol"):
        held.put(presence(user), user.encode(), 0)
        held.put(typing(user), b"t " + user.encode(), 0)
    held.keep({"carol"})
    assert told(held) == [b"carol", b"t bob", b"t carol"]


def test_of_those_whom_a_block_parts_nothing_is_given_back() -> None:
    held = HeldBack(8, 10)
    for user in ("bob", "carol"):
        held.put(presence(user), user.encode(), 0)
        held.put(typing(user), b"t " + user.encode(), 0)
    held.forget({"carol", "nobody"})
    assert told(held) == [b"bob", b"t bob"]


def test_of_too_much_typing_the_oldest_is_forgotten() -> None:
    held = HeldBack(8, 2)
    for user in ("bob", "carol", "bob", "dave"):
        held.put(typing(user), user.encode(), 0)
    assert told(held) == [b"bob", b"dave"]
