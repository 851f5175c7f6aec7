"""Presence against a model that is too simple to be wrong: it keeps every loss and looks at all of them each time."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from protocol.from_server import Presence, Status
from protocol.ids import Micros, UserId
from server.core.presence import Change, PresenceBook

DEBOUNCE_S = 2.0
START_US = 1_795_000_000_000_000
users = st.sampled_from([UserId(name) for name in ("alice", "bob", "carol")])
watchers = st.sampled_from(["w1", "w2", "w3"])


class PresenceMachine(RuleBasedStateMachine):
    """Devices come and go, connections watch and end, time passes; each watcher keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.quarters = 0  # of a second: exact in floats
        self.book: PresenceBook[str] = PresenceBook(DEBOUNCE_S, self.micros)
        self.devices: list[UserId] = []
        self.lost_at: dict[UserId, int] = {}
        self.is_shown: dict[UserId, bool] = {}
        self.watched: dict[str, tuple[UserId, ...]] = {}
        self.told: dict[tuple[str, UserId], Presence] = {}
        self.highest_v: dict[UserId, int] = {}

    @property
    def now(self) -> float:
        return 1_000.0 + self.quarters / 4

    @property
    def micros(self) -> Micros:
        return Micros(START_US + self.quarters * 250_000)

    @rule(user=users)
    def arrive(self, user: UserId) -> None:
        change = self.book.arrive(user, self.micros)
        was_shown = self.is_shown.get(user, False)
        self.devices.append(user)
        self.lost_at.pop(user, None)
        self.is_shown[user] = True
        self.tell(user, [change] if change else [], is_news=not was_shown)

    @precondition(lambda self: self.devices)
    @rule(choice=st.integers(0, 99))
    def leave(self, choice: int) -> None:
        user = self.devices.pop(choice % len(self.devices))
        self.book.leave(user, self.now, self.micros)
        if user not in self.devices:
            self.lost_at[user] = self.quarters

    @rule(quarters=st.integers(0, 12))
    def settle(self, quarters: int) -> None:
        self.quarters += quarters
        changes = self.book.settle(self.now, self.micros)
        due = [
            user
            for user, lost in self.lost_at.items()
            if self.is_shown[user] and self.quarters - lost >= DEBOUNCE_S * 4
        ]
        for user in due:
            self.is_shown[user] = False
            self.tell(user, [change for change in changes if change.presence.user == user], is_news=True)
        assert {change.presence.user for change in changes} <= set(due)

    @rule(watcher=watchers, watched=st.lists(users, max_size=4))
    def watch(self, watcher: str, watched: list[UserId]) -> None:
        self.book.watch(watcher, watched)
        answer = self.book.states(watched)
        self.forget(watcher)
        self.watched[watcher] = tuple(dict.fromkeys(watched))
        assert tuple(presence.user for presence in answer) == self.watched[watcher]
        for presence in answer:
            assert presence.v >= self.highest_v.get(presence.user, 0)
            self.note(watcher, presence)

    @rule(watcher=watchers)
    def unwatch(self, watcher: str) -> None:
        self.book.unwatch(watcher)
        self.forget(watcher)

    @invariant()
    def what_watchers_were_told_is_so(self) -> None:
        for (_, user), presence in self.told.items():
            assert presence.status == (Status.ONLINE if self.is_shown.get(user) else Status.OFFLINE)
            lost = self.lost_at.get(user)
            if presence.status is Status.OFFLINE and lost is not None:
                assert presence.last_seen == START_US + lost * 250_000

    @invariant()
    def it_counts(self) -> None:
        assert self.book.online == sum(self.is_shown.values())
        assert self.book.watching == sum(map(bool, self.watched.values()))

    def tell(self, user: UserId, changes: list[Change[str]], *, is_news: bool) -> None:
        watching = {watcher for watcher, watched in self.watched.items() if user in watched}
        assert {watcher for change in changes for watcher in change.watchers} == (watching if is_news else set())
        for change in changes:
            assert change.presence.v > self.highest_v.get(user, 0)
            for watcher in change.watchers:
                self.note(watcher, change.presence)

    def note(self, watcher: str, presence: Presence) -> None:
        self.told[watcher, presence.user] = presence
        self.highest_v[presence.user] = presence.v

    def forget(self, watcher: str) -> None:
        self.watched.pop(watcher, None)
        self.told = {key: presence for key, presence in self.told.items() if key[0] != watcher}

    @override
    def teardown(self) -> None:
        """When all have left, nothing is left of them but when they were last seen."""
        for user in self.devices:
            self.book.leave(user, self.now, self.micros)
        for watcher in tuple(self.watched):
            self.book.unwatch(watcher)
        self.book.settle(self.now + DEBOUNCE_S, self.micros)
        assert (self.book.online, self.book.watching) == (0, 0)


PresenceMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestPresence = PresenceMachine.TestCase
