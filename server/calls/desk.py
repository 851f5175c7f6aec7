"""From an event to a decision to the store: the way on which every change of a call goes.

Read what the decision needs, decide (`signaling.decide`), write the outcome with its entry in one commit, tell. Who lost a
race for the row reads and decides again. Events of one call go one after the other on this node; the store's versions
order them among nodes.

Guarantees: `done` is called once, in commit order, before anybody else is told; what the node itself noticed (`insist`)
is tried until the store has it.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from msgspec import Struct, structs

from protocol.calls import CallId, CallOutcome, CallReason
from protocol.errors import ErrorCode
from protocol.ids import UserId
from server.calls.book import CallBook, decode_call
from server.calls.changes import change_of, context_of, news_of, write_before
from server.calls.jobs import Job, Outcome, Settled, soft_events
from server.calls.teller import Teller
from server.core.calls import CallChanged, CallStale, CallView
from server.core.log import Refused, refused
from server.core.people import Pair, not_shown_to
from server.delivery import Delivery
from server.journal import Journal
from server.ports import Bus, Calls, Clock
from server.reads import Reads
from server.telemetry import Telemetry, event
from signaling.call import Call
from signaling.decide import decide
from signaling.decision import Decision, Rules
from signaling.events import HangUp, Start

Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)

ATTEMPTS: Final = 20
# Of one event, each after another one changed the call first.
OWED_MAX: Final = 10_000
UNANSWERED_US: Final = 600_000_000


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

    def is_deciding(self, line: str) -> bool:
        """Tell whether events of that line wait or are under way."""
        return line in self._lines

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
        call = None if view.row is None else decode_call(view.row.value)
        job.before = soft_events((*job.before, *job.take()))
        written, told = write_before(job.before, call, self._parts.rules, view.now)
        decision = Decision(call=None if written == call else written)
        if job.event is not None:
            decision = decide(written, job.event, context_of(view, job.user), self._parts.rules, view.now)
            if decision.call is None and written != call and decision.refusal is None:
                decision = structs.replace(decision, call=written)
        if told and decision.refusal is None:
            decision = structs.replace(decision, actions=(*told, *decision.actions))
        self._decided(job, view, call, decision)

    def _decided(self, job: Job, view: CallView, call: Call | None, decision: Decision) -> None:
        refusal = decision.refusal
        if refusal is not None and refusal.leave_first and refusal.call is not None and job.user is not None:
            self._leave_first(job, refusal.call, job.user)
        elif refusal is not None or decision.call is None:
            self._settle(job, Settled(call, decision))
        else:
            named = self._parts.clock.random_id()
            change = change_of(named, job.event, view, decision, self._parts.rules)
            changed = partial(self._changed, job, decision, view.blocks)
            self._parts.journal.change_call(change, self._shield(job, changed))

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
