"""The composition root: makes every part of a node from the settings and joins them. `server.app` runs what is made here."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import uvicorn
from msgspec import Struct
from starlette.applications import Starlette
from uvicorn.server import ServerState

from server.adapters.jwks import Jwks, JwksSource
from server.attention import Attention
from server.backends import Backends, open_backends
from server.calls.exchange import CallLimits, Exchange, ExchangeParts
from server.core.addresses import TrustedProxies
from server.core.api_keys import ApiKeys
from server.core.keys import HS256, secret_key
from server.core.rate_limits import RatePolicy, UserBuckets
from server.core.readiness import Ready
from server.core.revocations import RevocationBook
from server.core.session import Session, SessionPolicy
from server.core.tokens import TokenMinter, TokenPolicy, TokenVerifier
from server.core.typing import TypingBook
from server.core.watches import Watches
from server.delivery import Delivery, DeliveryParts
from server.failures import Failures
from server.gateway.api.blocks import BlockEndpoints, BlockEndpointsParts
from server.gateway.api.callers import Callers
from server.gateway.api.calls import CallEndpoints, CallEndpointsParts
from server.gateway.api.endpoints import ApiParts, Endpoints
from server.gateway.api.limits import ApiLimits
from server.gateway.api.presence import PresenceEndpoints
from server.gateway.api.routes import HttpParts, application, private_application
from server.gateway.handshake import Upgrade
from server.gateway.http_protocol import http_factory
from server.gateway.limits import SocketLimits
from server.gateway.listener import Listener, make_flusher
from server.gateway.websocket import Connection
from server.gateway.wheel import TimerWheel
from server.health import Health, HealthParts
from server.hub import Hub, Recipient
from server.identities import Identities
from server.journal import Journal
from server.lane import Routing
from server.peer import Peer
from server.people import People
from server.policies import api_rules, call_rules, failures_rule, session_policy, socket_limits, welcome_facts
from server.ports import Clock, StoreUnavailable, StoreUnusable
from server.privacy import Privacy, PrivacyParts
from server.reads import Reads
from server.relay import Relay, RelayParts
from server.relays import Relays, open_relays
from server.resume import ResumeParts, Resumer
from server.revoker import Revoker, RevokerParts
from server.router import Parts, Router
from server.settings import Settings
from server.telemetry import CommitWatch, ReadWatch, Telemetry
from server.upkeep import Upkeep
from server.views import Views
from server.wishes import Wishes, WishParts

READ_LANES: Final = 4
PRIVATE_CONNECTIONS_MAX: Final = 100
LOGIN_LANES: Final = 2
CHANGE_LANES: Final = 4
# A provider of relays may take seconds to answer; nothing else waits behind it.
ICE_LANES: Final = 4
QUERY_FIELDS_MAX: Final = 16
# Of an upgrade request; the ticket is usually the only one.
WEB: Final = Path(__file__).resolve().parent.parent / "web"
DEVELOPMENT_KEY: Final = "dev"
NODE_NAME_CHARS: Final = 8


class Reception:
    """Makes the peer of every accepted connection."""

    def __init__(self, router: Router, policy: SessionPolicy) -> None:
        self._router = router
        self._policy = policy

    def accept(self, connection: Connection, upgrade: Upgrade) -> Peer:
        """Return the receiver of a new connection; what the upgrade says of itself is used with its hello."""
        token, ticket = _credentials(upgrade)
        session = Session(self._policy, self._router.wheel.now(), token=token, ticket=ticket)
        return Peer(connection, session, self._router, upgrade.address)


class Node(Struct, frozen=True):
    """One node's parts, as far as its life cycle needs them."""

    listener: Listener
    # Where METRICS_PORT says; None where it does not.
    private: Listener | None
    wheel: TimerWheel
    router: Router
    hub: Hub
    exchange: Exchange
    journal: Journal
    reads: tuple[Reads, ...]
    upkeep: Upkeep | None
    backends: Backends
    relays: Relays
    http: ServerState
    health: Health
    telemetry: Telemetry
    # Run for as long as the node lives; the first that fails ends it.
    work: tuple[Callable[[], Coroutine[None, None, None]], ...]

    def measure(self) -> Telemetry:
        """Return the node's numbers as they are now."""
        gauges, numbers = self.listener.gauges, self.telemetry
        numbers.connections_open = gauges.open_sockets
        numbers.http_connections_open = gauges.connections - gauges.open_sockets
        numbers.connections_accepted = gauges.upgraded_total
        numbers.connections_refused = gauges.refused_total
        numbers.sessions_authenticated = len(self.hub)
        numbers.users_online = self.hub.users
        journal = self.journal
        numbers.journal_queue_depth = journal.queued
        numbers.journal_lane_depth = {str(number): depth for number, depth in enumerate(journal.depths)}
        numbers.journal_batches = journal.batches
        numbers.journal_receipt_batches = journal.mark_batches
        numbers.journal_refused = journal.refused
        numbers.reads_queue_depth = sum(reads.queued for reads in self.reads)
        numbers.bus_deaf = bool(self.backends.shared.bus.trouble)
        numbers.partitions_end_seconds = self.upkeep.left_s if self.upkeep else 0.0
        self.exchange.measure(numbers)
        self.backends.tell(numbers)
        self.backends.shared.tell(numbers)
        self.relays.tell(numbers)
        return numbers


async def make_node(settings: Settings, clock: Clock) -> Node:
    """Open the store and make everything that works on it; `StoreUnusable` or `JwksUnusable` say why not."""
    backends = await open_backends(settings, clock)
    try:
        return await _join(settings, clock, backends)
    except BaseException:
        await backends.close()
        raise


async def _join(settings: Settings, clock: Clock, backends: Backends) -> Node:
    store, shared = backends.store, backends.shared
    bus, sessions, watches = shared.bus, shared.sessions, Watches[Recipient]()
    telemetry, wheel, limits = Telemetry(), TimerWheel(clock.now), socket_limits(settings)
    flusher, proxies = make_flusher(asyncio.get_running_loop(), limits), TrustedProxies(settings.trusted_proxies)
    hub, journal = Hub(flusher, telemetry), _journal(backends, CommitWatch(telemetry, clock.now))
    reads = Reads(store, READ_LANES, watch=ReadWatch(telemetry, clock.now))
    logins, changes, ice_reads = (Reads(store, lanes) for lanes in (LOGIN_LANES, CHANGE_LANES, ICE_LANES))
    relays, typing = open_relays(settings, clock, shared.limiter, telemetry), _typing(settings)
    people, (verifier, minter) = People(store), _tokens(settings)
    delivery, views = Delivery(DeliveryParts(hub, people, bus, typing, watches, telemetry)), Views(store, people)
    jwks = await _issuer(settings, verifier, clock)
    # Alone, what it counts itself is all there is.
    failures = Failures(failures_rule(settings), clock.micros, shared.limiter if settings.redis_url else None)
    book, messages = RevocationBook(), UserBuckets(RatePolicy(settings.message_rate_per_s, settings.message_burst))
    revoker = Revoker(
        RevokerParts(
            store=store,
            book=book,
            hub=hub,
            sessions=sessions,
            clock=clock,
            token_max_ttl_s=settings.token_max_ttl_s,
            announce=bus.announce,
        )
    )
    await _learn_revocations(revoker)
    identities = Identities(
        verifier, shared.tickets, lambda: clock.micros() / 1_000_000, jwks, revocations=book, failures=failures
    )
    exchange = Exchange(
        ExchangeParts(
            store=store,
            reads=reads,
            journal=journal,
            hub=hub,
            people=people,
            bus=bus,
            delivery=delivery,
            ice=relays.desk,
            ice_reads=ice_reads,
            limiter=shared.limiter,
            clock=clock,
            wheel=wheel,
            rules=call_rules(settings, has_relay=relays.desk.has_relay),
            limits=CallLimits(
                settings.call_starts_per_min,
                RatePolicy(settings.call_signal_rate_per_s, settings.call_signal_burst),
            ),
            telemetry=telemetry,
            node=backends.node,
            is_alone=backends.routes is None,
        )
    )
    attention = Attention(bus, wheel, settings.presence_away_ms / 1000)
    privacy = Privacy(PrivacyParts(store, people, delivery, bus, exchange, shared.limiter))
    router = Router(
        Parts(
            store=store,
            journal=journal,
            reads=reads,
            logins=logins,
            changes=changes,
            hub=hub,
            people=people,
            views=views,
            attention=attention,
            wishes=Wishes(WishParts(store, people, attention, bus, shared.limiter, settings.presence_sets_per_min)),
            privacy=privacy,
            delivery=delivery,
            calls=exchange,
            bus=bus,
            watches=watches,
            typing=typing,
            resumer=Resumer(ResumeParts(store, reads, people, views, hub, welcome_facts(settings), telemetry)),
            identities=identities,
            sessions=sessions,
            message_buckets=messages,
            clock=clock,
            wheel=wheel,
            telemetry=telemetry,
            watched_max=settings.max_watched,
            typing_members_max=settings.typing_members_max,
            connections_per_user_max=settings.max_connections_per_user,
        )
    )
    callers = Callers(
        ApiKeys(key.reveal() for key in settings.api_keys),
        identities,
        ApiLimits(shared.limiter, api_rules(settings), identities.wall_s),
        proxies,
    )
    endpoints = Endpoints(
        ApiParts(
            store=store,
            views=views,
            journal=journal,
            delivery=delivery,
            members_set=router.members_set,
            callers=callers,
            identities=identities,
            minter=minter,
            message_buckets=messages,
            sessions=sessions,
            revoker=revoker,
            clock=clock,
            members_max=settings.max_members,
            token_max_ttl_s=settings.token_max_ttl_s,
        )
    )
    relay = Relay(
        RelayParts(
            bus=bus,
            hub=hub,
            people=people,
            delivery=delivery,
            calls=exchange,
            store=store,
            routes=backends.routes,
            node=backends.node,
            apply=revoker.apply,
            load_revocations=revoker.load,
            members_changed=router.members_changed,
            going_away=router.going_away,
            now=clock.now,
            telemetry=telemetry,
            learns=bool(settings.database_read_replica_url),
        )
    )
    bus.start(relay)
    upkeep = backends.make_partitions and Upkeep(backends.make_partitions, clock.micros)
    health, http = Health(HealthParts(store, journal, bus, upkeep, clock.now)), ServerState()

    def measure() -> Telemetry:
        return node.measure()

    site = application(
        HttpParts(
            endpoints=endpoints,
            calls=CallEndpoints(CallEndpointsParts(store, exchange, callers)),
            presence=PresenceEndpoints(bus, callers),
            blocks=BlockEndpoints(BlockEndpointsParts(store, privacy, callers)),
            readiness=health.check,
            telemetry=measure if settings.workers == 1 and not settings.metrics_port else None,
            web=WEB,
            development_key=DEVELOPMENT_KEY if settings.development else None,
        )
    )
    listener = Listener(
        Reception(router, session_policy(settings)).accept,
        http=http_factory(_uvicorn(site), http, {}),
        limits=limits,
        wheel=wheel,
        flusher=flusher,
        proxies=proxies,
    )
    node = Node(
        listener=listener,
        private=_private_listener(health.check, measure, http, wheel) if settings.metrics_port else None,
        wheel=wheel,
        router=router,
        exchange=exchange,
        hub=hub,
        journal=journal,
        reads=(reads, logins, changes),
        upkeep=upkeep,
        backends=backends,
        relays=relays,
        http=http,
        health=health,
        telemetry=telemetry,
        work=(
            *journal.lanes,
            *reads.lanes,
            *logins.lanes,
            *changes.lanes,
            *ice_reads.lanes,
            *shared.work,
            *relays.work,
            relay.run,
            revoker.run,
            people.run,
            failures.run,
            *exchange.work,
            *((upkeep.run,) if upkeep else ()),
            *((jwks.run,) if jwks else ()),
        ),
    )
    return node


async def _learn_revocations(revoker: Revoker) -> None:
    try:
        await revoker.load()
    except StoreUnavailable as unavailable:
        raise StoreUnusable(f"cannot read which tokens are revoked: {unavailable.reason}") from None


def _journal(backends: Backends, watch: CommitWatch) -> Journal:
    routes, node, bus = backends.routes, backends.node, backends.shared.bus
    routing = None if routes is None else Routing(routes, lambda: node, bus.batch_ended)
    return Journal(backends.store, lanes=backends.lanes, routing=routing, watch=watch, away_ms=backends.away_ms)


def _credentials(upgrade: Upgrade) -> tuple[str | None, str | None]:
    scheme, _, credential = (upgrade.authorization or "").partition(" ")
    token = credential.strip() if scheme.lower() == "bearer" else None
    return token, _ticket(upgrade.query) if upgrade.query else None


def _ticket(query: str) -> str | None:
    try:
        tickets = parse_qs(query, max_num_fields=QUERY_FIELDS_MAX).get("ticket")
    except ValueError:  # too many fields: none of them is looked at
        return None
    return tickets[0] if tickets else None


def _typing(settings: Settings) -> TypingBook:
    return TypingBook(settings.typing_interval_ms / 1000, settings.typing_expires_ms / 1000)


def _tokens(settings: Settings) -> tuple[TokenVerifier, TokenMinter | None]:
    policy = TokenPolicy(settings.algorithms, settings.token_max_ttl_s, settings.token_audience, settings.token_issuer)
    secrets = tuple(secret_key(secret.reveal()) for secret in settings.token_secrets)
    minter = TokenMinter(policy, secrets[0]) if secrets and HS256 in policy.algorithms else None
    return TokenVerifier(policy, secrets), minter


async def _issuer(settings: Settings, verifier: TokenVerifier, clock: Clock) -> Jwks | None:
    if not settings.jwks_location:
        return None
    source = JwksSource(settings.jwks_location, settings.algorithms, settings.jwks_refresh_s)
    jwks = Jwks(source, verifier.replace_issuer_keys, clock.now)
    await jwks.start()
    return jwks


def _uvicorn(site: Starlette) -> uvicorn.Config:
    config = uvicorn.Config(
        site,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )
    config.load()
    return config


def _private_listener(
    readiness: Callable[[], Awaitable[Ready]], measure: Callable[[], Telemetry], state: ServerState, wheel: TimerWheel
) -> Listener:
    """Make the listener of METRICS_PORT, which lets no WebSocket in: no Origin, and none at all, is allowed."""

    def nobody(connection: Connection, upgrade: Upgrade) -> Peer:
        raise AssertionError((connection, upgrade))

    limits = SocketLimits(origins=(), connections_max=PRIVATE_CONNECTIONS_MAX)
    site = _uvicorn(private_application(readiness, measure))
    return Listener(nobody, http=http_factory(site, state, {}), limits=limits, wheel=wheel)
