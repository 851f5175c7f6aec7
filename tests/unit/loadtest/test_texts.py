"""What a run says of presence: where it is most of what happened, and nowhere else."""

from msgspec import structs

from loadtest.meters import PRESENCE_CHANGED, PRESENCE_SEEN
from loadtest.result import Second
from loadtest.texts import presence_text
from tests.support.load_results import blank


def busy_with(**counts: int) -> list[Second]:
    """Twenty seconds alike."""
    named = {PRESENCE_CHANGED: counts.get("changed", 0), PRESENCE_SEEN: counts.get("seen", 0), "delivered": 100}
    return [Second(at_s, 300, named, {}) for at_s in range(20)]


def test_coming_and_going_has_its_cost() -> None:
    """A fifth of a core for a hundred a second are two milliseconds each."""
    (line,) = presence_text(structs.replace(blank(), seconds=busy_with(changed=100, seen=1_500)), 0.2)
    assert line == (
        "presence: 100.0 users/s came or went and 1,500/s were told, 15.0 times each; "
        "2,000 µs CPU of the server for one, the connect with it"
    )


def test_among_messages_it_is_no_matter() -> None:
    """Or when nobody came and went."""
    assert not presence_text(structs.replace(blank(), seconds=busy_with(changed=100, seen=50)), 0.2)
    assert not presence_text(structs.replace(blank(), seconds=busy_with(seen=500)), 0.2)
