"""The typing book against one that remembers everything that ever happened and looks it up each time."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.from_client import TypingKind
from protocol.ids import MatchId, UserId
from server.core.typing import TypingBook

INTERVAL_S, AGAIN_S, EXPIRES_S = 3.0, 0.5, 8.0
USERS = (UserId("alice"), UserId("bob"))
MATCHES = (MatchId("m1"), MatchId("m2"))
Place = tuple[UserId, MatchId, TypingKind]


class NaiveBook:
    """Every `on` that was forwarded, and every end of one."""

    def __init__(self) -> None:
        self.forwarded: list[tuple[float, Place]] = []
        self.ended: list[tuple[float, int, Place]] = []  # with how many had been forwarded by then

    def last(self, place: Place) -> tuple[float, int] | None:
        """Return when, and as which in the list, `place` was forwarded last."""
        found = [(at, number) for number, (at, other) in enumerate(self.forwarded) if other == place]
        return found[-1] if found else None

    def is_on(self, place: Place, now: float) -> bool:
        last = self.last(place)
        return (
            last is not None
            and now - last[0] < EXPIRES_S
            and not any(other == place and count > last[1] for _, count, other in self.ended)
        )

    def on(self, place: Place, now: float) -> bool:
        last = self.last(place)
        pause_s = INTERVAL_S if self.is_on(place, now) else AGAIN_S
        if last is not None and now - last[0] < pause_s:
            return False
        self.forwarded.append((now, place))
        return True

    def off(self, place: Place, now: float) -> bool:
        was_on = self.is_on(place, now)
        self.ended.append((now, len(self.forwarded), place))
        return was_on


places = st.tuples(st.sampled_from(USERS), st.sampled_from(MATCHES), st.sampled_from(TypingKind))
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("on", "on", "off", "message", "leave")), places),
        st.tuples(st.just("later"), st.sampled_from((0.25, 0.5, 1.0, 2.0, 3.0, 8.0))),
    ),
    max_size=60,
)


@given(steps)
def test_the_book_decides_as_one_that_remembers_everything(given_steps: list[tuple[str, Place | float]]) -> None:
    """Whatever is typed, stopped, sent and left, at whatever pace."""
    book, naive, now = TypingBook(INTERVAL_S, EXPIRES_S), NaiveBook(), 0.0
    for what, value in given_steps:
        if isinstance(value, float):
            now += value
            book.settle(now)
            continue
        user, match, _ = value
        match what:
            case "on":
                assert book.should_forward(*value, on=True, now=now) == naive.on(value, now)
            case "off":
                assert book.should_forward(*value, on=False, now=now) == naive.off(value, now)
            case "message":
                ended = [each for each in TypingKind if naive.off((user, match, each), now)]
                assert list(book.stopped(user, match)) == ended
            case _:
                ended_in = {
                    (place, each) for place in MATCHES for each in TypingKind if naive.off((user, place, each), now)
                }
                assert set(book.user_left(user)) == ended_in
    assert len(book) <= len({place for at, place in naive.forwarded if now - at < EXPIRES_S})
