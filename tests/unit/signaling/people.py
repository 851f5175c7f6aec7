"""A transcript of one call: events in, what they led to out. Times are seconds after the start of the play."""

from collections.abc import Mapping

from msgspec import structs

from protocol.calls import CallId, CallPush, CallReason, CallState, Kind, MediaState, Mode, PeerId
from protocol.errors import ErrorCode
from protocol.ids import ClientId, MatchId, Micros, SessionId, UserId
from signaling.call import Call
from signaling.decide import decide
from signaling.decision import Context, Decision, Rules, ToSeat, ToUser, UserSettings
from signaling.due import deadline_of
from signaling.events import (
    Accept,
    Decline,
    Due,
    Event,
    HangUp,
    Join,
    Lost,
    Rang,
    Report,
    Resume,
    Sitter,
    Start,
)

MATCH = MatchId("m1")
START = Micros(1_795_000_000_000_000)


def sitter(
    device: str, *, key: str = "", media: Kind = "video", relay_only: bool = False, replace: bool = False
) -> Sitter:
    """Return a connection named like `alice.phone`, and who wants what; its seat is named after it."""
    user = UserId(device.partition(".")[0])
    return Sitter(
        user=user,
        session=SessionId(device),
        node="n1",
        peer=PeerId(f"p-{device}-{key}" if key else f"p-{device}"),
        key=ClientId(key or f"k-{device}"),
        media=media,
        relay_only=relay_only,
        replace=replace,
    )


def peer(device: str) -> PeerId:
    """Return the name of the seat that `sitter(device)` gets."""
    return PeerId(f"p-{device}")


class Play:
    """One match, one call at a time, one clock."""

    def __init__(self, *members: str, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.context = Context(frozenset(UserId(member) for member in members or ("alice", "bob")))
        self.now = START
        self.call: Call | None = None
        self.last = Decision()
        self.entries: list[str] = []
        self.told: list[tuple[str, CallPush]] = []

    # ---- the surroundings

    def blocked(self, *users: str) -> None:
        """From now on there is a block between whoever acts and these users."""
        self.context = structs.replace(self.context, blocked=frozenset(UserId(user) for user in users))

    def in_call(self, calls: Mapping[str, str], when_busy: Mapping[str, UserSettings] | None = None) -> None:
        """These users have a seat in these other calls."""
        self.context = structs.replace(
            self.context,
            in_call={UserId(user): CallId(call) for user, call in calls.items()},
            settings={UserId(user): each for user, each in (when_busy or {}).items()},
        )

    def wait(self, seconds: float) -> None:
        """Let time pass without anybody looking."""
        self.now = Micros(self.now + round(seconds * 1_000_000))

    # ---- events

    def happen(self, event: Event) -> Decision:
        """Decide and keep what came of it, as a store would."""
        self.last = decision = decide(self.call, event, self.context, self.rules, self.now)
        if decision.call is not None:
            self.call = decision.call
        if decision.entry is not None:
            self.entries.append(str(decision.entry.state))
        self.told = [
            (action.session if isinstance(action, ToSeat) else _name(action), action.message)
            for action in decision.actions
        ]
        return decision

    def start(
        self,
        device: str,
        *,
        call: str = "c1",
        mode: Mode = "ring",
        users: tuple[str, ...] | None = None,
        key: str = "",
        replace: bool = False,
        relay_only: bool = False,
    ) -> Decision:
        """A device starts a call."""
        named = None if users is None else tuple(UserId(user) for user in users)
        who = sitter(device, key=key, replace=replace, relay_only=relay_only)
        return self.happen(Start(who, CallId(call), MATCH, mode, named))

    def ring(self, user: str) -> Decision:
        """A device of the user rings."""
        return self.happen(Rang(UserId(user)))

    def accept(self, device: str, *, key: str = "", replace: bool = False) -> Decision:
        """A device answers."""
        return self.happen(Accept(sitter(device, key=key, replace=replace)))

    def join(self, device: str, *, key: str = "", takeover: bool = False) -> Decision:
        """A device joins."""
        return self.happen(Join(sitter(device, key=key), takeover))

    def decline(self, device: str, *, busy: bool = False) -> Decision:
        """A device declines."""
        return self.happen(Decline(UserId(device.partition(".")[0]), SessionId(device), busy))

    def hear(self, device: str, other: str) -> Decision:
        """A device says that it is connected to another."""
        return self.happen(Report(SessionId(device), peer(other), "connected"))

    def miss(self, device: str, other: str) -> Decision:
        """A device says that its connection to another has failed."""
        return self.happen(Report(SessionId(device), peer(other), "failed"))

    def connect(self, one: str, other: str) -> None:
        """Two devices say that they are connected."""
        self.hear(one, other)
        self.hear(other, one)

    def lose(self, device: str) -> Decision:
        """A device's socket is gone."""
        return self.happen(Lost(SessionId(device)))

    def resume(self, device: str, seat: str, **have: int) -> Decision:
        """A device takes up the seat that another, or itself, has."""
        user = UserId(device.partition(".")[0])
        held = {peer(name.replace("_", ".")): n for name, n in have.items()}
        return self.happen(Resume(user, SessionId(device), "n2", peer(seat), held))

    def hang_up(self, device: str, reason: CallReason = CallReason.HANGUP) -> Decision:
        """A device hangs up."""
        return self.happen(HangUp(UserId(device.partition(".")[0]), SessionId(device), reason))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and have the call looked at whenever its deadline says so."""
        end = Micros(self.now + round(seconds * 1_000_000))
        while self.call is not None:
            deadline = deadline_of(self.call, self.rules)
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.happen(Due())
        self.now = end

    # ---- what can be seen

    @property
    def there(self) -> Call:
        """Return the call, which there is."""
        assert self.call is not None
        return self.call

    def state(self) -> CallState:
        """Return the call's state."""
        return self.there.state

    def refusal(self) -> ErrorCode | None:
        """Return why the last event was refused."""
        return self.last.refusal.code if self.last.refusal else None

    def said(self, kind: type[CallPush]) -> list[tuple[str, CallPush]]:
        """Return what was told of one kind at the last event, and to whom."""
        return [(who, message) for who, message in self.told if isinstance(message, kind)]


def _name(action: ToUser) -> str:
    return f"{action.user} but {action.but}" if action.but else action.user


def active() -> Play:
    """Return alice's call to bob when both see each other."""
    play = Play()
    play.start("alice.web")
    play.ring("bob")
    play.accept("bob.phone")
    play.connect("alice.web", "bob.phone")
    return play


MUTED = MediaState(audio=False, video=True, screen=False)
