"""THE checker: weighs what clients did and saw against what the store holds, and counts each kind of broken promise.

A log whose order the server gives needs no search for a linearisation: it is right when every count below is zero.
Each fault adds to one kind only, so that a report names what is broken. Messages without an answer may be in the log or
not; nothing is said of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from loadtest.findings import Report
from loadtest.record import ClientLog, Key, Submission
from protocol.from_client import Body
from protocol.from_server import Entry, Message, Skip
from protocol.ids import MatchId, Seq

StoredLogs = Mapping[MatchId, Sequence[Entry]]
_decode_body: Final = msgspec.json.Decoder(Body).decode


def check(
    clients: Sequence[ClientLog], stored: StoredLogs, *, settled: bool = True, judges_logs: bool = True
) -> Report:
    """Weigh the clients' logs against the store's.

    `settled`: all clients had the time to catch up, so that what one misses at the end of a log is counted too. Only
    matches that are in `stored` are weighed; what their members sent must all be in `clients`. `judges_logs` false: the
    stored logs themselves are weighed elsewhere, with other clients of the same matches.
    """
    report = Report(clients=len(clients), matches=len(stored), stored=sum(map(len, stored.values())))
    if judges_logs:
        for match, entries in stored.items():
            _check_log(report, match, entries)
    else:
        report.matches = report.stored = 0
    keys = _by_key(stored)
    _check_acks(report, clients, keys)
    _check_sending_order(report, clients)
    _check_real_time(report, clients, keys)
    _check_nobody_invents(report, clients, keys)
    for client in clients:
        for match, entries in stored.items():
            _check_view(report, client, match, entries)
            if settled and match in client.shown and match not in client.left:
                _check_complete(report, client, match, entries)
    return report


# ---- the store's log of a match


def _check_log(report: Report, match: MatchId, entries: Sequence[Entry]) -> None:
    _check_sequence(report, f"the log of {match}", [entry.seq for entry in entries], first=1)
    by_seq = sorted(entries, key=lambda entry: entry.seq)
    for before, after in pairwise(by_seq):
        if after.created_at <= before.created_at and after.seq != before.seq:
            report.found("not_increasing", f"{match} {before.seq} at {before.created_at}, then {after.created_at}")
    counts = Counter(_key(entry) for entry in entries if isinstance(entry, Message))
    seqs = Counter(entry.seq for entry in entries)
    for key, count in counts.items():
        # One that is listed twice under one seq was counted with the sequence.
        if count > 1 and all(seqs[entry.seq] == 1 for entry in entries if _is(entry, key)):
            report.found("doubled", f"{'/'.join(key)} is stored {count} times", count - 1)


def _check_sequence(report: Report, where: str, seqs: Sequence[int], first: int) -> None:
    """Count what is repeated, what steps back and what is missing between `first` and the highest."""
    seen: set[int] = set()
    highest = 0
    for seq in seqs:
        if seq in seen:
            report.found("doubled", f"{where}: {seq} came again")
        elif seq < highest:
            report.found("out_of_order", f"{where}: {seq} came after {highest}")
        seen.add(seq)
        highest = max(highest, seq)
    missing = [seq for seq in range(first, highest) if seq not in seen]
    if missing:
        report.found("gaps", f"{where}: {len(missing)} missing, the first is {missing[0]}", len(missing))


# ---- what was acked


def _check_acks(report: Report, clients: Sequence[ClientLog], keys: Mapping[Key, Message]) -> None:
    for client, submission in _submissions(clients):
        report.acked += bool(submission.acks)
        report.refused += bool(submission.refused)
        report.unanswered += not submission.acks and not submission.refused
        report.duplicates_answered += any(ack.duplicate for ack in submission.acks)
        if not submission.acks:
            continue
        entry = keys.get((submission.match, client.user, submission.client_id))
        what = f"{submission.match} {client.name} {submission.client_id}"
        if entry is None:
            report.found("lost", f"{what} was acked as {submission.acks[0].seq}")
        elif any((ack.seq, ack.created_at) != (entry.seq, entry.created_at) for ack in submission.acks):
            report.found("differing", f"{what} was acked as {submission.acks[0].seq} and stored as {entry.seq}")
        elif _decode_body(entry.body) != submission.body:
            report.found("differing", f"{what} is stored with another body")


def _check_sending_order(report: Report, clients: Sequence[ClientLog]) -> None:
    """A connection's sends to a match are stored in the order sent."""
    newest: dict[tuple[int, int, MatchId], Seq] = {}
    for number, client in enumerate(clients):
        for submission in client.submitted.values():
            for ack in submission.acks:
                # One that was refused for the moment and sent later on the same connection has lost its place.
                if ack.duplicate or submission.transmissions.count(ack.connection) != 1:
                    continue
                place = (number, ack.connection, submission.match)
                if ack.seq < newest.get(place, 0):
                    report.found("out_of_order", f"{client.name} {submission.client_id} overtook one sent after it")
                newest[place] = max(ack.seq, newest.get(place, Seq(0)))


def _check_real_time(report: Report, clients: Sequence[ClientLog], keys: Mapping[Key, Message]) -> None:
    """What was acked before another was called comes before it in the log."""
    calls: dict[MatchId, list[tuple[float, bool, Seq]]] = {}
    for client, submission in _submissions(clients):
        entry = keys.get((submission.match, client.user, submission.client_id))
        if entry is None:
            continue
        calls.setdefault(entry.match, []).append((submission.called_at_s, False, entry.seq))
        calls[entry.match] += [(ack.at_s, True, entry.seq) for ack in submission.acks[:1]]
    for match, events in calls.items():
        acked = 0
        for _, is_ack, seq in sorted(events):
            if is_ack:
                acked = max(acked, seq)
            elif seq < acked:
                report.found("out_of_order", f"{match} {seq} was called after {acked} was acked")


def _check_nobody_invents(report: Report, clients: Sequence[ClientLog], keys: Mapping[Key, Message]) -> None:
    users = {client.user for client in clients}
    sent = {(submission.match, client.user, submission.client_id) for client, submission in _submissions(clients)}
    for key in keys:
        if key[1] in users and key not in sent:
            report.found("invented", "/".join(key))


# ---- what was shown


def _check_view(report: Report, client: ClientLog, match: MatchId, entries: Sequence[Entry]) -> None:
    shown = client.shown.get(match, [])
    report.shown += len(shown)
    if not shown:
        return
    _check_sequence(report, f"{match} as {client.name} saw it", [entry.seq for entry in shown], min(_seqs(shown)))
    by_seq = {entry.seq: entry for entry in entries}
    for entry in shown:
        truth = by_seq.get(entry.seq)
        if truth is None:
            report.found("not_stored", f"{match} {entry.seq} as {client.name} saw it")
        elif not _same(entry, truth):
            report.found("differing", f"{match} {entry.seq} as {client.name} saw it")


def _check_complete(report: Report, client: ClientLog, match: MatchId, entries: Sequence[Entry]) -> None:
    last = max(_seqs(client.shown[match]), default=0)
    behind = [seq for seq in _seqs(entries) if seq > last]
    if behind:
        report.found("missed", f"{match}: {client.name} stopped before {behind[0]}", len(behind))


# ---- small things


def _submissions(clients: Iterable[ClientLog]) -> Iterator[tuple[ClientLog, Submission]]:
    return ((client, submission) for client in clients for submission in client.submitted.values())


def _by_key(stored: StoredLogs) -> dict[Key, Message]:
    """Return the first message under each key."""
    keys: dict[Key, Message] = {}
    for entry in (entry for entries in stored.values() for entry in entries if isinstance(entry, Message)):
        keys.setdefault(_key(entry), entry)
    return keys


def _key(entry: Message) -> Key:
    return (entry.match, entry.sender, entry.client_id)


def _is(entry: Entry, key: Key) -> bool:
    return isinstance(entry, Message) and _key(entry) == key


def _seqs(entries: Sequence[Entry]) -> list[Seq]:
    return [entry.seq for entry in entries]


def _same(shown: Entry, truth: Entry) -> bool:
    """Tell whether a client saw what is stored. One that hides an entry from a viewer says when it was, no more."""
    if shown.created_at != truth.created_at:
        return False
    if isinstance(shown, Skip):
        return True
    if isinstance(shown, Message) and isinstance(truth, Message):
        return _key(shown) == _key(truth) and _decode_body(shown.body) == _decode_body(truth.body)
    return shown == truth
