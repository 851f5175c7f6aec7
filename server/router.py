"""Carries out what sessions decide: the one place where actions become I/O. Nothing here awaits.

Durable requests go to the journal, reads to the reader lanes; both call back in order. Ephemeral ones (typing) are
authorised by the hub's members and delivered at once.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar, assert_never

from msgspec import Struct, UnsetType, structs

from protocol.close_codes import CloseCode
from protocol.codec import Malformed, encode_body
from protocol.errors import ErrorCode
from protocol.from_client import (
    AuthRefresh,
    Block,
    ClientStateSet,
    Hello,
    History,
    Matches,
    MatchSet,
    MessageSend,
    PresenceSet,
    PresenceWatch,
    Receipt,
    Sync,
    Typing,
    Unblock,
)
from protocol.from_server import Degraded, Error, GoingAway, Ok, OwnPresence, Sent
from protocol.ids import RequestId, Seq, SessionId, UserId
from server.attention import Attention, own
from server.calls.exchange import Exchange
from server.core.calls import CallRow
from server.core.log import NOT_MEMBER, Append, Appended, Mark, Marked, MatchState, MembersSet, Refused
from server.core.notices import Kick
from server.core.people import NOBODY, Person, PresenceWish
from server.core.presence import Departure
from server.core.rate_limits import UserBuckets
from server.core.session import Actions, Authenticate, Close, Open, Refresh, Say
from server.core.sessions import SessionInfo
from server.core.tokens import Claims, TokenRefused
from server.core.typing import TypingBook
from server.core.watches import Watches
from server.delivery import Delivery
from server.hub import Hub, Members, Recipient, frame
from server.identities import Identities
from server.journal import Journal
from server.lookups import Lookups
from server.peer import Peer, Wheel, error_of
from server.people import People
from server.ports import Bus, Clock, Sessions, Store
from server.privacy import Privacy
from server.reads import Reads
from server.resume import Resumer
from server.telemetry import Telemetry
from server.views import Views
from server.wishes import Wishes

REPLACED: Final = "a newer connection of this session took over"

Wished = TypeVar("Wished")
Verifying = Callable[[], Awaitable[Claims | TokenRefused | Refused]]
Identified = Callable[[Claims | TokenRefused | Refused], None]


class Parts(Struct, frozen=True):
    """What the router works with; made by `server.app`. `logins` and `changes` are lanes of their own, for slow issuers and
    for what waits for others who write.
    """

    store: Store
    journal: Journal
    reads: Reads
    logins: Reads
    changes: Reads
    hub: Hub
    people: People
    views: Views
    attention: Attention
    wishes: Wishes
    privacy: Privacy
    delivery: Delivery
    calls: Exchange
    bus: Bus
    watches: Watches[Recipient]
    typing: TypingBook
    resumer: Resumer
    identities: Identities
    sessions: Sessions
    message_buckets: UserBuckets
    clock: Clock
    wheel: Wheel
    telemetry: Telemetry
    watched_max: int
    typing_members_max: int
    connections_per_user_max: int


class Router:
    """The node's switchboard."""

    __slots__ = ("_is_leaving", "_lookups", "_parts", "_successors", "telemetry", "wheel")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lookups = Lookups(parts)
        self._is_leaving = False
        # By the session that it takes over: the connection that has said hello and is not welcome yet.
        self._successors: dict[SessionId, Peer] = {}
        self.wheel = parts.wheel
        self.telemetry = parts.telemetry
        parts.people.start(self._person_changed)

    def carry_out(self, peer: Peer, actions: Actions) -> None:
        """Do all of `actions`, in order; the frequent ones are looked for first."""
        for action in actions:
            match action:
                case Typing():
                    self._type(peer, action)
                case MessageSend():
                    self._send(peer, action)
                case Say():
                    self._say(peer, action)
                case Receipt():
                    self._mark(peer, action)
                case Authenticate():
                    self._authenticate(peer, action)
                case Open():
                    self._open(peer, action)
                case Close():
                    peer.close(action.code, action.reason)
                case Refresh():
                    # No address: whoever is connected has shown that the address is not only a guesser's.
                    self._verify(action.request.token, "", peer.shield(partial(self._refreshed, peer, action.request)))
                case PresenceSet() | ClientStateSet() | Block() | Unblock() | MatchSet():
                    self._set(peer, action)
                case History() | Sync() | Matches() | PresenceWatch():
                    self._lookups.answer(peer, action)
                case _:
                    self._parts.calls.asked(peer, action)

    def lost(self, peer: Peer, departure: Departure) -> None:
        """A connection has ended: forget it, and let presence and typing know."""
        if not peer.is_live:
            return
        peer.is_live = False
        parts = self._parts
        parts.hub.remove(peer)
        parts.calls.lost(peer)
        parts.delivery.was_withheld(peer)
        if peer.instead_of is not None and self._is_successor(peer):
            del self._successors[peer.instead_of]
        parts.sessions.remove(peer.user, peer.session)
        parts.bus.unwatch(parts.watches.unwatch(peer))
        # Whoever has to leave a node that is being stopped has time to come back through another one.
        departure = Departure.HANDOFF if self._is_leaving else departure
        parts.bus.unregister(peer.user, peer.session, departure)
        if not parts.hub.connections(peer.user):
            parts.message_buckets.leave(peer.user)
            for match, kind in parts.typing.user_left(peer.user):
                parts.delivery.typing(peer.user, match, parts.hub.members(match) or (), on=False, kind=kind)
            parts.people.go(peer.user)

    def members_set(self, change: MembersSet) -> None:
        """A match has other members: tell them, and let nobody watch whom they share no match with any more."""
        parts = self._parts
        parts.delivery.members_set(change)
        if change.entry is not None and change.entry.left:
            self.members_changed((*change.entry.left, *change.members))
            parts.calls.removed(change.match, change.entry.left)

    def members_changed(self, users: Iterable[UserId]) -> None:
        """Some of `users` share a match no more: let those who are connected here watch only partners."""
        for user in users:
            for peer in self._parts.hub.connections(user):
                if isinstance(peer, Peer):
                    self._lookups.watch_again(peer)

    def settle(self, now: float) -> None:
        """Forget what time alone has ended, typing that ran out; do again what could not be done."""
        self._parts.typing.settle(now)
        self._lookups.settle(now)
        self._parts.calls.settle(now)

    def leave(self, spread_ms: int) -> None:
        """This node is being stopped: send everybody away, with time to come back elsewhere before they count as gone."""
        self._is_leaving = True
        self.going_away(spread_ms)

    def going_away(self, spread_ms: int) -> None:
        """Tell every connection to move to another node, spread over `spread_ms`."""
        peers = tuple(self._parts.hub)
        for place, peer in enumerate(peers):
            if isinstance(peer, Peer):
                peer.is_sent_away = True
            peer.send(frame(GoingAway(after_ms=spread_ms * place // len(peers))))

    # ---- authentication

    def _authenticate(self, peer: Peer, action: Authenticate) -> None:
        identities = self._parts.identities
        done = peer.shield(partial(self._authenticated, peer, action.hello))
        if action.token is None:
            ticket = action.ticket or ""
            self._parts.logins.submit(partial(identities.redeem, ticket, peer.address), done)
            return
        self._verify(action.token, peer.address, done)

    def _verify(self, token: str, address: str, done: Identified) -> None:
        identities = self._parts.identities
        try:
            claims = identities.verify(token, address)
        except TokenRefused as refused:
            if identities.may_know_more(refused):
                again: Verifying = partial(identities.verify_again, token, refused, address)
                self._parts.logins.submit(again, done)
            else:
                done(refused)
        else:
            done(claims)

    def _authenticated(self, peer: Peer, hello: Hello, outcome: Claims | TokenRefused | Refused) -> None:
        conversation = peer.conversation
        match outcome:
            case Claims():
                actions = conversation.accept(hello, outcome, self._expires_at(outcome))
            case TokenRefused():
                self.telemetry.tokens_refused += 1
                actions = conversation.refuse(hello, outcome)
            case Refused():
                peer.say(error_of(outcome, hello.id))
                peer.close(CloseCode.UNAVAILABLE, "authentication cannot be checked now")
                return
            case _:
                assert_never(outcome)
        self.carry_out(peer, actions)
        peer.watch_deadline()

    def _refreshed(self, peer: Peer, request: AuthRefresh, outcome: Claims | TokenRefused | Refused) -> None:
        conversation = peer.conversation
        match outcome:
            case Claims():
                actions = conversation.renew(request, outcome, self._expires_at(outcome))
                if conversation.claims is outcome and peer.info is not None:
                    peer.info = structs.replace(peer.info, claims=outcome)
                    self._parts.sessions.add(peer.info)
            case TokenRefused():
                self.telemetry.tokens_refused += 1
                actions = conversation.refuse_renewal(request, outcome)
            case Refused():
                peer.say(error_of(outcome, request.id))
                return
            case _:
                assert_never(outcome)
        self.carry_out(peer, actions)
        peer.watch_deadline()

    def _expires_at(self, claims: Claims) -> float:
        return self.wheel.now() + claims.expires_at - self._parts.identities.wall_s()

    def _open(self, peer: Peer, action: Open) -> None:
        parts = self._parts
        user = peer.user = peer.conversation.user
        replaced = parts.hub.session(action.hello.session) if action.hello.session else None
        if replaced is not None and replaced.user != user:
            replaced = None
        peer.instead_of = action.hello.session
        if replaced is not None:
            self._succeed(replaced.session, peer)
        elif self._counted(user) >= parts.connections_per_user_max:
            peer.close(CloseCode.TOO_MANY_CONNECTIONS, "this user has too many connections")
            return
        peer.session = SessionId(parts.clock.random_id())
        peer.is_live = True
        parts.hub.add(peer)
        peer.info = _info(peer, action.hello, parts)
        parts.sessions.add(peer.info)
        peer.conversation.share_messages(parts.message_buckets.join(user, self.wheel.now()))
        parts.people.come(user)
        parts.attention.begin(peer, action.hello.client_state)
        parts.resumer.start(peer, action.hello, self._arrived, parts.bus.when_registered)
        if parts.hub.is_degraded:  # It is held behind the welcome.
            peer.send(frame(Degraded(active=True)))

    def _succeed(self, session: SessionId, peer: Peer) -> None:
        """Of those who come in place of one connection the newest is let in: the others were given up, as it was."""
        earlier = self._successors.pop(session, None)
        self._successors[session] = peer
        if earlier is not None and earlier.is_live:
            earlier.close(CloseCode.REPLACED, REPLACED)

    def _counted(self, user: UserId) -> int:
        """Count the user's connections, without those that are about to take the place of one of them."""
        connections = self._parts.hub.connections(user)
        return len(connections) - sum(isinstance(each, Peer) and self._is_successor(each) for each in connections)

    def _is_successor(self, peer: Peer) -> bool:
        return peer.instead_of is not None and self._successors.get(peer.instead_of) is peer

    # ---- people

    def _arrived(self, peer: Peer, person: Person, calls: Sequence[CallRow]) -> None:
        """A connection is about to be welcomed: from now on it counts, and nobody needs the one that it takes over from.

        Of live calls it is told behind its welcome, as of everything that is sent from now on.
        """
        self._parts.attention.arrived(peer, person)
        self._parts.calls.opened(peer, calls)
        if peer.instead_of is not None:
            self._replace(peer, peer.instead_of)

    def _replace(self, peer: Peer, session: SessionId) -> None:
        self._successors.pop(session, None)
        replaced = self._parts.hub.session(session)
        if replaced is None:  # It may live on another node, where only its own user's is closed.
            self._parts.bus.announce(Kick(peer.user, int(CloseCode.REPLACED), REPLACED, session))
        elif replaced.user == peer.user:
            replaced.close(CloseCode.REPLACED, REPLACED)

    def _person_changed(self, user: UserId, before: Person | None, after: Person) -> None:
        """Something else is known of a user who is connected here."""
        parts, connections = self._parts, self._parts.hub.connections(user)
        # Before the first read nothing was known either, and then there is nothing to look after.
        before = NOBODY if before is None else before
        parted = after.apart - before.apart
        for other in parted:
            parts.delivery.parted(user, other)
        for recipient in connections:
            if isinstance(recipient, Peer):
                recipient.outbox.forget_users(parted)
                for other in parted:
                    self._lookups.lose_sight(recipient, other)
                parts.attention.person_changed(recipient, after)
                is_seen_again = not after.apart.issuperset(recipient.unseen)
                if parts.delivery.was_withheld(recipient) or is_seen_again:
                    self._lookups.watch_again(recipient, tell=True)

    def _set(self, peer: Peer, request: PresenceSet | ClientStateSet | Block | Unblock | MatchSet) -> None:
        """Have something done that concerns what others may see, and answer when it holds."""
        privacy = self._parts.privacy
        match request:
            case MatchSet():
                in_private = partial(privacy.read_in_private, peer.user, request.match, is_on=request.private_read)
                self._change(peer, request.id, partial(in_private, sender=peer))
            case Block() | Unblock():
                block = partial(privacy.block, peer.user, request.user, is_on=isinstance(request, Block))
                self._change(peer, request.id, partial(block, sender=peer))
            case ClientStateSet():
                self._parts.attention.turn(peer, request.state)
                if not isinstance(request.id, UnsetType):
                    peer.say(Ok(request.id))
            case PresenceSet():
                self._wish(peer, request)
            case _:
                assert_never(request)

    def _change(self, peer: Peer, request_id: RequestId, change: Callable[[], Awaitable[Refused | None]]) -> None:
        def done(_: None) -> None:
            peer.say(Ok(request_id))

        self._lookups.change(peer, request_id, change, done)

    def _wish(self, peer: Peer, request: PresenceSet) -> None:
        request_id = _optional(request.id)
        wish = PresenceWish(_wished(request.status), _wished(request.text), _wished(request.last_seen))

        def stored(correction: OwnPresence | None) -> None:
            if request_id is not None:
                peer.say(Ok(request_id))
            if correction is not None:
                peer.send(own(correction))

        self._lookups.change(peer, request_id, partial(self._parts.wishes.take, peer, wish), stored)

    # ---- answers

    def _say(self, peer: Peer, action: Say) -> None:
        peer.say(action.message)
        if isinstance(action.message, Error) and action.message.code is ErrorCode.RATE_LIMITED:
            self.telemetry.rate_limited += 1

    # ---- messages

    def _send(self, peer: Peer, request: MessageSend) -> None:
        try:
            body = encode_body(request.body)
        except Malformed as problem:
            peer.say(Error(code=problem.code, message=problem.message, id=request.id, stored="no"))
            return
        append = Append(request.match, peer.user, request.client_id, body, request.reply_to)
        self._parts.journal.append(append, peer.shield(partial(self._stored, peer, request.id)))

    def _stored(self, peer: Peer, request_id: RequestId, outcome: Appended | Refused) -> None:
        if isinstance(outcome, Refused):
            peer.say(error_of(outcome, request_id, stored=True))
            return
        stored = outcome.message
        peer.say(Sent(request_id, stored.match, stored.seq, stored.created_at, outcome.duplicate))
        self._parts.delivery.message_stored(outcome, peer)

    def _mark(self, peer: Peer, request: Receipt) -> None:
        mark = Mark(request.match, peer.user, request.delivered or Seq(0), request.read or Seq(0))
        self._parts.journal.mark(mark, peer.shield(partial(self._marked, peer, request.id)))

    def _marked(self, peer: Peer, request_id: RequestId | UnsetType, marked: Marked | Refused | None) -> None:
        if isinstance(marked, Marked):
            self._parts.delivery.marked(marked, peer)
        if not isinstance(request_id, UnsetType):
            peer.say(error_of(marked, request_id) if isinstance(marked, Refused) else Ok(request_id))

    # ---- typing

    def _type(self, peer: Peer, request: Typing) -> None:
        parts = self._parts
        members, person = parts.hub.members(request.match), parts.people.person(peer.user)
        if members is not None and person is not None:
            self._typed(peer, request, members, person)
            return
        question = parts.typing.ask(peer.user, request.match, self.wheel.now())

        async def ask() -> tuple[MatchState | None, Person]:
            return await parts.store.match(request.match), await parts.people.read(peer.user)

        def learn(read: tuple[MatchState | None, Person]) -> None:
            state, person = read
            # What nobody is a member of is not kept: made-up names must not push real matches out.
            if state is None or not state.members:
                self._typed(peer, request, (), person)
            else:
                learnt = parts.hub.learn(request.match, state.members, state.last_seq)
                self._typed(peer, request, learnt, person, is_over=question.is_over)

        self._lookups.read(peer, _optional(request.id), ask, learn)

    def _typed(self, peer: Peer, request: Typing, members: Members, person: Person, *, is_over: bool = False) -> None:
        parts, request_id = self._parts, _optional(request.id)
        user, match, kind = peer.user, request.match, request.kind
        if user not in members:
            peer.say(error_of(NOT_MEMBER, request_id))
            return
        # What was shown may always be taken back.
        is_told = not request.on or (len(members) <= parts.typing_members_max and not is_over)
        if is_told and parts.typing.should_forward(user, match, kind, on=request.on, now=self.wheel.now()):
            self.telemetry.typing_forwarded += 1
            parts.delivery.typing(user, match, members, on=request.on, kind=kind, person=person)
        else:
            self.telemetry.typing_suppressed += 1
        if request_id is not None:
            peer.say(Ok(request_id))


def _info(peer: Peer, hello: Hello, parts: Parts) -> SessionInfo:
    claims = peer.claims
    assert claims is not None  # Open comes after they were accepted
    return SessionInfo(peer.user, peer.session, hello.device, parts.clock.micros(), parts.sessions.node, claims)


def _optional(request_id: RequestId | UnsetType) -> RequestId | None:
    return None if isinstance(request_id, UnsetType) else request_id


def _wished(value: Wished | UnsetType) -> Wished | None:
    return None if isinstance(value, UnsetType) else value
