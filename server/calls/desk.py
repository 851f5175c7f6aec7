"""From an event to a decision to the store: the way on which every change of a call goes.

Read what the decision needs, decide (`signaling.decide`), write the outcome with its entry in one commit, tell. Who lost a
race for the row reads and decides again. Events of one call go one after the other on this node; the store's versions
order them among nodes.

Guarantees: `done` is called once, in commit order, before anybody else is told; what the node itself noticed (`insist`)
is tried until the store has it.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from msgspec import Raw, Struct, structs

from protocol.calls import CallId, CallOutcome, CallReason
from protocol.errors import CATALOGUE, ErrorCode
from protocol.ids import MatchId, SessionId, UserId
from server.calls.book import CallBook, decode_call, encode_call
from server.calls.teller import Teller
from server.core.calls import CallChange, CallChanged, CallNote, CallRow, CallStale, CallView
from server.core.log import Refused
from server.core.notices import CallNews
from server.core.people import Pair, not_shown_to
from server.delivery import Delivery
from server.journal import Journal
from server.ports import Bus, Calls, Clock
from server.reads import Reads
from server.telemetry import Telemetry, event
from signaling.call import Call
from signaling.decide import decide
from signaling.decision import Action, Context, Decision, EntryDraft, Rules, ToSeat, UserSettings
from signaling.due import deadline_of
from signaling.events import Accept, Event, HangUp, Invite, Join, Start

_log = logging.getLogger(__name__)

ATTEMPTS: Final = 20
# Of one event, each after another one changed the call first.
OWED_MAX: Final = 10_000
UNANSWERED_US: Final = 600_000_000
_GUARDED: Final = (Start, Accept, Join, Invite)
# What may depend on who is a member and who has blocked whom.


class Settled(Struct, frozen=True):
    """An event has been decided: the call as it is then, and what came of it."""

    call: Call | None
    decision: Decision


Outcome = Settled | Refused
Done = Callable[[Outcome], None]
Admit = Callable[[], Awaitable[Refused | None]]
Answer = TypeVar("Answer")


class Soft(Struct, frozen=True):
    """An event that was answered, and told to the connections `told`, before it was written."""

    event: Event
    told: frozenset[SessionId]


class Job(Struct):
    """An event under way. `call` or `match` says of what; `user` is whose event it is, if anybody's.

    `before` are events that were answered already and wait to be written. Who was not told of them then, because they took
    their seat meanwhile, on this node or another, is told when they are written.
    """

    event: Event | None
    done: Done
    call: CallId | None = None
    match: MatchId | None = None
    user: UserId | None = None
    admit: Admit | None = None
    before: tuple[Soft, ...] = ()
    attempts: int = 0
    # In place of the call's line: for what another line waits for.
    own_line: str = ""

    @property
    def line(self) -> str:
        """Which events it waits behind."""
        return self.own_line or self.call or self.match or ""


class DeskParts(Struct, frozen=True):
    """What the desk works with."""

    store: Calls
    reads: Reads
    journal: Journal
    book: CallBook
    teller: Teller
    delivery: Delivery
    bus: Bus
    clock: Clock
    rules: Rules
    telemetry: Telemetry


class Desk:
    """Decides."""

    __slots__ = ("_lines", "_owed", "_parts")

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self._lines: dict[str, deque[Job]] = {}
        self._owed: deque[Job] = deque(maxlen=OWED_MAX)

    @property
    def waiting(self) -> int:
        """Events that wait or are under way, and those that the store has not taken yet."""
        return self.under_way + len(self._owed)

    @property
    def under_way(self) -> int:
        """Events that are being decided."""
        return sum(map(len, self._lines.values()))

    def submit(self, job: Job) -> None:
        """Have an event decided and `done` told."""
        line = self._lines.setdefault(job.line, deque())
        line.append(job)
        if len(line) == 1:
            self._begin(job)

    def insist(self, job: Job) -> None:
        """Have an event decided that the node itself noticed; as long as the store is away it waits for the next round."""
        done = job.done

        def kept(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                self._owed.append(structs.replace(job, done=done, attempts=0))
            else:
                done(outcome)

        self.submit(structs.replace(job, done=kept))

    def try_again(self) -> None:
        """Begin a round: what is owed to the store is tried once more."""
        owed, self._owed = self._owed, deque(maxlen=OWED_MAX)
        for job in owed:
            self.insist(job)

    # ---- one event

    def _begin(self, job: Job) -> None:
        self._parts.reads.submit(partial(self._view, job), self._shield(job, partial(self._viewed, job)))

    async def _view(self, job: Job) -> CallView | Refused:
        if job.admit is not None:
            admit, job.admit = job.admit, None
            refused = await admit()
            if refused is not None:
                return refused
        caller = job.user if isinstance(job.event, Start) else None
        return await self._parts.store.call_view(call=job.call, match=job.match, caller=caller, since_us=UNANSWERED_US)

    def _viewed(self, job: Job, view: CallView | Refused) -> None:
        if isinstance(view, Refused):
            self._end(job, view)
            return
        row = view.row
        call = None if row is None else decode_call(row.value)
        version = 0 if row is None else row.version
        written, told = self._write_before(job, call, view)
        decision = Decision(call=None if written == call else written)
        if job.event is not None:
            decision = decide(written, job.event, _context(view, job.user), self._parts.rules, view.now)
            if decision.call is None and written != call and decision.refusal is None:
                decision = structs.replace(decision, call=written)
        if told and decision.refusal is None:
            decision = structs.replace(decision, actions=(*told, *decision.actions))
        self._decided(job, view, (call, version), decision)

    def _write_before(self, job: Job, call: Call | None, view: CallView) -> tuple[Call | None, tuple[Action, ...]]:
        """Return the call with what was told already, and what of that is news to those who came in meanwhile."""
        told: tuple[Action, ...] = ()
        for soft in job.before:
            if call is not None:
                decision = decide(call, soft.event, Context(frozenset()), self._parts.rules, view.now)
                call = decision.call or call
                told += tuple(each for each in decision.actions if _seat_of(each) not in (None, *soft.told))
        return call, told

    def _decided(self, job: Job, view: CallView, read: tuple[Call | None, int], decision: Decision) -> None:
        call, version = read
        refusal = decision.refusal
        if refusal is not None and refusal.leave_first and refusal.call is not None and job.user is not None:
            self._leave_first(job, refusal.call, job.user)
        elif refusal is not None or decision.call is None:
            self._settle(job, Settled(call, decision))
        else:
            is_new = call is None or call.call != decision.call.call
            change = self._change(job, view, 0 if is_new else version, decision)
            changed = partial(self._changed, job, decision, view.blocks)
            self._parts.journal.change_call(change, self._shield(job, changed))

    def _change(self, job: Job, view: CallView, version: int, decision: Decision) -> CallChange:
        call = decision.call
        assert call is not None
        is_guarded = isinstance(job.event, _GUARDED)
        return CallChange(
            change=self._parts.clock.random_id(),
            call=call.call,
            match=call.match,
            version=version,
            value=encode_call(call),
            caller=call.caller,
            started_at=call.started_at,
            ended_at=call.ended_at,
            deadline_at=deadline_of(call, self._parts.rules),
            users=tuple(sorted(call.people)),
            seated=tuple(sorted({seat.user for seat in call.seats})),
            nodes=tuple(sorted({seat.node for seat in call.seats if seat.lost_at is None})),
            note=None if decision.entry is None else _note(decision.entry),
            members=view.members if is_guarded else None,
            blocks=len(view.blocks) if is_guarded else None,
        )

    def _changed(
        self, job: Job, decision: Decision, blocks: Sequence[Pair], changed: CallChanged | CallStale | Refused
    ) -> None:
        match changed:
            case Refused():
                self._end(job, changed)
            case CallStale():
                self._again(job)
            case CallChanged():
                self._made(job, decision, blocks, changed)

    def _again(self, job: Job) -> None:
        self._parts.telemetry.call_conflicts += 1
        job.attempts += 1
        if job.attempts < ATTEMPTS:
            self._begin(job)
        else:
            self._end(job, refused(ErrorCode.UNAVAILABLE, retry_after_ms=1_000))

    def _made(self, job: Job, decision: Decision, blocks: Sequence[Pair], changed: CallChanged) -> None:
        parts, row, call = self._parts, changed.row, decision.call
        assert call is not None
        parts.book.hear(row.call, row.version, call)
        # Before what follows from it: who hears of a ring knows by then whether it is over.
        parts.bus.announce(news_of(row))
        self._settle(job, Settled(call, decision))
        if changed.entry is not None:
            self._count(changed.entry.state)
            hidden = not_shown_to(changed.members, blocks, call.caller)
            parts.delivery.call_told(changed.entry, changed.members, hidden)

    def _count(self, state: CallOutcome) -> None:
        numbers = self._parts.telemetry
        match state:
            case CallOutcome.RINGING:
                numbers.calls_started += 1
            case CallOutcome.ONGOING:
                numbers.calls_answered += 1
            case _:
                numbers.calls_ended += 1
                numbers.calls_missed += state is CallOutcome.MISSED

    def _settle(self, job: Job, settled: Settled) -> None:
        """Tell who asked, then everybody else."""
        self._end(job, settled)
        self._parts.teller.carry_out(settled.decision.actions)

    def _end(self, job: Job, outcome: Outcome) -> None:
        line = self._lines[job.line]
        line.popleft()
        if line:
            self._begin(line[0])
        else:
            del self._lines[job.line]
        try:
            job.done(outcome)
        except Exception:  # noqa: BLE001 - who asked is gone or at fault; others wait to be told
            self._parts.telemetry.internal_errors += 1
            _log.exception("calls.answer_failed")

    def _leave_first(self, job: Job, other: CallId, user: UserId) -> None:
        """Have the user's seat in another call given up, then decide again."""

        def left(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                self._end(job, outcome)
            else:
                self._again(job)

        # Not in that call's line: two who change calls in opposite directions would wait for each other for ever.
        line = f"leaves {self._parts.clock.random_id()}"
        self.submit(Job(HangUp(user, None, CallReason.REPLACED), left, call=other, user=user, own_line=line))

    def _shield(self, job: Job, do: Callable[[Answer], None]) -> Callable[[Answer], None]:
        """Return `do` for reads and journal to call back; a fault ends this event, and no other of its call."""

        def shielded(answer: Answer) -> None:
            try:
                do(answer)
            except Exception:  # noqa: BLE001 - logged here, once; the line must go on
                self._parts.telemetry.internal_errors += 1
                _log.exception("calls.fault", extra=event(event=type(job.event).__name__))
                line = self._lines.get(job.line)
                if line and line[0] is job:
                    self._end(job, refused(ErrorCode.INTERNAL))

        return shielded


def news_of(row: CallRow) -> CallNews:
    """Return what other nodes have to know of a call."""
    return CallNews(row.call, row.match, row.version, Raw(row.value))


def silently(_: Outcome) -> None:
    """Tell nobody."""


def refused(code: ErrorCode, *, retry_after_ms: int | None = None) -> Refused:
    """Return the catalogue's refusal."""
    return Refused(code, CATALOGUE[code].what_to_do, retry_after_ms=retry_after_ms)


def _context(view: CallView, user: UserId | None) -> Context:
    blocked = {one for pair in view.blocks for one in pair if user in pair and one != user}
    name = None if view.row is None else view.row.call
    return Context(
        members=frozenset(view.members),
        blocked=frozenset(blocked),
        settings={who: UserSettings(its.when_busy, its.relay_only) for who, its in view.settings.items()},
        in_call={who: call for who, call in view.in_call.items() if call != name},
        unanswered=view.unanswered,
    )


def _note(draft: EntryDraft) -> CallNote:
    return CallNote(
        call=draft.call,
        state=draft.state,
        caller=draft.caller,
        media=draft.media,
        started_at=draft.started_at,
        participants=draft.participants,
        reason=draft.reason,
        by=draft.by,
        duration_ms=draft.duration_ms,
    )


def soft_events(waiting: Sequence[Soft]) -> tuple[Soft, ...]:
    """Return the last of each kind and connection, in order."""
    latest: dict[tuple[type, object], Soft] = {}
    for each in waiting:
        key = (type(each.event), getattr(each.event, "session", None))
        latest.pop(key, None)
        latest[key] = each
    return tuple(latest.values())


def _seat_of(action: Action) -> SessionId | None:
    return action.session if isinstance(action, ToSeat) else None
