"""What the settings mean for each part of a node: limits, policies, rules, and what clients are told of them."""

from protocol.from_server import Limits, Timers
from protocol.limits import (
    CALL_CANDIDATES_MS,
    CALL_ICE_RESTART_MS,
    CALL_NEGOTIATION_MS,
    CALL_STATS_MS,
    DATA_MAX_BYTES,
    HELLO_CURSORS_MAX,
    PAGE_MAX,
    SYNC_CURSORS_MAX,
    SYNC_DELAY_MS,
    TEXT_MAX_CHARS,
)
from server.core.limiting import Bucket, FixedWindow, SlidingWindow
from server.core.rate_limits import RatePolicy
from server.core.session import SessionPolicy
from server.gateway.api.limits import ApiRules
from server.gateway.limits import SocketLimits
from server.resume import WelcomeFacts
from server.settings import Settings
from signaling.decision import Rules


def socket_limits(settings: Settings) -> SocketLimits:
    """Return what the gateway allows a connection."""
    return SocketLimits(
        origins=None if "*" in settings.allowed_origins else (None, *settings.allowed_origins),
        connections_max=settings.max_connections,
        connections_per_address_max=settings.max_connections_per_address,
        head_timeout_s=settings.head_timeout_s,
        request_timeout_s=settings.request_timeout_s,
        body_max_bytes=settings.max_message_bytes,
        message_max_bytes=settings.max_message_bytes,
        ping_after_s=settings.ping_after_s,
        ping_timeout_s=settings.ping_timeout_s,
        close_timeout_s=settings.close_timeout_s,
        outbox_max_bytes=settings.outbox_max_bytes,
        send_buffer_bytes=settings.send_buffer_bytes,
        ephemeral_hold_s=settings.ephemeral_hold_ms / 1000,
        typing_expires_s=settings.typing_expires_ms / 1000,
    )


def session_policy(settings: Settings) -> SessionPolicy:
    """Return what every session keeps to."""
    return SessionPolicy(
        auth_timeout_s=settings.auth_timeout_s,
        token_warning_s=settings.token_warning_s,
        token_grace_s=settings.token_grace_s,
        frames=RatePolicy(settings.frame_rate_per_s, settings.frame_burst),
        messages=RatePolicy(settings.message_rate_per_s, settings.message_burst),
    )


def call_rules(settings: Settings, *, has_relay: bool) -> Rules:
    """Return what decides about calls; a node without a relay promises none."""
    return Rules(
        ring_us=_us(settings.call_ring_s),
        unreachable_us=_us(settings.call_unreachable_s),
        connect_us=_us(settings.call_connect_s),
        grace_us=_us(settings.call_grace_s),
        caller_grace_us=_us(settings.call_caller_grace_s),
        reconnect_us=_us(settings.call_reconnect_s),
        alone_us=_us(settings.call_alone_s),
        max_us=_us(settings.call_max_s),
        participants=settings.max_call_participants,
        unanswered=settings.call_unanswered_max,
        relay_only=settings.call_relay_only,
        has_relay=has_relay,
    )


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def failures_rule(settings: Settings) -> FixedWindow:
    """Return how often somebody may fail to authenticate."""
    return FixedWindow("auth", settings.auth_failures_max, settings.auth_failure_window_s * 1000)


def api_rules(settings: Settings) -> ApiRules:
    """Return how often the HTTP API may be asked."""
    return ApiRules(
        user=Bucket("api", settings.api_rate_per_s, settings.api_burst),
        key=Bucket("key", settings.api_key_rate_per_s, settings.api_key_burst),
        user_mints=SlidingWindow("mints", settings.mints_per_min, 60_000),
        key_mints=SlidingWindow("key-mints", settings.api_key_mints_per_min, 60_000),
    )


def welcome_facts(settings: Settings) -> WelcomeFacts:
    """Return what every welcome says."""
    timers = Timers(
        ping_after_ms=round(settings.ping_after_s * 1000),
        ping_timeout_ms=round(settings.ping_timeout_s * 1000),
        typing_interval_ms=settings.typing_interval_ms,
        typing_expires_ms=settings.typing_expires_ms,
        presence_debounce_ms=settings.presence_debounce_ms,
        token_warning_ms=round(settings.token_warning_s * 1000),
        sync_delay_ms=SYNC_DELAY_MS,
        call_ring_ms=round(settings.call_ring_s * 1000),
        call_connect_ms=round(settings.call_connect_s * 1000),
        call_grace_ms=round(settings.call_grace_s * 1000),
        call_reconnect_ms=round(settings.call_reconnect_s * 1000),
        call_max_ms=round(settings.call_max_s * 1000),
        call_negotiation_ms=CALL_NEGOTIATION_MS,
        call_ice_restart_ms=CALL_ICE_RESTART_MS,
        call_candidates_ms=CALL_CANDIDATES_MS,
        call_stats_ms=CALL_STATS_MS,
        presence_away_ms=settings.presence_away_ms,
    )
    limits = Limits(
        frame_bytes=settings.max_message_bytes,
        text_chars=TEXT_MAX_CHARS,
        data_bytes=DATA_MAX_BYTES,
        page=PAGE_MAX,
        hello_cursors=HELLO_CURSORS_MAX,
        sync_cursors=SYNC_CURSORS_MAX,
        watched=settings.max_watched,
        members=settings.max_members,
        call_participants=settings.max_call_participants,
        messages_per_s=settings.message_rate_per_s,
        message_burst=settings.message_burst,
        typing_members=settings.typing_members_max,
    )
    return WelcomeFacts(timers, limits)
