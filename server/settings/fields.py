"""Every setting: its type, bounds, unit, default and one line of help. The environment variable is the name in capitals."""

from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from server.settings.values import NO_SECRET, Secret
from turn.configuration import RelayConfiguration

Durability = Literal["checked", "waived"]
LogLevel = Literal["debug", "info", "warning", "error"]
MEMORY: Final = "memory:"
SQLITE: Final = "sqlite:"
POSTGRESQL: Final = ("postgresql://", "postgres://")


def _text(help_line: str) -> Meta:
    return Meta(description=help_line)


def _number(help_line: str, lowest: float, highest: float, unit: str) -> Meta:
    return Meta(description=help_line, ge=lowest, le=highest, extra={"unit": unit})


def _seconds(help_line: str, lowest: float, highest: float) -> Meta:
    return _number(help_line, lowest, highest, "s")


def _ms(help_line: str, lowest: int, highest: int) -> Meta:
    return _number(help_line, lowest, highest, "ms")


def _bytes(help_line: str, lowest: int, highest: int) -> Meta:
    return _number(help_line, lowest, highest, "bytes")


def _count(help_line: str, lowest: int, highest: int) -> Meta:
    return _number(help_line, lowest, highest, "")


_MANY: Final = 10_000_000


class Settings(Struct, frozen=True, kw_only=True):
    """How this node runs. Fields without a line of help are not settings but follow from how it was started."""

    development: bool = False

    # Where it listens and keeps its data.
    host: Annotated[
        str, _text("Address to listen on; `0.0.0.0` or `::` for all. Development mode takes loopback only.")
    ] = "127.0.0.1"
    port: Annotated[int, _count("Port to listen on; 0 takes a free one and prints it.", 0, 65_535)] = 8000
    workers: Annotated[
        int,
        _count(
            "Processes on that port, each a node of its own (`--workers` says it, too); more than 1 need PostgreSQL and Redis.",
            1,
            256,
        ),
    ] = 1
    metrics_host: Annotated[str, _text("Address of `METRICS_PORT`.")] = "127.0.0.1"
    metrics_port: Annotated[
        int,
        _count(
            "Port for `/metrics`, `/healthz` and `/readyz` alone; worker number i takes this plus i. 0: none, and `/metrics` is "
            "on `PORT` (with several workers: nowhere).",
            0,
            65_535,
        ),
    ] = 0
    database_url: Annotated[
        str,
        _text(
            "`sqlite:` and a path (its folder is the data directory), `postgresql://…` for one node or many, or `memory:`, "
            "which forgets at exit."
        ),
    ] = "sqlite:data/duologue.db"
    database_read_replica_url: Annotated[
        str, _text("A streaming replica of the PostgreSQL database; answers what it is not behind in.")
    ] = ""
    database_durability: Annotated[
        Durability,
        _text(
            "`checked` refuses a PostgreSQL with `fsync` or `synchronous_commit` off; `waived`: acked messages may be lost."
        ),
    ] = "checked"
    redis_url: Annotated[
        str,
        _text(
            "`redis://`, `rediss://`, `unix://` or `redis+sentinel://…`: what joins several nodes on one PostgreSQL "
            "database. Empty: this node is alone."
        ),
    ] = ""
    redis_prefix: Annotated[str, _text("What every key and channel in Redis begins with; the same on all nodes.")] = (
        "duologue:"
    )
    node_name: Annotated[str, _text("How this node is called in lists and logs; a random part is added.")] = "node"

    # Who gets in.
    api_keys: Annotated[
        tuple[Secret, ...],
        _text("Keys of your backend for the HTTP API, 32 characters or more each; several to rotate."),
    ] = ()
    token_secrets: Annotated[
        tuple[Secret, ...],
        _text(
            "HS256 secrets, 32 bytes or more each. All verify, the first one mints: rotate by putting a new one first."
        ),
    ] = ()
    jwks_url: Annotated[str, _text("Address of your issuer's public keys; without TLS only on loopback.")] = ""
    jwks_file: Annotated[str, _text("File with your issuer's public keys, instead of `JWKS_URL`.")] = ""
    jwks_refresh_s: Annotated[float, _seconds("How often the public keys are read again.", 1, 86_400)] = 300
    token_algorithms: Annotated[
        tuple[str, ...],
        _text(
            "Of `HS256`, `RS256`, `ES256`, `EdDSA`; empty means those that the secrets and public keys above can have."
        ),
    ] = ()
    token_audience: Annotated[
        tuple[str, ...], _text("Tokens must have one of these in `aud`; empty: not checked.")
    ] = ()
    token_issuer: Annotated[str, _text("Tokens must have this `iss`; empty: not checked.")] = ""
    token_max_ttl_s: Annotated[int, _seconds("Tokens that live longer are refused.", 60, 2_592_000)] = 86_400
    token_warning_s: Annotated[float, _seconds("`token_expiring` is sent so long before the end.", 0, 3600)] = 60
    token_grace_s: Annotated[float, _seconds("A connection outlives its token by this much.", 0, 3600)] = 25
    allowed_origins: Annotated[
        tuple[str, ...],
        _text("Origins of pages that may connect, like `https://app.example`; `same-origin`; or `*` for every page."),
    ] = ("same-origin",)

    # How much of everything.
    max_connections: Annotated[int, _count("Sockets open at once on this node.", 1, _MANY)] = 20_000
    max_connections_per_address: Annotated[
        int, _count("…from one address (a whole campus may share one).", 1, _MANY)
    ] = 500
    max_connections_per_user: Annotated[
        int, _count("…of one user on one node: devices and tabs. On several nodes it is so many on each.", 1, _MANY)
    ] = 20
    max_message_bytes: Annotated[int, _bytes("Largest frame or HTTP body accepted.", 4096, 1_048_576)] = 65_536
    send_buffer_bytes: Annotated[
        int, _bytes("The kernel's send buffer of a socket; small, so that a slow reader shows.", 4096, 16_777_216)
    ] = 262_144
    outbox_max_bytes: Annotated[
        int,
        _bytes("What waits for one connection beyond that; a reader that needs more is closed.", 65_536, 1_073_741_824),
    ] = 1_048_576
    max_members: Annotated[int, _count("Members of one match.", 2, 10_000)] = 50
    max_watched: Annotated[int, _count("Users whose presence one connection watches.", 1, 10_000)] = 200
    message_rate_per_s: Annotated[
        float, _number("Messages a user may send through one node, sustained.", 0.01, 1_000_000, "per s")
    ] = 5
    message_burst: Annotated[int, _count("…and at once.", 1, 1_000_000)] = 20
    frame_rate_per_s: Annotated[
        float, _number("Frames of every kind a connection may send, sustained.", 1, 1_000_000, "per s")
    ] = 50
    frame_burst: Annotated[int, _count("…and at once.", 1, 1_000_000)] = 200

    api_rate_per_s: Annotated[
        float, _number("Requests of the HTTP API by one user, on all nodes, sustained.", 0.01, 1_000_000, "per s")
    ] = 20
    api_burst: Annotated[int, _count("…and at once.", 1, 1_000_000)] = 40
    api_key_rate_per_s: Annotated[
        float, _number("Requests with one API key, on all nodes, sustained.", 0.01, 1_000_000, "per s")
    ] = 2000
    api_key_burst: Annotated[int, _count("…and at once.", 1, 1_000_000)] = 10_000
    mints_per_min: Annotated[int, _count("Tickets that one user may ask for in a minute.", 1, 1_000_000)] = 60
    api_key_mints_per_min: Annotated[int, _count("Tokens and tickets with one API key in a minute.", 1, 1_000_000)] = (
        100_000
    )
    auth_failures_max: Annotated[
        int,
        _count(
            "Failed authentications of one address, or of one user with signed tokens, before it waits.", 1, 1_000_000
        ),
    ] = 5
    auth_failure_window_s: Annotated[int, _seconds("The window of those, from the first on.", 1, 86_400)] = 900
    trusted_proxies: Annotated[
        tuple[str, ...],
        _text("Addresses or networks of your reverse proxies, whose `X-Forwarded-For` (or `Forwarded`) is believed."),
    ] = ()

    # Calls: what gets them through firewalls.
    turn_server_url: Annotated[
        tuple[str, ...],
        _text("TURN servers, like `turn:turn.example.org:3478?transport=udp` or `turns:turn.example.org:443`."),
    ] = ()
    stun_server_url: Annotated[tuple[str, ...], _text("STUN servers, like `stun:stun.example.org`.")] = ()
    turn_secrets: Annotated[
        tuple[Secret, ...],
        _text(
            "Secrets shared with the TURN servers (coturn's `static-auth-secret`), 16 characters or more. Each call gets "
            "credentials that end; the first secret signs them."
        ),
    ] = ()
    turn_username: Annotated[
        str, _text("Instead of secrets: a name that the TURN servers know. Everybody gets it.")
    ] = ""
    turn_password: Annotated[Secret, _text("…and its password.")] = NO_SECRET
    turn_ttl_s: Annotated[int, _seconds("New calls may begin with a credential for so long.", 300, 86_400)] = 3600
    turn_realm: Annotated[str, _text("The TURN servers' realm: for `python -m turn`, and for coturn's Redis.")] = ""
    turn_redis_url: Annotated[
        str,
        _text(
            "coturn's Redis, like `redis://:password@host/2` (its `redis-userdb` and `redis-statsdb`): secrets are put there, "
            "and what was relayed is read there."
        ),
    ] = ""
    twilio_account_sid: Annotated[str, _text("Instead of TURN servers of your own: an account of Twilio's.")] = ""
    twilio_auth_token: Annotated[Secret, _text("…and its token.")] = NO_SECRET
    cloudflare_turn_key_id: Annotated[str, _text("Or a TURN key of Cloudflare's.")] = ""
    cloudflare_turn_api_token: Annotated[Secret, _text("…and its API token.")] = NO_SECRET
    turn_api_url: Annotated[
        str, _text("Where the provider's API is reached, like `https://egress.example`; empty: at its own address.")
    ] = ""
    call_relay_only: Annotated[
        bool, _text("Calls go through the TURN servers only, so that nobody learns another's address; for everybody.")
    ] = False
    call_ice_per_min: Annotated[
        int, _count("Lists of ICE servers that one user may ask for in a minute.", 1, 1_000_000)
    ] = 20

    # How long to wait.
    head_timeout_s: Annotated[float, _seconds("For the whole head of a request.", 0.1, 300)] = 5
    request_timeout_s: Annotated[
        float, _seconds("For a whole HTTP request, and for its reader to take some of the answer.", 0.1, 300)
    ] = 10
    auth_timeout_s: Annotated[float, _seconds("For `hello` after the socket opened.", 0.1, 300)] = 10
    ping_after_s: Annotated[float, _seconds("Silence after which a ping is sent.", 0.1, 3600)] = 25
    ping_timeout_s: Annotated[float, _seconds("For any frame after that ping.", 0.1, 3600)] = 10
    close_timeout_s: Annotated[float, _seconds("For the other side to finish a close.", 0.1, 300)] = 5
    drain_s: Annotated[float, _seconds("To send clients away and finish after SIGTERM.", 0, 3600)] = 30
    typing_interval_ms: Annotated[
        int, _ms("`typing` is forwarded at most so often per user, match and kind.", 0, 60_000)
    ] = 3000
    typing_expires_ms: Annotated[int, _ms("Clients clear it after this.", 1000, 60_000)] = 8000
    typing_members_max: Annotated[
        int, _count("Members of a match up to which typing is told; 0: never.", 0, 10_000)
    ] = 20
    presence_debounce_ms: Annotated[int, _ms("From a user's last socket closing to offline.", 0, 60_000)] = 1500
    presence_away_ms: Annotated[
        int,
        _ms(
            "A connection at which nobody looks for so long is idle; a user with only such ones is away.", 0, 3_600_000
        ),
    ] = 30_000
    presence_sets_per_min: Annotated[
        int, _count("How often one user may change how they are shown (`presence.set`), per minute.", 1, 1_000_000)
    ] = 20
    ephemeral_hold_ms: Annotated[int, _ms("Typing, presence and receipts wait so long for company.", 0, 5000)] = 100

    # Calls.
    max_call_participants: Annotated[int, _count("Seats of one call; each sends to every other.", 2, 6)] = 6
    call_ring_s: Annotated[float, _seconds("A call rings so long.", 0.1, 600)] = 45
    call_unreachable_s: Annotated[
        float, _seconds("…and only so long while no device of anybody called says that it rings.", 0.1, 600)
    ] = 10
    call_connect_s: Annotated[
        float, _seconds("From taking a seat in a call to media in both directions.", 0.1, 600)
    ] = 30
    call_grace_s: Annotated[float, _seconds("A seat outlives its lost connection for so long.", 0.1, 600)] = 30
    call_caller_grace_s: Annotated[float, _seconds("…the caller's while nobody has answered.", 0.1, 600)] = 10
    call_reconnect_s: Annotated[float, _seconds("A seat outlives its lost media for so long.", 0.1, 600)] = 30
    call_alone_s: Annotated[float, _seconds("One seat alone waits so long for others in a group.", 0.1, 86_400)] = 300
    call_max_s: Annotated[float, _seconds("The longest call.", 1, 604_800)] = 14_400
    call_starts_per_min: Annotated[int, _count("Calls that a user may start per minute.", 1, 100_000)] = 6
    call_unanswered_max: Annotated[
        int, _count("Calls of one user in one match that may stay unanswered within 10 minutes.", 1, 100_000)
    ] = 3
    call_signal_rate_per_s: Annotated[float, _number("Signals of one seat, sustained.", 0.1, 1_000_000, "per s")] = 10
    call_signal_burst: Annotated[int, _count("…and at once.", 1, 1_000_000)] = 100

    log_level: Annotated[LogLevel, _text("`debug`, `info`, `warning` or `error`.")] = "info"

    @property
    def sqlite_path(self) -> Path | None:
        """Where the database file is; None for `memory:`."""
        return Path(self.database_url.removeprefix(SQLITE)) if self.database_url.startswith(SQLITE) else None

    @property
    def is_postgresql(self) -> bool:
        """Whether the store is a PostgreSQL database."""
        return self.database_url.startswith(POSTGRESQL)

    @property
    def algorithms(self) -> frozenset[str]:
        """The token algorithms that count: those named, or all that the configured keys can have."""
        if self.token_algorithms:
            return frozenset(self.token_algorithms)
        secret = {"HS256"} if self.token_secrets else set()
        public = {"RS256", "ES256", "EdDSA"} if self.jwks_location else set()
        return frozenset(secret | public)

    @property
    def relays(self) -> RelayConfiguration:
        """What calls use to get through firewalls; its secrets are bare, so keep it in few places."""
        return RelayConfiguration(
            turn_urls=self.turn_server_url,
            stun_urls=self.stun_server_url,
            username=self.turn_username,
            password=self.turn_password.reveal(),
            secrets=tuple(secret.reveal() for secret in self.turn_secrets),
            realm=self.turn_realm,
            ttl_s=self.turn_ttl_s,
            twilio_sid=self.twilio_account_sid,
            twilio_token=self.twilio_auth_token.reveal(),
            cloudflare_key=self.cloudflare_turn_key_id,
            cloudflare_token=self.cloudflare_turn_api_token.reveal(),
            api_url=self.turn_api_url,
        )

    @property
    def jwks_location(self) -> str:
        """Where the issuer's keys are, an address or a path; "" for nowhere."""
        return self.jwks_url or self.jwks_file
