"""Random lives of calls: whatever is accepted, declined, cancelled, lost and killed, each call has one outcome.

Several people with several devices do anything at any time, some of it twice, some of it on behalf of seats that are long
gone; sockets are lost and come back; time passes with nobody looking, and deadlines are looked at by anybody, early and late.
A naive model of what each device has been told is kept beside it.
"""

from typing import Final

import msgspec
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.calls import (
    CallCancelled,
    CallEnded,
    CallId,
    CallIncoming,
    CallOutcome,
    CallPeerJoined,
    CallPeerLeft,
    CallState,
    MediaState,
    PeerId,
)
from protocol.ids import ClientId, MatchId, Micros, SessionId, UserId
from signaling.call import LEG_TURNS, TURNS, Call
from signaling.decide import decide
from signaling.decision import Context, Decision, Rules, ToSeat, ToUser, UserSettings
from signaling.due import deadline_of
from signaling.entries import outcome_of
from signaling.events import (
    Accept,
    Decline,
    Due,
    Event,
    HangUp,
    Invite,
    Join,
    Lost,
    Rang,
    Rated,
    Remove,
    Report,
    Resume,
    SetMedia,
    Sitter,
    Start,
)
from signaling.views import record_of, ringing_of, seat_answer, snapshot_of

MATCH: Final = MatchId("m")
PEOPLE: Final = tuple(UserId(name) for name in ("alice", "bob", "carol", "dave"))
DEVICES: Final = tuple(SessionId(f"{user}.{place}") for user in PEOPLE for place in ("web", "phone"))
RULES: Final = Rules(participants=3, alone_us=60_000_000, max_us=600_000_000)
OVER: Final = set(CallOutcome) - {CallOutcome.RINGING, CallOutcome.ONGOING}

devices = st.sampled_from(DEVICES)
places = st.tuples(st.integers(0, 2), st.integers(0, 2))
seconds = st.sampled_from([0.0, 0.5, 3.0, 9.0, 11.0, 31.0, 46.0, 400.0])


def owner(device: SessionId) -> UserId:
    """Return whose device it is."""
    return UserId(device.partition(".")[0])


class Calls(RuleBasedStateMachine):
    """One match and its calls, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Micros(1_000_000_000)
        self.calls: dict[CallId, Call] = {}
        self.latest: CallId | None = None
        self.entries: dict[CallId, list[CallOutcome]] = {}
        # What each device believes that it rings for, and which seats it has.
        self.rings: dict[SessionId, CallId] = {}
        self.seats: dict[SessionId, tuple[CallId, PeerId]] = {}
        # Which other seats each seat has been told of.
        self.sees: dict[PeerId, set[PeerId]] = {}
        self.made = 0

    @initialize(members=st.integers(2, 4), busy=st.booleans(), answers=st.integers(0, 3))
    def begin(self, members: int, busy: bool, answers: int) -> None:
        """A match of two to four, where the last one may not want to be rung while talking; somebody calls."""
        members_of = PEOPLE[:members]
        self.context = Context(
            frozenset(members_of),
            settings={members_of[-1]: UserSettings("busy")},
            in_call={members_of[-1]: CallId("elsewhere")} if busy else {},
        )
        self.start(DEVICES[0], "a", "ring")
        for place in range(answers):
            if self.rings:
                self.answer(place, rings_first=True)
        for place in range(answers):
            if self.sitting():
                self.connect((place, place + 1))

    def happen(self, call: CallId | None, what: Event) -> Decision:
        """Decide, store, tell; what is stored survives being written down."""
        before = self.calls.get(call) if call is not None else None
        decision = decide(before, what, self.context, RULES, self.now)
        assert decision == decide(before, what, self.context, RULES, self.now)
        if decision.refusal is not None:
            assert (decision.call, decision.entry, decision.actions) == (None, None, ())
        if decision.call is not None:
            self.store(before, decision)
        self.tell(decision)
        return decision

    def store(self, before: Call | None, decision: Decision) -> None:
        """Keep the new state: the tables allow the way to it, and its outcome is final."""
        after = decision.call
        assert after is not None
        assert msgspec.json.decode(msgspec.json.encode(after), type=Call) == after
        if before is not None and before.call == after.call:
            assert before.state is after.state or after.state in TURNS[before.state].values()
            for leg in after.legs:
                was = before.leg_of(leg.user)
                is_new = was is None or leg.invited_at != was.invited_at or not was.is_open
                assert was is None or is_new or leg.state is was.state or leg.state in LEG_TURNS[was.state].values()
        self.calls[after.call] = after
        self.latest = after.call
        if decision.entry is not None:
            said = self.entries.setdefault(after.call, [])
            assert not said or said[-1] not in OVER
            said.append(decision.entry.state)

    def tell(self, decision: Decision) -> None:
        """Do on each device what its client would."""
        for action in decision.actions:
            if isinstance(action, ToSeat):
                assert owner(action.session) == action.user
                self.hear_as_seat(action)
            else:
                self.hear_as_user(action)

    def hear_as_seat(self, action: ToSeat) -> None:
        """One device."""
        message = action.message
        seat = self.seats.get(action.session)
        if isinstance(message, CallEnded) and seat is not None and seat[0] == message.call:
            del self.seats[action.session]
        elif isinstance(message, CallPeerJoined):
            assert seat is not None
            assert (message.peer.initiator, message.peer.polite) == (True, False)
            self.sees[seat[1]].add(message.peer.peer)
        elif isinstance(message, CallPeerLeft):
            assert seat is not None
            self.sees[seat[1]].discard(message.peer)

    def hear_as_user(self, action: ToUser) -> None:
        """All devices but one."""
        message = action.message
        for device in DEVICES:
            if owner(device) != action.user or device == action.but:
                continue
            if isinstance(message, CallIncoming):
                self.rings[device] = message.call
            elif isinstance(message, CallCancelled) and self.rings.get(device) == message.call:
                del self.rings[device]
            elif isinstance(message, CallEnded) and self.seats.get(device, ("", ""))[0] == message.call:
                del self.seats[device]

    def answered(self, device: SessionId, decision: Decision) -> None:
        """The device's request for a seat came back."""
        if decision.peer is None:
            return
        assert self.latest is not None
        call = decision.call or self.calls[self.latest]
        self.rings.pop(device, None)
        if call.is_over:
            return
        seat = call.seat_named(decision.peer)
        assert seat is not None
        assert seat.session == device
        self.seats = {other: mine for other, mine in self.seats.items() if mine[1] != decision.peer}
        self.seats[device] = (call.call, decision.peer)
        self.sees[decision.peer] = {peer.peer for peer in seat_answer(call, decision.peer, 1).peers}

    def sitting(self) -> list[SessionId]:
        """Return the devices that sit in the newest call."""
        call = self.calls.get(self.latest) if self.latest else None
        return [seat.session for seat in call.seats] if call else []

    def sitter(self, device: SessionId, key: str) -> Sitter:
        """Return the device as one that wants a seat."""
        self.made += 1
        return Sitter(owner(device), device, "n1", PeerId(f"p{self.made}"), ClientId(f"{device}-{key}"), "video")

    # ---- what people do

    @rule(device=devices, key=st.sampled_from("ab"), mode=st.sampled_from(["ring", "ring", "prompt"]))
    def start(self, device: SessionId, key: str, mode: str) -> None:
        """Somebody calls the others, or seems to."""
        new = CallId(f"c{self.made}")
        started = Start(self.sitter(device, key), new, MATCH, "ring" if mode == "ring" else "prompt")
        self.answered(device, self.happen(self.latest, started))

    @rule(device=devices)
    def ring(self, device: SessionId) -> None:
        """A device rings."""
        self.happen(self.latest, Rang(owner(device)))

    @rule(device=devices, key=st.sampled_from("ab"))
    def accept(self, device: SessionId, key: str) -> None:
        """A device answers, perhaps too late."""
        self.answered(device, self.happen(self.latest, Accept(self.sitter(device, key))))

    @rule(device=devices, key=st.sampled_from("ab"), takeover=st.booleans())
    def join(self, device: SessionId, key: str, takeover: bool) -> None:
        """A device joins, perhaps in place of another one."""
        self.answered(device, self.happen(self.latest, Join(self.sitter(device, key), takeover)))

    @rule(device=devices, busy=st.booleans())
    def decline(self, device: SessionId, busy: bool) -> None:
        """A device declines."""
        decision = self.happen(self.latest, Decline(owner(device), device, busy))
        if decision.refusal is None:
            self.rings.pop(device, None)

    @rule(device=devices, other=st.sampled_from(PEOPLE))
    def invite(self, device: SessionId, other: UserId) -> None:
        """Somebody asks one more."""
        self.happen(self.latest, Invite(device, (other,)))

    @rule(device=devices)
    def hang_up(self, device: SessionId) -> None:
        """Somebody leaves."""
        self.happen(self.latest, HangUp(owner(device), device))

    @rule(one=devices, other=devices, ice=st.sampled_from(["connected", "connected", "disconnected", "failed"]))
    def report(self, one: SessionId, other: SessionId, ice: str) -> None:
        """A connection comes about, or breaks."""
        call = self.calls.get(self.latest) if self.latest else None
        seat = call.seat_at(other) if call else None
        peer = seat.peer if seat else PeerId("nobody")
        self.happen(self.latest, Report(one, peer, "connected" if ice == "connected" else "failed"))

    @precondition(lambda self: len(self.sitting()) > 1)
    @rule(places=places)
    def connect(self, places: tuple[int, int]) -> None:
        """Two who sit see each other."""
        one, other = (self.sitting()[place % len(self.sitting())] for place in places)
        self.report(one, other, "connected")
        self.report(other, one, "connected")

    @precondition(lambda self: bool(self.rings))
    @rule(place=st.integers(0, 5), rings_first=st.booleans())
    def answer(self, place: int, rings_first: bool) -> None:
        """One whose device rings answers it."""
        device = sorted(self.rings)[place % len(self.rings)]
        if rings_first:
            self.ring(device)
        self.accept(device, "a")

    @rule(device=devices, on=st.booleans())
    def mute(self, device: SessionId, on: bool) -> None:
        """A microphone, and a word on quality."""
        self.happen(self.latest, SetMedia(device, MediaState(on, video=True, screen=False)))
        self.happen(self.latest, Rated(device, "good" if on else "poor"))

    # ---- what happens to them

    @rule(device=devices)
    def lose(self, device: SessionId) -> None:
        """A socket, or its node, is gone."""
        self.happen(self.latest, Lost(device))

    @rule(device=devices, to=devices)
    def resume(self, device: SessionId, to: SessionId) -> None:
        """Somebody takes a seat up again, from this or another device."""
        seat = self.seats.get(device)
        if seat is not None:
            self.answered(to, self.happen(self.latest, Resume(owner(to), to, "n2", seat[1], {})))

    @rule(user=st.sampled_from((*PEOPLE, None)))
    def remove(self, user: UserId | None) -> None:
        """Somebody may not be in it any more, or nobody; they stay members for the next one."""
        self.happen(self.latest, Remove(None if user is None else (user,)))

    @rule(passed=seconds)
    def wait(self, passed: float) -> None:
        """Time passes; whoever looks at deadlines comes late or not at all."""
        self.now = Micros(self.now + round(passed * 1_000_000))

    @rule()
    def look(self) -> None:
        """Somebody looks at the deadlines, due or not, twice."""
        self.happen(self.latest, Due())
        decision = self.happen(self.latest, Due())
        assert decision.entry is None
        assert not decision.actions

    # ---- what must hold

    @invariant()
    def nobody_rings_or_sits_but_where_the_call_says_so(self) -> None:
        """A device rings exactly while its user's ring is open; a seat is known to its device."""
        for device in DEVICES:
            call = self.calls.get(self.rings[device]) if device in self.rings else None
            if device in self.rings:
                assert call is not None
                assert owner(device) in ringing_of(call)
        for call in self.calls.values():
            for seat in call.seats:
                assert self.seats[seat.session] == (call.call, seat.peer)
                assert self.sees[seat.peer] == {other.peer for other in call.others(seat)}
        for device, (name, peer) in self.seats.items():
            assert self.calls[name].seat_named(peer) is not None, device

    @invariant()
    def what_is_over_is_over(self) -> None:
        """No seat, no open ring, no deadline, one outcome, the last that the log says."""
        for name, call in self.calls.items():
            assert self.entries[name][-1] is outcome_of(call)
            assert (deadline_of(call, RULES) is None) == call.is_over
            assert len({seat.user for seat in call.seats}) == len(call.seats) <= RULES.participants
            if call.is_over:
                assert not call.seats
                assert not ringing_of(call)
                assert self.entries[name][-1] in OVER
                assert call.reason is not None
            else:
                assert name == self.latest
                assert call.seats
                snapshot_of(call, None)
            record_of(call)

    @invariant()
    def active_means_that_two_see_each_other(self) -> None:
        """And nothing else."""
        for call in self.calls.values():
            if not call.is_over:
                assert (call.state is CallState.ACTIVE) == call.is_paired()

    def teardown(self) -> None:  # type: ignore[explicit-override]  # typing.override is new in Python 3.12
        """Left alone with the clock, every call ends by itself, soon: no ringing and no ghost survives."""
        for call in list(self.calls.values()):
            latest = call.started_at + RULES.max_us
            while (deadline := deadline_of(self.calls[call.call], RULES)) is not None:
                self.now = max(self.now, deadline)
                self.happen(call.call, Due())
                assert self.calls[call.call].is_over or deadline <= latest
            assert self.calls[call.call].reason is not None
            event(f"a call was {self.entries[call.call][-1]}")
        if self.calls:
            self.what_is_over_is_over()
            self.nobody_rings_or_sits_but_where_the_call_says_so()
            assert not self.rings
            assert not self.seats


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
