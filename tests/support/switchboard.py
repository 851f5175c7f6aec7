"""A node without sockets: real router, hub, journal, reads and memory store; clients whose ends of the line are lists.

Time stands still until `advance`, and nothing is under way after `settle`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from msgspec import Struct

from protocol.close_codes import CloseCode
from protocol.from_server import Limits, Timers
from protocol.ids import MatchId, Micros, SessionId, UserId
from protocol.limits import TYPING_MEMBERS_MAX
from server.adapters.memory.bus import MemoryHubOfNodes
from server.adapters.memory.limiter import MemoryLimiter
from server.adapters.memory.sessions import MemorySessions
from server.adapters.memory.store import MemoryStore
from server.adapters.memory.tickets import MemoryTickets
from server.attention import Attention
from server.calls.exchange import CallLimits, Exchange, ExchangeParts
from server.core.keys import HS256, secret_key
from server.core.limiting import FixedWindow
from server.core.log import MembersSet, Refused
from server.core.rate_limits import RatePolicy, UserBuckets
from server.core.revocations import RevocationBook
from server.core.session import Session, SessionPolicy
from server.core.tokens import Claims, TokenMinter, TokenPolicy, TokenVerifier
from server.core.typing import TypingBook
from server.core.watches import Watches
from server.delivery import Delivery, DeliveryParts
from server.failures import Failures
from server.gateway.wheel import TimerWheel
from server.hub import Hub, Recipient
from server.ice import IceDesk, IceParts
from server.identities import Identities, IssuerKeys
from server.journal import Journal
from server.lane import Record, Routing
from server.outbox import Flusher, Outbox
from server.peer import Peer
from server.people import People
from server.privacy import Privacy, PrivacyParts
from server.reads import Reads
from server.relay import Relay, RelayParts
from server.resume import ResumeParts, Resumer, WelcomeFacts
from server.router import Parts, Router
from server.telemetry import Telemetry
from server.views import Views
from server.wishes import Wishes, WishParts
from signaling.decision import Rules
from tests.support.clock import FakeClock
from tests.support.route_log import RoutedStore
from tests.support.sockets import MemoryLoop
from tests.support.tokens import SECRET
from turn.servers import IceList, IceServer

Json = dict[str, object]
POLICY: Final = SessionPolicy(
    auth_timeout_s=10,
    token_warning_s=60,
    token_grace_s=5,
    frames=RatePolicy(rate_per_s=100, burst=1_000),
    messages=RatePolicy(rate_per_s=5, burst=20),
)
FACTS: Final = WelcomeFacts(
    Timers(
        25_000,
        10_000,
        3_000,
        8_000,
        2_000,
        60_000,
        500,
        45_000,
        30_000,
        30_000,
        30_000,
        14_400_000,
        15_000,
        2_000,
        100,
        10_000,
    ),
    Limits(65_536, 4_000, 16_384, 200, 500, 100, 200, 50, 6, 5, 20),
)
TOKENS: Final = TokenPolicy(frozenset({HS256, "EdDSA"}), max_ttl_s=86_400)
BOUND_BYTES: Final = 1 << 20

_json: Final = msgspec.json.Decoder(Json)


def payloads(output: bytes) -> list[bytes]:
    """Take the server's text frames apart."""
    found, position = [], 0
    while position < len(output):
        assert output[position] == 0x81
        size, header = output[position + 1], 2
        if size == 126:
            size, header = int.from_bytes(output[position + 2 : position + 4], "big"), 4
        elif size == 127:
            size, header = int.from_bytes(output[position + 2 : position + 10], "big"), 10
        position += header + size
        found.append(output[position - size : position])
    return found


class NoRelays:
    """An ICE source without relays."""

    has_relay = False

    async def servers(self, user: UserId, now: Micros) -> IceList:
        """Name a STUN server."""
        del user
        return IceList((IceServer(("stun:192.0.2.1",)),), Micros(now + 3_600_000_000))


class Line:
    """The far end of one connection: what was written to it and how it was closed. A Sink, a Socket, a Recipient."""

    def __init__(self, flusher: Flusher, user: str = "", session: str = "") -> None:
        self.outbox = Outbox(self, flusher)
        self.user = UserId(user)
        self.session = SessionId(session)
        self.claims: Claims | None = None
        self.closed: tuple[int, str] | None = None
        self._written = bytearray()
        self._unread_bytes = 0
        self._is_stuck = False

    def write(self, data: bytes) -> None:
        assert self.closed is None, "written after the close frame"
        self._written += data
        if self._is_stuck:
            self._unread_bytes += len(data)

    def get_write_buffer_size(self) -> int:
        return self._unread_bytes

    def abort(self) -> None:
        self.closed = (int(CloseCode.ABNORMAL), "")

    def close(self, code: int, reason: str = "") -> None:
        """Be closed by the server; what was queued is written before."""
        if self.closed is None:
            self.outbox.finish()
            self.closed = (int(code), reason)

    def send(self, framed: bytes) -> None:
        """Be a recipient."""
        self.outbox.send(framed)

    def stop_reading(self) -> None:
        """Let everything pile up at the server."""
        self._is_stuck = True
        self.outbox.pause()

    def read_on(self) -> None:
        """Read all that piled up."""
        self._is_stuck, self._unread_bytes = False, 0
        self.outbox.resume()

    def heard(self) -> list[Json]:
        """Return what came since the last look."""
        written, self._written = bytes(self._written), bytearray()
        return [_json.decode(payload) for payload in payloads(written)]


class Client(Struct):
    """A client on its line."""

    line: Line
    peer: Peer
    board: "Switchboard"
    # What came beside the answers that a test waited for.
    unheard: list[Json] = []
    welcome: Json = {}

    def send(self, **message: object) -> None:
        """Send one message; `type_` is its type, a trailing underscore is dropped."""
        self.peer.received(msgspec.json.encode({name.rstrip("_"): value for name, value in message.items()}))

    async def ask(self, **message: object) -> list[Json]:
        """Send one message and return everything that came until all was quiet."""
        self.send(**message)
        return await self.listen()

    async def listen(self) -> list[Json]:
        """Return what came since the last look, once all is quiet."""
        await self.board.settle()
        return self.line.heard()

    def hang_up(self, code: int = int(CloseCode.ABNORMAL)) -> None:
        """Lose the connection, or close it with `code`."""
        self.line.outbox.shut()
        self.peer.lost(*(self.line.closed or (code, "")))


class Switchboard:
    """Everything between the sockets and the store."""

    clock: FakeClock
    routes: RoutedStore | None
    nodes: MemoryHubOfNodes

    def __init__(
        self,
        *,
        store: Record | None = None,
        policy: SessionPolicy = POLICY,
        connections_max: int = 5,
        issuer: IssuerKeys | None = None,
        failures_max: int = 1_000_000,
        routes: RoutedStore | None = None,
        beside: "Switchboard | None" = None,
        clock: FakeClock | None = None,
        name: str = "here",
        rules: Rules | None = None,
        starts_per_min: int = 1_000,
    ) -> None:
        """Make a node; with `routes` its store is shared by nodes, with `beside` it is another one on the same bus and store."""
        if beside is not None:
            store, routes, clock = beside.store, beside.routes, beside.clock
        self.name = name
        self.starts_per_min = starts_per_min
        self.routes = routes
        self.clock = clock or FakeClock()
        self.loop = MemoryLoop()
        self.policy = policy
        self.telemetry = Telemetry()
        self.wheel = TimerWheel(self.clock.now)
        self.flusher = Flusher(self.loop, bound_bytes=BOUND_BYTES, hold_s=0.1)
        self.hub = Hub(self.flusher, self.telemetry)
        self.store: Record = store or routes or MemoryStore(self.clock)
        self.reads = Reads(self.store, 1)
        self.logins = Reads(self.store, 1)
        self.changes = Reads(self.store, 1)
        self.people = People(self.store)
        self.views = Views(self.store, self.people)
        self.nodes = beside.nodes if beside else MemoryHubOfNodes(self.clock, 2.0)
        self.bus = self.nodes.bus()
        self.journal = Journal(
            self.store, routing=Routing(routes, lambda: name, self.bus.batch_ended) if routes is not None else None
        )
        self.watches: Watches[Recipient] = Watches()
        self.typing = TypingBook(3.0, 8.0)
        self.delivery = Delivery(
            DeliveryParts(self.hub, self.people, self.bus, self.typing, self.watches, self.telemetry)
        )
        self.tickets = MemoryTickets(self.clock.now, self.clock.random_bytes)
        self.secret = secret_key(SECRET)
        self.minter = TokenMinter(TOKENS, self.secret)
        self.verifier = TokenVerifier(TOKENS, (self.secret,))
        self.sessions = MemorySessions(name)
        self.revocations = RevocationBook()
        self.failures = Failures(FixedWindow("auth", failures_max, 900_000), self.clock.micros)
        self.identities = Identities(
            self.verifier,
            self.tickets,
            lambda: self.clock.micros() / 1e6,
            issuer,
            revocations=self.revocations,
            failures=self.failures,
        )
        self.revocations_loaded = 0
        self.limiter = MemoryLimiter(self.clock.micros)
        self.exchange = self._exchange(rules or Rules())
        self.attention = Attention(self.bus, self.wheel, 30.0)
        self.privacy = Privacy(
            PrivacyParts(self.store, self.people, self.delivery, self.bus, self.exchange, self.limiter)
        )
        self.router = self._router(connections_max)
        self.relay = self._relay()
        self.bus.start(self.relay)

    def _exchange(self, rules: Rules) -> Exchange:
        ice = IceParts(NoRelays(), self.limiter, self.clock, self.telemetry, per_min=1_000)
        return Exchange(
            ExchangeParts(
                store=self.store,
                reads=self.reads,
                journal=self.journal,
                hub=self.hub,
                people=self.people,
                bus=self.bus,
                delivery=self.delivery,
                ice=IceDesk(ice),
                ice_reads=self.reads,
                limiter=self.limiter,
                clock=self.clock,
                wheel=self.wheel,
                rules=rules,
                limits=CallLimits(self.starts_per_min, RatePolicy(rate_per_s=10, burst=100)),
                telemetry=self.telemetry,
                node=self.name,
                is_alone=self.routes is None,
            )
        )

    def _relay(self) -> Relay:
        return Relay(
            RelayParts(
                bus=self.bus,
                hub=self.hub,
                people=self.people,
                delivery=self.delivery,
                calls=self.exchange,
                store=self.store,
                routes=self.routes,
                node=self.name,
                apply=lambda _: None,
                load_revocations=self._load_revocations,
                members_changed=self.router.members_changed,
                going_away=self.router.going_away,
                now=self.clock.now,
                telemetry=self.telemetry,
                learns=True,
            )
        )

    async def _load_revocations(self) -> None:
        self.revocations_loaded += 1

    def _router(self, connections_max: int) -> Router:
        return Router(
            Parts(
                store=self.store,
                journal=self.journal,
                reads=self.reads,
                logins=self.logins,
                changes=self.changes,
                hub=self.hub,
                people=self.people,
                views=self.views,
                attention=self.attention,
                wishes=Wishes(WishParts(self.store, self.people, self.attention, self.bus, self.limiter, per_min=10)),
                privacy=self.privacy,
                delivery=self.delivery,
                calls=self.exchange,
                bus=self.bus,
                watches=self.watches,
                typing=self.typing,
                resumer=Resumer(
                    ResumeParts(self.store, self.reads, self.people, self.views, self.hub, FACTS, self.telemetry)
                ),
                identities=self.identities,
                sessions=self.sessions,
                message_buckets=UserBuckets(self.policy.messages),
                clock=self.clock,
                wheel=self.wheel,
                telemetry=self.telemetry,
                watched_max=200,
                typing_members_max=TYPING_MEMBERS_MAX,
                connections_per_user_max=connections_max,
            )
        )

    def token(self, user: str, ttl_s: int = 3_600) -> str:
        return self.minter.mint(UserId(user), ttl_s, self.clock.micros() / 1e6, self.clock.random_id())[0]

    def connect(self, *, token: str | None = None, ticket: str | None = None, address: str = "192.0.2.1") -> Client:
        """Open a connection, with the credentials of its upgrade."""
        line = Line(self.flusher)
        session = Session(self.policy, self.wheel.now(), token=token, ticket=ticket)
        return Client(line, Peer(line, session, self.router, address), self)

    async def enter(self, user: str, **hello: object) -> Client:
        """Open a connection and be welcomed; what came with the welcome has been heard."""
        client = self.connect()
        first, *client.unheard = await client.ask(type="hello", id="hello", token=self.token(user), **hello)
        assert first["type"] == "welcome"
        client.welcome = first
        return client

    async def make(self, match: str, *members: str) -> MembersSet:
        """Set a match's members, as the app's backend does."""
        outcome: asyncio.Future[MembersSet | Refused] = asyncio.get_running_loop().create_future()

        def done(change: MembersSet | Refused) -> None:
            assert isinstance(change, MembersSet)
            self.router.members_set(change)
            outcome.set_result(change)

        self.journal.set_members(MatchId(match), tuple(map(UserId, members)), done)
        change = await outcome
        assert isinstance(change, MembersSet)
        await self.settle()
        return change

    @property
    def lanes_of_reads(self) -> tuple[Reads, ...]:
        """Everybody who asks the store for connections."""
        return self.reads, self.logins, self.changes

    async def settle(self) -> None:
        """Let everything under way come to its end, and everything queued be written."""
        is_quiet = False
        while not is_quiet:
            await self.journal.drain()
            for reads in self.lanes_of_reads:
                await _finished(reads)
            await asyncio.sleep(0)  # what the bus hands over arrives in the next turn
            is_quiet = self.exchange.is_quiet and not self.loop.ready and not self.people.is_reading
            is_quiet = is_quiet and not any(reads.queued for reads in self.lanes_of_reads)
            self.loop.tick()
            is_quiet = is_quiet and not self.loop.ready and not self.reads.queued

    async def advance(self, seconds: float) -> None:
        """Let time pass, everywhere."""
        await self.settle()
        self.clock.advance(seconds)
        self.wheel.advance(self.clock.now())
        self.router.settle(self.clock.now())
        self.nodes.settle()
        await self.exchange.rounds.round(seconds)
        self.loop.pass_time(seconds)
        await self.settle()


async def _finished(reads: Reads) -> None:
    """Wait until the one lane of `reads` has done what was asked so far."""
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def nothing() -> None:
        return

    def done(_: object) -> None:
        finished.set_result(None)

    reads.submit(nothing, done)
    await finished


def lanes_of(board: Switchboard) -> tuple[Callable[[], Coroutine[None, None, None]], ...]:
    """Return what has to run; rounds are the test's."""
    asked = [lane for reads in board.lanes_of_reads for lane in reads.lanes]
    return (*board.journal.lanes, *asked, board.people.run)


@asynccontextmanager
async def running(board: Switchboard) -> AsyncIterator[Switchboard]:
    """Run the lanes of `board`."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(lane()) for lane in lanes_of(board)]
        yield board
        for task in running:
            task.cancel()


@asynccontextmanager
async def two_running() -> AsyncIterator[tuple[Switchboard, Switchboard]]:
    """Run two nodes of one cluster, `here` and `there`."""
    clock = FakeClock()
    here = Switchboard(clock=clock, routes=RoutedStore(clock), name="here")
    there = Switchboard(beside=here, name="there")
    async with running(here), running(there):
        yield here, there
