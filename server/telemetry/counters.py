"""The numbers of one node, as plain integers: the hot path writes `telemetry.deliveries += 1` and no lock is involved.

All of them are written on the event loop and read there when somebody scrapes. What others count (gateway, journal, bus,
store) is copied here at that moment.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field, structs

from server.telemetry.histograms import Histogram, messages, seconds

Kind = Literal["counter", "gauge", "histogram"]


def _counter(help_line: str, label: str = "") -> Meta:
    return Meta(description=help_line, extra={"kind": "counter", "label": label})


def _gauge(help_line: str, label: str = "") -> Meta:
    return Meta(description=help_line, extra={"kind": "gauge", "label": label})


def _histogram(help_line: str) -> Meta:
    return Meta(description=help_line, extra={"kind": "histogram", "label": ""})


class Telemetry(Struct, gc=False):
    """Counters only rise; gauges are back at zero when nobody is connected and nothing waits, but those called levels.

    A dictionary holds one number for each value of the label.
    """

    connections_open: Annotated[int, _gauge("WebSocket connections open now.")] = 0
    http_connections_open: Annotated[int, _gauge("Connections open now that are not (yet) WebSockets.")] = 0
    sessions_authenticated: Annotated[int, _gauge("Connections that said who they are.")] = 0
    users_online: Annotated[int, _gauge("Users with at least one connection.")] = 0
    call_seats: Annotated[int, _gauge("Connections that sit in a call.")] = 0
    call_events_waiting: Annotated[int, _gauge("Events of calls that are under way or wait for the store.")] = 0
    journal_queue_depth: Annotated[int, _gauge("Messages waiting for the store.")] = 0
    journal_lane_depth: Annotated[dict[str, int], _gauge("Messages waiting in each lane of the journal.", "lane")] = {}
    reads_queue_depth: Annotated[int, _gauge("Reads waiting for a lane.")] = 0
    bus_deaf: Annotated[int, _gauge("1 while this node does not hear the others.")] = 0
    bus_pending_bytes: Annotated[int, _gauge("Bytes waiting for the bus.")] = 0
    breaker_state: Annotated[
        dict[str, int], _gauge("0 closed, 1 trying again, 2 open: what depends on it is refused at once.", "dependency")
    ] = {}
    bus_lease_age_seconds: Annotated[float, _gauge("A level: time since Redis last renewed this node's lease.")] = 0.0
    partitions_end_seconds: Annotated[float, _gauge("A level: time until the last partition ends; PostgreSQL.")] = 0.0

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
    journal_receipt_batches: Annotated[int, _counter("Commits that stored receipts.")] = 0
    journal_refused: Annotated[int, _counter("Writes answered unavailable or internal.")] = 0
    deliveries: Annotated[int, _counter("Pushes handed to a connection.")] = 0
    typing_forwarded: Annotated[int, _counter("Typing events passed on.")] = 0
    typing_suppressed: Annotated[int, _counter("Typing events held back as too frequent.")] = 0
    presence_changes: Annotated[int, _counter("Changes of presence that were told to somebody.")] = 0
    resumes: Annotated[int, _counter("Connections that came back with cursors.")] = 0
    resyncs: Annotated[int, _counter("Times that a client asked for what it missed while connected.")] = 0
    resets: Annotated[int, _counter("Matches whose history a client was told to load anew.")] = 0
    gaps: Annotated[int, _counter("Matches with more missed entries than a resume sends.")] = 0
    repairs: Annotated[
        int, _counter("Times that frames from other nodes may have been missed and were told again.")
    ] = 0
    calls_started: Annotated[int, _counter("Calls that began.")] = 0
    calls_answered: Annotated[int, _counter("Calls that somebody answered.")] = 0
    calls_ended: Annotated[int, _counter("Calls that ended, for whatever reason.")] = 0
    calls_missed: Annotated[int, _counter("…of those, the ones that nobody took.")] = 0
    call_time_outs: Annotated[int, _counter("Times that this node took up a call's time-out.")] = 0
    call_conflicts: Annotated[int, _counter("Decisions made again because the call had changed meanwhile.")] = 0
    call_signals: Annotated[int, _counter("Signals handed on from seat to seat.")] = 0
    call_signals_refused: Annotated[int, _counter("Signals refused: no seat, too many, or not well formed.")] = 0
    ice_issued: Annotated[int, _counter("Lists of ICE servers handed out.")] = 0
    ice_refused: Annotated[int, _counter("Lists of ICE servers refused as too many for one user.")] = 0
    relay_received_bytes: Annotated[int, _counter("What users sent through relays, as coturn tells it.")] = 0
    relay_sent_bytes: Annotated[int, _counter("What users got through relays, as coturn tells it.")] = 0
    ice_degraded: Annotated[int, _counter("Lists handed out without the relays that are configured.")] = 0
    repairs_by_resume: Annotated[int, _counter("Those of so long ago that everybody had to come back and resume.")] = 0
    commits_retold: Annotated[int, _counter("Commits told again in repairs.")] = 0
    commits_taken_over: Annotated[int, _counter("Commits of other nodes that had not been routed, and were here.")] = 0
    reads_failed: Annotated[int, _counter("Reads answered unavailable or internal.")] = 0
    reads_by_replica: Annotated[int, _counter("Reads that the replica answered.")] = 0
    breaker_opened: Annotated[dict[str, int], _counter("Times that the breaker opened.", "dependency")] = {}
    bus_frames_received: Annotated[int, _counter("Frames and notices that came from other nodes.")] = 0
    bus_routes_called: Annotated[int, _counter("Calls that handed frames to other nodes.")] = 0
    bus_dropped: Annotated[dict[str, int], _counter("Frames dropped because Redis was away or slow.", "lane")] = {}
    bus_gaps: Annotated[int, _counter("Times that the counter of the bus showed something missing.")] = 0
    bus_reconnects: Annotated[int, _counter("Times that a connection of the bus was made anew.")] = 0
    bus_incarnations: Annotated[int, _counter("Times that this node lost its lease and took another name.")] = 0
    bus_reaped: Annotated[int, _counter("Sessions of dead nodes that this one cleared away.")] = 0
    bus_not_understood: Annotated[int, _counter("Messages of the bus in a form that this version does not know.")] = 0
    bus_script_errors: Annotated[int, _counter("Scripts that failed in Redis.")] = 0

    commit_seconds: Annotated[Histogram, _histogram("Time of a commit of messages in the store.")] = field(
        default_factory=seconds
    )
    commit_messages: Annotated[Histogram, _histogram("Messages in one commit.")] = field(default_factory=messages)
    commit_to_socket_seconds: Annotated[
        Histogram, _histogram("From a commit to the write of its pushes to the sockets of this node.")
    ] = field(default_factory=seconds)
    read_seconds: Annotated[Histogram, _histogram("Time of a read, from its turn to its answer.")] = field(
        default_factory=seconds
    )
    bus_lag_seconds: Annotated[Histogram, _histogram("From this node through Redis and back to it.")] = field(
        default_factory=seconds
    )


class Metric(Struct, frozen=True):
    """How a number is told: its name, what kind it is, its label if it has one, and one line about it."""

    name: str
    kind: Kind
    label: str
    help_line: str


def _metric(field: structs.FieldInfo) -> Metric:
    (meta,) = field.type.__metadata__
    return Metric(field.name, meta.extra["kind"], meta.extra["label"], meta.description)


METRICS: Final = tuple(_metric(field) for field in structs.fields(Telemetry))
