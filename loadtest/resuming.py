"""A client that keeps the client's side of the promises: cursors, resume, in-order apply, resending under one client_id.

The rules are those of docs/protocol.md: an entry with `seq == have + 1` is applied, a lower one dropped, a higher one
kept for half a second and then asked for with `sync`; the `ok` to the own message moves the cursor; what has no `ok` is
sent again after every reconnect, in order. Sent away it connects elsewhere first and then leaves (make before break). All
state changes in plain calls: an idle user costs a coroutine and a socket.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from weakref import WeakKeyDictionary

from loadtest.client import Client, Closed, Cursors, Refused, decode_sent, decode_synced, decode_watching
from loadtest.connection import HandshakeRefused
from loadtest.record import Ack, ClientLog, Submission
from protocol.close_codes import CloseCode, comes_back
from protocol.codec import encode_body
from protocol.errors import CATALOGUE
from protocol.from_client import Body, MessageSend, PresenceWatch, Sync
from protocol.from_server import (
    Entry,
    Gap,
    GoingAway,
    MatchLeft,
    MatchMade,
    MembersChanged,
    Message,
    Presence,
    PresenceChanged,
    Push,
    Reset,
    Skip,
    SyncedMatch,
    Welcome,
)
from protocol.ids import ClientId, Cursor, MatchId, Micros, Ordinal, Seq, SessionId, UserId
from protocol.limits import SYNC_CURSORS_MAX, SYNC_DELAY_MS

BEFORE_ALL: Final[Cursor] = (Seq(0), Micros(0))
# The cursor of one who holds nothing.
HELLO_WITHIN_S: Final = 10.0
REPLACED_WITHIN_S: Final = 2.0
# The server closes the connection that was taken over from; until then what comes over it counts.
_RETRY_FIRST_S: Final = 0.05
_RETRY_MAX_S: Final = 2.0
_REFUSED_RETRY_S: Final = 0.2


@dataclass(slots=True)
class Identity:
    """Who connects where. `token` is called for every connect."""

    url: str
    user: UserId
    token: Callable[[], str]
    device: str = ""


class ResumingClient:
    """One device of one user. Hand `run()` to a TaskGroup; submit messages at any time, connected or not.

    `chance` returns numbers in [0, 1) for the back-off. With `follow` false it holds connections and reads no log.
    `losing` is the share of pushed entries that it throws away unseen, as a bad way between would. With `patient` it
    does not ask for what a jump of `seq` shows to be missing: it must come by itself. It watches the presence of `watched`,
    and `sees` is every state that it was shown, in order.
    """

    def __init__(
        self,
        identity: Identity,
        chance: Callable[[], float],
        *,
        follow: bool = True,
        patient: bool = False,
        hello_within_s: float = HELLO_WITHIN_S,
        watched: Sequence[UserId] = (),
    ) -> None:
        self._identity = identity
        self._watched = tuple(watched)
        self.sees: list[Presence] = []
        self._patient = patient
        self._hello_within_s = hello_within_s
        self._chance = chance
        self._follow = follow
        self.losing = 0.0
        self._client: Client | None = None
        # The present one's number among all, and for each what tells that it is to be left.
        self._number = 0
        self._going: WeakKeyDictionary[Client, asyncio.Future[None]] = WeakKeyDictionary()
        # What came right behind a welcome that is not taken yet.
        self._held: WeakKeyDictionary[Client, list[Push]] = WeakKeyDictionary()
        self._session: SessionId | None = None
        self._ready = False
        self._stopping = False
        self._failures = 0
        self._cursors: dict[MatchId, Cursor] = {}
        self._early: dict[MatchId, dict[Seq, Entry]] = {}
        self._syncing: set[MatchId] = set()
        self._sync_again: set[MatchId] = set()
        self._unsent: dict[tuple[MatchId, ClientId], Submission] = {}
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.log = ClientLog(identity.user, identity.device)

    # ---- what a user does

    def submit(self, match: str, client_id: str, body: Body) -> Submission:
        """Send a message now or as soon as there is a connection, again and again until it is answered."""
        key = (MatchId(match), ClientId(client_id))
        submission = Submission(*key, body, self._now())
        self.log.submitted[key] = self._unsent[key] = submission
        if self._ready:
            self._transmit(submission)
        return submission

    def cut(self) -> None:
        """Cut the socket as a lost network does; `run` connects again by itself."""
        if self._client is not None and self._client.is_open:
            self._client.abort()

    async def until(self, holds: Callable[[], bool], within_s: float = 30) -> None:
        """Wait until `holds()`; asked after everything that comes in. Raise `TimeoutError`."""
        if holds():
            return
        waiter = (holds, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(within_s):
                await waiter[1]
        finally:
            self._waiters.remove(waiter)

    async def until_held(self, match: str, seq: int, within_s: float = 30) -> None:
        """Wait until the log of `match` is shown up to `seq`."""
        await self.until(lambda: self.cursor(match)[0] >= seq, within_s)

    async def until_all_acked(self, within_s: float = 30) -> None:
        """Wait until every submission has its answer."""
        await self.until(lambda: not self._unsent, within_s)

    def cursor(self, match: str) -> Cursor:
        """Return how far the log of `match` is shown."""
        return self._cursors.get(MatchId(match), BEFORE_ALL)

    @property
    def is_ready(self) -> bool:
        """Whether `welcome` has come on the present connection."""
        return self._ready

    # ---- connecting

    async def run(self) -> None:
        """Connect, resume, and connect again until `stop()` or a close code that forbids it."""
        while not self._stopping:
            code = await self._connect_once()
            self._ready = False
            if code is not None:
                self.log.close_codes.append(code)
                if not comes_back(code):
                    break
            if not self._stopping:
                await asyncio.sleep(self._pause_s())

    async def stop(self) -> None:
        """Say goodbye; `run` ends."""
        self._stopping = True
        if self._client is not None and self._client.is_open:
            await self._client.close()

    async def _connect_once(self) -> int | None:
        """Live through one connection, and those that take over from it; return the close code, None when there was none."""
        client = self._new_client()
        self._client = client
        try:
            await self._arrive(client)
        except (OSError, HandshakeRefused):  # a TimeoutError is an OSError; its socket may be open, and would go on
            self._failed(client)
            return None
        except (Closed, Refused):
            self._failed(client)
            return await client.closed()
        went_in_vain = False
        while (code := await client.closed_before(self._going[client])) is None:
            after = await self._move(client)
            went_in_vain, client = after is client, after
        # It made room for one that never came: the node that was to welcome it fell, and nobody else has the session.
        return None if went_in_vain and code == CloseCode.REPLACED else code

    def _new_client(self) -> Client:
        def push(push: Push) -> None:
            self._push(client, push)

        client = Client(token=self._identity.token(), on_push=push)
        self._going[client] = asyncio.get_running_loop().create_future()
        return client

    async def _arrive(self, client: Client) -> None:
        """Connect, say hello, and go on with `client` from the welcome on; a failure leaves all as it was."""
        held = self._held[client] = []
        async with asyncio.timeout(self._hello_within_s):
            await client.open(self._identity.url)
            self.log.connections += 1
            number, cursors = self.log.connections, dict(list(self._cursors.items())[:500])
            welcome = await client.hello(cursors, device=self._identity.device, session=self._session)
        self._client, self._number = client, number
        self._welcome(welcome)
        del self._held[client]
        for push in held:
            self._push(client, push)
        if self._stopping:
            await client.close()

    def _failed(self, client: Client) -> None:
        self._failures += 1
        if client.is_open:
            client.abort()

    async def _move(self, old: Client) -> Client:
        """Connect elsewhere and leave `old`, which serves until then, and goes on serving when that fails."""
        new = self._new_client()
        try:
            await self._arrive(new)
        except (OSError, HandshakeRefused, Closed, Refused):
            self._failed(new)
            self._going[old] = asyncio.get_running_loop().create_future()
            self._go_away(old, self._pause_s())
            return old
        try:
            async with asyncio.timeout(REPLACED_WITHIN_S):
                await old.closed()
        except TimeoutError:
            await old.close(CloseCode.GOING_AWAY)
        return new

    def _go_away(self, client: Client, after_s: float) -> None:
        """Leave this connection in a while."""
        going = self._going[client]

        def go() -> None:
            if not going.done():
                going.set_result(None)

        self._later(after_s, go)

    def _pause_s(self) -> float:
        """Full jitter, as the client library does it."""
        ceiling = min(_RETRY_FIRST_S * 2.0**self._failures, _RETRY_MAX_S)
        return ceiling * self._chance()

    def _welcome(self, welcome: Welcome) -> None:
        self._ready = True
        self._failures = 0
        self._session = welcome.session
        self._syncing.clear()
        self._sync_again.clear()
        # A match that was not named in `hello` is read from its start, so that its whole log is evidence.
        self._sync([each.match for each in welcome.matches if each.match not in self._cursors])
        for submission in list(self._unsent.values()):
            self._transmit(submission)
        self._watch()
        self._tell_waiters()

    def _watch(self) -> None:
        client = self._client
        if self._watched and client is not None and client.is_open:
            client.ask(PresenceWatch(client.next_id(), self._watched), self._watching, lambda _: None)

    def _watching(self, payload: bytes) -> None:
        self.sees += decode_watching(payload).presence
        self._tell_waiters()

    # ---- sending

    def _transmit(self, submission: Submission) -> None:
        client = self._client
        if not self._ready or client is None or not client.is_open:
            return
        submission.transmissions.append(self._number)
        request = MessageSend(client.next_id(), submission.match, submission.client_id, submission.body)
        client.ask(
            request,
            partial(self._acked, submission, self._number),
            partial(self._send_refused, submission),
        )

    def _acked(self, submission: Submission, connection: int, payload: bytes) -> None:
        sent = decode_sent(payload)
        ack = Ack(sent.seq, sent.created_at, sent.duplicate, self._now(), connection)
        submission.acks.append(ack)
        self._unsent.pop((submission.match, submission.client_id), None)
        self._entry(self._own_message(submission, ack))
        self._tell_waiters()

    def _own_message(self, submission: Submission, ack: Ack) -> Message:
        """The entry that others get as a push, as far as its sender knows it (`n` is not in the answer)."""
        return Message(
            submission.match,
            ack.seq,
            ack.created_at,
            Ordinal(0),
            self._identity.user,
            submission.client_id,
            encode_body(submission.body),
        )

    def _send_refused(self, submission: Submission, reason: Refused | Closed) -> None:
        if isinstance(reason, Closed):
            return
        error = reason.error
        if CATALOGUE[error.code].temporary:
            self._later(_wait_s(error.retry_after_ms), lambda: self._transmit(submission))
            return
        submission.refused = error.code
        self._unsent.pop((submission.match, submission.client_id), None)
        self._tell_waiters()

    # ---- receiving

    def _push(self, client: Client, push: Push) -> None:
        if client in self._held:
            self._held[client].append(push)
            return
        match push:
            case Message() | MembersChanged() | Skip():
                if self._chance() >= self.losing:
                    self._entry(push)
            case Gap(match) | MatchMade(match):
                self._sync([match])
            case Reset(match):
                self._reset(match)
            case MatchLeft(match):
                self.log.left[match] = True
            case PresenceChanged(changes):
                self.sees += changes
            case GoingAway(after_ms):
                self._go_away(client, after_ms / 1000)
            case _:
                return
        self._tell_waiters()

    def _entry(self, entry: Entry) -> None:
        if not self._follow:
            return
        have = self.cursor(entry.match)[0]
        if entry.seq <= have:
            self.log.dropped += 1
        elif entry.seq == have + 1:
            self._apply(entry)
        else:
            self._early.setdefault(entry.match, {})[entry.seq] = entry
            if not self._patient:
                self._later(SYNC_DELAY_MS / 1000, lambda: self._sync_if_behind(entry.match, entry.seq))

    def _apply(self, entry: Entry) -> None:
        """Show an entry, and those behind it that came before it."""
        early = self._early.get(entry.match, {})
        following: Entry | None = entry
        while following is not None:
            self.log.shown.setdefault(following.match, []).append(following)
            self._cursors[following.match] = (following.seq, following.created_at)
            following = early.pop(Seq(following.seq + 1), None)

    def _reset(self, match: MatchId) -> None:
        self.log.resets += 1
        self.log.shown.pop(match, None)
        self._cursors.pop(match, None)
        self._early.pop(match, None)
        self._sync([match])

    # ---- catching up

    def _sync_if_behind(self, match: MatchId, seq: Seq) -> None:
        if self.cursor(match)[0] < seq:
            self._sync([match])

    def _sync(self, matches: Iterable[MatchId]) -> None:
        """Ask for what came after the cursors of `matches`; what is being asked is asked again afterwards."""
        if not self._follow:
            return
        asked = set(matches)
        # The answer under way may have been read before that was stored which is missed now.
        self._sync_again |= asked & self._syncing
        wanted = sorted(asked - self._syncing)
        for match in wanted:
            self.log.shown.setdefault(match, [])
        for start in range(0, len(wanted), SYNC_CURSORS_MAX):
            self._sync_page({match: self.cursor(match) for match in wanted[start : start + SYNC_CURSORS_MAX]})

    def _sync_page(self, cursors: Cursors) -> None:
        client = self._client
        if not self._ready or client is None or not client.is_open:
            return
        self._syncing.update(cursors)
        self.log.synced += 1
        client.ask(
            Sync(client.next_id(), dict(cursors)),
            partial(self._synced, tuple(cursors)),
            partial(self._sync_refused, tuple(cursors)),
        )

    def _synced(self, asked: tuple[MatchId, ...], payload: bytes) -> None:
        again = self._sync_again.intersection(asked)
        self._sync_again -= again
        self._syncing.difference_update(asked)
        for match, page in decode_synced(payload).matches.items():
            self._take_page(match, page)
        self._sync(again - self._syncing)
        self._tell_waiters()

    def _take_page(self, match: MatchId, page: SyncedMatch) -> None:
        if page.reset:
            self._reset(match)
            return
        for entry in page.entries:
            self._entry(entry)
        if page.left:
            self.log.left[match] = True
        if not page.complete:
            self._sync([match])

    def _sync_refused(self, asked: tuple[MatchId, ...], reason: Refused | Closed) -> None:
        self._syncing.difference_update(asked)
        if isinstance(reason, Refused) and CATALOGUE[reason.code].temporary:
            self._later(_wait_s(reason.error.retry_after_ms), lambda: self._sync(asked))

    # ---- small things

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, call)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _tell_waiters(self) -> None:
        for holds, waiting in self._waiters:
            if not waiting.done() and holds():
                waiting.set_result(None)


def _wait_s(retry_after_ms: int | None) -> float:
    return _REFUSED_RETRY_S if retry_after_ms is None else retry_after_ms / 1000
