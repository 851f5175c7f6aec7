"""What a connection gets after its hello: the welcome, then what its cursors missed, then what is live.

Order: the peer is registered in the hub and in the bus's directory first, then the store is read, so nothing falls
between; what is pushed while the store is read waits in the outbox behind the resume (clients drop what they have). Pages
are written as the socket drains, at most one page of PAGE_MAX_BYTES at a time, so that a long absence cannot overflow the
outbox.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from msgspec import Struct

from protocol.close_codes import CloseCode
from protocol.from_client import Hello
from protocol.from_server import Error, Gap, Limits, MatchLeft, Reset, SyncedMatch, Timers, Welcome
from protocol.ids import Cursor, MatchId, SessionId, UserId
from protocol.limits import RESUME_ENTRIES_MAX, SYNC_CURSORS_MAX
from server.core.calls import CallRow
from server.core.log import Refused, SummaryPage, SyncResult
from server.core.people import Person
from server.core.summaries import SUMMARIES_MAX_BYTES, cut_summaries
from server.hub import Hub, frame
from server.peer import Peer
from server.people import People
from server.ports import Store
from server.reads import Reads
from server.telemetry import Telemetry
from server.views import Arrival, Views

Arrived = Callable[[Peer, Person, Sequence[CallRow]], None]
# A connection is about to be welcomed; this is what is kept of its user, and these are the live calls of the user's matches.
Registered = Callable[[UserId, SessionId, Callable[[], None]], None]
# Calls back when frames that are routed from then on reach the connection.


class WelcomeFacts(Struct, frozen=True):
    """What every welcome of this node says."""

    timers: Timers
    limits: Limits


class ResumeParts(Struct, frozen=True):
    """What resumes work with."""

    store: Store
    reads: Reads
    people: People
    views: Views
    hub: Hub
    facts: WelcomeFacts
    telemetry: Telemetry


class Resumer:
    """Starts resumes; one for all peers."""

    __slots__ = ("_parts",)

    def __init__(self, parts: ResumeParts) -> None:
        self._parts = parts

    def start(self, peer: Peer, hello: Hello, arrived: Arrived, registered: Registered) -> None:
        """Welcome `peer`, which is in the hub already, and send what it missed, read when it is `registered`."""
        peer.outbox.hold()
        self._parts.telemetry.resumes += bool(hello.cursors)
        registered(peer.user, peer.session, _Resume(self._parts, peer, hello, arrived).start)


class _Resume:
    """One peer's way from hello to live."""

    __slots__ = ("_arrived", "_cursors", "_hello", "_parts", "_peer", "_sent", "_summarised")

    def __init__(self, parts: ResumeParts, peer: Peer, hello: Hello, arrived: Arrived) -> None:
        self._parts = parts
        self._peer = peer
        self._hello = hello
        self._arrived = arrived
        # What is still to be read, in the client's order, and how many entries of each match were sent.
        self._cursors: dict[MatchId, Cursor] = dict(hello.cursors)
        self._sent: dict[MatchId, int] = {}
        # The welcome tells how far their members are.
        self._summarised: frozenset[MatchId] = frozenset()

    def start(self) -> None:
        if not self._peer.is_live:
            return
        self._parts.reads.welcome(self._peer.user, self._peer.shield(self._welcomed))

    def _welcomed(self, arrival: Arrival | Refused) -> None:
        if not self._peer.is_live:
            return
        if isinstance(arrival, Refused):
            self._give_up(arrival)
            return
        person = self._parts.people.learn(self._peer.user, arrival.person)
        if person is None or person.blocks != arrival.person.blocks:
            # Somebody was blocked while this was read, or news of that has not been heard.
            refresh = partial(self._parts.people.refresh, (self._peer.user,))
            self._parts.reads.submit(refresh, self._peer.shield(self._refreshed))
            return
        self._arrived(self._peer, person, arrival.calls)
        self._welcome(arrival.page, person)

    def _refreshed(self, refused: Refused | None) -> None:
        if isinstance(refused, Refused) and self._peer.is_live:
            self._give_up(refused)
        else:
            self.start()

    def _welcome(self, page: SummaryPage, person: Person) -> None:
        hub = self._parts.hub
        self._summarised = frozenset(summary.match for summary in page.matches)
        for summary in page.matches:
            hub.learn(summary.match, tuple(member.user for member in summary.members), summary.last_seq)
            if self._cursors.get(summary.match) == (summary.last_seq, summary.last_at):
                del self._cursors[summary.match]  # Up to date, which most are: nothing to read.
        framed = self._framed(page, person)
        if len(framed) > SUMMARIES_MAX_BYTES:
            framed = self._framed(cut_summaries(page, SUMMARIES_MAX_BYTES), person)
        self._send(framed)
        self._read_next()

    def _framed(self, page: SummaryPage, person: Person) -> bytes:
        facts = self._parts.facts
        return frame(
            Welcome(
                id=self._hello.id,
                user=self._peer.user,
                session=self._peer.session,
                store_epoch=self._parts.store.epoch,
                timers=facts.timers,
                limits=facts.limits,
                matches=page.matches,
                complete=page.complete,
                presence=person.presence,
                blocked=tuple(sorted(person.blocked)),
            )
        )

    def _read_next(self) -> None:
        if not self._peer.is_live:
            return
        if not self._cursors:
            self._peer.outbox.release()
            return
        some = dict(islice(self._cursors.items(), SYNC_CURSORS_MAX))
        sync = partial(self._parts.views.sync, self._peer.user, some)
        self._parts.reads.submit(sync, self._peer.shield(partial(self._synced, some)))

    def _synced(self, asked: dict[MatchId, Cursor], result: SyncResult | Refused) -> None:
        if not self._peer.is_live:
            return
        if isinstance(result, Refused):
            self._give_up(result)
            return
        progress = False
        for match in asked:
            synced = result.matches.get(match)
            if synced is None or self._send_match(match, synced):
                del self._cursors[match]
                progress = True
            else:
                progress = progress or bool(synced.entries)
        if not progress:  # The store gave nothing within its budget: the client must ask for itself.
            for match in asked:
                self._send_gap(match)
                del self._cursors[match]
        for receipt in result.receipts:
            if receipt.match not in self._summarised:
                self._send(frame(receipt))
        self._peer.outbox.when_drained(self._read_next, ahead=True)

    def _send_match(self, match: MatchId, synced: SyncedMatch) -> bool:
        """Send what was read of one match; tell whether nothing more is to be read of it."""
        sent = self._sent.get(match, 0)
        entries = synced.entries[: RESUME_ENTRIES_MAX - sent]
        for entry in entries:
            self._send(frame(entry))
        if synced.reset:
            self._parts.telemetry.resets += 1
            self._send(frame(Reset(match)))
            if synced.left:
                self._send(frame(MatchLeft(match)))
            return True
        if synced.complete and len(entries) == len(synced.entries):
            if synced.left:
                self._send(frame(MatchLeft(match)))
            return True
        self._sent[match] = sent + len(entries)
        if self._sent[match] >= RESUME_ENTRIES_MAX:
            self._send_gap(match)
            return True
        if entries:
            self._cursors[match] = (entries[-1].seq, entries[-1].created_at)
        return False

    def _send_gap(self, match: MatchId) -> None:
        self._parts.telemetry.gaps += 1
        self._send(frame(Gap(match)))

    def _send(self, framed: bytes) -> None:
        if not self._peer.outbox.send_ahead(framed):
            self._peer.close(CloseCode.SLOW_READER, "slow reader: connect again and resume")

    def _give_up(self, refused: Refused) -> None:
        error = Error(
            code=refused.code, message=refused.message, id=self._hello.id, retry_after_ms=refused.retry_after_ms
        )
        self._send(frame(error))
        self._peer.outbox.drop_held()  # Entries without a welcome would mean nothing.
        self._peer.close(CloseCode.UNAVAILABLE, "the store cannot answer")
