"""The numbers of one node, as plain integers: the hot path writes `telemetry.deliveries += 1` and no lock is involved.

All of them are written on the event loop and read there when somebody scrapes.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, structs

Kind = Literal["counter", "gauge"]


def _counter(help_line: str) -> Meta:
    return Meta(description=help_line, extra={"kind": "counter"})


def _gauge(help_line: str) -> Meta:
    return Meta(description=help_line, extra={"kind": "gauge"})


class Telemetry(Struct, gc=False):
    """Counters only rise; gauges are back at zero when nobody is connected and nothing waits."""

    connections_open: Annotated[int, _gauge("WebSocket connections open now.")] = 0
    http_connections_open: Annotated[int, _gauge("Connections open now that are not (yet) WebSockets.")] = 0
    sessions_authenticated: Annotated[int, _gauge("Connections that said who they are.")] = 0
    users_online: Annotated[int, _gauge("Users with at least one connection.")] = 0
    journal_queue_depth: Annotated[int, _gauge("Messages waiting for the store.")] = 0

    connections_accepted: Annotated[int, _counter("WebSocket connections accepted.")] = 0
    connections_refused: Annotated[int, _counter("Connections refused by a limit.")] = 0
    slow_readers_closed: Annotated[int, _counter("Connections closed because they read too slowly.")] = 0
    tokens_refused: Annotated[int, _counter("Tokens and tickets refused.")] = 0
    rate_limited: Annotated[int, _counter("Requests answered with rate_limited.")] = 0
    malformed_frames: Annotated[int, _counter("Frames that are no message of the protocol.")] = 0
    internal_errors: Annotated[int, _counter("Faults of the server, each with a traceback in the log.")] = 0
    messages_stored: Annotated[int, _counter("Messages committed, each counted once.")] = 0
    messages_duplicate: Annotated[int, _counter("Messages sent again that were there already.")] = 0
    journal_batches: Annotated[int, _counter("Commits that stored messages.")] = 0
    deliveries: Annotated[int, _counter("Pushes handed to a connection.")] = 0
    typing_forwarded: Annotated[int, _counter("Typing events passed on.")] = 0
    typing_suppressed: Annotated[int, _counter("Typing events held back as too frequent.")] = 0
    presence_changes: Annotated[int, _counter("Changes of presence that were told to somebody.")] = 0
    resumes: Annotated[int, _counter("Connections that came back with cursors.")] = 0
    repairs: Annotated[
        int, _counter("Times that frames from other nodes may have been missed and were told again.")
    ] = 0
    gaps: Annotated[int, _counter("Matches with more missed entries than a resume sends.")] = 0
    ice_issued: Annotated[int, _counter("Lists of ICE servers handed out.")] = 0
    ice_refused: Annotated[int, _counter("Lists of ICE servers refused as too many for one user.")] = 0
    ice_degraded: Annotated[int, _counter("Lists handed out without the relays that are configured.")] = 0


class Metric(Struct, frozen=True):
    """How a number is told: its name, what kind it is, and one line about it."""

    name: str
    kind: Kind
    help_line: str


def _metric(field: structs.FieldInfo) -> Metric:
    (meta,) = field.type.__metadata__
    return Metric(field.name, meta.extra["kind"], meta.description)


METRICS: Final = tuple(_metric(field) for field in structs.fields(Telemetry))
