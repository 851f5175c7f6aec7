"""Answers of the store to one connection's questions, written as its socket drains.

Guarantees: every question is answered or refused; at most two answers of a connection are read or on their way at once,
so that a client that asks for many pages in one go cannot overflow its own outbox; a fault ends that connection alone.
Refuses: more than LOOKUPS_MAX questions that wait (`rate_limited`).
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count, islice
from typing import Final, Protocol, TypeVar, assert_never

from protocol.errors import ErrorCode
from protocol.from_client import History, Matches, PresenceWatch, Sync
from protocol.from_server import Error, HistoryPage, MatchesPage, Presence, PresenceChanged, Status, Synced, Watching
from protocol.ids import RequestId, UserId
from server.core.latest import presence_key
from server.core.log import EntryPage, Refused, SummaryPage, SyncResult, refused
from server.core.summaries import SUMMARIES_MAX_BYTES, cut_summaries
from server.core.watches import Watches
from server.hub import Recipient, frame
from server.peer import LookupQueue, Peer, error_of
from server.people import People
from server.ports import Bus, Store
from server.reads import Reads
from server.telemetry import Telemetry
from server.views import Views

UNDER_WAY_MAX: Final = 2
LOOKUPS_MAX: Final = 100
# Questions of one connection that wait, about 500 bytes each; a page of matches may want a page of each.
RETRY_MS: Final = 500
AGAIN_S: Final = 1.0
AGAIN_MAX: Final = 1_000
# Connections for which the store is asked again at once.

Question = History | Sync | Matches | PresenceWatch
Result = TypeVar("Result")


class LookupParts(Protocol):
    """What lookups work with."""

    @property
    def store(self) -> Store:
        """Where the answers are."""

    @property
    def people(self) -> People:
        """Who may see whom."""

    @property
    def views(self) -> Views:
        """What a user gets to see of them."""

    @property
    def reads(self) -> Reads:
        """Who reads them."""

    @property
    def changes(self) -> Reads:
        """Who writes what changes few things and often waits."""

    @property
    def bus(self) -> Bus:
        """Who knows how users are."""

    @property
    def watches(self) -> Watches[Recipient]:
        """Who here wants to know."""

    @property
    def telemetry(self) -> Telemetry:
        """Where refusals are counted."""

    @property
    def watched_max(self) -> int:
        """How many users one connection may watch."""


class Lookups:
    """Reads the store for peers."""

    __slots__ = ("_again_at", "_asked", "_parts", "_unanswered")

    def __init__(self, parts: LookupParts) -> None:
        self._parts = parts
        # Numbers every `presence.watch`: of one connection's the last that was asked holds.
        self._asked = count(1)
        # Who was to watch again when the store could not tell, and whether to tell how those are; from when on to ask.
        self._unanswered: dict[Peer, bool] = {}
        self._again_at = 0.0

    def answer(self, peer: Peer, question: Question) -> None:
        """Have the store asked and the peer told."""
        match question:
            case History():
                self._history(peer, question)
            case Sync():
                self._sync(peer, question)
            case Matches():
                self._matches(peer, question)
            case PresenceWatch():
                self._watch(peer, question)
            case _:
                assert_never(question)

    def read(
        self,
        peer: Peer,
        request_id: RequestId | None,
        read: Callable[[], Awaitable[Result | Refused]],
        use: Callable[[Result], None],
    ) -> None:
        """Have `read` done and its result used, if the peer is still there; answer a refusal as it is."""
        self._ask(peer, self._parts.reads, read, use, partial(_refuse, peer, request_id))

    def change(
        self,
        peer: Peer,
        request_id: RequestId | None,
        change: Callable[[], Awaitable[Result | Refused]],
        use: Callable[[Result], None],
    ) -> None:
        """Likewise for what is written, in lanes of its own: it may wait for others who write, and no reader for it."""
        self._ask(peer, self._parts.changes, change, use, partial(_refuse, peer, request_id))

    def _ask(
        self,
        peer: Peer,
        lanes: Reads,
        ask: Callable[[], Awaitable[Result | Refused]],
        use: Callable[[Result], None],
        refuse: Callable[[Refused], None],
    ) -> None:
        queue = peer.lookups
        if queue is None:
            queue = peer.lookups = LookupQueue()
        if len(queue.waiting) >= LOOKUPS_MAX:
            self._parts.telemetry.rate_limited += 1
            refuse(_TOO_MANY)
            return

        def done(result: Result | Refused) -> None:
            if not peer.is_live:
                return
            if isinstance(result, Refused):
                refuse(result)
            else:
                use(result)
            peer.outbox.when_drained(partial(self._next, peer, queue))

        queue.waiting.append(partial(lanes.submit, ask, peer.shield(done)))
        if queue.under_way < UNDER_WAY_MAX:
            self._start(queue)

    def _start(self, queue: LookupQueue) -> None:
        queue.under_way += 1
        queue.waiting.popleft()()

    def _next(self, peer: Peer, queue: LookupQueue) -> None:
        queue.under_way -= 1
        if queue.waiting and peer.is_live:
            self._start(queue)
        elif not queue.under_way:
            peer.lookups = None

    def _history(self, peer: Peer, asked: History) -> None:
        def answer(page: EntryPage) -> None:
            peer.say(HistoryPage(asked.id, asked.match, page.entries, page.complete))

        page = partial(self._parts.views.history, asked.match, peer.user)
        self.read(peer, asked.id, partial(page, before=asked.before, after=asked.after, limit=asked.limit), answer)

    def _sync(self, peer: Peer, asked: Sync) -> None:
        def answer(result: SyncResult) -> None:
            self._parts.telemetry.resyncs += 1
            self._parts.telemetry.resets += sum(synced.reset for synced in result.matches.values())
            peer.say(Synced(asked.id, result.matches, result.receipts))

        self.read(peer, asked.id, partial(self._parts.views.sync, peer.user, asked.cursors), answer)

    def _matches(self, peer: Peer, asked: Matches) -> None:
        def answer(page: SummaryPage) -> None:
            page = cut_summaries(page, SUMMARIES_MAX_BYTES)
            peer.say(MatchesPage(asked.id, page.matches, page.complete))

        self.read(peer, asked.id, partial(self._parts.views.summaries, peer.user, asked.before, asked.limit), answer)

    # ---- presence

    def _watch(self, peer: Peer, asked: PresenceWatch) -> None:
        most = self._parts.watched_max
        if len(asked.users) > most:
            message = f"at most {most} users - at `$.users`"
            peer.say(Error(code=ErrorCode.BAD_REQUEST, message=message, id=asked.id))
            return

        number = peer.watch_asked = next(self._asked)

        def is_answered() -> None:
            if peer.watch_asked == number:
                peer.watch_asked = 0

        def answer(presence: Sequence[Presence]) -> None:
            is_answered()
            peer.say(Watching(asked.id, tuple(presence)))

        def refuse(refused: Refused) -> None:
            is_answered()
            _refuse(peer, asked.id, refused)

        self._ask(peer, self._parts.reads, partial(self._watch_partners, peer, asked.users, number), answer, refuse)

    def watch_again(self, peer: Peer, *, tell: bool = False) -> None:
        """Have `peer` watch of those whom it asked for all whom it may see, and perhaps tell how they are.

        Somebody has left a match, a block was taken back, or news were withheld. Where the store cannot tell now, or the
        client's own request is under way, that is done a little later.
        """

        def later(_: Refused | None = None) -> None:
            self._unanswered[peer] = tell or self._unanswered.get(peer, False)

        def told(presence: Sequence[Presence]) -> None:
            for state in presence if tell else ():
                # In place of newer news, which may still wait, it would be the last that is heard.
                if not self._parts.watches.is_outdated(state):
                    _show(peer, state)

        watched = (*self._parts.watches.watched(peer), *peer.unseen)
        if peer.watch_asked:  # It is about to watch others, and may have been read before what happened now.
            later()
        elif watched:
            watch = partial(self._watch_partners, peer, watched, next(self._asked), is_answer=tell)
            self._ask(peer, self._parts.reads, watch, told, later)

    def settle(self, now: float) -> None:
        """Ask once more, every AGAIN_S, for those who were to watch again."""
        if not self._unanswered or now < self._again_at:
            return
        self._again_at = now + AGAIN_S
        for peer in tuple(islice(self._unanswered, AGAIN_MAX)):
            tell = self._unanswered.pop(peer)
            if peer.is_live:
                self.watch_again(peer, tell=tell)

    def lose_sight(self, peer: Peer, other: UserId) -> None:
        """A block stands between the two: what `peer` knows of `other` is not so any more."""
        watches = self._parts.watches
        watched = watches.watched(peer)
        if other in watched:
            self._parts.bus.unwatch(watches.watch(peer, tuple(user for user in watched if user != other)))
            peer.unseen = (*peer.unseen, other)
            _show(peer, Presence(other, Status.UNKNOWN, 0))

    async def _watch_partners(
        self, peer: Peer, users: Sequence[UserId], number: int, *, is_answer: bool = True
    ) -> Sequence[Presence]:
        """Have `peer` watch those of `users` whom it may see, which are partners, and return how they are."""
        partners = await self._parts.store.partners(peer.user, users)
        viewer = await self._parts.people.read(peer.user)
        known = tuple(dict.fromkeys(user for user in users if user in partners))
        watched = tuple(user for user in known if not viewer.is_apart_from(user))
        # The store may answer a later one first, or when the peer has gone: then it is only told.
        holds = number > peer.watch and peer.is_live
        if holds:
            peer.watch = number
            peer.unseen = tuple(user for user in known if viewer.is_apart_from(user))
            # Watched first, read then: a change between the two is told as news.
            self._parts.bus.unwatch(self._parts.watches.watch(peer, watched))
            # What is held back of those whose state is read now would be older than that.
            # That somebody is not to be seen any more is told all the same.
            peer.outbox.watch_only(peer.unseen if is_answer else (*watched, *peer.unseen))
        look = self._parts.bus.watch if holds else self._parts.bus.presence_of
        states = await look(watched) if watched else ()
        self._parts.watches.read(states)
        viewer = self._parts.people.person(peer.user) or viewer
        return [state for state in states if not viewer.is_apart_from(state.user)]


def _show(peer: Peer, state: Presence) -> None:
    news = frame(PresenceChanged((state,)))
    if not peer.outbox.send_latest(presence_key(state.user), news):
        peer.send(news)


def _refuse(peer: Peer, request_id: RequestId | None, refused: Refused) -> None:
    peer.say(error_of(refused, request_id))


_TOO_MANY: Final = refused(ErrorCode.RATE_LIMITED, retry_after_ms=RETRY_MS)
